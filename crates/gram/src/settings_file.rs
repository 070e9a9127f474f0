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
