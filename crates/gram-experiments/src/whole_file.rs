//! Files that are written whole or not at all.

use std::path::Path;

use gram_data::whole_file::write_whole;

use crate::error::{Context, Result};

/// Writes a file and the folders that it lies in: a reader sees all of it or none.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, bytes).with_context(|| path.display().to_string())
}
