//! Rows of a manifest, whatever its format: comma- or tab-separated with a header line, JSON lines, or Parquet.

pub(crate) mod parquet_rows;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Trim};
use serde_json::{Map, Value};

use crate::DataError;
use crate::archive::decompressed;

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
    /// Names of all columns, for messages.
    found: Vec<String>,
    /// The line that named the columns, if there is one.
    header: Option<usize>,
}

/// One row: the line (or, in Parquet, the row) of the file it was read from, and a value for every column, up to the
/// last that it fills.
pub(crate) struct Row {
    pub(crate) line: usize,
    cells: Vec<Value>,
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) struct BadRow {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// Formats of tables.
#[derive(Clone, Copy)]
enum Format {
    Delimited(u8),
    JsonLines,
    Parquet,
}

impl Format {
    /// The format that a file's name tells; texts may be compressed with gzip.
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let (text, is_compressed) = name.strip_suffix(".gz").map_or((&*name, false), |name| (name, true));
        match text.rsplit_once('.')?.1 {
            "csv" => Some(Self::Delimited(b',')),
            "tsv" => Some(Self::Delimited(b'\t')),
            "jsonl" => Some(Self::JsonLines),
            "parquet" if !is_compressed => Some(Self::Parquet),
            _ => None,
        }
    }
}

impl Table {
    /// Whether `path` is named as a table.
    pub(crate) fn is_table(path: &Path) -> bool {
        Format::of(path).is_some()
    }

    /// Reads the `wanted` columns of a table; its format is told by the file's name.
    ///
    /// Rows that cannot be read are set aside. In comma-separated text fields may be quoted; tab-separated text is
    /// taken as it is, for captions of Conceptual Captions begin with quotes that never close.
    pub(crate) fn read(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(DataError::at(path))?;
        match Format::of(path) {
            Some(Format::Parquet) => parquet_rows::read(name, file, wanted),
            Some(Format::JsonLines) => Ok(Self::json_lines(name, text(path, file)?, wanted)),
            Some(Format::Delimited(delimiter)) => {
                Ok(Self::delimited(name, text(path, file)?, delimiter, wanted))
            }
            None => Ok(Self::delimited(name, text(path, file)?, b',', wanted)),
        }
    }

    /// Reads delimited text whose first line names the columns. If it names none that is wanted, it may be a row
    /// itself: all columns are kept.
    pub(crate) fn delimited(
        name: String,
        reader: impl Read,
        delimiter: u8,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Self {
        let (text, broken) = whole_lines(reader);
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter != b'\t')
            .trim(Trim::All)
            .flexible(true)
            .has_headers(false)
            .from_reader(text.as_slice());
        let mut lines = LineCounter { text: &text, counted: 0, line: 1 };
        let mut table = Self { header: Some(1), ..Self::empty(name) };
        let mut kept = Vec::new();
        for (index, record) in reader.byte_records().map_while(Result::ok).enumerate() {
            let line = lines.line_of(&record);
            if index == 0 {
                table.header = Some(line);
                table.found =
                    record.iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect();
                kept = (0..record.len()).filter(|column| wanted(&table.found[*column])).collect();
                if kept.is_empty() {
                    kept = (0..record.len()).collect();
                }
                table.columns = kept.iter().map(|column| table.found[*column].clone()).collect();
            } else if record.len() != table.found.len() {
                let problem =
                    format!("{} fields, expected {} as in the first line", record.len(), table.found.len());
                table.bad_rows.push(BadRow { line, problem });
            } else {
                let cells = kept.iter().map(|column| std::str::from_utf8(&record[*column]).map(Value::from));
                match cells.collect::<Result<Vec<Value>, _>>() {
                    Ok(cells) => table.rows.push(Row { line, cells }),
                    Err(problem) => table.bad_rows.push(BadRow { line, problem: problem.to_string() }),
                }
            }
        }
        table.bad_rows.extend(broken);
        table
    }

