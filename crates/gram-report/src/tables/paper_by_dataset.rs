//! The paper's tables 1 to 5, dataset by dataset, beside runs on the same datasets.
//!
//! `paper.json` holds the printed numbers under the names that datasets and methods have here. In tables 3
//! and 5 the paper's order of datasets is CoCoOp's. (UNIGRAM's H on DTD is printed as 67.56; base and new
//! give 67.54.)

use std::collections::BTreeMap;

use serde::Deserialize;

use super::scores::{BaseToNew, Setting, in_order_of_the_paper};
use super::{Cell, Table};
use crate::results::{CrossDomainRun, Results};
use crate::statistics::Estimate;

/// By method, then by dataset; or the other way about.
type Printed<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Deserialize)]
struct Paper {
    /// Table 1: by dataset and method, base, new and H.
    base_to_new: Printed<[f64; 3]>,
    /// Tables 2 and 4: by shots, method and dataset.
    cross_domain: BTreeMap<String, Printed<f64>>,
    /// Tables 3 and 5: by shots, method and dataset.
    cross_dataset: BTreeMap<String, Printed<f64>>,
}

impl Paper {
    fn read() -> Option<Self> {
        serde_json::from_str(include_str!("paper.json")).ok()
    }
}

/// Tables for what the results have in common with the paper: datasets by their names, ImageNet as the
/// source, and the number of shots that stands in the settings.
pub fn by_dataset_beside_the_paper(results: &Results) -> Vec<Table> {
    let shots = results.settings.get("shots").and_then(serde_json::Value::as_u64);
    let (Some(paper), Some(shots)) = (Paper::read(), shots) else { return Vec::new() };
    let shots = shots.to_string();
    let base_to_new = (shots == "16").then(|| base_to_new(results, &paper)).flatten();
    let transfers = [
        ("Cross-domain", &paper.cross_domain, &results.cross_domain),
        ("Cross-dataset", &paper.cross_dataset, &results.cross_dataset),
    ];
    let transfers = transfers
        .into_iter()
        .filter_map(|(name, printed, runs)| transfer(name, printed.get(&shots)?, results, runs));
    base_to_new.into_iter().chain(transfers).collect()
}

fn base_to_new(results: &Results, paper: &Paper) -> Option<Table> {
    let header = ["", "Paper: base", "Paper: new", "Paper: H", "Here: base", "Here: new", "Here: H"];
    let mut table = Table::new("Base-to-new beside the paper, by dataset (accuracy in %)", header);
    let methods = in_order_of_the_paper(results.base_to_new.iter().map(|run| run.method));
    for dataset in &results.datasets {
        let Some(printed) = paper.base_to_new.get(dataset) else { continue };
        for method in &methods {
            let ours = BaseToNew::on_dataset(results, *method, dataset);
            let printed = printed.get(method.key());
            let mut cells: Vec<Cell> =
                [0, 1, 2].map(|column| Cell::printed(printed.map(|printed| printed[column]))).into();
            let estimates =
                [Estimate::over_seeds(&ours.base), Estimate::over_seeds(&ours.new), ours.harmonic_of_means()];
            cells.extend(estimates.map(Cell::estimate));
            table.push(format!("{dataset}: {method}"), cells);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

fn transfer(name: &str, printed: &Printed<f64>, results: &Results, runs: &[CrossDomainRun]) -> Option<Table> {
    let own = Results { cross_domain: runs.to_vec(), ..results.clone() };
    let setting = Setting::all(&own).into_iter().find(|setting| setting.source == "imagenet")?;
    let datasets: Vec<&str> = std::iter::once(setting.source).chain(setting.targets(&own)).collect();
    let title = format!("{name} beside the paper, tuned on ImageNet (accuracy in %)");
    let mut table = Table::new(title, std::iter::once("").chain(datasets.iter().copied()));
    for method in in_order_of_the_paper(runs.iter().map(|run| run.method)) {
        let ours = datasets
            .iter()
            .map(|dataset| Cell::estimate(Estimate::over_seeds(&setting.in_domain(&own, method, dataset))));
        table.push(method.name(), ours.collect());
        if let Some(printed) = printed.get(method.key()) {
            let paper = datasets.iter().map(|dataset| Cell::printed(printed.get(*dataset).copied()));
            table.push_below("  in the paper", paper.collect());
        }
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{BaseToNewRun, Method};
    use crate::statistics::{harmonic_mean, mean};

    #[test]
    fn the_printed_numbers_agree_with_one_another() {
        let paper = Paper::read().unwrap();
        assert_eq!(paper.base_to_new.len(), 11);
        for (dataset, methods) in &paper.base_to_new {
            for (method, [base, new, harmonic]) in methods {
                let misprint = (dataset.as_str(), method.as_str()) == ("dtd", "unigram");
                let off = (harmonic_mean(*base, *new) - harmonic).abs();
                assert!(off < if misprint { 0.03 } else { 0.011 }, "{dataset}, {method}: off by {off}");
            }
        }
        for tables in [&paper.cross_domain, &paper.cross_dataset] {
            for methods in tables.values() {
                for (method, accuracies) in methods {
                    let targets = accuracies
                        .iter()
                        .filter(|(name, _)| !["imagenet", "average"].contains(&name.as_str()));
                    let average = mean(&targets.map(|(_, accuracy)| *accuracy).collect::<Vec<_>>()).unwrap();
                    assert!((average - accuracies["average"]).abs() < 0.011, "{method}: {average}");
                }
            }
        }
    }

    #[test]
    fn runs_on_the_paper_s_datasets_stand_beside_its_numbers() {
        let mut results = Results::new("gram bench", "ViT-B/16", serde_json::json!({"shots": 16}));
        results.datasets = vec!["dtd".into(), "mine".into()];
        let run = |dataset: &str| BaseToNewRun {
            dataset: dataset.into(),
            method: Method::Coop,
            seed: 1,
            base: 70.0,
            new: 60.0,
            scores: Default::default(),
        };
        results.base_to_new = vec![run("dtd"), run("mine")];
        let source = CrossDomainRun {
            dataset: "imagenet".into(),
            method: Method::Coop,
            seed: 1,
            source: "imagenet".into(),
            accuracies: vec![("imagenet".into(), 70.0), ("eurosat".into(), 40.0)],
            scores: Default::default(),
        };
        results.cross_dataset = vec![source];
        let tables = by_dataset_beside_the_paper(&results);
        assert_eq!(tables.len(), 2);
        assert_eq!((tables[0].rows.len(), tables[0].rows[0].name.as_str()), (1, "dtd: CoOp"));
        assert_eq!(tables[1].rows[1].cells[1].text, "45.95");
    }
}
