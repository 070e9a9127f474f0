//! Texts as editors, spreadsheets and shells leave them: UTF-8, with or without a byte order mark.
//!
//! The mark is no part of the text and is taken off; a text in UTF-16 is refused with the way out. Whoever
//! reads a text file reads it here.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;

use crate::DataError;

/// What some programs put before a text in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What a text in UTF-16 or UTF-32 is called.
pub(crate) const WIDE: &str = "its text is UTF-16 or UTF-32";

/// Reads a text file, without a byte order mark.
///
/// # Errors
/// [`DataError::File`] if it cannot be read, [`DataError::Encoding`] if it is not UTF-8; both name the file.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    text_of(&path.display().to_string(), fs::read(path).map_err(DataError::at(path))?)
}

/// The lines of a text file, trimmed, without those that are blank.
///
/// # Errors
/// As [`read_text`].
pub(crate) fn lines(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read_text(path)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// The text that some bytes are, without a byte order mark; `name` is for messages.
///
/// # Errors
/// [`DataError::Encoding`] if they are not UTF-8.
pub fn text_of(name: &str, bytes: Vec<u8>) -> Result<String, DataError> {
    let refused = |found: String| DataError::Encoding { name: name.to_owned(), found };
    if is_wide(&bytes) {
        return Err(refused(WIDE.to_owned()));
    }
    let bytes = match bytes.strip_prefix(MARK) {
        Some(text) => text.to_vec(),
        None => bytes,
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        refused(format!("line {line} is not UTF-8"))
    })
}

/// Some bytes of a text without a byte order mark of UTF-8 before them.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Whether bytes begin as a text in UTF-16 or UTF-32 does: with its mark, or with half a letter that is zero.
pub(crate) fn is_wide(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..])
}

/// A reader of a text, without a byte order mark; `name` is for messages.
///
/// # Errors
/// [`DataError::Encoding`] if it begins as a text in UTF-16, [`DataError::File`] if it cannot be read at all.
pub(crate) fn unmarked<'a>(name: &str, mut reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>, DataError> {
    let mut head = Vec::new();
    let begun = reader.by_ref().take(MARK.len() as u64).read_to_end(&mut head);
    if is_wide(&head) {
        return Err(DataError::Encoding { name: name.to_owned(), found: WIDE.to_owned() });
    }
    let head = Cursor::new(without_mark(&head).to_vec());
    Ok(match begun {
        Ok(_) => Box::new(head.chain(reader)),
        // Whoever reads on meets the error where the text breaks off.
        Err(error) => Box::new(head.chain(Broken(Some(error)))),
    })
}

/// A reader that has broken off.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        text_of("list.txt", bytes.to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        assert_eq!(text_of("t", b"\xef\xbb\xbfcat\n".to_vec()).unwrap(), "cat\n");
        assert_eq!(text_of("t", "größe".into()).unwrap(), "größe");
        assert_eq!(text_of("t", vec![]).unwrap(), "");
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        for text in [&b"\xef\xbb\xbfcat"[..], b"cat", b"c", b""] {
            let mut read = Vec::new();
            unmarked("t", text).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, without_mark(text));
        }
    }

    #[test]
    fn a_text_in_utf_16_is_refused_with_the_way_out() {
        for wide in [&b"\xff\xfec\0a\0t\0"[..], b"\xfe\xff\0c\0a\0t", b"c\0a\0t\0", b"\0c\0a\0t"] {
            assert!(refusal(wide).starts_with("list.txt: its text is UTF-16 or UTF-32: save it as UTF-8"));
            assert!(unmarked("list.txt", wide).is_err());
        }
        assert!(
            refusal(b"cat\ngr\xfc\xdfe\n").starts_with("list.txt: line 2 is not UTF-8: save it as UTF-8")
        );
    }
}
