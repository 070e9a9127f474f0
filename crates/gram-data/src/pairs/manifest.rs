//! Pairs from a manifest.

use std::mem::take;
use std::path::Path;

use super::{Collector, Pair, Pairs, SkipCause, Skipped, caption};
use crate::fingerprint;
use crate::table::{Row, Table};
use crate::{DataError, ImageFile};

/// What the column of the images may be called, the better name first: by us, by open_clip's training, by
/// clip-retrieval, and by others.
const IMAGE: [&str; 5] = ["image", "filepath", "image_path", "file", "path"];

/// What the column of the captions may be called.
const CAPTION: [&str; 3] = ["caption", "title", "text"];

/// The column that names the pairs.
const KEY: &str = "key";

/// Rows in which an image is looked for to tell its column from that of the captions: some downloads failed.
const LOOKED_AT: usize = 100;

/// The columns of a manifest that have a meaning of their own.
struct Columns {
    image: usize,
    caption: usize,
    key: Option<usize>,
}

/// Reads the manifest at `path`. Further columns become metadata if they are to be kept; else they are not even read.
pub(super) fn read(path: &Path, keep_metadata: bool) -> Result<Pairs, DataError> {
    let is_known =
        |name: &str| IMAGE.iter().chain(&CAPTION).chain([&KEY]).any(|known| known.eq_ignore_ascii_case(name));
    let mut table = Table::read(path, &|name| keep_metadata || is_known(name))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let columns = Columns::of(&mut table, folder)?;
    let mut collector = Collector::default();
    for bad in take(&mut table.bad_rows) {
        let name = table.place(bad.line);
        collector.skip(Skipped { name, cause: SkipCause::BadRow, detail: Some(bad.problem) });
    }
    for row in take(&mut table.rows) {
        match pair(&table, &row, &columns, folder, keep_metadata) {
            Ok((pair, fingerprint)) => collector.add(pair, fingerprint, |_| table.place(row.line)),
            Err(cause) => collector.skip(Skipped { name: table.place(row.line), cause, detail: None }),
        }
    }
    Ok(collector.collected)
}

impl Columns {
    /// The columns by their names; or, in two columns without names as in the tables of Conceptual Captions, by what
    /// they hold.
    fn of(table: &mut Table, folder: &Path) -> Result<Self, DataError> {
        match (table.first_column(&IMAGE), table.first_column(&CAPTION)) {
            (Some(image), Some(caption)) => Ok(Self { image, caption, key: table.first_column(&[KEY]) }),
            (Some(_), None) => Err(table.missing(&CAPTION)),
            (None, caption) => {
                let nameless = caption.is_none() && table.columns.len() == 2 && table.header_as_row();
                match nameless.then(|| column_of_images(table, folder)).flatten() {
                    Some(image) => Ok(Self { image, caption: 1 - image, key: None }),
                    None if table.has_found("url") => {
                        Err(DataError::NotDownloaded { name: table.name.clone() })
                    }
                    None => Err(table.missing(&IMAGE)),
                }
            }
        }
    }
}

/// Which of two columns names images: the one with a file or an address in it.
fn column_of_images(table: &Table, folder: &Path) -> Option<usize> {
    let is_image = |text: &str| is_address(text) || folder.join(text).is_file();
    table.rows.iter().take(LOOKED_AT).find_map(|row| {
        [0, 1].into_iter().find(|&column| row.text(column).is_some_and(|text| is_image(&text)))
    })
}

fn pair(
    table: &Table,
    row: &Row,
    columns: &Columns,
    folder: &Path,
    keep_metadata: bool,
) -> Result<(Pair, u128), SkipCause> {
    let image = row.filled(Some(columns.image)).ok_or(SkipCause::NoImage)?;
    if is_address(&image) {
        return Err(SkipCause::NotDownloaded);
    }
    // An absolute path replaces the folder.
    let path = folder.join(image.as_ref());
    if !path.is_file() {
        return Err(SkipCause::NoImage);
    }
    let caption = caption(row.text(columns.caption).as_deref())?;
    let fingerprint = fingerprint::of_pair(fingerprint::of(path.as_os_str().as_encoded_bytes()), &caption);
    let used = [Some(columns.image), Some(columns.caption), columns.key];
    let pair = Pair {
        caption,
        key: row.filled(columns.key).unwrap_or(image).into_owned(),
        image: ImageFile::Path(path),
        metadata: if keep_metadata { table.rest(row, &used) } else { None },
    };
    Ok((pair, fingerprint))
}

/// Whether `text` is an address on the web or in a store, such as `https://…` or `s3://…`.
fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_path() {
        assert!(
            is_address("http://a.org/b.jpg") && is_address("HTTPS://a") && is_address("s3://bucket/b.jpg")
        );
        assert!(!is_address("images/b.jpg") && !is_address("C:\\b.jpg") && !is_address("a note: see ://"));
    }
}
