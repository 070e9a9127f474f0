//! Rows from delimited text: what divides its fields, where its rows end, and which of them cannot be read.

use std::io::Read;
use std::ops::Range;

use csv::{ByteRecord, ReaderBuilder, Trim};
use serde_json::Value;

use super::{BadRow, Cell, Row, Table, Wanted, broken_off};

/// What may divide fields.
const DELIMITERS: [u8; 4] = *b",\t;|";

impl Table {
    /// Reads delimited text whose first line names the columns. If it names none that is known, it may be a
    /// row itself: all columns are kept.
    ///
    /// The first line says what divides the fields; `usual` is what the file's name says. Fields may be
    /// quoted (RFC 4180), but not between bars. Text between tabs is quoted only if all of
    /// it keeps the rules, as pandas writes it: captions of Conceptual Captions begin with quotes that never
    /// close. Elsewhere a quote that never closes costs its own line alone.
    pub(crate) fn delimited(name: String, reader: impl Read, usual: u8, wanted: Wanted<'_>) -> Self {
        let (text, broken) = whole_lines(reader);
        let delimiter = delimiter(&text, usual, wanted);
        let quoting = match delimiter {
            b'|' => false,
            b'\t' => is_quoted(&text, delimiter),
            _ => true,
        };
        let mut table = Self { header: Some(1), ..Self::empty(name) };
        let mut kept = Vec::new();
        let mut lines = LineCounter { text: &text, counted: 0, line: 1 };
        let runs = if quoting { runs(&text, delimiter) } else { vec![Run::Rows(0..text.len())] };
        for run in runs {
            let range = match run {
                Run::Rows(range) => range,
                Run::Unclosed(range) => {
                    let line = lines.line_at(range.start);
                    table.bad_rows.push(BadRow::new(line, "a quote that never closes", &text[range]));
                    continue;
                }
            };
            let mut reader = ReaderBuilder::new()
                .delimiter(delimiter)
                .quoting(quoting)
                .trim(Trim::All)
                .flexible(true)
                .has_headers(false)
                .from_reader(&text[range.clone()]);
            for record in reader.byte_records().map_while(Result::ok) {
                let start = lines.start_of(&record, range.start);
                let line = lines.line_at(start);
                match table.found.is_empty() {
                    true => kept = table.take_header(line, &record, wanted),
                    false => table.push_record(line, &record, &kept, &text[start..]),
                }
            }
        }
        table.bad_rows.extend(broken);
        table
    }

    /// Names the columns, and says which of them are kept.
    fn take_header(&mut self, line: usize, record: &ByteRecord, wanted: Wanted<'_>) -> Vec<usize> {
        self.header = Some(line);
        self.found = record.iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect();
        let has_known = self.found.iter().any(|name| (wanted.known)(name));
        let is_kept = |column: &usize| !has_known || wanted.has(&self.found[*column]);
        let kept: Vec<usize> = (0..record.len()).filter(is_kept).collect();
        self.columns = kept.iter().map(|column| self.found[*column].clone()).collect();
        kept
    }

    fn push_record(&mut self, line: usize, record: &ByteRecord, kept: &[usize], text: &[u8]) {
        if record.len() != self.found.len() {
            let problem =
                format!("{} fields, expected {} as in the first line", record.len(), self.found.len());
            self.bad_rows.push(BadRow::new(line, &problem, text));
            return;
        }
        let cells = kept
            .iter()
            .map(|column| std::str::from_utf8(&record[*column]).map(|text| Cell::from(Value::from(text))));
        match cells.collect::<Result<Vec<Cell>, _>>() {
            Ok(cells) => self.rows.push(Row { line, cells }),
            Err(problem) => self.bad_rows.push(BadRow::new(line, &problem.to_string(), text)),
        }
    }
}

/// The name of a column, without quotes around it.
fn name(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().trim_matches('"').to_owned()
}

/// What divides the fields of the first line: that which shows most columns of a known name; else the usual
/// one if it divides the line at all, or that which divides it most.
fn delimiter(text: &[u8], usual: u8, wanted: Wanted<'_>) -> u8 {
    let start = text.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    let line = &text[start..start + line_length(&text[start..])];
    let others = DELIMITERS.into_iter().filter(|delimiter| *delimiter != usual);
    let fields = |delimiter: u8| line.split(move |byte| *byte == delimiter).map(name);
    let known = |delimiter: u8| fields(delimiter).filter(|name| (wanted.known)(name)).count();
    let divided = |delimiter: u8| fields(delimiter).count() > 1;
    let (mut best, mut most) = (usual, known(usual));
    for other in others.clone() {
        if known(other) > most {
            (best, most) = (other, known(other));
        }
    }
    match most > 0 || divided(usual) {
        true => best,
        false => {
            others.max_by_key(|other| fields(*other).count()).filter(|other| divided(*other)).unwrap_or(usual)
        }
    }
}

