//! Rows of a manifest, whatever its format: delimited text with a header line, JSON, or Parquet.

mod cell;
mod delimited;
mod format;
pub(crate) mod json;
pub(crate) mod parquet_rows;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

pub(crate) use cell::Cell;
use format::Format;

use crate::DataError;
use crate::archive::decompressed;
use crate::text_file::unmarked;

/// How much of a row that cannot be read is quoted, in characters.
const QUOTED: usize = 60;

/// A manifest in memory.
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) name: String,
    /// Names of the columns that are kept, in the order of the file.
    pub(crate) columns: Vec<String>,
    /// All rows that can be read, in the order of the file.
    pub(crate) rows: Vec<Row>,
    /// What cannot be read as a row.
    pub(crate) bad_rows: Vec<BadRow>,
    /// Names of classes by their number, for columns whose numbers Hugging Face's `datasets` names.
    pub(crate) class_names: Vec<(String, Vec<String>)>,
    /// Names of all columns, for messages.
    found: Vec<String>,
    /// The line that named the columns, if there is one.
    header: Option<usize>,
    /// What messages call a row.
    unit: &'static str,
}

/// The columns that a reader of a table asks for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Whether a column of this name has a meaning to the reader.
    pub(crate) known: &'a dyn Fn(&str) -> bool,
    /// Whether all others are kept, too.
    pub(crate) others: bool,
}

impl Wanted<'_> {
    fn has(&self, column: &str) -> bool {
        self.others || (self.known)(column)
    }
}

/// One row: the line (or, in Parquet, the row) of the file it was read from, and a value for every column, up
/// to the last that it fills.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: usize,
    cells: Vec<Cell>,
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) struct BadRow {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

impl BadRow {
    /// A row with what is wrong with it and the beginning of its first line.
    fn new(line: usize, problem: &str, text: &[u8]) -> Self {
        // Of what may be megabytes, only what can be part of the quotation is looked at.
        let text = String::from_utf8_lossy(&text[..text.len().min(4 * QUOTED)]);
        let first = text.trim_start().lines().next().unwrap_or_default();
        let quoted: String = first.chars().take(QUOTED).collect();
        let more = if quoted.len() < first.len() { "…" } else { "" };
        Self { line, problem: format!("{problem}: `{quoted}{more}`") }
    }
}

impl Table {
    /// Whether `path` is named as a table.
    pub(crate) fn is_table(path: &Path) -> bool {
        Format::of(path).is_some()
    }

    /// Reads the wanted columns of a table; the file's name says its format. Rows that cannot be read
    /// are set aside.
    pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(DataError::at(path))?;
        let format = Format::of(path).unwrap_or(Format::Delimited(b'\t'));
        if format == Format::Parquet {
            return parquet_rows::read(name, file, wanted);
        }
        let (text, _) = decompressed(BufReader::new(file)).map_err(DataError::at(path))?;
        let text = unmarked(&name, text)?;
        match format {
            Format::JsonLines => Ok(Self::json_lines(name, text, wanted)),
            Format::Json => Self::json(name, text, wanted),
            Format::Delimited(usual) => Ok(Self::delimited(name, text, usual, wanted)),
            Format::Parquet => Ok(Self::empty(name)),
        }
    }

    fn empty(name: String) -> Self {
        Self {
            name,
            columns: Vec::new(),
            rows: Vec::new(),
            bad_rows: Vec::new(),
            class_names: Vec::new(),
            found: Vec::new(),
            header: None,
            unit: "line",
        }
    }

    /// The table, if all of its rows can be read.
    pub(crate) fn whole(self) -> Result<Self, DataError> {
        match self.bad_rows.first() {
            None => Ok(self),
            Some(bad) => Err(DataError::in_table(&self.place(bad.line))(bad.problem.clone())),
        }
    }

    /// Takes the line that was to name the columns as a row like the others; false if there is none.
    pub(crate) fn header_as_row(&mut self) -> bool {
        let Some(line) = self.header.take() else { return false };
        let cells =
            self.columns.iter_mut().map(|name| Cell::from(Value::from(std::mem::take(name)))).collect();
        self.rows.insert(0, Row { line, cells });
        true
    }

    /// The index of a column, if the table has it.
    pub(crate) fn optional_column(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// The index of the first of these columns, in any case, that the table has.
    pub(crate) fn first_column(&self, columns: &[&str]) -> Option<usize> {
        columns
            .iter()
            .find_map(|column| self.columns.iter().position(|name| name.eq_ignore_ascii_case(column)))
    }

    /// That the table has none of these columns, one of which it needs.
    pub(crate) fn missing(&self, columns: &[&str]) -> DataError {
        let quoted = |names: &mut dyn Iterator<Item = &str>, join: &str| {
            names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(join)
        };
        let column = quoted(&mut columns.iter().copied(), " or ");
        let found = match self.found.is_empty() {
            true => "no columns at all".to_owned(),
            false => quoted(&mut self.found.iter().map(String::as_str), ", "),
        };
        DataError::MissingColumn { name: self.name.clone(), column, found }
    }

    /// Whether the file has a column of that name, in any case, be it kept or not.
    pub(crate) fn has_found(&self, column: &str) -> bool {
        self.found.iter().any(|name| name.eq_ignore_ascii_case(column))
    }

    /// File and line of a row, for messages.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}, {} {line}", self.name, self.unit)
    }

    /// The filled columns of a row other than those `used`, as one object; nothing if there are none.
    pub(crate) fn rest(&self, row: &Row, used: &[Option<usize>]) -> Option<Value> {
        let filled = |(index, cell): (usize, &Cell)| match cell {
            Cell::Value(value) if !used.contains(&Some(index)) && cell.is_filled() => {
                Some((self.columns[index].clone(), value.clone()))
            }
            _ => None,
        };
        let rest: Map<String, Value> = row.cells.iter().enumerate().filter_map(filled).collect();
        (!rest.is_empty()).then_some(Value::Object(rest))
    }
}

