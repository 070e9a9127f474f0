//! Run folders: what takes long is known by what made it, and never computed twice.
//!
//! A run folder has a `run.json` that says which command began it and with what: its **identity**, which
//! holds the settings in force, fingerprints of the model's weights and of the data, the device. The same
//! command goes on where it was stopped; one with another identity is refused, and told what differs. Parts
//! that are finished are files of their own, each with what it was **made from** beside what was made: a
//! number that was computed under other settings is never shown.
//!
//! A process that works in a folder holds the lock on its `run.lock`, which the system takes back however it
//! ends.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use gram_data::fingerprint;
use gram_data::whole_file::{beside, is_partial};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Context, Result, refuse, require};
use crate::whole_file;

/// The version of `run.json` and of finished parts.
const VERSION: u32 = 1;
const RUN: &str = "run.json";
const LOCK: &str = "run.lock";
/// Differences that a refusal names one by one.
const NAMED: usize = 3;

/// A folder that a run works in, and no other process.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The fingerprint of the run.
    of: String,
    _lock: File,
}

/// What a run is, for its folder.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The command: `bench`.
    pub command: &'a str,
    /// What decides its numbers: an object of settings and fingerprints.
    pub identity: &'a Value,
    /// The files and folders that it makes in its folder, what a restart deletes; `*-shot` for all numbers
    /// that end so.
    pub makes: &'a [&'a str],
    /// Whether to begin anew where another run was begun, or the same.
    pub restart: bool,
}

/// `run.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    command: String,
    identity: Value,
}

/// A finished part.
#[derive(Serialize, Deserialize)]
struct Part<T> {
    /// The fingerprint of the run that made it.
    run: String,
    /// Its own name, so that a file that was moved is not taken for another part.
    part: String,
    made_from: Value,
    made: T,
}

impl RunFolder {
    /// Begins a run in a folder, or goes on with it.
    ///
    /// # Errors
    /// If another process works in the folder, another run was begun there, or it holds what no run vouches
    /// for; says what differs, and the way out.
    pub fn claim(path: &Path, run: &Run) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        let of = fingerprint::of_text(&format!("{} {}", run.command, run.identity));
        let folder = Self { path: path.to_owned(), of, _lock: lock(path)? };
        let begun = folder.description()?;
        if let Some(begun) = &begun {
            begun.check_command(run, path)?;
        }
        let made = run.made_in(path)?;
        match (&begun, made.first()) {
            // It may be anybody's: a restart does not delete it either.
            (None, Some(made)) => refuse!(
                "{}: no {RUN} says that gram made it: name another --out, or move it away",
                made.display()
            ),
            (Some(_), _) if run.restart => {
                // What tells whose the files are goes last.
                made.iter().chain([&path.join(RUN)]).try_for_each(|path| remove(path))?;
            }
            (Some(begun), _) => refuse_differences(path, &begun.identity, run.identity)?,
            (None, None) => {}
        }
        remove_partial(path)?;
        if begun.is_none() || run.restart {
            let (command, identity) = (run.command.to_owned(), run.identity.clone());
            write_json(&path.join(RUN), &Description { version: VERSION, command, identity })?;
        }
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the part called `name`, a path in the folder, gave, or gives now.
    ///
    /// # Errors
    /// What `make` says; if the part was made from something else, or cannot be read or written.
    pub fn once<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        made_from: &Value,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(made) = self.find(name, made_from)? {
            return Ok(made);
        }
        self.keep(name, made_from, make()?)?;
        // As the next run will read it.
        self.find(name, made_from)?.with_context(|| self.path.join(name).display().to_string())
    }

    /// What the part called `name` gave, if it is finished.
    ///
    /// # Errors
    /// If it was made from something else, or cannot be read.
    pub fn find<T: DeserializeOwned>(&self, name: &str, made_from: &Value) -> Result<Option<T>> {
        let path = self.path.join(name);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let part: Part<T> = serde_json::from_slice(&text)
            .with_context(|| format!("{}: delete it, and the command makes it again", path.display()))?;
        refuse_differences(&path, &part.made_from, made_from)?;
        require!(
            part.run == self.of && part.part == name,
            "{}: another run or another part of it made this: delete it, and the command makes it again",
            path.display()
        );
        Ok(Some(part.made))
    }

    /// Writes down what the part called `name` gave.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep<T: Serialize>(&self, name: &str, made_from: &Value, made: T) -> Result<()> {
        let (run, part) = (self.of.clone(), name.to_owned());
        write_json(&self.path.join(name), &Part { run, part, made_from: made_from.clone(), made })
    }

    /// Deletes the file or folder called `name`, if it is there.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub fn forget(&self, name: &str) -> Result<()> {
        remove(&self.path.join(name))
    }

    fn description(&self) -> Result<Option<Description>> {
        let path = self.path.join(RUN);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let wrong = || {
            format!(
                "{}: this is no description of a run: name another --out, or move it away",
                path.display()
            )
        };
        let description: Description = serde_json::from_slice(&text).with_context(wrong)?;
        require!(
            description.version == VERSION,
            "{}: version {}, this program reads {VERSION}: name another --out",
            path.display(),
            description.version
        );
        Ok(Some(description))
    }
}

