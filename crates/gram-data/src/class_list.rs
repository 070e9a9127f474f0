//! Lists of class names as people have them.

use std::path::Path;

use serde_json::Value;

use crate::table::{Row, Table, Wanted};
use crate::{DataError, read_text};

/// What a column of names may be called.
const NAME: [&str; 11] = [
    "name",
    "names",
    "class_name",
    "classname",
    "label_name",
    "category_name",
    "class",
    "classes",
    "label",
    "category",
    "species",
];

/// What a column of their numbers may be called.
const ID: [&str; 6] = ["id", "index", "idx", "number", "label", "class"];

/// Reads the names of classes from a file: the column of names of a `.csv` or `.tsv` table, or its only one;
/// a `.json` list, or an object from number to name (`id2label`), or to WordNet id and name
/// (`imagenet_class_index.json`); else the lines of a text, whose WordNet ids are no part of the names where
/// every line begins with one (CoOp's `classnames.txt`).
///
/// # Errors
/// [`DataError`] names the file that cannot be read, or has no names or several columns of which none is that
/// of the names.
pub fn read_class_list(path: &Path) -> Result<Vec<String>, DataError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let names = match extension.as_str() {
        "csv" | "tsv" => of_table(path)?,
        "json" => of_json(path)?,
        "jsonl" | "yaml" | "yml" | "toml" | "parquet" | "npy" | "pkl" => {
            return Err(listing(path, "a list of classes is a text, .csv, .tsv or .json"));
        }
        _ => of_lines(&read_text(path)?),
    };
    let names: Vec<String> =
        names.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    match names.is_empty() {
        true => Err(listing(path, "no class is named there")),
        false => Ok(names),
    }
}

fn listing(path: &Path, problem: &str) -> DataError {
    DataError::Listing { place: path.display().to_string(), problem: problem.to_owned() }
}

fn of_table(path: &Path) -> Result<Vec<String>, DataError> {
    let is_name = |column: &str| NAME.iter().any(|name| name.eq_ignore_ascii_case(column));
    let mut table = Table::read(path, Wanted { known: &is_name, others: true })?.whole()?;
    let names = |table: &Table, column: usize| -> Vec<String> {
        table.rows.iter().map(|row| row.text(column).map_or_else(String::new, Into::into)).collect()
    };
    let named = |name: &&str| {
        let names = names(&table, table.first_column(&[name])?);
        // A column of numbers stands beside that of the names.
        (!are_numbers(&names)).then_some(names)
    };
    if let Some(names) = NAME.iter().find_map(named) {
        return Ok(in_order(&table, names));
    }
    if table.columns.len() > 1 {
        return Err(table.missing(&NAME));
    }
    // pandas calls a column without a name 0.
    if table.first_column(&NAME).is_none() && !is_number(&table.columns.concat()) {
        table.header_as_row();
    }
    Ok(names(&table, 0))
}

/// The names in the order of their numbers, where a column has a number for each.
fn in_order(table: &Table, names: Vec<String>) -> Vec<String> {
    let number = |row: &Row| row.text(table.first_column(&ID)?)?.parse::<usize>().ok();
    let Some(numbers) = table.rows.iter().map(number).collect::<Option<Vec<usize>>>() else { return names };
    let mut numbered: Vec<(usize, String)> = numbers.into_iter().zip(names).collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, name)| name).collect()
}

