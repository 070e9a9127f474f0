//! What the program says: results on standard output, all else on standard error.
//!
//! Every command writes through here. Control characters in a name, as an escape code in a class, never reach
//! the terminal: they are shown as `\u{1b}`. A reader that leaves, as `head` does, is
//! [`OutputError::Closed`], which ends the program quietly; a full disk is an error. What goes to standard
//! error never fails.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The reader has left: nobody is there to read the rest.
    #[error("standard output: its reader has left")]
    Closed,
    /// It cannot be written.
    #[error("standard output: {0}")]
    Failed(io::Error),
    /// A result has no JSON.
    #[error("the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes a result and a line's end on standard output. Line breaks and tabs of `text` are kept: see
/// [`shown`].
///
/// # Errors
/// [`OutputError::Closed`] if the reader has left, [`OutputError::Failed`] if the system cannot write.
pub fn line(text: impl Display) -> Result<(), OutputError> {
    write(io::stdout().lock(), &escaped(&text.to_string(), is_layout, for_people))
}

/// Writes a result for machines on standard output: one line of JSON.
///
/// # Errors
/// As [`line()`]; [`OutputError::Json`] if it has no JSON.
pub fn json(result: &impl Serialize) -> Result<(), OutputError> {
    // JSON escapes less than a terminal obeys. What is left stands in strings alone.
    write(io::stdout().lock(), &escaped(&serde_json::to_string(result)?, |_| false, for_json))
}

/// Whether nothing but results and errors is said.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on says nothing but results and errors.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether nothing but results and errors is said.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a line on standard error, unless the program is quiet.
pub fn note(text: impl Display) {
    if !is_quiet() {
        error(text);
    }
}

/// Writes a line on standard error; nothing is done where that fails, for there is nowhere to say so.
pub fn error(text: impl Display) {
    _ = write(io::stderr().lock(), &escaped(&text.to_string(), is_layout, for_people));
}

/// Writes a line on standard error, but only the first time that the program says it.
pub fn note_once(text: impl Display) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let text = text.to_string();
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
        note(text);
    }
}

/// Shows what gram's libraries warn of, each line once.
pub fn show_warnings() {
    // It fails only where it was done before.
    _ = log::set_logger(&Warnings).map(|()| log::set_max_level(LevelFilter::Warn));
}

/// Warnings of gram's libraries, on standard error.
struct Warnings;

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with("gram")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            note_once(format!("gram: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// A name as it can be shown in one line: every control character in it is escaped, line breaks and tabs too.
pub fn shown(name: impl Display) -> String {
    escaped(&name.to_string(), |_| false, for_people)
}

fn write(mut stream: impl Write, text: &str) -> Result<(), OutputError> {
    let written = stream.write_all(format!("{text}\n").as_bytes()).and_then(|()| stream.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Failed(error),
    })
}

/// `\u{1b}`, and `\n` for a line break.
fn for_people(character: char) -> String {
    character.escape_default().to_string()
}

/// `\u001b`, for characters up to U+FFFF.
fn for_json(character: char) -> String {
    format!("\\u{:04x}", u32::from(character))
}

fn is_layout(character: char) -> bool {
    matches!(character, '\n' | '\t')
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_obeyed(character) && !is_kept(character) {
            true => shown.push_str(&escape(character)),
            false => shown.push(character),
        }
    }
    shown
}

/// Whether a terminal does something on this character in the place of showing it: control characters, line
/// breaks of Unicode, and what turns the direction of the text that follows.
fn is_obeyed(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_name_says() {
        assert_eq!(
            shown("red\u{1b}[31m\tcat\n\u{9b}2J\u{202e}"),
            "red\\u{1b}[31m\\tcat\\n\\u{9b}2J\\u{202e}"
        );
        assert_eq!(shown("Haus, maison, 猫 é 😀"), "Haus, maison, 猫 é 😀");
    }

    #[test]
    fn json_stays_json_where_characters_are_escaped() {
        let name = "a\u{9b}b\u{7f}\u{202e}\u{1b}";
        let text = escaped(&serde_json::to_string(name).unwrap(), |_| false, for_json);
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }

    #[test]
    fn a_reader_that_has_left_and_a_full_disk_are_told_apart() {
        struct Fails(ErrorKind);
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(matches!(write(Fails(ErrorKind::BrokenPipe), "x"), Err(OutputError::Closed)));
        assert!(matches!(write(Fails(ErrorKind::StorageFull), "x"), Err(OutputError::Failed(_))));
    }
}
