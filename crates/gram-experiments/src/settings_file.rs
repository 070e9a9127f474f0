//! Settings in TOML files: a file says what it wants otherwise, and its keys go over the settings that are
//! there.
//!
//! A key that no setting has is refused, with the file and the line. `"none"` takes an optional setting away,
//! such as `regulator = "none"`, for TOML has no word for that.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ExperimentError, Result, refused, require};

/// Takes an optional setting away.
const NONE: &str = "none";

/// What a file of settings says.
#[derive(Debug)]
pub struct SettingsFile {
    /// The file, or what stands for it in messages.
    name: String,
    said: Vec<Said>,
}

/// A value that is no table, or an empty one.
#[derive(Debug)]
struct Said {
    /// The keys that lead to it.
    keys: Vec<String>,
    value: Value,
    /// From 1 on; none in what is no file.
    line: Option<usize>,
}

impl SettingsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// In one line, with the file and the line in it.
    pub fn read(path: &Path) -> Result<Self> {
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        require!(
            !is_yaml,
            "{}: this is YAML, and settings are TOML: configurations of CoOp's code are read by `gram adapt --coop-config`",
            path.display()
        );
        let text = &gram_data::read_text(path)?;
        let line = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
        let wrong = |offset: usize, problem: &str| {
            refused!("{}, line {}: {}", path.display(), line(offset), problem.replace('\n', ", "))
        };
        let table = DeTable::parse(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message()))?;
        let mut leaves = Vec::new();
        collect(table.get_ref(), &[], &mut leaves);
        let said = leaves.into_iter().map(|(keys, place, value)| {
            let value =
                json(value).map_err(|problem| wrong(place, &format!("`{}`: {problem}", keys.join("."))))?;
            Ok(Said { keys, value, line: Some(line(place)) })
        });
        Ok(Self { name: path.display().to_string(), said: said.collect::<Result<_>>()? })
    }

    /// What a program says in the place of a file, called `name` in messages: a JSON object, in which null
    /// takes an optional setting away.
    pub fn of_object(name: &str, said: &Map<String, Value>) -> Self {
        let mut leaves = Vec::new();
        collect_values(said, &[], &mut leaves);
        Self { name: name.to_owned(), said: leaves }
    }

    /// Whether it says something of a setting, or of one below it.
    pub fn says(&self, keys: &[&str]) -> bool {
        self.said
            .iter()
            .any(|said| said.keys.len() >= keys.len() && said.keys.iter().zip(keys).all(|(a, b)| a == b))
    }

    /// `settings` with what the file says in their place.
    ///
    /// # Errors
    /// In one line, with the file, the line in it, and the key that is unknown or whose value is wrong.
    pub fn over<T: Serialize + DeserializeOwned>(&self, settings: &T) -> Result<T> {
        let under = serde_json::to_value(settings)?;
        let with = |said: &[Said]| {
            let mut merged = under.clone();
            said.iter().for_each(|said| put(&mut merged, &said.keys, &said.value));
            serde_json::from_value::<T>(merged)
        };
        let merged = with(&self.said).map_err(|error| {
            // The same fault shows where its key alone is put over the settings.
            let problem = error.to_string();
            let alone = |said: &Said| with(std::slice::from_ref(said)).err().map(|error| error.to_string());
            match self.said.iter().find(|said| alone(said).as_ref() == Some(&problem)) {
                Some(said) if problem.starts_with("unknown ") => self.wrong(said, &problem),
                Some(said) => self.wrong(said, &format!("`{}`: {problem}", said.keys.join("."))),
                None => refused!("{}: {problem}", self.name),
            }
        })?;
        // What some part of the settings lets pass, it does not have.
        let in_force = serde_json::to_value(&merged)?;
        match self.said.iter().find(|said| !said.value.is_null() && get(&in_force, &said.keys).is_none()) {
            Some(said) => Err(self.wrong(said, &format!("unknown field `{}`", said.keys.join(".")))),
            None => Ok(merged),
        }
    }

    fn wrong(&self, said: &Said, problem: &str) -> ExperimentError {
        match said.line {
            Some(line) => refused!("{}, line {line}: {problem}", self.name),
            None => refused!("{}: {problem}", self.name),
        }
    }
}

/// `settings` with what a file says in their place.
///
/// # Errors
/// As [`SettingsFile::read`] and [`SettingsFile::over`].
pub fn over<T: Serialize + DeserializeOwned>(settings: &T, path: &Path) -> Result<T> {
    SettingsFile::read(path)?.over(settings)
}

/// Whether the settings file at a path sets a setting, by its keys.
///
/// # Errors
/// If the file cannot be read, or is not TOML.
pub fn sets(path: &Path, keys: &[&str]) -> Result<bool> {
    Ok(SettingsFile::read(path)?.said.iter().any(|said| said.keys == keys))
}

/// All settings as the text of a file, which puts these over any others. What is not set is `"none"`.
///
/// # Errors
/// If they cannot be written as TOML.
pub fn to_text<T: Serialize>(settings: &T) -> Result<String> {
    let mut text = String::new();
    if let Value::Object(all) = serde_json::to_value(settings)? {
        for (key, _) in all.iter().filter(|(_, value)| value.is_null()) {
            text += &format!("{key} = \"{NONE}\"\n");
        }
    }
    Ok(text + &toml::to_string(settings)?)
}