/// Whether all of some class names are numbers, which CLIP is asked for as names.
pub fn are_numbers(names: &[String]) -> bool {
    names.iter().all(|name| is_number(name))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn of_json(path: &Path) -> Result<Vec<String>, DataError> {
    let wrong = |problem: &str| listing(path, &format!("a list of names is expected: {problem}"));
    let value: Value = serde_json::from_str(&read_text(path)?).map_err(|error| wrong(&error.to_string()))?;
    let name = |value: &Value| match value {
        Value::String(name) => Ok(name.clone()),
        Value::Array(id_and_name) => match id_and_name.as_slice() {
            [Value::String(_), Value::String(name)] => Ok(name.clone()),
            _ => Err(wrong(&format!("{value} is none"))),
        },
        _ => Err(wrong(&format!("{value} is none"))),
    };
    // A model's configuration holds the object.
    let value = value.get("id2label").filter(|value| value.is_object()).unwrap_or(&value);
    match value {
        Value::Array(names) => names.iter().map(name).collect(),
        Value::Object(by_number) => {
            let numbered = by_number.iter().map(|(number, value)| {
                let number: usize = number.parse().map_err(|_| wrong(&format!("`{number}` is no number")))?;
                Ok((number, name(value)?))
            });
            let mut numbered = numbered.collect::<Result<Vec<_>, DataError>>()?;
            numbered.sort();
            Ok(numbered.into_iter().map(|(_, name)| name).collect())
        }
        _ => Err(wrong("this is none")),
    }
}

fn of_lines(text: &str) -> Vec<String> {
    let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let without_id = |line: &str| {
        let (id, name) = line.split_once([' ', '\t'])?;
        let is_id = id.len() == 9 && id.strip_prefix('n').is_some_and(is_number);
        is_id.then(|| name.to_owned())
    };
    let names: Option<Vec<String>> = lines.clone().map(without_id).collect();
    names.unwrap_or_else(|| lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        read_class_list(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_read_from_the_lists_that_people_have() {
        let expected = || Ok(vec!["tench".to_owned(), "great white shark, white shark".to_owned()]);
        for (name, text) in [
            ("c.txt", "tench\r\n\r\ngreat white shark, white shark\r\n"),
            ("classnames.txt", "n01440764 tench\nn01484850 great white shark, white shark\n"),
            ("c.csv", "name\ntench\n\"great white shark, white shark\"\n"),
            ("c.csv", "tench\n\"great white shark, white shark\"\n"),
            ("c.csv", "id,Class\n0,tench\n1,\"great white shark, white shark\"\n"),
            ("c.csv", "\u{feff}id;label\n0;tench\n1;great white shark, white shark\n"),
            ("c.tsv", "class_name\tcount\ntench\t3\ngreat white shark, white shark\t4\n"),
            ("c.csv", "0\ntench\n\"great white shark, white shark\"\n"),
            ("c.csv", "id,name\n7,\"great white shark, white shark\"\n2,tench\n"),
            ("c.csv", "class,label\n0,tench\n1,\"great white shark, white shark\"\n"),
            ("c.csv", "label,label_name\n0,tench\n1,\"great white shark, white shark\"\n"),
            ("c.json", r#"["tench", "great white shark, white shark"]"#),
            ("config.json", r#"{"id2label": {"0": "tench", "1": "great white shark, white shark"}, "x": 1}"#),
            ("id2label.json", r#"{"10": "great white shark, white shark", "9": "tench"}"#),
            (
                "imagenet_class_index.json",
                r#"{"0": ["n01440764", "tench"], "2": ["n01484850", "great white shark, white shark"]}"#,
            ),
        ] {
            assert_eq!(read(name, text), expected(), "{text}");
        }
        // One line without an id, and ids are names.
        assert_eq!(read("c.txt", "n01440764 tench\nshark").unwrap(), ["n01440764 tench", "shark"]);
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_file() {
        for (name, text, told) in [
            ("c.txt", " \n", "no class is named there"),
            ("c.csv", "id,kind\n0,tench\n", "no column `name` or"),
            ("c.jsonl", "{\"name\": \"cat\"}\n", "a list of classes is a text"),
            ("c.json", "[3]", "a list of names is expected: 3 is none"),
            ("c.json", r#"{"a": "tench"}"#, "`a` is no number"),
            ("c.json", "tench", "a list of names is expected"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(told) && error.contains(name), "{error}");
        }
    }
}
