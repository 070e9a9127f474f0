//! A dataset from a folder per class, or from such folders inside `train`, `val` (or `valid`, `validation`)
//! and `test`.
//!
//! A class's folder is walked as torchvision's `ImageFolder` walks it: with the folders inside it, in the
//! order of their paths, following links. What systems and programs leave behind (`__MACOSX`, `.DS_Store`,
//! `Thumbs.db` and the like), files that are no images, and what lies in no class are left out and named.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Described, Split};
use crate::image_file::has_image_extension;
use crate::{DataError, ImageFile};

/// What is no class's folder and no image, in any case; so is what is hidden.
const JUNK: [&str; 6] = ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "ehthumbs.db", "desktop.ini"];

/// A file or folder with its name.
type Named = (String, PathBuf);

/// What is found in folders of classes.
#[derive(Default)]
pub(super) struct Found {
    /// The images.
    pub(super) images: Vec<Described>,
    /// What is left out, by its path in the dataset.
    pub(super) left_out: Vec<String>,
}

/// Reads the dataset in `folder`.
pub(super) fn read(folder: &Path) -> Result<Found, DataError> {
    let mut found = Found::default();
    let top = Listing::of(folder, "", &mut Vec::new())?;
    if top.is_divided()? {
        let top = found.list(folder, "")?;
        for (name, path) in top.folders {
            let unknown =
                |_| DataError::UnknownSplit { place: path.display().to_string(), found: name.clone() };
            let split: Split = name.parse().map_err(unknown)?;
            found.read_classes(&path, &format!("{name}/"), Some(split))?;
        }
        found.leave_out("", top.files);
    } else {
        found.read_classes(folder, "", None)?;
        let are_splits = found.images.iter().all(|image| image.label.parse::<Split>().is_ok());
        if are_splits && !found.images.is_empty() {
            return Err(DataError::Listing {
                place: folder.display().to_string(),
                problem:
                    "its folders are called as splits and hold images: put a folder for each class into them"
                        .into(),
            });
        }
    }
    found.left_out.sort();
    Ok(found)
}

impl Found {
    /// Adds the images in a folder for each class. `prefix` is the way to `folder` in the dataset, with `/`
    /// behind it.
    pub(super) fn read_classes(
        &mut self,
        folder: &Path,
        prefix: &str,
        split: Option<Split>,
    ) -> Result<(), DataError> {
        let Listing { folders, files } = self.list(folder, prefix)?;
        for (label, path) in folders {
            let before = self.images.len();
            self.read_class(&label, &path, prefix, split)?;
            if self.images.len() == before {
                return Err(DataError::NoImages { name: path.display().to_string() });
            }
        }
        self.leave_out(prefix, files);
        Ok(())
    }

    fn read_class(
        &mut self,
        label: &str,
        path: &Path,
        prefix: &str,
        split: Option<Split>,
    ) -> Result<(), DataError> {
        for (place, files) in self.walk(format!("{prefix}{label}/"), path)? {
            let (images, others): (Vec<_>, Vec<_>) =
                files.into_iter().partition(|(name, _)| has_image_extension(name));
            self.leave_out(&place, others);
            self.images.extend(images.into_iter().map(|(name, path)| Described {
                key: format!("{place}{name}"),
                image: ImageFile::Path(path),
                label: label.to_owned(),
                number: None,
                domain: None,
                split,
            }));
        }
        Ok(())
    }

    /// The files of a folder and of all folders inside it, by their places in the dataset.
    fn walk(&mut self, place: String, path: &Path) -> Result<Vec<(String, Vec<Named>)>, DataError> {
        let mut walked = Vec::new();
        // Each with the real paths of the folders that lead to it.
        let mut folders = vec![(place, path.to_owned(), Vec::new())];
        while let Some((place, folder, mut above)) = folders.pop() {
            let listing = self.list(&folder, &place)?;
            above.push(fs::canonicalize(&folder).map_err(DataError::at(&folder))?);
            for (name, path) in listing.folders {
                // A link that leads back would be followed for ever.
                if fs::canonicalize(&path).is_ok_and(|real| above.contains(&real)) {
                    self.left_out.push(format!("{place}{name}"));
                } else {
                    folders.push((format!("{place}{name}/"), path, above.clone()));
                }
            }
            walked.push((place, listing.files));
        }
        // `os.walk`'s folders in the order of torchvision, whose paths end without a `/`.
        walked.sort_by(|(one, _), (other, _)| one.trim_end_matches('/').cmp(other.trim_end_matches('/')));
        Ok(walked)
    }

    fn list(&mut self, folder: &Path, place: &str) -> Result<Listing, DataError> {
        Listing::of(folder, place, &mut self.left_out)
    }

    fn leave_out(&mut self, place: &str, files: Vec<Named>) {
        self.left_out.extend(files.into_iter().map(|(name, _)| format!("{place}{name}")));
    }
}

/// What a folder holds, sorted by name.
struct Listing {
    folders: Vec<Named>,
    /// All that is no folder, links that lead nowhere among them: who reads them will say so.
    files: Vec<Named>,
}

impl Listing {
    fn of(folder: &Path, place: &str, left_out: &mut Vec<String>) -> Result<Self, DataError> {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let named = |entry: fs::DirEntry| (text(&entry.file_name()), entry.path());
        let mut entries: Vec<Named> =
            entries.map_err(DataError::at(folder))?.into_iter().map(named).collect();
        entries.sort();
        entries.retain(|(name, _)| {
            let kept = !is_junk(name);
            if !kept {
                left_out.push(format!("{place}{name}"));
            }
            kept
        });
        let (folders, files) = entries.into_iter().partition(|(_, path)| path.is_dir());
        Ok(Self { folders, files })
    }

    /// Whether some folder is named as a split and holds folders itself: one that holds images is a class of
    /// that name.
    fn is_divided(&self) -> Result<bool, DataError> {
        for (_, path) in self.folders.iter().filter(|(name, _)| name.parse::<Split>().is_ok()) {
            if !Self::of(path, "", &mut Vec::new())?.folders.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_junk(name: &str) -> bool {
    name.starts_with('.') || JUNK.iter().any(|junk| junk.eq_ignore_ascii_case(name))
}

/// A name as text. Bytes that are no UTF-8 stand as `\xe9`: different names stay different.
fn text(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
