//! Pairs from a folder as Hugging Face's `datasets` reads and writes it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Collector, Pairs, SkipCause, Skipped, manifest};
use crate::hugging_face::Tables;
use crate::{DataError, ImageFile};

/// Reads the pairs of such tables. An image beside a table that names it in no row has no caption.
pub(super) fn read(folder: &Path, tables: &Tables, keep_metadata: bool) -> Result<Pairs, DataError> {
    let mut collector = Collector::default();
    let mut named = HashSet::new();
    let is_folder = matches!(tables, Tables::Metadata(_));
    let (Tables::Metadata(all) | Tables::Whole(all)) = tables;
    for (prefix, path) in all {
        let mut name = |image: PathBuf| {
            if is_folder {
                named.insert(image);
            }
        };
        manifest::read_into(&mut collector, path, prefix, keep_metadata, &mut name)?;
    }
    for image in if is_folder { ImageFile::in_folder(folder)? } else { Vec::new() } {
        if !matches!(&image, ImageFile::Path(path) if named.contains(path)) {
            let detail = Some("no row of the metadata names it".to_owned());
            collector.skip(Skipped { name: image.name().into_owned(), cause: SkipCause::NoCaption, detail });
        }
    }
    Ok(collector.collected)
}
