//! From images to what a tower reads: batches that are decoded ahead of it, and pixels in bounded memory.
//!
//! [`image_batches`] brings each image to the model once and in order. Where a visual prompt is learned, the same images
//! pass the tower again and again: [`PixelCache`] keeps as many as there is room for and decodes the others anew.

pub mod image_batches;
pub mod image_store;
pub mod pixel_cache;

pub use image_store::{ImageStore, Images};
pub use pixel_cache::PixelCache;

use gram_clip::ClipError;
use gram_data::DataError;

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
}
