//! Cross-domain generalization: the paper's Table 2.

use super::scores::{CrossDomain, Setting, distinct, in_order_of_the_paper};
use super::{Cell, Table};
use crate::results::Results;
use crate::statistics::Estimate;

/// Methods by source, targets and the average over targets: one table for each dataset and source, and where
/// there are several, their average first.
pub fn cross_domain(results: &Results) -> Vec<Table> {
    let settings = Setting::all(results);
    let average = (settings.len() > 1).then(|| average(results, &settings));
    average.into_iter().chain(settings.iter().map(|setting| one_setting(results, *setting))).collect()
}

/// The paper's Table 3: methods by the dataset that was tuned on, the others, and their average.
pub fn cross_dataset(results: &Results) -> Vec<Table> {
    let as_domains = Results { cross_domain: results.cross_dataset.clone(), ..results.clone() };
    let setting = |setting: &Setting<'_>| {
        let title = format!("Cross-dataset generalization, tuned on {} (accuracy in %)", setting.source);
        Table { title, ..one_setting(&as_domains, *setting) }
    };
    Setting::all(&as_domains).iter().map(setting).collect()
}

fn average(results: &Results, settings: &[Setting<'_>]) -> Table {
    let datasets = distinct(settings.iter().map(|setting| setting.dataset)).len();
    let datasets = if datasets == 1 { "1 dataset".to_owned() } else { format!("{datasets} datasets") };
    let title = format!("Cross-domain generalization, average of {datasets} (accuracy in %)");
    let mut table = Table::new(title, ["Method", "Source", "Target average"]);
    for method in in_order_of_the_paper(results.cross_domain.iter().map(|run| run.method)) {
        let scores = CrossDomain::average(results, settings, method);
        let estimates = [Estimate::over_seeds(&scores.source), Estimate::over_seeds(&scores.target)];
        table.push(method.name(), estimates.map(Cell::estimate).into());
    }
    table.mark_best()
}

fn one_setting(results: &Results, setting: Setting<'_>) -> Table {
    let Setting { dataset, source } = setting;
    let title = format!("Cross-domain generalization, {dataset}, tuned on {source} (accuracy in %)");
    let targets = setting.targets(results);
    let header = ["Method".to_owned(), format!("{source} (source)")]
        .into_iter()
        .chain(targets.iter().map(|target| (*target).to_owned()))
        .chain(["Target average".to_owned()]);
    let mut table = Table::new(title, header);
    for method in in_order_of_the_paper(results.cross_domain.iter().map(|run| run.method)) {
        let averages = CrossDomain::average(results, &[setting], method);
        let mut cells = vec![Cell::estimate(Estimate::over_seeds(&averages.source))];
        cells.extend(
            targets.iter().map(|target| {
                Cell::estimate(Estimate::over_seeds(&setting.in_domain(results, method, target)))
            }),
        );
        cells.push(Cell::estimate(Estimate::over_seeds(&averages.target)));
        table.push(method.name(), cells);
    }
    table.mark_best()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    fn texts(table: &Table, row: usize) -> Vec<&str> {
        table.rows[row].cells.iter().map(|cell| cell.text.as_str()).collect()
    }

    #[test]
    fn the_table_has_the_source_every_target_and_their_average() {
        let tables = cross_domain(&example::results());
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].header, ["Method", "noto (source)", "twemoji", "fluent", "Target average"]);
        assert_eq!(
            texts(&tables[0], 1),
            ["82.00 ± 12.71", "56.00 ± 25.41", "65.00 ± 12.71", "60.50 ± 19.06"]
        );
    }

    #[test]
    fn a_method_that_lacks_a_target_has_no_average() {
        let mut results = example::results();
        results.cross_domain.truncate(1);
        let mut other = results.cross_domain[0].clone();
        other.method = crate::results::Method::Vpt;
        other.accuracies.pop();
        results.cross_domain.push(other);
        assert_eq!(
            texts(&cross_domain(&results)[0], 1),
            ["80.00 (n = 1)", "50.00 (n = 1)", super::super::MISSING, super::super::MISSING]
        );
    }

    #[test]
    fn several_sources_are_averaged_first() {
        let mut results = example::results();
        let mut turned = results.cross_domain.clone();
        turned.iter_mut().for_each(|run| run.source = "fluent".into());
        results.cross_domain.extend(turned);
        let tables = cross_domain(&results);
        assert_eq!(tables.len(), 3);
        // CoOp + GRAM, source: seed 1 (81 + 64) / 2 = 72.5, seed 2 (83 + 66) / 2 = 74.5.
        assert_eq!(texts(&tables[0], 1)[0], "73.50 ± 12.71");
    }

    #[test]
    fn each_seed_may_tune_in_a_domain_of_its_own() {
        let mut results = example::results();
        results
            .cross_domain
            .iter_mut()
            .filter(|run| run.seed == 2)
            .for_each(|run| run.source = "fluent".into());
        // CoOp + GRAM, source: seed 1 81 in noto, seed 2 66 in fluent.
        assert_eq!(texts(&cross_domain(&results)[0], 1)[0], "73.50 ± 95.30");
    }
}
