//! The tables of a run, computed from its [`Results`] alone.
//!
//! A number is a mean over seeds with its 95 % interval ([`Estimate`]); where datasets or target domains are
//! averaged, the average is taken within each seed first, and a seed counts only if it has every one of them.
//! `H` of an average is the harmonic mean of the average base and the average new accuracy, as in the paper.
//! What was not measured is an en dash.
//!
//! A [`Table`] knows nothing of how it is shown: [`Table::to_text`], [`Table::to_markdown`],
//! [`Table::to_latex`] and [`Table::to_html`] each stand in a file of their own.

mod base_to_new;
mod cross_domain;
mod differences;
mod html;
mod latex;
mod markdown;
mod paper;
mod paper_by_dataset;
pub(crate) mod scores;
mod stages;
mod study;
mod text;

pub use base_to_new::{base_to_new_average, base_to_new_by_dataset};
pub use cross_domain::{cross_dataset, cross_domain};
pub use differences::differences;
pub(crate) use html::escape;
pub use paper::beside_the_paper;
pub use paper_by_dataset::by_dataset_beside_the_paper;
pub use stages::stage_times;
pub use study::{StudyRow, study};

use crate::results::Results;
use crate::statistics::Estimate;

/// What stands where nothing was measured.
const MISSING: &str = "–";

/// A title, a header, rows of cells, and notes below.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What the table shows, with its unit.
    pub title: String,
    /// One name for each column, the column of row names first.
    pub header: Vec<String>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row>,
    /// Sentences that belong below the table.
    pub notes: Vec<String>,
}

/// One row of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The row's name.
    pub name: String,
    /// One cell for each further column.
    pub cells: Vec<Cell>,
    /// Whether the row belongs to the one above it, and is set apart from the main rows.
    pub below: bool,
}

/// One cell of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What it is worth when the best of a column is looked for; none if it takes no part.
    pub value: Option<f64>,
    /// Whether it is the best of its column.
    pub best: bool,
}

impl Cell {
    /// A cell that takes no part in the search for the best.
    pub fn plain(text: impl Into<String>) -> Self {
        Cell { text: text.into(), value: None, best: false }
    }

    /// A cell for what was not measured: an en dash.
    pub fn missing() -> Self {
        Cell::plain(MISSING)
    }

    /// A mean with its interval, or an en dash.
    pub fn estimate(estimate: Option<Estimate>) -> Self {
        estimate.map_or_else(Cell::missing, |estimate| Cell {
            text: estimate.to_string(),
            value: Some(estimate.mean),
            best: false,
        })
    }

    /// A difference with its sign and interval, or an en dash; it takes no part in the search for the best.
    pub fn difference(estimate: Option<Estimate>) -> Self {
        estimate.map_or_else(Cell::missing, |estimate| Cell::plain(estimate.signed()))
    }

    /// A number of the paper, which gives no interval.
    fn printed(value: Option<f64>) -> Self {
        value.map_or_else(Cell::missing, |value| Cell {
            text: format!("{value:.2}"),
            value: Some(value),
            best: false,
        })
    }
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(title: impl Into<String>, header: impl IntoIterator<Item = S>) -> Self {
        let header = header.into_iter().map(Into::into).collect();
        Table { title: title.into(), header, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row at the bottom.
    pub fn push(&mut self, name: impl Into<String>, cells: Vec<Cell>) {
        self.rows.push(Row { name: name.into(), cells, below: false });
    }

    /// Adds a row that belongs to the one above it.
    pub fn push_below(&mut self, name: impl Into<String>, cells: Vec<Cell>) {
        self.rows.push(Row { name: name.into(), cells, below: true });
    }

    /// Marks the highest value of every column, and whatever equals it to the two decimals that are shown.
    pub fn mark_best(mut self) -> Self {
        for column in 0..self.header.len().saturating_sub(1) {
            let mut cells: Vec<&mut Cell> =
                self.rows.iter_mut().filter_map(|row| row.cells.get_mut(column)).collect();
            let highest = cells.iter().filter_map(|cell| hundredths(cell.value)).max();
            for cell in &mut cells {
                cell.best = highest.is_some() && hundredths(cell.value) == highest;
            }
        }
        self
    }

    /// Whether any cell is marked as the best of its column.
    fn has_best(&self) -> bool {
        self.rows.iter().any(|row| row.cells.iter().any(|cell| cell.best))
    }
}

/// A value as the whole number of hundredths that is shown of it.
fn hundredths(value: Option<f64>) -> Option<i64> {
    value.map(|value| (value * 100.0).round() as i64)
}

/// Every table that the results can fill, in the order of the paper.
pub fn all(results: &Results) -> Vec<Table> {
    let mut tables: Vec<Table> = base_to_new_average(results).into_iter().collect();
    tables.extend(base_to_new_by_dataset(results));
    tables.extend(cross_domain(results));
    tables.extend(cross_dataset(results));
    tables.extend(differences(results));
    tables.extend(beside_the_paper(results));
    tables.extend(by_dataset_beside_the_paper(results));
    tables.extend(stage_times(results));
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn the_best_of_a_column_is_what_reads_as_the_highest() {
        let cells = [Some(50.0), Some(70.0012), None, Some(70.0049)].map(|value| Cell {
            text: String::new(),
            value,
            best: false,
        });
        let mut table = Table::new("t", ["Method", "H"]);
        cells.into_iter().for_each(|cell| table.push("m", vec![cell]));
        let best: Vec<bool> = table.mark_best().rows.iter().map(|row| row.cells[0].best).collect();
        assert_eq!(best, [false, true, false, true]);
    }

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        let tables = all(&example::results());
        assert_eq!(tables.len(), 8);
        for table in tables {
            for row in &table.rows {
                assert_eq!(row.cells.len() + 1, table.header.len(), "{} / {}", table.title, row.name);
            }
        }
    }

    /// `INSTA_UPDATE=always cargo test --release --workspace --lib tables` accepts what changed.
    #[test]
    fn every_table_is_in_every_format_as_it_was_read_last() {
        let tables = all(&example::results());
        let written = |format: fn(&Table) -> String| tables.iter().map(format).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!("text", written(Table::to_text));
        insta::assert_snapshot!("markdown", written(Table::to_markdown));
        insta::assert_snapshot!("latex", written(Table::to_latex));
        insta::assert_snapshot!("html", written(Table::to_html));
    }

    #[test]
    fn a_run_that_measured_nothing_has_no_tables() {
        assert_eq!(all(&Results::new("gram demo", "tiny", serde_json::Value::Null)), []);
    }
}
