//! What can go wrong when data is read, and the way out.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::image_file::LARGEST;

/// Why pairs or a dataset could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder cannot be opened or listed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A text file is not UTF-8.
    #[error(
        "{name}: {found}: save it as UTF-8 (`CSV UTF-8` in a spreadsheet, `-Encoding utf8` in PowerShell)"
    )]
    Encoding {
        /// The file.
        name: String,
        /// What it is.
        found: String,
    },
    /// An image cannot be decoded.
    #[error(
        "{name}: {source}: JPEG, PNG, WebP, GIF, BMP and TIFF are read; replace the image or leave it out"
    )]
    Image {
        /// The image's name.
        name: String,
        /// The cause.
        source: image::ImageError,
    },
    /// There is no memory for an image's pixels.
    #[error(
        "{name}: there is not enough memory for its pixels: allow more (`ulimit -v`), or make the image smaller"
    )]
    Memory {
        /// The image's name.
        name: String,
    },
    /// An image has more pixels than are read.
    #[error(
        "{name}: its pixels need more memory than the {most} MB that an image may take: make the image smaller"
    )]
    TooLarge {
        /// The image's name.
        name: String,
        /// The most, in megabytes.
        most: u64,
    },
    /// Two classes have one number.
    #[error("{name}: class {number} is called `{}` and `{}`: give each class a number of its own", classes[0], classes[1])]
    OneNumber {
        /// The dataset.
        name: String,
        /// The number.
        number: usize,
        /// The names.
        classes: [String; 2],
    },
    /// A file that says which images belong where cannot be read.
    #[error("{place}: {problem}")]
    Listing {
        /// The file and, where it is known, the line.
        place: String,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// A tar archive ends before its end mark.
    #[error(
        "{name}: ends after {members} whole members, without the end mark of a tar archive: \
         it was cut short, or is no tar archive; fetch or make it again"
    )]
    ArchiveTruncated {
        /// The archive.
        name: String,
        /// Members read before the end.
        members: usize,
    },
    /// A tar archive cannot be read.
    #[error("{name}: no tar archive, or damaged after {members} members ({source}): fetch or make it again")]
    ArchiveDamaged {
        /// The archive.
        name: String,
        /// Members read before the damage.
        members: usize,
        /// The cause.
        source: std::io::Error,
    },
    /// A member of an archive is too large to be an image, a caption or a manifest.
    #[error("{name}: member `{member}` has {size} bytes, at most {limit} are read: leave it out")]
    MemberTooLarge {
        /// The archive.
        name: String,
        /// The member.
        member: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A source is of no kind that is read.
    #[error("{}: give {expected}", path.display())]
    UnknownSource {
        /// The source.
        path: PathBuf,
        /// What can be given.
        expected: &'static str,
    },
    /// A folder holds no shard and no table.
    #[error(
        "{}: no shard in this folder: expected *.tar, *.tar.gz or *.tgz, or as Hugging Face's datasets have them \
         metadata.jsonl, metadata.csv or *.parquet",
        path.display()
    )]
    NoShards {
        /// The folder.
        path: PathBuf,
    },
    /// A source holds no usable pair.
    #[error("{name}: no image-text pair ({skipped})")]
    NoPairs {
        /// The source.
        name: String,
        /// What was skipped, by cause, and the first of it.
        skipped: String,
    },
    /// A table cannot be read.
    #[error("{place}: {source}")]
    Table {
        /// The file, with the line where it is known.
        place: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A table lacks a column.
    #[error("{name}: no column {column} among {found}: rename or add it")]
    MissingColumn {
        /// The table.
        name: String,
        /// The column looked for, in all names that it may have.
        column: String,
        /// The columns found.
        found: String,
    },
    /// A manifest says where images are on the web, not where they are on disk.
    #[error(
        "{name}: names its images by `url` alone: download them first, as with img2dataset, and give the folder of \
         shards that it writes"
    )]
    NotDownloaded {
        /// The manifest.
        name: String,
    },
    /// A folder of embeddings is not as clip-retrieval writes it.
    #[error("{}: {problem}", path.display())]
    Embeddings {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// A row of a manifest has no value in a column that needs one.
    #[error("{place}: column `{column}` is empty: fill it in or remove the row")]
    EmptyCell {
        /// File and line.
        place: String,
        /// The column.
        column: &'static str,
    },
    /// A split has an unknown name.
    #[error("{place}: unknown split `{found}`: expected train, val (or valid, validation) or test")]
    UnknownSplit {
        /// File and line, or the folder.
        place: String,
        /// The name found.
        found: String,
    },
    /// A manifest names an image that does not exist.
    #[error("{place}: no image `{image}`: add it or remove the row")]
    MissingImage {
        /// File and line.
        place: String,
        /// The image as the manifest names it.
        image: String,
    },
    /// A manifest names an image twice, which could put it into two splits.
    #[error("{place}: image `{image}` is listed a second time: keep one row")]
    DuplicateImage {
        /// File and line.
        place: String,
        /// The image as the manifest names it.
        image: String,
    },
    /// A dataset archive lacks its manifest.
    #[error("{name}: no member `manifest.csv` at the top of the archive: add one with columns image, label")]
    NoManifest {
        /// The archive.
        name: String,
    },
    /// A dataset, or the folder of one class, holds no image.
    #[error("{name}: no image (*.jpg, *.jpeg, *.png, *.webp): add some or remove the folder")]
    NoImages {
        /// The dataset or folder.
        name: String,
    },
    /// A dataset has a single class: there is nothing to tell apart.
    #[error("{name}: `{class}` is the only class: a dataset needs two or more")]
    OneClass {
        /// The dataset.
        name: String,
        /// The class.
        class: String,
    },
    /// A setting is out of range.
    #[error("{field} = {value}: must be {range}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        range: &'static str,
    },
}

impl DataError {
    /// Turns an input or output error at `path` into an error that names it.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { path: path.to_path_buf(), source }
    }

    /// Turns what a decoder said of the image `name` into an error that names it. Where memory is short, the
    /// format is not to blame.
    pub(crate) fn of_image(name: String, source: image::ImageError) -> Self {
        match source {
            image::ImageError::Limits(_) => Self::TooLarge { name, most: LARGEST >> 20 },
            image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                Self::Memory { name }
            }
            source => Self::Image { name, source },
        }
    }

    /// Turns the error of a table reader at `place` into an error that names it.
    pub(crate) fn in_table<E: Into<Box<dyn Error + Send + Sync>>>(
        place: &str,
    ) -> impl Fn(E) -> Self + use<E> {
        let place = place.to_owned();
        move |source| Self::Table { place: place.clone(), source: source.into() }
    }
}