/// Keys, place in the text and value of all that is no table.
fn collect<'a>(
    table: &'a DeTable<'a>,
    above: &[String],
    leaves: &mut Vec<(Vec<String>, usize, &'a DeValue<'a>)>,
) {
    for (key, value) in table {
        let keys = [above, &[key.get_ref().to_string()]].concat();
        match value.get_ref() {
            DeValue::Table(table) if !table.is_empty() => collect(table, &keys, leaves),
            value => leaves.push((keys, key.span().start, value)),
        }
    }
}

/// Keys and value of all that is no object.
fn collect_values(object: &Map<String, Value>, above: &[String], leaves: &mut Vec<Said>) {
    for (key, value) in object {
        let keys = [above, std::slice::from_ref(key)].concat();
        match value {
            Value::Object(object) if !object.is_empty() => collect_values(object, &keys, leaves),
            value => leaves.push(Said { keys, value: value.clone(), line: None }),
        }
    }
}

/// A value of TOML as one of JSON; [`NONE`] is null.
fn json(value: &DeValue) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) if text == NONE => Value::Null,
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            let signed = i64::from_str_radix(digits, radix).map(Value::from);
            signed
                .or_else(|_| u64::from_str_radix(digits, radix).map(Value::from))
                .map_err(|_| format!("{number} is too large"))?
        }
        DeValue::Float(number) => {
            let finite = number.as_str().parse().ok().and_then(Number::from_f64);
            finite.map(Value::Number).ok_or_else(|| format!("{number} is no finite number"))?
        }
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(values) => {
            values.iter().map(|value| json(value.get_ref())).collect::<Result<Vec<_>, _>>()?.into()
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value): (_, &Spanned<DeValue>)| {
                Ok((key.get_ref().to_string(), json(value.get_ref())?))
            });
            Value::Object(entries.collect::<Result<Map<_, _>, String>>()?)
        }
    })
}

/// Puts a value where `keys` lead; what stands in the way and is no table gives way.
fn put(settings: &mut Value, keys: &[String], value: &Value) {
    let [first, rest @ ..] = keys else {
        *settings = value.clone();
        return;
    };
    if !settings.is_object() {
        *settings = Value::Object(Map::new());
    }
    if let Value::Object(settings) = settings {
        put(settings.entry(first).or_insert(Value::Null), rest, value);
    }
}

fn get<'a>(settings: &'a Value, keys: &[String]) -> Option<&'a Value> {
    keys.iter().try_fold(settings, |settings, key| settings.get(key))
}

#[cfg(test)]
mod tests {
    use gram_prompt::PromptKind;

    use super::*;
    use crate::defaults;

    fn read(text: &str) -> Result<SettingsFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        SettingsFile::read(&path)
    }

    #[test]
    fn a_file_says_any_part_and_leaves_the_rest() {
        let settings = defaults::meta_training(PromptKind::Textual, 3);
        let file = read("\u{feff}steps = 7\nregulator = \"none\"\n\n[inner.rates]\ntext = 0.25\n").unwrap();
        let changed = file.over(&settings).unwrap();
        assert_eq!((changed.steps, changed.inner.rates.text, changed.regulator), (7, 0.25, None));
        assert_eq!((changed.seed, changed.inner.rates.visual), (3, settings.inner.rates.visual));
        assert!(file.says(&["inner"]) && file.says(&["inner", "rates"]) && !file.says(&["inner", "steps"]));
        assert_eq!(read("").unwrap().over(&settings).unwrap(), settings);
    }

    #[test]
    fn settings_that_are_written_are_those_that_are_read_over_any_others() {
        let mut settings = defaults::meta_training(PromptKind::Joint, 9);
        (settings.regulator, settings.patience) = (None, Some(4));
        let text = to_text(&settings).unwrap();
        let mut others = defaults::meta_training(PromptKind::Textual, 1);
        (others.clip_norm, others.patience) = (Some(2.0), None);
        assert_eq!(read(&text).unwrap().over(&others).unwrap(), settings);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let settings = defaults::meta_training(PromptKind::Textual, 1);
        let error = |text: &str| read(text).and_then(|file| file.over(&settings)).unwrap_err().to_string();
        let told = |text: &str, expected: &str| {
            let error = error(text);
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        };
        told("steps = 1\n\n[episodes]\nway = 3\n", "settings.toml, line 4: unknown field `way`");
        told(
            "[episodes]\nways = \"many\"\n",
            "settings.toml, line 2: `episodes.ways`: invalid type: string \"many\"",
        );
        told("steps = \n", "settings.toml, line 1: ");
        told("prompt_rate = nan\n", "settings.toml, line 1: `prompt_rate`: nan is no finite number");
        told("steps = 1\nsteps = 2\n", "settings.toml, line 2: ");
    }

    #[test]
    fn a_key_that_some_part_would_let_pass_is_refused() {
        let config = gram_clip::ClipConfig::parse("{}").unwrap();
        let file = read("projection_dim = 64\n[text_config]\nhiden_size = 3\n").unwrap();
        let error = file.over(&config).unwrap_err().to_string();
        assert!(error.contains("settings.toml, line 3: unknown field `text_config.hiden_size`"), "{error}");
    }
}
