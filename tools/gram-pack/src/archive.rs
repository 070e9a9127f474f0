//! Writes tar files that are the same bytes for the same members: no times, no owners.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use flate2::{Compression, GzBuilder};

/// One file of an archive: its path inside, and its bytes.
pub type Member = (String, Vec<u8>);

/// Makes a folder and all above it.
pub fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("{}: cannot be made: pass another --out", path.display()))
}

/// Writes a tar file; returns its length in bytes.
pub fn write_tar<'a>(path: &Path, members: impl IntoIterator<Item = &'a Member>) -> anyhow::Result<u64> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        append(&mut file, members)?;
        file.flush()
    };
    finish(path, write)
}

/// Writes a tar file compressed by gzip; returns its length in bytes.
pub fn write_tar_gz<'a>(path: &Path, members: impl IntoIterator<Item = &'a Member>) -> anyhow::Result<u64> {
    let write = || {
        let file = BufWriter::new(File::create(path)?);
        let mut zipped = GzBuilder::new().mtime(0).write(file, Compression::best());
        append(&mut zipped, members)?;
        zipped.finish()?.flush()
    };
    finish(path, write)
}

/// Writes a text file.
pub fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    finish(path, || std::fs::write(path, text)).map(|_| ())
}

fn finish(path: &Path, write: impl FnOnce() -> io::Result<()>) -> anyhow::Result<u64> {
    write().with_context(|| {
        format!("{}: cannot be written: free some space or pass another --out", path.display())
    })?;
    Ok(std::fs::metadata(path)?.len())
}

fn append<'a>(writer: impl Write, members: impl IntoIterator<Item = &'a Member>) -> io::Result<()> {
    let mut archive = tar::Builder::new(writer);
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    archive.finish()
}
