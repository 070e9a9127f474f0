//! Settings in TOML files.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::de::DeserializeOwned;

/// Reads settings.
///
/// # Errors
/// In one line, with the file, the line in it, and the key or value that is wrong.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = gram_data::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
        anyhow!("{}, line {}: {}", path.display(), before + 1, error.message().replace('\n', ", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, "\u{feff}shots = 4\n").unwrap();
        assert_eq!(read::<toml::Table>(&path).unwrap()["shots"].as_integer(), Some(4));
        std::fs::write(&path, b"\xff\xfes\0").unwrap();
        assert!(
            read::<toml::Table>(&path).unwrap_err().to_string().contains("settings.toml: its text is UTF-16")
        );
    }
}
