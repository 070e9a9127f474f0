//! A dataset from an archive: a tar archive with a `manifest.csv` and the images it names.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use super::{Described, manifest};
use crate::archive::read_members;
use crate::image_file::has_image_extension;
use crate::table::Table;
use crate::text_file::unmarked;
use crate::{DataError, ImageFile};

const MANIFEST: &str = "manifest.csv";

/// Reads the archive `name`; images are looked for among its members only.
pub(super) fn read(name: &str, reader: impl Read) -> Result<Vec<Described>, DataError> {
    let wanted = |path: &str| path == MANIFEST || has_image_extension(path);
    let mut members: HashMap<String, Arc<[u8]>> = read_members(name, reader, wanted)?.into_iter().collect();
    let Some(manifest) = members.remove(MANIFEST) else {
        return Err(DataError::NoManifest { name: name.to_owned() });
    };
    let manifest_name = format!("{name}: {MANIFEST}");
    let text = unmarked(&manifest_name, manifest.as_ref())?;
    let table = Table::delimited(manifest_name, text, b',', manifest::WANTED).whole()?;
    manifest::describe(&table, |image| {
        let bytes = members.get(image)?.clone();
        Some(ImageFile::Bytes { name: format!("{name}: {image}"), bytes })
    })
}
