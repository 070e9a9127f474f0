//! Files that are written whole or not at all.
//!
//! Everything is written under a temporary name of its own beside the file, brought to the disk, and then
//! renamed: a reader sees all of it or what was there before. The temporary file goes when the writing fails;
//! one that a crash left behind is found by its name ([`is_partial`]).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// How the name of a temporary file begins and ends.
const MARKS: [&str; 2] = [".writing-", ".partial"];

/// Writes a file and the folders that it lies in.
///
/// # Errors
/// As the file system has them.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole_by(path, |file| file.write_all(bytes))
}

/// Writes a file piece by piece, and the folders that it lies in.
///
/// # Errors
/// What `write` says, or the file system.
pub fn write_whole_by<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), E>,
) -> Result<(), E> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let mut partial = create(folder)?;
    let mut buffer = BufWriter::new(partial.as_file_mut());
    write(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    put(partial, path)?;
    Ok(())
}

/// Lets `write` make a file under the temporary path that it is given, as libraries do that open a file
/// themselves.
///
/// # Errors
/// What `write` says, or the file system.
pub fn write_whole_at<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let partial = create(folder)?;
    let permissions = partial.as_file().metadata()?.permissions();
    write(partial.path())?;
    // A library may have put another file there, for its owner alone.
    let written = File::open(partial.path())?;
    written.set_permissions(permissions)?;
    written.sync_all()?;
    put(partial, path)?;
    Ok(())
}

/// `path` with a further ending: `start.run` beside `start.safetensors`, but `rate0.01.run` beside
/// `rate0.01`, whose dot is part of its name.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let stem = match path.extension() {
        Some(own) if own == "safetensors" => path.file_stem(),
        _ => path.file_name(),
    };
    let mut name = stem.unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Whether a file of this name was being written when a program ended.
pub fn is_partial(name: &OsStr) -> bool {
    let [begins, ends] = MARKS;
    name.to_str().is_some_and(|name| name.starts_with(begins) && name.ends_with(ends))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn create(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any file that a program makes: the user's mask takes away what it takes away.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(MARKS[0]).suffix(MARKS[1]).tempfile_in(folder)
}

/// Brings a temporary file to the disk, and then to its name.
fn put(partial: NamedTempFile, path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        // A device or a folder would be gone.
        return Err(io::Error::other("it is no file, and is not replaced by one"));
    }
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|error| error.error)?;
    // The new name is in the folder, which has to reach the disk too. Not every system opens folders.
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_and_its_folders_are_made_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write_whole(&path, b"1").unwrap();
        write_whole(&path, b"23").unwrap();
        write_whole_at(&folder.path().join("a/c"), |partial| fs::write(partial, "4")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"23");
        assert_eq!(names(&folder.path().join("a")), ["b.json", "c"]);
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_whole(&path, b"old").unwrap();
        let failed = write_whole_by(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::other("full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "full");
        let failed = write_whole_at(&path, |_| Err(io::Error::other("full")));
        assert_eq!(failed.unwrap_err().to_string(), "full");
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".to_vec(), vec!["a.json".into()])
        );
    }

    #[test]
    fn names_with_a_dot_keep_files_of_their_own() {
        let beside = |path: &str| beside(Path::new(path), "run").display().to_string();
        assert_eq!(beside("a/start.safetensors"), "a/start.run");
        assert_eq!([beside("rate0.01"), beside("rate0.02")], ["rate0.01.run", "rate0.02.run"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [whole, made, plain] = ["whole", "made", "plain"].map(|name| folder.path().join(name));
        write_whole(&whole, b"").unwrap();
        let for_its_owner = |partial: &Path| {
            let other = NamedTempFile::new_in(folder.path())?;
            other.persist(partial).map(drop).map_err(|error| error.error)
        };
        write_whole_at(&made, for_its_owner).unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!([mode(&whole), mode(&made)], [mode(&plain); 2]);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_whole(folder.path(), b"").is_err() && folder.path().is_dir());
    }
}
