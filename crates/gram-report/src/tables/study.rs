//! Studies: one method under several conditions, base to new (the paper's tables 6 and 7).

use super::scores::BaseToNew;
use super::{Cell, Table};
use crate::results::{Method, Results};
use crate::statistics::Estimate;

/// A condition of a study.
#[derive(Clone, Debug)]
pub struct StudyRow<'a> {
    /// What it is.
    pub label: String,
    /// The method that was run under it.
    pub method: Method,
    /// What it gave.
    pub results: &'a Results,
    /// Base, new and H as the paper prints them, if it does.
    pub printed: Option<[f64; 3]>,
}

/// Base, new and H of every condition, averaged over datasets, beside the paper's.
pub fn study(title: &str, rows: &[StudyRow]) -> Table {
    let header = ["", "Base", "New", "H", "Paper: base", "Paper: new", "Paper: H"];
    let mut table = Table::new(title, header);
    for row in rows {
        let scores = BaseToNew::average(row.results, row.method);
        let estimates = [
            Estimate::over_seeds(&scores.base),
            Estimate::over_seeds(&scores.new),
            scores.harmonic_of_means(),
        ];
        let printed = [0, 1, 2].map(|column| Cell::printed(row.printed.map(|printed| printed[column])));
        let cells = estimates.map(Cell::estimate).into_iter().chain(printed);
        table.push(row.label.clone(), cells.collect());
    }
    table.notes.push("Paper: CLIP ViT-B/16, average over 11 datasets, 16 shots.".into());
    table.mark_best()
}
