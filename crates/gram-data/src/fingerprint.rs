//! What tells one pair, or one set of data, from another: 128 bits of SipHash over names, texts and what
//! images hold. That any two of three million pairs that differ have the same has a probability of 10⁻²⁶.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{DataError, ImageFile};

/// Takes in bytes, in pieces of any length, and gives their fingerprint.
#[derive(Default)]
pub struct Fingerprinting(SipHasher13);

impl Fingerprinting {
    /// The fingerprint of all bytes written so far.
    pub fn finish(&self) -> u128 {
        self.0.finish128().as_u128()
    }

    /// Takes in a number.
    pub fn number(&mut self, number: usize) {
        self.0.write(&(number as u64).to_le_bytes());
    }

    /// Takes in a text, and where it ends: `ab` and `c` are not `a` and `bc`.
    pub fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.write(text.as_bytes());
    }

    /// Takes in the shape and the numbers of a tensor.
    pub fn values(&mut self, (shape, values): &(Vec<usize>, Vec<f32>)) {
        self.number(shape.len());
        shape.iter().for_each(|size| self.number(*size));
        values.iter().for_each(|value| self.0.write(&value.to_le_bytes()));
    }

    /// Takes in what an image holds: the fingerprint of its bytes, or that they cannot be read.
    pub fn content(&mut self, content: Option<u128>) {
        self.0.write(&[u8::from(content.is_some())]);
        self.0.write(&content.unwrap_or_default().to_le_bytes());
    }
}

impl Write for Fingerprinting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fingerprint of some bytes.
pub fn of(bytes: &[u8]) -> u128 {
    SipHasher13::new().hash(bytes).as_u128()
}

/// The fingerprint of bytes, as it is written.
pub fn of_bytes(bytes: &[u8]) -> String {
    digits(of(bytes))
}

/// The fingerprint of a text, as it is written.
pub fn of_text(text: &str) -> String {
    digits(of(text.as_bytes()))
}

/// The fingerprint of the files in a folder and the folders in it, over their names and bytes, as it is
/// written.
///
/// # Errors
/// [`DataError::File`] if one cannot be read.
pub fn of_folder(folder: &Path) -> Result<String, DataError> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    of_files(folder, &files)
}

/// The fingerprint of `files` in a folder, over their names and bytes, as it is written.
///
/// # Errors
/// [`DataError::File`] if one cannot be read.
pub fn of_files(folder: &Path, files: &[PathBuf]) -> Result<String, DataError> {
    let content = |path: &PathBuf| {
        let mut content = Fingerprinting::default();
        let mut file = File::open(path).map_err(DataError::at(path))?;
        io::copy(&mut file, &mut content).map_err(DataError::at(path))?;
        Ok(content.finish())
    };
    let contents = files.par_iter().map(content).collect::<Result<Vec<u128>, DataError>>()?;
    let mut all = Fingerprinting::default();
    for (path, content) in files.iter().zip(contents) {
        all.text(&path.strip_prefix(folder).unwrap_or(path).to_string_lossy());
        all.content(Some(content));
    }
    Ok(digits(all.finish()))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).map_err(DataError::at(folder))? {
        let path = entry.map_err(DataError::at(folder))?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// The fingerprints of what images hold, byte for byte; nothing for one that cannot be read. The images are
/// read side by side, and the order is theirs.
pub fn of_contents(images: &[&ImageFile]) -> Vec<Option<u128>> {
    images.par_iter().map(|image| image.bytes().ok().map(|bytes| of(&bytes))).collect()
}

/// A fingerprint as it is written: 32 hexadecimal digits.
pub fn digits(fingerprint: u128) -> String {
    format!("{fingerprint:032x}")
}

/// The fingerprint of a pair, from that of its image.
pub fn of_pair(image: u128, caption: &str) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(&image.to_le_bytes());
    hasher.write(caption.as_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_does_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in [1, 3, 7, 8, 64, 100] {
            let mut pieces = Fingerprinting::default();
            bytes.chunks(length).for_each(|piece| pieces.write_all(piece).unwrap());
            assert_eq!(pieces.finish(), of(&bytes), "{length}");
        }
    }

    #[test]
    fn texts_are_told_apart_by_where_they_end() {
        let of_texts = |texts: [&str; 2]| {
            let mut all = Fingerprinting::default();
            texts.into_iter().for_each(|text| all.text(text));
            all.finish()
        };
        assert_ne!(of_texts(["ab", "c"]), of_texts(["a", "bc"]));
        assert_eq!(digits(1), "00000000000000000000000000000001");
    }

    #[test]
    fn image_and_caption_both_count() {
        let all = [of_pair(of(b"1"), "a"), of_pair(of(b"1"), "b"), of_pair(of(b"2"), "a")];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        assert_eq!(all[0], of_pair(of(b"1"), "a"));
    }
}
