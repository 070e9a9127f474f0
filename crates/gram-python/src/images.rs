//! Images as Python gives them.

use std::path::PathBuf;

use gram::ImageFile;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// An image of a path, of the bytes of an encoded image, or of an array of uint8: `[height, width]`,
/// `[height, width, 1]`, `[height, width, 3]` or, with transparency, `[height, width, 4]`.
pub struct PythonImage(Source);

enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
    Pixels(DynamicImage),
}

impl PythonImage {
    /// The image under the name by which messages call it, if it has no path.
    fn called(self, name: String) -> ImageFile {
        match self.0 {
            Source::Path(path) => ImageFile::Path(path),
            Source::Bytes(bytes) => ImageFile::Bytes { name, bytes: bytes.into() },
            Source::Pixels(image) => ImageFile::of_pixels(name, image),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for PythonImage {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(array) = given.extract::<PyReadonlyArrayDyn<'_, u8>>() {
            return Ok(Self(Source::Pixels(pixels(&array)?)));
        }
        if let Ok(bytes) = given.cast::<PyBytes>() {
            return Ok(Self(Source::Bytes(bytes.as_bytes().to_vec())));
        }
        let path = given.extract::<PathBuf>().map_err(|_| {
            PyTypeError::new_err(format!(
                "an image is a path, bytes, or an array of uint8, not {}",
                given.get_type()
            ))
        })?;
        Ok(Self(Source::Path(path)))
    }
}

/// An array as an image.
fn pixels(array: &PyReadonlyArrayDyn<'_, u8>) -> PyResult<DynamicImage> {
    let wrong = || {
        let shape = array.shape();
        PyValueError::new_err(format!("an image is [height, width, 3], not {shape:?}"))
    };
    let (height, width, channels) = match *array.shape() {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => return Err(wrong()),
    };
    // Numbers that lie in order are copied at once, others one by one.
    let values = array.as_slice().map_or_else(|_| array.as_array().iter().copied().collect(), <[u8]>::to_vec);
    let [height, width] = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    let image = match channels {
        _ if height == 0 || width == 0 => None,
        1 => GrayImage::from_raw(width, height, values).map(DynamicImage::ImageLuma8),
        3 => RgbImage::from_raw(width, height, values).map(DynamicImage::ImageRgb8),
        4 => RgbaImage::from_raw(width, height, values).map(DynamicImage::ImageRgba8),
        _ => None,
    };
    image.ok_or_else(wrong)
}

/// All images, those without a path by their number.
pub fn named(images: Vec<PythonImage>) -> Vec<ImageFile> {
    images.into_iter().enumerate().map(|(number, image)| image.called(format!("image {number}"))).collect()
}
