//! From images to what a tower reads: batches that are decoded ahead of it, and pixels in bounded memory.
//!
//! [`image_batches`] brings each image to the model once and in order. Where a visual prompt is learned, the
//! same images pass the tower again and again: [`PixelCache`] keeps as many as there is room for and decodes
//! the others anew.

pub mod dataset;
pub mod feature_folder;
pub mod image_batches;
pub mod image_features;
pub mod image_store;
pub mod matrix;
pub mod matrix_file;
pub mod pixel_cache;
pub mod rows;
pub mod sentence_bert;
pub mod text_features;

use std::fmt::Display;
use std::path::Path;

pub use dataset::Dataset;
pub use feature_folder::FeatureFolder;
use gram_clip::ClipError;
use gram_data::DataError;
pub use image_features::{SeenImages, image_features};
pub use image_store::{ImageStore, Images};
pub use matrix_file::MatrixFile;
pub use pixel_cache::PixelCache;
pub use rows::Rows;
pub use text_features::text_features;

/// Why an image cannot pass a tower.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// It cannot be read or decoded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot take it.
    #[error("{image}: {source}")]
    Clip {
        /// The image.
        image: String,
        /// Why.
        source: ClipError,
    },
    /// An image that was asked about cannot be read.
    #[error("{0}")]
    Image(String),
    /// One of the images that all count cannot be read.
    #[error("{0} (every image of a labelled dataset counts)")]
    Unreadable(String),
    /// None of some images can be read.
    #[error("none of {images} images can be read: {first}")]
    NoneReadable {
        /// How many there are.
        images: usize,
        /// Why the first cannot.
        first: String,
    },
    /// A text cannot be tokenised.
    #[error(transparent)]
    Text(ClipError),
    /// A file of features cannot be used.
    #[error("{place}: {problem}")]
    File {
        /// The file or folder.
        place: String,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// The device does not hand out its result.
    #[error("the device does not hand out its result: {0}")]
    Device(String),
}

impl FeatureError {
    /// That the file or folder at `path` cannot be used.
    fn file(path: &Path, problem: impl Display) -> Self {
        Self::File { place: path.display().to_string(), problem: problem.to_string() }
    }
}
