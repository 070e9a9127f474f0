//! Pairs from a manifest.

use std::borrow::Cow;
use std::mem::take;
use std::path::{Path, PathBuf};

use super::{Collector, Pair, Pairs, SkipCause, Skipped, caption};
use crate::fingerprint;
use crate::image_folder;
use crate::table::{Cell, Row, Table, Wanted};
use crate::{DataError, ImageFile};

/// What the column of the images may be called, the better name first: by us, by open_clip's training, by
/// clip-retrieval, by others, by `datasets` and COCO, in Flickr30k, and by `datasets` again where it reads
/// shards.
const IMAGE: [&str; 12] = [
    "image",
    "filepath",
    "image_path",
    "file",
    "path",
    "file_name",
    "filename",
    "image_name",
    "img",
    "jpg",
    "png",
    "webp",
];

/// What the column of the captions may be called; the last two by Flickr30k and by `datasets` where it reads
/// shards.
const CAPTION: [&str; 8] =
    ["caption", "title", "text", "captions", "sentence", "sentences", "comment", "txt"];

/// What the column that names the pairs may be called.
const KEY: [&str; 2] = ["key", "__key__"];

/// Rows in which an image is looked for to tell its column from that of the captions: some downloads failed.
const LOOKED_AT: usize = 100;

/// Rows whose image is looked for in the folders beside the manifest.
const SOUGHT: usize = 3;

/// The columns of a manifest that have a meaning of their own.
struct Columns {
    image: usize,
    captions: Vec<usize>,
    key: Option<usize>,
}

/// A manifest while its rows become pairs.
struct Manifest<'a> {
    table: &'a Table,
    columns: Columns,
    /// The folder that images are relative to.
    folder: PathBuf,
    /// What keys begin with.
    prefix: &'a str,
    keep_metadata: bool,
}

/// An image of a row: what it is, its fingerprint, and the name that it gives a pair.
struct RowImage {
    image: ImageFile,
    fingerprint: u128,
    name: String,
}

/// Why a row is no pair.
type Cause = (SkipCause, Option<String>);

/// Whether `path` is named as a manifest: as a table, or as the lists of captions of Flickr8k and Flickr30k.
pub(super) fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    Table::is_table(path) || extension.is_some_and(|extension| extension == "txt" || extension == "token")
}

/// Reads the manifest at `path`. Further columns become metadata if they are to be kept; else they are not
/// even read.
pub(super) fn read(path: &Path, keep_metadata: bool) -> Result<Pairs, DataError> {
    let mut collector = Collector::default();
    read_into(&mut collector, path, "", keep_metadata, &mut |_| ())?;
    Ok(collector.collected)
}

/// Adds the pairs of the manifest at `path`, whose keys then begin with `prefix`; `named` hears of every
/// image that a row names.
pub(super) fn read_into(
    collector: &mut Collector,
    path: &Path,
    prefix: &str,
    keep_metadata: bool,
    named: &mut dyn FnMut(PathBuf),
) -> Result<(), DataError> {
    let mut table = Table::read(path, Wanted { known: &is_known, others: keep_metadata })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    if let (true, Some(bad)) = (table.rows.is_empty(), table.bad_rows.first()) {
        return Err(DataError::in_table(&table.place(bad.line))(bad.problem.clone()));
    }
    let columns = Columns::of(&mut table, folder)?;
    for bad in take(&mut table.bad_rows) {
        let name = table.place(bad.line);
        collector.skip(Skipped { name, cause: SkipCause::BadRow, detail: Some(bad.problem) });
    }
    let rows = take(&mut table.rows);
    let folder = image_folder(path, folder, &rows, columns.image);
    let manifest = Manifest { table: &table, columns, folder, prefix, keep_metadata };
    for row in rows {
        if let Some(image) = row.filled(Some(manifest.columns.image)) {
            named(manifest.folder.join(image.as_ref()));
        }
        manifest.add(&row, collector);
    }
    Ok(())
}

/// Whether a column has a meaning of its own.
fn is_known(name: &str) -> bool {
    let mut known = IMAGE.iter().chain(&CAPTION).chain(&KEY);
    known.any(|known| known.eq_ignore_ascii_case(name)) || is_numbered_caption(name)
}

/// Whether a column holds one of several captions: `caption_0`, `caption_1`, …
fn is_numbered_caption(name: &str) -> bool {
    let number = name.to_ascii_lowercase();
    let number = number.strip_prefix("caption_").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

impl Columns {
    /// The columns by their names; or, in two columns without names as in the tables of Conceptual Captions
    /// and the lists of Flickr8k, by what they hold.
    fn of(table: &mut Table, folder: &Path) -> Result<Self, DataError> {
        let captions: Vec<usize> = match table.first_column(&CAPTION) {
            Some(caption) => vec![caption],
            None => (0..table.columns.len()).filter(|&at| is_numbered_caption(&table.columns[at])).collect(),
        };
        match (table.first_column(&IMAGE), captions.as_slice()) {
            (Some(_), []) => Err(table.missing(&CAPTION)),
            (Some(image), _) => Ok(Self { image, captions, key: table.first_column(&KEY) }),
            (None, captions) => {
                let nameless = captions.is_empty() && table.columns.len() == 2 && table.header_as_row();
                match nameless.then(|| column_of_images(table, folder)).flatten() {
                    Some(image) => Ok(Self { image, captions: vec![1 - image], key: None }),
                    None if table.has_found("url") => {
                        Err(DataError::NotDownloaded { name: table.name.clone() })
                    }
                    None => Err(table.missing(&IMAGE)),
                }
            }
        }
    }
}

/// Which of two columns names images: the one with a file or an address in it, or with what Flickr8k calls an
/// image's captions, `a.jpg#0`.
fn column_of_images(table: &Table, folder: &Path) -> Option<usize> {
    let is_image =
        |text: &str| is_address(text) || without_number(text).is_some() || folder.join(text).is_file();
    table.rows.iter().take(LOOKED_AT).find_map(|row| {
        [0, 1].into_iter().find(|&column| row.text(column).is_some_and(|text| is_image(&text)))
    })
}

/// The image of what Flickr8k calls one of its captions: `a.jpg` of `a.jpg#0`.
fn without_number(text: &str) -> Option<&str> {
    let (image, number) = text.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && crate::image_file::has_image_extension(image)).then_some(image)
}

