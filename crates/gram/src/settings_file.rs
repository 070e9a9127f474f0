//! Settings in TOML files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;

/// Reads settings.
///
/// # Errors
/// In one line, with the file, the line in it, and the key or value that is wrong.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
        anyhow!("{}, line {}: {}", path.display(), before + 1, error.message().replace('\n', ", "))
    })
}