    /// Reads the `wanted` columns of one JSON object a line; blank lines count but hold nothing.
    pub(crate) fn json_lines(name: String, reader: impl Read, wanted: &dyn Fn(&str) -> bool) -> Self {
        let mut reader = BufReader::new(reader);
        let mut table = Self::empty(name);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            match reader.read_until(b'\n', &mut text) {
                Ok(0) => break,
                Ok(_) if text.trim_ascii().is_empty() => {}
                Ok(_) => match serde_json::from_slice(&text) {
                    Ok(object) => table.push_object(line, object, wanted),
                    Err(error) => table.bad_rows.push(BadRow { line, problem: error.to_string() }),
                },
                Err(error) => {
                    table.bad_rows.push(BadRow { line, problem: broken_off(&error) });
                    break;
                }
            }
        }
        table
    }

    /// Adds a row whose object may have columns that none had before.
    fn push_object(&mut self, line: usize, object: Map<String, Value>, wanted: &dyn Fn(&str) -> bool) {
        let mut cells = Vec::new();
        for (column, value) in object {
            if !self.found.contains(&column) {
                self.found.push(column.clone());
            }
            if wanted(&column) {
                let index = self.optional_column(&column).unwrap_or_else(|| {
                    self.columns.push(column);
                    self.columns.len() - 1
                });
                if cells.len() <= index {
                    cells.resize(index + 1, Value::Null);
                }
                cells[index] = value;
            }
        }
        self.rows.push(Row { line, cells });
    }

    fn empty(name: String) -> Self {
        Self {
            name,
            columns: Vec::new(),
            rows: Vec::new(),
            bad_rows: Vec::new(),
            found: Vec::new(),
            header: None,
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
        let cells = self.columns.iter_mut().map(|name| std::mem::take(name).into()).collect();
        self.rows.insert(0, Row { line, cells });
        true
    }

    /// The index of a column that must be there.
    pub(crate) fn column(&self, column: &'static str) -> Result<usize, DataError> {
        self.optional_column(column).ok_or_else(|| self.missing(&[column]))
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
        format!("{}, line {line}", self.name)
    }

    /// The filled columns of a row other than those `used`, as one object; nothing if there are none.
    pub(crate) fn rest(&self, row: &Row, used: &[Option<usize>]) -> Option<Value> {
        let filled = |index: &usize| !used.contains(&Some(*index)) && row.is_filled(*index);
        let rest: Map<String, Value> = (0..row.cells.len())
            .filter(filled)
            .map(|index| (self.columns[index].clone(), row.cells[index].clone()))
            .collect();
        (!rest.is_empty()).then_some(Value::Object(rest))
    }
}

/// A file's text, unpacked if it is compressed.
fn text(path: &Path, file: File) -> Result<Box<dyn Read>, DataError> {
    decompressed(BufReader::new(file)).map(|(reader, _)| reader).map_err(DataError::at(path))
}

/// All of a text; or the lines before the one in which it breaks off, and that one as a bad row.
fn whole_lines(mut reader: impl Read) -> (Vec<u8>, Option<BadRow>) {
    let mut text = Vec::new();
    let Err(error) = reader.read_to_end(&mut text) else { return (text, None) };
    text.truncate(text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1));
    let line = 1 + text.iter().filter(|&&byte| byte == b'\n').count();
    (text, Some(BadRow { line, problem: broken_off(&error) }))
}

fn broken_off(error: &io::Error) -> String {
    format!("the file breaks off here ({error}): fetch or make it again")
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
        !matches!(self.cells.get(column), None | Some(Value::Null))
            && self.text(column).is_none_or(|text| !text.is_empty())
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
    fn line_of(&mut self, record: &ByteRecord) -> usize {
        let reported = record.position().map_or(0, |position| position.byte() as usize);
        let breaks =
            self.text.iter().skip(reported).take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let start = (reported + breaks).clamp(self.counted, self.text.len());
        self.line += self.text[self.counted..start].iter().filter(|&&byte| byte == b'\n').count();
        self.counted = start;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &[u8]) -> Table {
        Table::delimited("t.csv".into(), text, b',', &|_| true)
    }

    fn json_lines(text: &[u8]) -> Table {
        Table::json_lines("t.jsonl".into(), text, &|_| true)
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
        let table = Table::delimited("t.tsv".into(), text, b'\t', &|_| true);
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
        assert_eq!(table.bad_rows[0].problem, "1 fields, expected 2 as in the first line");
        assert_eq!(table.bad_rows[1].line, 3);
        let error = table.whole().err().unwrap().to_string();
        assert_eq!(error, "t.csv, line 2: 1 fields, expected 2 as in the first line");
    }

    #[test]
    fn only_wanted_columns_are_kept_and_all_are_told() {
        let wanted = |column: &str| column == "caption";
        let table = Table::delimited("t.csv".into(), &b"image,caption\na.png,one\n"[..], b',', &wanted);
        assert_eq!(table.columns, ["caption"]);
        assert_eq!(table.rows[0].text(0).unwrap(), "one");
        assert!(
            table.missing(&["x", "y"]).to_string().contains("no column `x` or `y` among `image`, `caption`")
        );
        let table = Table::json_lines("t".into(), &b"{\"image\":1,\"caption\":2}"[..], &wanted);
        assert_eq!((table.columns.len(), table.found.len()), (1, 2));
    }

    #[test]
    fn a_first_line_can_be_a_row() {
        let mut table = csv(b"a dog,1.png\na cat,2.png\n");
        assert!(table.header_as_row() && !table.header_as_row());
        assert_eq!(lines(&table), [1, 2]);
        assert_eq!(table.rows[0].text(1).unwrap(), "1.png");
    }

    #[test]
    fn a_table_is_told_by_its_name() {
        for name in ["a.csv", "A.TSV", "a.b.jsonl.gz", "a.parquet", "a.csv.gz"] {
            assert!(Table::is_table(Path::new(name)), "{name}");
        }
        for name in ["csv", "a.parquet.gz", "a.gz", "a.tar.gz", "a.xlsx"] {
            assert!(!Table::is_table(Path::new(name)), "{name}");
        }
    }
}