/// All of a text; or the lines before the one in which it breaks off, and that one as a bad row.
fn whole_lines(mut reader: impl Read) -> (Vec<u8>, Option<BadRow>) {
    let mut text = Vec::new();
    let Err(error) = reader.read_to_end(&mut text) else { return (text, None) };
    text.truncate(text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1));
    let line = 1 + text.iter().filter(|&&byte| byte == b'\n').count();
    (text, Some(BadRow { line, problem: broken_off(&error) }))
}

/// Whether a text keeps the rules of quoted fields throughout, and each row then has as many fields as the
/// first. A field that holds whole rows was closed by chance.
fn is_quoted(text: &[u8], delimiter: u8) -> bool {
    let is_edge = |byte: u8| byte == delimiter || matches!(byte, b'\r' | b'\n');
    let begins_field = |pair: &[u8]| is_edge(pair[0]) && pair[1] == b'"';
    if text.first() != Some(&b'"') && !text.windows(2).any(begins_field) {
        return false;
    }
    let mut at = 0;
    while at < text.len() {
        let Some(end) = row_end(text, at, delimiter, true) else { return false };
        at = end;
    }
    let mut reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(text);
    let holds_rows = |field: &[u8]| field.contains(&b'\n') && field.contains(&delimiter);
    reader.byte_records().all(|record| record.is_ok_and(|record| !record.iter().any(holds_rows)))
}

/// Stretches of a text with quoted fields.
enum Run {
    /// Rows that can be read one after the other.
    Rows(Range<usize>),
    /// A line with a quote that never closes.
    Unclosed(Range<usize>),
}

/// Takes a text apart where a quote never closes, so that it does not swallow the rows behind it.
///
/// A quote closes where a quote is followed by the end of the field, and two quotes are one of the field's
/// (RFC 4180). A row that breaks this rule ends with its line: there it is read as it comes, if every quote
/// is closed there.
fn runs(text: &[u8], delimiter: u8) -> Vec<Run> {
    let mut runs = Vec::new();
    let (mut begun, mut at) = (0, 0);
    while at < text.len() {
        if let Some(end) = row_end(text, at, delimiter, true) {
            at = end;
            continue;
        }
        if begun < at {
            runs.push(Run::Rows(begun..at));
        }
        let end = (at + line_length(&text[at..]) + 1).min(text.len());
        let is_closed = row_end(&text[at..end], 0, delimiter, false).is_some();
        runs.push(if is_closed { Run::Rows(at..end) } else { Run::Unclosed(at..end) });
        (begun, at) = (end, end);
    }
    if begun < text.len() {
        runs.push(Run::Rows(begun..text.len()));
    }
    runs
}

/// Where the row that begins at `at` ends, its line break included; nothing if a quote of it never closes.
/// What follows a closed quote in its field is allowed only if the rule is not `strict`.
fn row_end(text: &[u8], mut at: usize, delimiter: u8, strict: bool) -> Option<usize> {
    loop {
        if text.get(at) == Some(&b'"') {
            at = quote_end(text, at + 1)?;
            let ends = text.get(at).is_none_or(|byte| *byte == delimiter || matches!(byte, b'\r' | b'\n'));
            if strict && !ends {
                return None;
            }
        }
        let rest = &text[at..];
        at += rest.iter().position(|byte| *byte == delimiter || *byte == b'\n').unwrap_or(rest.len());
        match text.get(at) {
            Some(byte) if *byte == delimiter => at += 1,
            Some(_) => return Some(at + 1),
            None => return Some(at),
        }
    }
}

/// The place after the quote that closes a field whose content begins at `at`.
fn quote_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += text[at..].iter().position(|byte| *byte == b'"')? + 1;
        match text.get(at) {
            Some(b'"') => at += 1,
            _ => return Some(at),
        }
    }
}

/// Bytes up to a line break.
fn line_length(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())
}

/// Counts the lines of a text up to one record after the other.
struct LineCounter<'a> {
    text: &'a [u8],
    counted: usize,
    line: usize,
}