impl Run<'_> {
    /// What is there of the files and folders that it makes, in the order of their names.
    fn made_in(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_made = |name: &str| {
            self.makes.iter().any(|made| match made.strip_prefix('*') {
                Some(ending) => name.strip_suffix(ending).is_some_and(is_number),
                None => name == *made,
            })
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry.with_context(|| folder.display().to_string())?;
            if entry.file_name().to_str().is_some_and(is_made) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Description {
    fn check_command(&self, run: &Run, path: &Path) -> Result<()> {
        require!(
            self.command == run.command,
            "{}: `gram {}` was begun here, not `gram {}`: name another --out",
            path.display(),
            self.command,
            run.command
        );
        Ok(())
    }
}

/// Refuses a run in one line if what stands there was made from something else.
fn refuse_differences(path: &Path, there: &Value, here: &Value) -> Result<()> {
    let mut found = Vec::new();
    differences("", there, here, &mut found);
    if found.is_empty() {
        return Ok(());
    }
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    found.truncate(NAMED);
    refuse!(
        "{}: another run was begun here: {}{more}: name another --out, or begin anew with --restart",
        path.display(),
        found.join("; ")
    )
}

/// Where two values differ, a line for each: `settings.shots was 4, now 16`.
fn differences(place: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(one), Value::Object(other)) => {
            let absent = Value::Null;
            let new = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(new) {
                let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                let [there, here] = [one, other].map(|map: &Map<_, _>| map.get(key).unwrap_or(&absent));
                differences(&inner, there, here, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{place} was {}, now {}", short(one), short(other))),
    }
}

/// A value in few letters.
fn short(value: &Value) -> String {
    const LETTERS: usize = 40;
    let text = if value.is_null() { "none".to_owned() } else { value.to_string() };
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Takes the lock of a folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => refuse!(
            "{}: another process is at work in this folder: wait until it is done, or name another --out",
            folder.display()
        ),
        // A file system without locks: then nobody can be kept out.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Takes away what was being written when an earlier process ended.
fn remove_partial(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        // A link is not followed: what is behind it is not the run's.
        match entry.file_type().with_context(|| entry.path().display().to_string())? {
            kind if kind.is_dir() => remove_partial(&entry.path())?,
            kind if kind.is_file() && is_partial(&entry.file_name()) => remove(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    whole_file::write(path, format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
}

/// The run folder of a command that writes a file: `start.run` of `start.safetensors`.
pub fn beside_file(out: &Path) -> PathBuf {
    beside(out, "run")
}

/// Claims the run folder of a file, and checks that neither it nor `others` beside it stand there already
/// without one: they may be anybody's.
///
/// # Errors
/// As [`RunFolder::claim`]; names the file that would be overwritten.
pub fn claim_for_file(out: &Path, others: &[PathBuf], run: &Run) -> Result<RunFolder> {
    let folder = beside_file(out);
    if !folder.join(RUN).is_file() && !run.restart {
        for path in std::iter::once(out).chain(others.iter().map(PathBuf::as_path)) {
            require!(
                path.symlink_metadata().is_err(),
                "{}: it is there already, and {} does not say that gram made it: name another --out, or replace it with \
                 --restart",
                path.display(),
                folder.display()
            );
        }
    }
    RunFolder::claim(&folder, run)
}

/// What decides what a model makes of images and texts, for the identity of a run. Its name does not: the
/// same weights may lie in another place.
///
/// # Errors
/// If its weights cannot be read from the device.
pub fn model_identity(model: &gram_clip::Model) -> Result<Value> {
    Ok(json!({
        "weights": model.fingerprint()?.to_string(),
        "image_size": model.clip.config.vision_config.image_size,
        "preprocessing": format!("{:?}", model.preprocess),
        "tokenizer": fingerprint::of_text(&model.tokenizer.description()?),
    }))
}

/// The fingerprint of a caption encoder's folder, if there is one, for the identity of a run.
///
/// # Errors
/// If a file of it cannot be read.
pub fn encoder_identity(sentence_bert: Option<&Path>) -> Result<Option<String>> {
    let of = |folder: &Path| {
        fingerprint::of_folder(folder).with_context(|| format!("Sentence-BERT model {}", folder.display()))
    };
    sentence_bert.map(of).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKES: [&str; 3] = ["runs", "*-shot", "table.md"];

    fn claim(path: &Path, identity: &Value, restart: bool) -> Result<RunFolder> {
        RunFolder::claim(path, &Run { command: "bench", identity, makes: &MAKES, restart })
    }

    #[test]
    fn the_same_run_goes_on_and_another_one_learns_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let identity = json!({"settings": {"epochs": 1, "rate": 0.1}, "seed": 1});
        drop(claim(folder.path(), &identity, false).unwrap());
        drop(claim(folder.path(), &identity, false).unwrap());
        let other = json!({"settings": {"epochs": 2, "rate": 0.1}, "device": "cpu", "seed": 1});
        let error = claim(folder.path(), &other, false).unwrap_err().to_string();
        assert!(error.contains("settings.epochs was 1, now 2; device was none, now \"cpu\":"), "{error}");
        assert!(error.ends_with("name another --out, or begin anew with --restart"), "{error}");
    }

    #[test]
    fn a_restart_deletes_what_the_run_made_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let run = claim(folder.path(), &json!({"seed": 1}), false).unwrap();
        run.keep("runs/a.json", &json!(1), 1).unwrap();
        run.keep("4-shot/a.json", &json!(1), 1).unwrap();
        fs::write(folder.path().join("photo.jpg"), "mine").unwrap();
        fs::create_dir(folder.path().join("my-shot")).unwrap();
        drop(run);
        let run = claim(folder.path(), &json!({"seed": 2}), true).unwrap();
        assert_eq!(run.find::<i32>("runs/a.json", &json!(1)).unwrap(), None);
        assert!(folder.path().join("photo.jpg").is_file() && folder.path().join("my-shot").is_dir());
        assert!(["runs", "4-shot"].iter().all(|name| !folder.path().join(name).exists()));
        drop(run);
        assert!(claim(folder.path(), &json!({"seed": 1}), false).is_err());
    }

    #[test]
    fn what_no_run_vouches_for_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("table.md"), "old").unwrap();
        let error = claim(folder.path(), &json!({}), false).unwrap_err().to_string();
        assert!(error.contains("table.md: no run.json says") && error.contains("another --out"), "{error}");
        // It may be anybody's.
        assert!(claim(folder.path(), &json!({}), true).is_err());
        assert_eq!(fs::read_to_string(folder.path().join("table.md")).unwrap(), "old");
    }

    #[test]
    fn the_folder_of_another_command_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        drop(claim(folder.path(), &json!({}), false).unwrap());
        let run = Run { command: "embed", identity: &json!({}), makes: &MAKES, restart: true };
        let error = RunFolder::claim(folder.path(), &run).unwrap_err().to_string();
        assert!(error.contains("`gram bench` was begun here, not `gram embed`"), "{error}");
    }

    #[test]
    fn a_second_process_meets_the_lock_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path(), &json!({}), false).unwrap();
        let error = claim(folder.path(), &json!({}), false).unwrap_err().to_string();
        assert!(error.contains("another process is at work"), "{error}");
        drop(first);
        claim(folder.path(), &json!({}), false).unwrap();
    }

    #[test]
    fn a_part_is_made_once_and_only_from_what_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let run = claim(folder.path(), &json!({}), false).unwrap();
        let made_from = json!({"data": "ab", "seed": 1});
        assert_eq!(run.once("runs/one.json", &made_from, || Ok(1.5)).unwrap(), 1.5);
        assert_eq!(run.once::<f64>("runs/one.json", &made_from, || refuse!("again")).unwrap(), 1.5);
        let other = run.once("runs/one.json", &json!({"data": "cd", "seed": 1}), || Ok(2.5));
        let error = other.unwrap_err().to_string();
        assert!(error.contains("one.json") && error.contains(r#"data was "ab", now "cd""#), "{error}");
    }

    #[test]
    fn a_part_that_was_moved_or_is_of_another_run_is_not_taken() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let run = claim(one.path(), &json!({"seed": 1}), false).unwrap();
        run.keep("runs/a.json", &Value::Null, 1).unwrap();
        fs::copy(one.path().join("runs/a.json"), one.path().join("runs/b.json")).unwrap();
        let error = run.find::<i32>("runs/b.json", &Value::Null).unwrap_err().to_string();
        assert!(error.contains("b.json: another run or another part"), "{error}");
        let second = claim(other.path(), &json!({"seed": 2}), false).unwrap();
        second.keep("runs/a.json", &Value::Null, 2).unwrap();
        fs::copy(one.path().join("runs/a.json"), other.path().join("runs/a.json")).unwrap();
        assert!(second.find::<i32>("runs/a.json", &Value::Null).is_err());
    }

    #[test]
    fn what_a_crash_left_half_written_goes_when_the_run_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        drop(claim(folder.path(), &json!({}), false).unwrap());
        let left = folder.path().join("runs/.writing-x1.partial");
        fs::create_dir(folder.path().join("runs")).unwrap();
        fs::write(&left, "half").unwrap();
        drop(claim(folder.path(), &json!({}), false).unwrap());
        assert!(!left.exists());
    }
}
