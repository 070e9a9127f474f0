//! Base-to-new generalization: the paper's Table 1.

use super::scores::{BaseToNew, in_order_of_the_paper};
use super::{Cell, Table};
use crate::results::{Method, Results};
use crate::statistics::Estimate;

/// Methods by base, new and H, averaged over datasets; none if the protocol was not run.
pub fn base_to_new_average(results: &Results) -> Option<Table> {
    let count = results.datasets.len();
    let datasets = if count == 1 { "1 dataset".to_owned() } else { format!("average of {count} datasets") };
    let title = format!("Base-to-new generalization, {datasets} (accuracy in %)");
    let mut table = table(results, title, |method| BaseToNew::average(results, method))?;
    let incomplete = in_order_of_the_paper(results.base_to_new.iter().map(|run| run.method))
        .into_iter()
        .filter(|method| BaseToNew::average(results, *method).base.is_empty());
    let names: Vec<&str> = incomplete.map(Method::name).collect();
    if !names.is_empty() {
        table.notes.push(format!("Not averaged, since no seed ran every dataset: {}.", names.join(", ")));
    }
    Some(table)
}

/// The same for each dataset by itself.
pub fn base_to_new_by_dataset(results: &Results) -> Vec<Table> {
    let one = |dataset: &String| {
        let title = format!("Base-to-new generalization, {dataset} (accuracy in %)");
        table(results, title, |method| BaseToNew::on_dataset(results, method, dataset))
    };
    results.datasets.iter().filter_map(one).collect()
}

fn table(results: &Results, title: String, scores: impl Fn(Method) -> BaseToNew) -> Option<Table> {
    let methods = in_order_of_the_paper(results.base_to_new.iter().map(|run| run.method));
    let mut table = Table::new(title, ["Method", "Base", "New", "H"]);
    for method in &methods {
        let scores = scores(*method);
        let estimates = [
            Estimate::over_seeds(&scores.base),
            Estimate::over_seeds(&scores.new),
            scores.harmonic_of_means(),
        ];
        table.push(method.name(), estimates.map(Cell::estimate).into());
    }
    (!methods.is_empty()).then(|| table.mark_best())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    /// CoOp: base 75 and 77 by seed, new 55 and 57. Half width of two values one apart: 12.706 / 2 = 6.35.
    /// H of the means: 2 * 76 * 56 / 132 = 64.48; by seed 63.4615 and 65.5075: 12.706 * 2.0459 / 2 = 13.00.
    #[test]
    fn the_average_table_holds_the_numbers_computed_by_hand() {
        let table = base_to_new_average(&example::results()).unwrap();
        let expected = "\
Base-to-new generalization, average of 2 datasets (accuracy in %)

Method                Base              New                H
--------------------------------------------------------------
CLIP         55.00 (n = 1)    60.00 (n = 1)    57.39 (n = 1)
CoOp         76.00 ± 12.71    56.00 ± 12.71    64.48 ± 13.00
CoOp + GRAM   77.50 ± 6.35 *  63.00 ± 12.71 *  69.50 ± 10.29 *
VPT                      –                –                –

* the best of its column
Not averaged, since no seed ran every dataset: VPT.
";
        assert_eq!(table.to_text(), expected);
    }

    #[test]
    fn a_dataset_has_the_methods_that_ran_on_it_and_dashes_for_the_others() {
        let tables = base_to_new_by_dataset(&example::results());
        let food = &tables[1];
        assert_eq!(food.title, "Base-to-new generalization, food (accuracy in %)");
        assert_eq!(food.rows[3].cells, vec![Cell::missing(); 3]);
        assert_eq!(food.rows[1].cells[0].text, "71.00 ± 12.71");
    }
}
