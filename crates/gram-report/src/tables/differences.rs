//! What GRAM changes: each method that has it against the same prompt without it.
//!
//! Differences are taken within each seed, so that what both methods owe to the draw of the few shots drops
//! out. `H` here is the mean of the per-seed differences; it can differ in the last digit from the difference
//! of two `H` of means.

use super::paper::Printed;
use super::scores::{BaseToNew, CrossDomain, Setting, in_order_of_the_paper};
use super::{Cell, Table};
use crate::results::{Method, Results};
use crate::statistics::{BySeed, Estimate};

const COLUMNS: [&str; 4] = ["Base", "New", "H", "Target"];
const SUBJECTS: [&str; 4] = ["base classes", "new classes", "H", "target domains"];

/// Each GRAM method minus its baseline, in points of accuracy; none if no such pair was run.
pub fn differences(results: &Results) -> Option<Table> {
    let mut table = Table::new(
        "GRAM minus the same prompt without it (points of accuracy)",
        ["Pair"].into_iter().chain(COLUMNS),
    );
    let settings = Setting::all(results);
    for (method, baseline) in pairs(results) {
        let (treated, untreated) = (scores(results, &settings, method), scores(results, &settings, baseline));
        let estimates: [Option<Estimate>; 4] = std::array::from_fn(|column| {
            Estimate::of_paired_difference(&treated[column], &untreated[column])
        });
        table.notes.push(sentence(method, baseline, &estimates));
        table.push(format!("{method} − {baseline}"), estimates.map(Cell::difference).into());
        if let (Some(treated), Some(untreated)) = (Printed::of(method), Printed::of(baseline)) {
            table.push_below("in the paper", printed_differences(treated, untreated));
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// The GRAM methods that were run together with their baseline.
fn pairs(results: &Results) -> Vec<(Method, Method)> {
    let base_to_new = results.base_to_new.iter().map(|run| run.method);
    let ran = in_order_of_the_paper(base_to_new.chain(results.cross_domain.iter().map(|run| run.method)));
    let pair = |method: &Method| Some((*method, method.baseline()?));
    ran.iter().filter_map(pair).filter(|(_, baseline)| ran.contains(baseline)).collect()
}

/// By seed, in the order of [`COLUMNS`].
fn scores(results: &Results, settings: &[Setting<'_>], method: Method) -> [BySeed; 4] {
    let base_to_new = BaseToNew::average(results, method);
    let harmonic = base_to_new.harmonic();
    let cross_domain = CrossDomain::average(results, settings, method);
    [base_to_new.base, base_to_new.new, harmonic, cross_domain.target]
}

fn printed_differences(treated: Printed, untreated: Printed) -> Vec<Cell> {
    treated
        .columns()
        .into_iter()
        .zip(untreated.columns())
        .map(|(treated, untreated)| Cell::plain(format!("{:+.2}", treated - untreated)))
        .collect()
}

/// What the intervals say, in plain words.
fn sentence(method: Method, baseline: Method, differences: &[Option<Estimate>; 4]) -> String {
    let subjects = |holds: fn(Estimate) -> bool| -> Vec<&str> {
        let held = differences.iter().zip(SUBJECTS).filter(|(difference, _)| difference.is_some_and(holds));
        held.map(|(_, subject)| subject).collect()
    };
    let groups = [
        (
            "higher",
            subjects(|it| it.excludes_zero() == Some(true) && it.mean > 0.0),
            "the 95 % interval excludes zero",
        ),
        (
            "lower",
            subjects(|it| it.excludes_zero() == Some(true) && it.mean < 0.0),
            "the 95 % interval excludes zero",
        ),
        (
            "no difference shown",
            subjects(|it| it.excludes_zero() == Some(false)),
            "the 95 % interval includes zero",
        ),
        ("not decided", subjects(|it| it.excludes_zero().is_none()), "one seed gives no interval"),
    ];
    let parts: Vec<String> = groups
        .into_iter()
        .filter(|(_, subjects, _)| !subjects.is_empty())
        .map(|(verdict, subjects, reason)| format!("{verdict} on {} ({reason})", subjects.join(", ")))
        .collect();
    if parts.is_empty() {
        return format!("{method} against {baseline}: no seed was run with both on everything.");
    }
    format!("{method} against {baseline}: {}.", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    /// By seed, base 2 and 1, new 7 and 7, H 5.2291 and 4.8024, target 4 and 5.
    #[test]
    fn differences_are_taken_within_seeds() {
        let table = differences(&example::results()).unwrap();
        let texts: Vec<&str> = table.rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(texts, ["+1.50 ± 6.35", "+7.00 ± 0.00", "+5.02 ± 2.71", "+4.50 ± 6.35"]);
        assert_eq!(table.rows[0].name, "CoOp + GRAM − CoOp");
    }

    #[test]
    fn the_papers_differences_stand_below_ours() {
        let table = differences(&example::results()).unwrap();
        let texts: Vec<&str> = table.rows[1].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(texts, ["+1.16", "+1.82", "+1.51", "+0.37"]);
    }

    #[test]
    fn a_sentence_says_whether_the_intervals_exclude_zero() {
        assert_eq!(
            differences(&example::results()).unwrap().notes,
            ["CoOp + GRAM against CoOp: higher on new classes, H (the 95 % interval excludes zero); \
              no difference shown on base classes, target domains (the 95 % interval includes zero)."]
        );
    }

    #[test]
    fn a_loss_is_called_a_loss() {
        let mut results = example::results();
        for run in &mut results.base_to_new {
            run.method = match run.method {
                Method::Coop => Method::CoopGram,
                Method::CoopGram => Method::Coop,
                other => other,
            };
        }
        assert!(differences(&results).unwrap().notes[0].contains("lower on new classes, H ("));
    }

    #[test]
    fn one_seed_promises_nothing() {
        let mut results = example::results();
        results.base_to_new.retain(|run| run.seed == 1);
        results.cross_domain.clear();
        let table = differences(&results).unwrap();
        assert_eq!(table.rows[0].cells[3], Cell::missing());
        assert_eq!(table.rows[0].cells[0].text, "+2.00 (n = 1)");
        assert!(
            table.notes[0]
                .ends_with("not decided on base classes, new classes, H (one seed gives no interval).")
        );
    }

    #[test]
    fn without_a_pair_there_is_no_table() {
        let mut results = example::results();
        results.base_to_new.retain(|run| run.method != Method::Coop);
        results.cross_domain.clear();
        assert_eq!(differences(&results), None);
    }
}
