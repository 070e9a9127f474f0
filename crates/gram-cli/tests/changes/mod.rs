//! A command whose settings are changed one at a time, in the folder of a run that was made before the
//! change.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command line: its words, and its flags with their values; a flag without one is a switch.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandLine {
    words: Vec<String>,
    flags: BTreeMap<String, Vec<String>>,
}

impl CommandLine {
    /// Of a text without quotes: `bench --data x --data y --shots 1`.
    pub fn new(text: &str) -> Self {
        let mut line = Self { words: Vec::new(), flags: BTreeMap::new() };
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                None => line.words.push(word.to_owned()),
                Some(flag) => {
                    let values = line.flags.entry(flag.to_owned()).or_default();
                    values.extend(words.next_if(|next| !next.starts_with("--")).map(str::to_owned));
                }
            }
        }
        line
    }

    /// With other values of a flag; none makes it a switch.
    pub fn with(&self, flag: &str, values: &[&str]) -> Self {
        let mut changed = self.clone();
        changed.flags.insert(flag.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
        changed
    }

    /// With other words: another study.
    pub fn called(&self, words: &[&str]) -> Self {
        Self { words: words.iter().map(|word| (*word).to_owned()).collect(), flags: self.flags.clone() }
    }

    /// Without a flag.
    pub fn without(&self, flag: &str) -> Self {
        let mut changed = self.clone();
        changed.flags.remove(flag);
        changed
    }

    fn arguments(&self) -> Vec<String> {
        let mut all = self.words.clone();
        for (flag, values) in &self.flags {
            match values.as_slice() {
                [] => all.push(format!("--{flag}")),
                values => all.extend(values.iter().flat_map(|value| [format!("--{flag}"), value.clone()])),
            }
        }
        all
    }

    /// Runs it with an output: what it printed, or what it said on standard error if it did not succeed.
    pub fn run(&self, out: &Path) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
        let output = command.args(self.arguments()).arg("--json").arg("--out").arg(out).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let place = out.display().to_string();
        match output.status.success() {
            true => Ok(text(&output.stdout).replace(&place, "OUT")),
            false => Err(text(&output.stderr)),
        }
    }

    /// The flags that the help of the command lists.
    fn flags_of_help(&self) -> BTreeSet<String> {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gram")).args(&self.words).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let options = help.lines().filter_map(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("-h, ").or(line.strip_prefix("-V, ")).unwrap_or(line);
            Some(line.strip_prefix("--")?.split([' ', '.']).next()?.to_owned())
        });
        options.collect()
    }
}

/// A finished run, and how its numbers are read.
pub struct Base {
    folder: tempfile::TempDir,
    line: CommandLine,
    /// The name of the output.
    out: &'static str,
    /// From the output and what was printed.
    numbers: fn(&Path, &str) -> String,
    before: String,
    changed: BTreeSet<String>,
    /// Whether a refused run was begun anew.
    restarted: Cell<bool>,
}

impl Base {
    /// Runs a command into an output called `out`, whose numbers are read by `numbers`.
    pub fn new(line: CommandLine, out: &'static str, numbers: fn(&Path, &str) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(out);
        let printed = line.run(&path).unwrap();
        let before = numbers(&path, &printed);
        Self { folder, line, out, numbers, before, changed: BTreeSet::new(), restarted: Cell::new(false) }
    }

    /// The command line.
    pub fn line(&self) -> &CommandLine {
        &self.line
    }

    /// With other values of a flag.
    pub fn flag(&mut self, flag: &str, values: &[&str]) {
        self.changed.insert(flag.to_owned());
        self.line_is(&self.line.with(flag, values), &format!("--{flag} {values:?}"));
    }

    /// With another command line: in a copy of the folder it is refused, and nothing is lost, or gives what
    /// it gives in a fresh folder. So does the first refused one when it is begun anew.
    pub fn line_is(&self, line: &CommandLine, what: &str) {
        assert_ne!(*line, self.line, "{what}: this is no change");
        self.in_a_copy(line, what);
    }

    fn in_a_copy(&self, line: &CommandLine, what: &str) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        let out = copy.path().join(self.out);
        let printed = match line.run(&out) {
            Ok(printed) => printed,
            Err(said) => {
                let last = said.lines().last().unwrap_or_default();
                assert!(files(copy.path()) == files(self.folder.path()), "{what}: something was lost");
                if last.contains("made for") {
                    // A start belongs to its model, in a fresh folder too.
                    return;
                }
                assert!(last.contains("was begun here") && last.contains("--restart"), "{what}: {said}");
                if self.restarted.replace(true) {
                    return;
                }
                line.with("restart", &[]).run(&out).unwrap()
            }
        };
        let found = (self.numbers)(&out, &printed);
        let fresh = tempfile::tempdir().unwrap();
        let out = fresh.path().join(self.out);
        let printed = line.run(&out).unwrap();
        assert_eq!(found, (self.numbers)(&out, &printed), "{what}: numbers of another run");
    }

    /// With the same command line, after `change` has changed what it reads, and before `back` has put it
    /// back.
    pub fn data(&self, what: &str, change: impl FnOnce(), back: impl FnOnce()) {
        change();
        self.in_a_copy(&self.line, what);
        back();
    }

    /// The same command again changes nothing.
    pub fn again(&self) {
        let out = self.folder.path().join(self.out);
        let printed = self.line.run(&out).unwrap();
        assert_eq!((self.numbers)(&out, &printed), self.before);
    }

    /// Every flag of the command has been changed, but for those that decide no number.
    pub fn every_flag_was_changed_but(&mut self, others: &[&str]) {
        if !others.contains(&"precision") {
            self.flag("precision", &["bf16"]);
        }
        // The last two are rounded away on a CPU, or do nothing there.
        let common = ["help", "json", "device", "out", "restart", "images-at-once", "allow-tf32"];
        let known = self.changed.iter().map(String::as_str).chain(common).chain(others.iter().copied());
        let known: BTreeSet<String> = known.map(str::to_owned).collect();
        let flags = self.line.flags_of_help();
        assert!(flags.len() > 5, "{flags:?}");
        let unknown: Vec<_> = flags.difference(&known).collect();
        assert!(unknown.is_empty(), "flags that nothing is known of: {unknown:?}");
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// The files in a folder, by their paths.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}
