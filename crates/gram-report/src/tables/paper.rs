//! The paper's own averages, for comparison.
//!
//! CLIP ViT-B/16, 16 shots: Table 1 (a), average over 11 datasets, and Table 2, tuned on ImageNet and tested
//! on four variants of it (Li et al., "Gradient-Regulated Meta-Prompt Learning for Generalizable
//! Vision-Language Models", ICCV 2023). Its intervals are not given. It has no row for the joint prompt
//! without GRAM, nor for the baselines that it does not name.

use super::scores::{BaseToNew, CrossDomain, Setting, in_order_of_the_paper};
use super::{Cell, Table};
use crate::results::{Method, Results};
use crate::statistics::Estimate;

/// Averages as printed, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Printed {
    base: f64,
    new: f64,
    harmonic: f64,
    source: f64,
    target: f64,
}

impl Printed {
    /// The paper's row of a method, if it has one.
    pub(super) fn of(method: Method) -> Option<Self> {
        let [base, new, harmonic, source, target] = match method {
            Method::ZeroShot => [69.34, 74.22, 71.70, 66.73, 57.18],
            Method::Coop => [77.58, 73.11, 75.28, 71.35, 60.03],
            Method::CoopGram => [78.74, 74.93, 76.79, 71.62, 60.40],
            Method::Vpt => [72.53, 72.34, 72.43, 68.92, 57.96],
            Method::VptGram => [74.04, 74.21, 74.12, 69.09, 58.41],
            Method::Cocoop => [80.47, 71.69, 75.83, 71.02, 59.91],
            Method::Unigram => [80.34, 75.92, 78.07, 71.65, 60.80],
            _ => return None,
        };
        Some(Printed { base, new, harmonic, source, target })
    }

    /// Base, new, H and target average.
    pub(super) fn columns(self) -> [f64; 4] {
        [self.base, self.new, self.harmonic, self.target]
    }
}

/// The paper's averages beside ours: one table for each protocol that was run.
pub fn beside_the_paper(results: &Results) -> Vec<Table> {
    base_to_new(results).into_iter().chain(cross_domain(results)).collect()
}

fn base_to_new(results: &Results) -> Option<Table> {
    let methods = in_order_of_the_paper(results.base_to_new.iter().map(|run| run.method));
    let mut table = Table::new(
        "Base-to-new beside the paper (accuracy in %)",
        ["Method", "Paper: base", "Paper: new", "Paper: H", "Here: base", "Here: new", "Here: H"],
    );
    table.notes.push(caution("Table 1 (a): CLIP ViT-B/16, average over 11 datasets, 16 shots"));
    for method in &methods {
        let ours = BaseToNew::average(results, *method);
        let printed = Printed::of(*method);
        let mut cells: Vec<Cell> = [printed.map(|printed| printed.base), printed.map(|printed| printed.new)]
            .map(Cell::printed)
            .into();
        cells.push(Cell::printed(printed.map(|printed| printed.harmonic)));
        let estimates =
            [Estimate::over_seeds(&ours.base), Estimate::over_seeds(&ours.new), ours.harmonic_of_means()];
        cells.extend(estimates.map(Cell::estimate));
        table.push(method.name(), cells);
    }
    (!methods.is_empty()).then(|| table.mark_best())
}

fn cross_domain(results: &Results) -> Option<Table> {
    let methods = in_order_of_the_paper(results.cross_domain.iter().map(|run| run.method));
    let mut table = Table::new(
        "Cross-domain beside the paper (accuracy in %)",
        ["Method", "Paper: source", "Paper: targets", "Here: source", "Here: targets"],
    );
    table.notes.push(caution("Table 2: CLIP ViT-B/16, tuned on ImageNet, average over 4 variants, 16 shots"));
    let settings = Setting::all(results);
    for method in &methods {
        let ours = CrossDomain::average(results, &settings, *method);
        let printed = Printed::of(*method);
        let mut cells: Vec<Cell> =
            [printed.map(|printed| printed.source), printed.map(|printed| printed.target)]
                .map(Cell::printed)
                .into();
        cells.extend(
            [Estimate::over_seeds(&ours.source), Estimate::over_seeds(&ours.target)].map(Cell::estimate),
        );
        table.push(method.name(), cells);
    }
    (!methods.is_empty()).then(|| table.mark_best())
}

fn caution(origin: &str) -> String {
    format!(
        "Paper: printed in {origin}. Here: another model on other data; compare the order and the gaps, \
         not the levels."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;
    use crate::statistics::harmonic_mean;

    #[test]
    fn the_printed_h_is_the_harmonic_mean_of_the_printed_base_and_new() {
        for printed in Method::ALL.into_iter().filter_map(Printed::of) {
            let [base, new, harmonic, _] = printed.columns();
            assert!((harmonic_mean(base, new) - harmonic).abs() < 0.011, "{printed:?}");
        }
    }

    #[test]
    fn the_papers_numbers_and_ours_are_marked_apart() {
        let tables = beside_the_paper(&example::results());
        let coop_gram: Vec<&str> = tables[0].rows[2].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(coop_gram, ["78.74", "74.93", "76.79", "77.50 ± 6.35", "63.00 ± 12.71", "69.50 ± 10.29"]);
        assert!(tables[1].header[1].starts_with("Paper"));
        assert!(tables[1].notes[0].contains("Table 2"));
    }

    #[test]
    fn a_method_the_paper_has_not_leaves_its_columns_empty() {
        let mut results = example::results();
        results.base_to_new[10].method = Method::Joint;
        assert_eq!(beside_the_paper(&results)[0].rows[3].cells, vec![Cell::missing(); 6]);
    }
}