fn broken_off(error: &io::Error) -> String {
    format!("the file breaks off here ({error}): fetch or make it again")
}

impl Row {
    /// A cell, if the row has one in that column.
    pub(crate) fn cell(&self, column: usize) -> Option<&Cell> {
        self.cells.get(column)
    }

    /// A cell as text, trimmed, if it is a text, number or truth value.
    pub(crate) fn text(&self, column: usize) -> Option<Cow<'_, str>> {
        self.cells.get(column)?.text()
    }

    /// The texts of a cell: its own, or those of a list; nothing if it holds none.
    pub(crate) fn texts(&self, column: usize) -> Option<Vec<Cow<'_, str>>> {
        self.cells.get(column)?.texts()
    }

    /// A cell as text, if there is such a column and its cell is not blank.
    pub(crate) fn filled(&self, column: Option<usize>) -> Option<Cow<'_, str>> {
        self.text(column?).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wanted<'static> = Wanted { known: &|_| true, others: true };

    fn csv(text: &[u8]) -> Table {
        Table::delimited("t.csv".into(), text, b',', ALL)
    }

    fn json_lines(text: &[u8]) -> Table {
        Table::json_lines("t.jsonl".into(), text, ALL)
    }

    fn lines(table: &Table) -> Vec<usize> {
        table.rows.iter().map(|row| row.line).collect()
    }

    #[test]
    fn a_quoted_field_may_span_lines_and_lines_are_still_counted() {
        let table = csv(b"image,caption\na.png,\"one, two\nthree\"\nb.png, four \n");
        assert_eq!(table.rows[0].text(1).unwrap(), "one, two\nthree");
        assert_eq!(table.rows[1].text(1).unwrap(), "four");
        assert_eq!(table.place(table.rows[1].line), "t.csv, line 4");
    }

    #[test]
    fn quotes_of_tab_separated_text_are_part_of_it() {
        let text = &b"caption\timage\n\"the best\" of it\ta.png\n\"never closed\tb.png\n"[..];
        let table = Table::delimited("t.tsv".into(), text, b'\t', ALL);
        let captions: Vec<_> = table.rows.iter().map(|row| row.text(0).unwrap()).collect();
        assert_eq!(captions, ["\"the best\" of it", "\"never closed"]);
    }

    #[test]
    fn lines_are_counted_with_either_line_break_and_with_blank_lines() {
        for text in ["image,x\na,1\n\n\nb,2\n", "image,x\r\na,1\r\n\r\n\r\nb,2\r\n"] {
            assert_eq!(lines(&csv(text.as_bytes())), [2, 5], "{text:?}");
        }
    }

    #[test]
    fn json_lines_may_differ_in_their_columns() {
        let text = b"{\"image\":\"a.png\",\"label\":3}\n\n{\"split\":\"test\",\"image\":\"b.png\"}\n";
        let table = json_lines(text);
        assert_eq!(table.columns, ["image", "label", "split"]);
        assert_eq!(table.rows[0].text(1).unwrap(), "3");
        assert_eq!(table.rows[0].filled(Some(2)), None);
        assert_eq!(table.rows[1].filled(Some(1)), None);
        assert_eq!(table.rest(&table.rows[1], &[Some(0)]).unwrap(), serde_json::json!({"split": "test"}));
        assert_eq!(table.place(table.rows[1].line), "t.jsonl, line 3");
    }

    #[test]
    fn rows_that_cannot_be_read_are_set_aside_with_their_lines() {
        let table = json_lines(b"{\"a\":1}\n{\"a\":\n[1]\n{\"a\":\"\xff\"}\n{\"a\":2}");
        assert_eq!(lines(&table), [1, 5]);
        assert_eq!(table.bad_rows.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3, 4]);
        let table = csv(b"image,caption\na.png\nb.png,gr\xfc\xdfe\nc.png,three\n");
        assert_eq!(lines(&table), [4]);
        assert_eq!(table.bad_rows[0].problem, "1 fields, expected 2 as in the first line: `a.png`");
        assert_eq!(table.bad_rows[1].line, 3);
        let error = table.whole().err().unwrap().to_string();
        assert_eq!(error, "t.csv, line 2: 1 fields, expected 2 as in the first line: `a.png`");
    }

    #[test]
    fn only_wanted_columns_are_kept_and_all_are_told() {
        let wanted = Wanted { known: &|column| column == "caption", others: false };
        let table = Table::delimited("t.csv".into(), &b"image,caption\na.png,one\n"[..], b',', wanted);
        assert_eq!(table.columns, ["caption"]);
        assert_eq!(table.rows[0].text(0).unwrap(), "one");
        assert!(
            table.missing(&["x", "y"]).to_string().contains("no column `x` or `y` among `image`, `caption`")
        );
        let table = Table::json_lines("t".into(), &b"{\"image\":1,\"caption\":2}"[..], wanted);
        assert_eq!((table.columns.len(), table.found.len()), (1, 2));
    }

    #[test]
    fn a_first_line_can_be_a_row() {
        let mut table = csv(b"a dog,1.png\na cat,2.png\n");
        assert!(table.header_as_row() && !table.header_as_row());
        assert_eq!(lines(&table), [1, 2]);
        assert_eq!(table.rows[0].text(1).unwrap(), "1.png");
    }
}
