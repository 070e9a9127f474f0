//! Rows of a manifest, whatever its format: comma- or tab-separated with a header line, JSON lines, or Parquet.

mod parquet_rows;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value};

use crate::DataError;

/// A manifest in memory.
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) name: String,
    /// Column names in the order of the file.
    pub(crate) columns: Vec<String>,
    /// All rows in the order of the file.
    pub(crate) rows: Vec<Row>,
}

/// One row: the line (or, in Parquet, the row) of the file it was read from, and a value for every column.
pub(crate) struct Row {
    line: usize,
    cells: Vec<Value>,
}

impl Table {
    /// Whether `path` is named as a table.
    pub(crate) fn is_table(path: &Path) -> bool {
        matches!(extension(path).as_str(), "csv" | "tsv" | "jsonl" | "parquet")
    }

    /// Reads a table; its format is told by the extension. Tab-separated fields may be quoted, as in other tools.
    pub(crate) fn read(path: &Path) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(DataError::at(path))?;
        match extension(path).as_str() {
            "tsv" => Self::delimited(name, file, b'\t'),
            "jsonl" => Self::json_lines(name, BufReader::new(file)),
            "parquet" => parquet_rows::read(name, file),
            _ => Self::delimited(name, file, b','),
        }
    }

    /// Reads delimited text whose first line names the columns.
    pub(crate) fn delimited(name: String, mut reader: impl Read, delimiter: u8) -> Result<Self, DataError> {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).map_err(DataError::in_table(&name))?;
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .trim(Trim::All)
            .flexible(true)
            .from_reader(text.as_slice());
        let columns: Vec<String> =
            reader.headers().map_err(DataError::in_table(&name))?.iter().map(str::to_owned).collect();
        let mut lines = LineCounter { text: &text, counted: 0, line: 1 };
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(DataError::in_table(&name))?;
            let line = lines.line_of(&record);
            if record.len() != columns.len() {
                let problem = format!("{} fields, expected {} as in the header", record.len(), columns.len());
                return Err(DataError::in_table(&format!("{name}, line {line}"))(problem));
            }
            rows.push(Row { line, cells: record.iter().map(Value::from).collect() });
        }
        Ok(Self { name, columns, rows })
    }

    /// Reads one JSON object a line; blank lines count but hold nothing.
    pub(crate) fn json_lines(name: String, reader: impl BufRead) -> Result<Self, DataError> {
        let mut columns: Vec<String> = Vec::new();
        let mut objects = Vec::new();
        for (index, text) in reader.lines().enumerate() {
            let place = format!("{name}, line {}", index + 1);
            let text = text.map_err(DataError::in_table(&place))?;
            if text.trim().is_empty() {
                continue;
            }
            let object: Map<String, Value> =
                serde_json::from_str(&text).map_err(DataError::in_table(&place))?;
            for key in object.keys().filter(|key| !columns.contains(key)).cloned().collect::<Vec<_>>() {
                columns.push(key);
            }
            objects.push((index + 1, object));
        }
        let cells = |object: &mut Map<String, Value>| {
            columns.iter().map(|column| object.remove(column).unwrap_or(Value::Null)).collect()
        };
        let rows =
            objects.iter_mut().map(|(line, object)| Row { line: *line, cells: cells(object) }).collect();
        Ok(Self { name, columns, rows })
    }

    /// The index of a column that must be there.
    pub(crate) fn column(&self, column: &'static str) -> Result<usize, DataError> {
        self.optional_column(column).ok_or_else(|| {
            let found: Vec<_> = self.columns.iter().map(|name| format!("`{name}`")).collect();
            let found = if found.is_empty() { "no columns at all".to_owned() } else { found.join(", ") };
            DataError::MissingColumn { name: self.name.clone(), column, found }
        })
    }

    /// The index of a column, if the table has it.
    pub(crate) fn optional_column(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// File and line of a row, for messages.
    pub(crate) fn place(&self, row: &Row) -> String {
        format!("{}, line {}", self.name, row.line)
    }

    /// The filled columns of a row other than those `used`, as one object; nothing if there are none.
    pub(crate) fn rest(&self, row: &Row, used: &[Option<usize>]) -> Option<Value> {
        let filled = |index: &usize| !used.contains(&Some(*index)) && row.is_filled(*index);
        let rest: Map<String, Value> = (0..self.columns.len())
            .filter(filled)
            .map(|index| (self.columns[index].clone(), row.cells[index].clone()))
            .collect();
        (!rest.is_empty()).then_some(Value::Object(rest))
    }
}