impl LineCounter<'_> {
    /// Where a record begins whose reader began at `run`: the position that the reader reports is that before
    /// the line break or blank lines in front of it.
    fn start_of(&self, record: &ByteRecord, run: usize) -> usize {
        let reported = run + record.position().map_or(0, |position| position.byte() as usize);
        let rest = self.text.iter().skip(reported);
        let breaks = rest.take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        (reported + breaks).min(self.text.len())
    }

    /// The line of a place behind those that were asked for before.
    fn line_at(&mut self, place: usize) -> usize {
        let place = place.max(self.counted);
        self.line += self.text[self.counted..place].iter().filter(|&&byte| byte == b'\n').count();
        self.counted = place;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, usual: u8) -> Table {
        let wanted = Wanted { known: &|name| ["image", "caption"].contains(&name), others: true };
        Table::delimited("t".into(), text.as_bytes(), usual, wanted)
    }

    fn captions(table: &Table) -> Vec<String> {
        table.rows.iter().map(|row| row.text(1).unwrap().into_owned()).collect()
    }

    fn bad_lines(table: &Table) -> Vec<usize> {
        table.bad_rows.iter().map(|bad| bad.line).collect()
    }

    #[test]
    fn the_first_line_tells_what_divides_fields() {
        let rows = "image,caption\na.png,\"one, two; three\"\n";
        for usual in *b",\t" {
            assert_eq!(captions(&table(rows, usual)), ["one, two; three"]);
            for (other, text) in
                [("\t", "image\tcaption\na.png\tone, two; three\n"), (";", "image;caption\na.png;one, two\n")]
            {
                assert_eq!(captions(&table(text, usual)).len(), 1, "{other} {usual}");
                assert!(captions(&table(text, usual))[0].starts_with("one, two"), "{other} {usual}");
            }
        }
        assert_eq!(captions(&table("image| caption\na.png| one, \"two\n", b',')), ["one, \"two"]);
        assert_eq!(captions(&table("image;a,b;caption\na.png;1;one\n", b',')).len(), 1);
    }

    #[test]
    fn a_quote_that_never_closes_costs_its_line_alone() {
        let kept = |text: &str| {
            let table = table(text, b',');
            (captions(&table), bad_lines(&table))
        };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let head = "image,caption\na.png,\"never closed\n";
        for (rest, captions) in [
            ("b.png,two\nc.png,three\n", &["two", "three"][..]),
            ("b.png,\"two, too\"\nc.png,\"three \"\"x\"\"\"", &["two, too", "three \"x\""]),
            ("b.png,\"over\nlines\"\n", &["over\nlines"]),
            ("b.png,he said \"hi\" to\r\n", &["he said \"hi\" to"]),
            ("", &[]),
        ] {
            assert_eq!(kept(&format!("{head}{rest}")), (owned(captions), vec![2]), "{rest}");
        }
        let bad = &table(&format!("{head}b.png,two\n"), b',').bad_rows[0];
        assert_eq!(bad.problem, "a quote that never closes: `a.png,\"never closed`");
        // A line whose quotes are all closed is read as it comes.
        assert_eq!(
            kept("image,caption\na.png,\"big\" dog\nb.png,two\n"),
            (owned(&["big dog", "two"]), vec![])
        );
        assert_eq!(kept("image,caption\na.png,one\nb.png,\""), (owned(&["one"]), vec![3]));
    }

    #[test]
    fn tab_separated_text_is_quoted_where_all_of_it_keeps_the_rules() {
        let kept = |rows: &str| captions(&table(&format!("image\tcaption\n{rows}"), b'\t'));
        // As pandas writes it.
        assert_eq!(kept("a.png\t\"he said \"\"hi\"\"\"\nb.png\ttwo\n"), ["he said \"hi\"", "two"]);
        assert_eq!(kept("a.png\t\"one\ttwo\"\nb.png\t\"two\nthree\"\n"), ["one\ttwo", "two\nthree"]);
        // As Conceptual Captions has it: one such line, and quotes are part of all captions.
        assert_eq!(
            kept("a.png\t\"all quoted\"\nb.png\t\"the best\" of it\nc.png\t\"never closed\n"),
            ["\"all quoted\"", "\"the best\" of it", "\"never closed"]
        );
        // A later line closes a quote by chance.
        assert_eq!(kept("a.png\t\"one\nb.png\ttwo\"\nc.png\tthree\n"), ["\"one", "two\"", "three"]);
    }

    #[test]
    fn a_header_with_a_quote_that_never_closes_leaves_no_columns() {
        assert_eq!(bad_lines(&table("\"image,caption\na.png,one\n", b',')), [1]);
    }
}
