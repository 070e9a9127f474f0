//! Whether a result can be written where it is asked for: looked at before the work, and nothing is made yet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Checks that the file that `--out` names can be written: its folder is there or can be made, files can be
/// made in it, and there is room for a small one.
///
/// # Errors
/// In one line, with the path and what stands in the way.
pub fn file(path: &Path) -> Result<()> {
    file_of("--out", path)
}

/// As [`file`], for the flag `flag`.
fn file_of(flag: &str, path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "{flag} {}: this is a folder: name a file", path.display());
    let ends_as_a_folder = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    ensure!(path.file_name().is_some() && !ends_as_a_folder, "{flag} {}: this names no file", path.display());
    ensure!(
        path.is_file() || path.symlink_metadata().is_err(),
        "{flag} {}: this is no file, and is not replaced by one",
        path.display()
    );
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    writable(folder).with_context(|| format!("{flag} {}", path.display()))?;
    has_room(folder, LEAST, 0)
}

/// As [`file`], for the flag `flag`, where what lies there already is replaced only by its kind: `is_one`
/// says whether it is one of what is made, which is called `what`.
///
/// # Errors
/// In one line, with the path and what stands in the way.
pub fn file_of_kind(flag: &str, path: &Path, what: &str, is_one: impl FnOnce(&Path) -> bool) -> Result<()> {
    file_of(flag, path)?;
    let is_empty = fs::metadata(path).is_ok_and(|there| there.len() == 0);
    ensure!(
        !path.exists() || is_empty || is_one(path),
        "{flag} {}: this is no {what}, and is not replaced by one: name another file",
        path.display()
    );
    Ok(())
}

/// Checks that a folder is there or can be made, that files can be made in it, and that there is room for
/// small ones.
///
/// # Errors
/// In one line, with the path and what stands in the way.
pub fn folder(path: &Path) -> Result<()> {
    ensure!(!path.is_file(), "--out {}: this is a file: name a folder", path.display());
    writable(path).with_context(|| format!("--out {}", path.display()))?;
    has_room(path, LEAST, 0)
}

/// Whether a folder is there or can be made, and files can be made in it.
pub fn is_writable(path: &Path) -> bool {
    writable(path).is_ok()
}

/// Bytes that must be free for any result.
const LEAST: u64 = 16 << 20;

/// Checks that so many bytes have room in the folder `path`, those that it already has counted.
///
/// # Errors
/// In one line, with the path, what is needed and what is free.
pub fn room(path: &Path, bytes: u64) -> Result<()> {
    has_room(path, bytes, held(path))
}

/// Checks that so many bytes have room in the folder `path`, where `held` of them lie already.
fn has_room(path: &Path, bytes: u64, held: u64) -> Result<()> {
    // Where the system does not say, writing will.
    let Some(free) = free_bytes(&existing(path)) else { return Ok(()) };
    let size = |bytes: u64| match bytes as f64 {
        bytes if bytes < 1e9 => format!("{:.0} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    };
    if free.saturating_add(held) < bytes {
        bail!(
            "--out {}: it takes about {}, and {} are free: make room, or name another place",
            path.display(),
            size(bytes),
            size(free)
        );
    }
    Ok(())
}

/// Makes a file that has no name where `folder` is or will be.
fn writable(folder: &Path) -> Result<()> {
    let existing = existing(folder);
    let kind = fs::metadata(&existing).with_context(|| existing.display().to_string())?;
    ensure!(kind.is_dir(), "{} is no folder", existing.display());
    tempfile::tempfile_in(&existing)
        .with_context(|| format!("no file can be made in {}", existing.display()))?;
    Ok(())
}

/// The path, or the nearest above it that is there.
fn existing(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
    there.unwrap_or(Path::new(".")).to_owned()
}

/// Bytes of the files in a folder and the folders inside it.
fn held(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(kind) if kind.is_dir() => held(&entry.path()),
        Ok(kind) => kind.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(path).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_made_is_left_for_later_and_what_cannot_is_told() {
        let here = tempfile::tempdir().unwrap();
        let path = |name: &str| here.path().join(name);
        fs::write(path("a.txt"), "").unwrap();
        file(&path("new/deep/x.safetensors")).unwrap();
        file(&path("a.txt")).unwrap();
        folder(&path("new/deep")).unwrap();
        file(Path::new("beside.safetensors")).unwrap();
        assert!(!path("new").exists());
        let told = |result: Result<()>| format!("{:#}", result.unwrap_err());
        assert!(told(file(here.path())).ends_with("this is a folder: name a file"));
        assert!(told(folder(&path("a.txt"))).ends_with("this is a file: name a folder"));
        assert!(told(file(&path("a.txt/x"))).ends_with("a.txt is no folder"));
        assert!(told(folder(&path("a.txt/x/y"))).ends_with("a.txt is no folder"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_place_without_permission_or_room_is_told() {
        // Even the superuser makes no file there.
        let error = format!("{:#}", folder(Path::new("/proc/gram")).unwrap_err());
        assert!(error.starts_with("--out /proc/gram: no file can be made in /proc: "), "{error}");
        let here = tempfile::tempdir().unwrap();
        room(here.path(), 1).unwrap();
        let error = room(&here.path().join("new"), u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("it takes about 9223372036.9 GB"), "{error}");
    }
}
