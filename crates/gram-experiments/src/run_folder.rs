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

mod identity;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use gram_data::fingerprint;
use gram_data::whole_file::{beside, is_partial};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Context, Result, refuse, require};
use crate::whole_file;
use identity::refuse_differences;

pub use identity::{encoder_identity, model_identity};

/// The version of `run.json` and of finished parts.
const VERSION: u32 = 1;
const RUN: &str = "run.json";
const LOCK: &str = "run.lock";

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
        let begun = description(path)?;
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

/// The command of the run in a folder, and what decides its numbers; none if there is no run.
///
/// # Errors
/// If its description cannot be read.
pub fn described(folder: &Path) -> Result<Option<(String, Value)>> {
    Ok(description(folder)?.map(|found| (found.command, found.identity)))
}

fn description(folder: &Path) -> Result<Option<Description>> {
    let path = folder.join(RUN);
    let Some(text) = read_if_there(&path)? else { return Ok(None) };
    let wrong = || {
        format!("{}: this is no description of a run: name another --out, or move it away", path.display())
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

#[cfg(test)]
mod tests;