impl Row {
    /// A cell as text, trimmed, if it is a text, number or truth value.
    pub(crate) fn text(&self, column: usize) -> Option<Cow<'_, str>> {
        match self.cells.get(column)? {
            Value::String(text) => Some(Cow::Borrowed(text.trim())),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(Cow::Owned(value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A cell as text, if there is such a column and its cell is not blank.
    pub(crate) fn filled(&self, column: Option<usize>) -> Option<Cow<'_, str>> {
        self.text(column?).filter(|text| !text.is_empty())
    }

    fn is_filled(&self, column: usize) -> bool {
        !matches!(&self.cells[column], Value::Null) && self.text(column).is_none_or(|text| !text.is_empty())
    }
}

/// Counts the lines of a text up to one record after the other.
///
/// The position that the reader reports for a record is that before the line break or blank lines in front of it.
struct LineCounter<'a> {
    text: &'a [u8],
    counted: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn line_of(&mut self, record: &StringRecord) -> usize {
        let reported = record.position().map_or(0, |position| position.byte() as usize);
        let breaks =
            self.text.iter().skip(reported).take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let start = (reported + breaks).clamp(self.counted, self.text.len());
        self.line += self.text[self.counted..start].iter().filter(|&&byte| byte == b'\n').count();
        self.counted = start;
        self.line
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_field_may_span_lines_and_lines_are_still_counted() {
        let text = "image,caption\na.png,\"one, two\nthree\"\nb.png, four \n";
        let table = Table::delimited("t.csv".into(), text.as_bytes(), b',').unwrap();
        assert_eq!(table.rows[0].text(1).unwrap(), "one, two\nthree");
        assert_eq!(table.rows[1].text(1).unwrap(), "four");
        assert_eq!(table.place(&table.rows[1]), "t.csv, line 4");
    }

    #[test]
    fn lines_are_counted_with_either_line_break_and_with_blank_lines() {
        for text in ["image,x\na,1\n\n\nb,2\n", "image,x\r\na,1\r\n\r\n\r\nb,2\r\n"] {
            let table = Table::delimited("t.csv".into(), text.as_bytes(), b',').unwrap();
            assert_eq!(table.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 5], "{text:?}");
        }
    }

    #[test]
    fn json_lines_may_differ_in_their_columns() {
        let text = "{\"image\":\"a.png\",\"label\":3}\n\n{\"split\":\"test\",\"image\":\"b.png\"}\n";
        let table = Table::json_lines("t.jsonl".into(), text.as_bytes()).unwrap();
        assert_eq!(table.columns, ["image", "label", "split"]);
        assert_eq!(table.rows[0].text(1).unwrap(), "3");
        assert_eq!(table.rows[1].filled(Some(1)), None);
        assert_eq!(table.place(&table.rows[1]), "t.jsonl, line 3");
    }

    #[test]
    fn a_line_that_is_not_json_is_named() {
        let error = Table::json_lines("t.jsonl".into(), &b"{\"a\":1}\n{\"a\":"[..]).err().unwrap();
        assert!(error.to_string().starts_with("t.jsonl, line 2: "), "{error}");
    }

    #[test]
    fn a_row_of_another_length_is_an_error_with_its_line() {
        let error = Table::delimited("t.csv".into(), &b"image,caption\na.png\n"[..], b',').err().unwrap();
        assert_eq!(error.to_string(), "t.csv, line 2: 1 fields, expected 2 as in the header");
    }
}
