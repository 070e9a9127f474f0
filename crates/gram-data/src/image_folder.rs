//! Where the images of a list lie: its own folder, or one beside it.

use std::fs;
use std::path::{Path, PathBuf};

/// How deep a folder of images may lie below another.
const DEPTH: usize = 2;

/// The folder in which `image` is a file: `folder`, or one below it, up to two levels.
pub(crate) fn with_image(folder: &Path, image: &str) -> Option<PathBuf> {
    let mut level = vec![folder.to_owned()];
    for _ in 0..=DEPTH {
        if let Some(found) = level.iter().find(|folder| folder.join(image).is_file()) {
            return Some(found.clone());
        }
        level = level.iter().flat_map(|folder| sub_folders(folder)).collect();
    }
    None
}

/// The folders in a folder, by their names; hidden ones are left out.
pub(crate) fn sub_folders(folder: &Path) -> Vec<PathBuf> {
    // That of a path without a folder is the one we are in.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // A file is no folder, but what a link leads to has to be looked at.
    let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_file()));
    let is_hidden =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir() && !is_hidden(path));
    folders.sort();
    folders
}