/// The folder that images are relative to: the manifest's, or the one in it that has the first of them. Those
/// of COCO lie beside the folder of its captions.
fn image_folder(path: &Path, folder: &Path, rows: &[Row], column: usize) -> PathBuf {
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let beside = folder.join("..");
    let mut named = rows.iter().filter_map(|row| row.filled(Some(column))).filter(|text| !is_address(text));
    let first: Vec<Cow<'_, str>> = named.by_ref().take(SOUGHT).collect();
    let places = [folder, &beside].into_iter().take(if is_json { 2 } else { 1 });
    let sought = places.flat_map(|place| first.iter().map(move |image| (place, image)));
    let mut found = sought.filter_map(|(place, image)| {
        let whole = image_folder::with_image(place, image);
        whole.or_else(|| image_folder::with_image(place, without_number(image)?))
    });
    found.next().unwrap_or_else(|| folder.to_owned())
}

impl Manifest<'_> {
    /// Adds the pairs of a row: one for each of its captions.
    fn add(&self, row: &Row, collector: &mut Collector) {
        let skipped = |(cause, detail)| Skipped { name: self.table.place(row.line), cause, detail };
        let (image, captions) = match self.image(row).and_then(|image| Ok((image, self.captions(row)?))) {
            Ok(found) => found,
            Err(cause) => return collector.skip(skipped(cause)),
        };
        let given = row.filled(self.columns.key).map(Cow::into_owned);
        let used: Vec<Option<usize>> = self.columns.captions.iter().copied().map(Some).collect();
        let used = [&used[..], &[Some(self.columns.image), self.columns.key]].concat();
        let metadata = self.keep_metadata.then(|| self.table.rest(row, &used)).flatten();
        for (index, text) in captions.iter().enumerate() {
            let caption = match caption(Some(text)) {
                Ok(caption) => caption,
                Err(cause) => {
                    collector.skip(skipped((cause, None)));
                    continue;
                }
            };
            let fingerprint = fingerprint::of_pair(image.fingerprint, &caption);
            let key = format!("{}{}", self.prefix, given.as_ref().unwrap_or(&image.name));
            let pair = Pair { key, caption, image: image.image.clone(), metadata: metadata.clone() };
            // The further captions of a row are named after it.
            let is_given = given.is_some() && index == 0;
            collector.add(pair, fingerprint, is_given, |_| self.table.place(row.line));
        }
    }

    fn captions<'r>(&self, row: &'r Row) -> Result<Vec<Cow<'r, str>>, Cause> {
        let texts = |&column: &usize| row.texts(column);
        let texts: Vec<Cow<'r, str>> = self.columns.captions.iter().filter_map(texts).flatten().collect();
        if texts.is_empty() { Err((SkipCause::NoCaption, None)) } else { Ok(texts) }
    }

    fn image(&self, row: &Row) -> Result<RowImage, Cause> {
        match row.cell(self.columns.image) {
            Some(Cell::Image { bytes: Some(bytes), path }) => {
                let name = match path.as_deref().filter(|path| !path.is_empty()) {
                    Some(path) => path.to_owned(),
                    None => format!("row-{}", row.line),
                };
                let place = format!("{}: {name}", self.table.place(row.line));
                let image = ImageFile::Bytes { name: place, bytes: bytes.clone() };
                Ok(RowImage { image, fingerprint: fingerprint::of(bytes), name })
            }
            Some(Cell::Image { path: Some(path), .. }) => self.file(path),
            // As `datasets` writes an image into JSON.
            Some(Cell::Value(serde_json::Value::Object(image))) => {
                let path = image.get("path").and_then(serde_json::Value::as_str);
                self.file(path.ok_or((SkipCause::NoImage, None))?)
            }
            _ => {
                let named = row.filled(Some(self.columns.image)).ok_or((SkipCause::NoImage, None))?;
                self.file(&named)
            }
        }
    }

    /// The image file that a row names.
    fn file(&self, named: &str) -> Result<RowImage, Cause> {
        if is_address(named) {
            return Err((SkipCause::NotDownloaded, None));
        }
        // An absolute path replaces the folder.
        let mut path = self.folder.join(named);
        if !path.is_file() {
            let image = without_number(named).map(|image| self.folder.join(image));
            path = image
                .filter(|path| path.is_file())
                .ok_or_else(|| (SkipCause::NoImage, Some(format!("{} does not exist", path.display()))))?;
        }
        let fingerprint = fingerprint::of(path.as_os_str().as_encoded_bytes());
        Ok(RowImage { image: ImageFile::Path(path), fingerprint, name: named.to_owned() })
    }
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

    #[test]
    fn one_of_several_captions_is_told_by_its_number() {
        assert_eq!(without_number("a.jpg#4"), Some("a.jpg"));
        assert!(without_number("a.jpg").is_none() && without_number("we are #1").is_none());
        assert!(is_numbered_caption("caption_0") && is_numbered_caption("Caption_12"));
        assert!(!is_numbered_caption("caption_") && !is_numbered_caption("caption_de"));
    }
}
