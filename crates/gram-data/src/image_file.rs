//! An image that is not decoded yet: a file, or bytes in memory.

use std::borrow::Cow;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, ImageReader, Rgb, RgbImage, RgbaImage};

use crate::DataError;

const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// An encoded image (JPEG, PNG or WebP), read and decoded on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFile {
    /// A file on disk.
    Path(PathBuf),
    /// A member of an archive, held in memory.
    Bytes {
        /// Where it came from, for messages.
        name: String,
        /// The encoded image.
        bytes: Arc<[u8]>,
    },
}

impl ImageFile {
    /// The name by which messages call this image.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Path(path) => path.to_string_lossy(),
            Self::Bytes { name, .. } => Cow::Borrowed(name),
        }
    }

    /// The encoded image.
    ///
    /// # Errors
    /// [`DataError::File`] if it cannot be read.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, DataError> {
        match self {
            Self::Path(path) => fs::read(path).map(Cow::Owned).map_err(DataError::at(path)),
            Self::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// The decoded image; what is transparent shows white.
    ///
    /// The format is told by the content, not by the name. An orientation noted in the file's EXIF data is not
    /// applied, as CLIP's own preprocessing does not apply it.
    ///
    /// # Errors
    /// [`DataError::File`] if it cannot be read, [`DataError::Image`] if it cannot be decoded; both name the image.
    pub fn decode(&self) -> Result<RgbImage, DataError> {
        let error = |source| DataError::Image { name: self.name().into_owned(), source };
        let bytes = self.bytes()?;
        let reader = ImageReader::new(Cursor::new(bytes.as_ref()))
            .with_guessed_format()
            .map_err(|source| error(image::ImageError::IoError(source)))?;
        Ok(on_white(reader.decode().map_err(error)?))
    }
}

/// Whether a file name's extension is that of an image.
pub(crate) fn has_image_extension(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(is_image_extension)
}

/// Whether `extension`, in any case and without its dot, is that of an image.
pub(crate) fn is_image_extension(extension: &str) -> bool {
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

fn on_white(image: DynamicImage) -> RgbImage {
    if image.color().has_alpha() { composite(&image.into_rgba8()) } else { image.into_rgb8() }
}

fn composite(image: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    #[test]
    fn transparent_pixels_show_white_and_opaque_ones_keep_their_colour() {
        let mut image = RgbaImage::new(3, 1);
        image.put_pixel(0, 0, Rgba([10, 20, 30, 255]));
        image.put_pixel(1, 0, Rgba([10, 20, 30, 0]));
        image.put_pixel(2, 0, Rgba([0, 100, 255, 128]));
        let white = composite(&image);
        assert_eq!(white.get_pixel(0, 0).0, [10, 20, 30]);
        assert_eq!(white.get_pixel(1, 0).0, [255, 255, 255]);
        assert_eq!(white.get_pixel(2, 0).0, [127, 177, 255]);
    }

    #[test]
    fn an_undecodable_image_is_named() {
        let bytes = Arc::from(&b"no image"[..]);
        let error = ImageFile::Bytes { name: "shard.tar: a.png".into(), bytes }.decode().unwrap_err();
        assert!(error.to_string().starts_with("shard.tar: a.png: "), "{error}");
    }

    #[test]
    fn extensions_are_told_in_any_case() {
        assert!(has_image_extension("cat/one.JPG") && has_image_extension("a.b.webp"));
        assert!(!has_image_extension("one.txt") && !has_image_extension("png"));
    }
}
