//! Rows from JSON: an object a line, a list of objects, or the captions of COCO.
//!
//! Python writes numbers that are none as `NaN`, `Infinity` and `-Infinity`, which JSON does not have: they
//! are read as null.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use super::{BadRow, Cell, Row, Table, Wanted, broken_off};
use crate::DataError;

impl Table {
    /// Reads the wanted columns of one JSON object a line; blank lines count but hold nothing.
    pub(crate) fn json_lines(name: String, reader: impl Read, wanted: Wanted<'_>) -> Self {
        let mut reader = BufReader::new(reader);
        let mut table = Self::empty(name);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            match reader.read_until(b'\n', &mut text) {
                Ok(0) => break,
                Ok(_) if text.trim_ascii().is_empty() => {}
                Ok(_) => match parse(&text) {
                    Ok(Value::Object(object)) => table.push_object(line, object, wanted),
                    Ok(_) => table.bad_rows.push(BadRow::new(line, "no JSON object", &text)),
                    Err(error) => table.bad_rows.push(BadRow::new(line, &problem(&error), &text)),
                },
                Err(error) => {
                    table.bad_rows.push(BadRow { line, problem: broken_off(&error) });
                    break;
                }
            }
        }
        table
    }

    /// Reads the wanted columns of a list of JSON objects, or the captions of COCO.
    pub(crate) fn json(name: String, mut reader: impl Read, wanted: Wanted<'_>) -> Result<Self, DataError> {
        let mut table = Self { unit: "entry", ..Self::empty(name) };
        let wrong = DataError::in_table(&table.name);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).map_err(|error| wrong(broken_off(&error)))?;
        let entries = match parse(&text).map_err(|error| wrong(error.to_string()))? {
            Value::Array(entries) => entries,
            Value::Object(object) => captions_of_coco(&object).ok_or_else(|| {
                let keys: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
                wrong(format!(
                    "an object of {}: a list of objects with image and caption is expected, or the `images` and \
                     `annotations` with a `caption` of COCO's captions_*.json; write JSON lines of the pairs",
                    keys.join(", ")
                ))
            })?,
            _ => return Err(wrong("a list of objects is expected".to_owned())),
        };
        for (index, entry) in entries.into_iter().enumerate() {
            match entry {
                Value::Object(object) => table.push_object(index + 1, object, wanted),
                other => {
                    let text = other.to_string();
                    table.bad_rows.push(BadRow::new(index + 1, "no JSON object", text.as_bytes()));
                }
            }
        }
        Ok(table)
    }

    /// Adds a row whose object may have columns that none had before.
    fn push_object(&mut self, line: usize, object: Map<String, Value>, wanted: Wanted<'_>) {
        let mut cells = Vec::new();
        for (column, value) in object {
            if !self.found.contains(&column) {
                self.found.push(column.clone());
            }
            if wanted.has(&column) {
                let index = self.optional_column(&column).unwrap_or_else(|| {
                    self.columns.push(column);
                    self.columns.len() - 1
                });
                if cells.len() <= index {
                    cells.resize(index + 1, Cell::default());
                }
                cells[index] = value.into();
            }
        }
        self.rows.push(Row { line, cells });
    }
}

/// The captions of COCO, each with the file of its image: `images` have an `id` and a `file_name`,
/// `annotations` an `image_id` and a `caption`. Nothing if the object is another.
fn captions_of_coco(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let images = object.get("images")?.as_array()?;
    let files: HashMap<i64, &str> = images
        .iter()
        .filter_map(|image| Some((image.get("id")?.as_i64()?, image.get("file_name")?.as_str()?)))
        .collect();
    let annotations = object.get("annotations")?.as_array()?;
    annotations.iter().any(|annotation| annotation.get("caption").is_some()).then_some(())?;
    let entry = |annotation: &Value| {
        let image = annotation.get("image_id").and_then(Value::as_i64).and_then(|id| files.get(&id));
        serde_json::json!({"file_name": image, "caption": annotation.get("caption")})
    };
    Some(annotations.iter().map(entry).collect())
}

/// What is wrong in a line, without the line, which is always the first to its reader.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("{what} at column {}", error.column())
}

/// A JSON value as Python writes it.
///
/// # Errors
/// What is wrong with it otherwise.
pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).or_else(|error| match without_odd_numbers(text) {
        Some(plain) => serde_json::from_slice(&plain),
        None => Err(error),
    })
}

/// The text with null for numbers that JSON does not have; nothing if there are none.
fn without_odd_numbers(text: &[u8]) -> Option<Vec<u8>> {
    const ODD: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut plain = Vec::with_capacity(text.len());
    let (mut at, mut in_text, mut found) = (0, false, false);
    while let Some(&byte) = text.get(at) {
        let odd = ODD.into_iter().find(|odd| !in_text && text[at..].starts_with(odd));
        match (odd, byte) {
            (Some(odd), _) => {
                plain.extend_from_slice(b"null");
                (at, found) = (at + odd.len(), true);
                continue;
            }
            (None, b'\\') if in_text => {
                plain.push(byte);
                at += 1;
            }
            (None, b'"') => in_text = !in_text,
            _ => {}
        }
        plain.extend(text.get(at));
        at += 1;
    }
    found.then_some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_null_and_texts_stay() {
        let text = br#"{"a": NaN, "b": [Infinity, -Infinity, -1.5], "c": "NaN \" Infinity", "d": "\\"}"#;
        let expected = json!({"a": null, "b": [null, null, -1.5], "c": "NaN \" Infinity", "d": "\\"});
        assert_eq!(parse(text).unwrap(), expected);
        assert!(
            parse(br#"{"a": NaN, "b": }"#).is_err() && parse(b"NaNs").is_err() && parse(b"\"\\").is_err()
        );
    }
}
