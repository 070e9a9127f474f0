//! An image wherever it is: a file, a place in an archive, bytes in memory, or pixels.

mod inks;
mod jpeg;

use std::any::Any;
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::error::{DecodingError, ImageFormatHint, LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult,
    Rgb, RgbImage, RgbaImage,
};

use crate::DataError;

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Bytes of a decoded image that are the most: 16,000 pixels square.
pub(crate) const LARGEST: u64 = 1 << 30;

/// An encoded image (JPEG, PNG, WebP, GIF, BMP or TIFF), read and decoded on demand, or one that is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFile {
    /// A file on disk.
    Path(PathBuf),
    /// A member of a plain tar archive on disk, read from its place in it.
    Member {
        /// The archive's file.
        archive: Arc<Path>,
        /// The member's path in the archive, for messages.
        name: Box<str>,
        /// Where its content begins in the archive's file, in bytes.
        offset: u64,
        /// Bytes of its content.
        length: u64,
    },
    /// A member of a compressed archive, or one from elsewhere, held in memory.
    Bytes {
        /// Where it came from, for messages.
        name: String,
        /// The encoded image.
        bytes: Arc<[u8]>,
    },
    /// Pixels in memory: an image that another program has decoded.
    Pixels {
        /// What it is called, for messages.
        name: String,
        /// The image.
        pixels: Arc<RgbImage>,
    },
}

impl ImageFile {
    /// The images in a folder and the folders inside it, in the order of their paths; hidden ones are left
    /// out.
    ///
    /// # Errors
    /// [`DataError::File`] names a folder that cannot be read.
    pub fn in_folder(folder: &Path) -> Result<Vec<Self>, DataError> {
        let mut images = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(DataError::at(&folder))? {
                let path = entry.map_err(DataError::at(&folder))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                match name.starts_with('.') {
                    true => {}
                    // A link to a folder is not followed: it may lead back here.
                    false if path.is_dir() && !path.is_symlink() => folders.push(path),
                    false if has_image_extension(&name) => images.push(path),
                    false => {}
                }
            }
        }
        images.sort();
        Ok(images.into_iter().map(Self::Path).collect())
    }

    /// The name by which messages call this image.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Path(path) => path.to_string_lossy(),
            Self::Member { archive, name, .. } => Cow::Owned(format!("{}: {name}", archive.display())),
            Self::Bytes { name, .. } | Self::Pixels { name, .. } => Cow::Borrowed(name),
        }
    }

    /// Pixels that another program has decoded; what is transparent is shown on white.
    pub fn of_pixels(name: impl Into<String>, image: DynamicImage) -> Self {
        Self::Pixels { name: name.into(), pixels: Arc::new(on_white(image)) }
    }

    /// The encoded image; a bitmap of pixels in memory.
    ///
    /// # Errors
    /// [`DataError::File`] if it cannot be read.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, DataError> {
        match self {
            Self::Path(path) => fs::read(path).map(Cow::Owned).map_err(DataError::at(path)),
            Self::Member { archive, offset, length, .. } => read_range(archive, *offset, *length)
                .map(Cow::Owned)
                .map_err(DataError::at(Path::new(self.name().as_ref()))),
            Self::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
            Self::Pixels { name, pixels } => {
                let mut bitmap = Cursor::new(Vec::new());
                let written = pixels.write_to(&mut bitmap, ImageFormat::Bmp);
                written.map_err(|source| DataError::of_image(name.clone(), source))?;
                Ok(Cow::Owned(bitmap.into_inner()))
            }
        }
    }

    /// The decoded image, as it is meant to be seen: turned as its EXIF data say, what is transparent on
    /// white; of an animation the first frame. This is what transformers makes of an image with Pillow.
    ///
    /// The content says the format, not the name. Greys of 16 bits are brought to 8, where Pillow
    /// would cut off all above 255 and leave the image white.
    ///
    /// # Errors
    /// [`DataError::File`] if it cannot be read, [`DataError::Image`] if it cannot be decoded,
    /// [`DataError::Memory`] and [`DataError::TooLarge`] if there is no room for its pixels; all name the
    /// image.
    pub fn decode(&self) -> Result<RgbImage, DataError> {
        if let Self::Pixels { pixels, .. } = self {
            return Ok(RgbImage::clone(pixels));
        }
        let bytes = self.bytes()?;
        // Decoders, libjpeg's by design and others by mistake, may leave by unwinding when they meet what
        // they cannot read.
        let decoded = catch_unwind(|| decode(&bytes)).unwrap_or_else(|cause| Err(unreadable(cause.as_ref())));
        decoded.map_err(|source| DataError::of_image(self.name().into_owned(), source))
    }
}

/// `length` bytes of a file from `offset` on.
///
/// The file is opened for every read: sources have thousands of shards, more than a process may hold open,
/// and any thread may read without waiting for another. Beside decoding an image, opening costs nothing.
fn read_range(path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    match file.take(length).read_to_end(&mut bytes)? as u64 {
        read if read < length => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(bytes),
    }
}

/// What a decoder said as it left.
fn unreadable(cause: &(dyn Any + Send)) -> ImageError {
    let said = cause.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("it cannot be read");
    let said = said.trim_start_matches("libjpeg fatal error: ").to_owned();
    if said.starts_with("Insufficient memory") {
        return out_of_memory();
    }
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Unknown, said))
}

/// Whether so many bytes of pixels are allowed, and there at the moment. Decoders end the program where they
/// are not.
fn check_size(bytes: u64) -> ImageResult<()> {
    if bytes > LARGEST {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)));
    }
    Vec::<u8>::new().try_reserve_exact(bytes as usize).map_err(|_| out_of_memory())
}

fn out_of_memory() -> ImageError {
    ImageError::IoError(ErrorKind::OutOfMemory.into())
}

fn decode(bytes: &[u8]) -> ImageResult<RgbImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    // Its own limit is lower than LARGEST, and counts what decoders need beside the pixels.
    reader.no_limits();
    let format = reader.format();
    let (mut image, orientation) = match format {
        Some(ImageFormat::Jpeg) => jpeg::decode(bytes)?,
        _ => {
            let mut decoder = reader.into_decoder()?;
            check_size(decoder.total_bytes())?;
            let orientation = orientation(&mut decoder);
            let inks = if format == Some(ImageFormat::Tiff) { inks::decode_tiff(bytes)? } else { None };
            (inks.map_or_else(|| DynamicImage::from_decoder(decoder), Ok)?, orientation)
        }
    };
    if orientation != Orientation::NoTransforms || image.color() != ColorType::Rgb8 {
        // Turning an image, or showing it on white, takes as much again.
        check_size(image.as_bytes().len() as u64)?;
    }
    image.apply_orientation(orientation);
    Ok(on_white(image))
}

/// How an image is to be turned.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten();
    // Some programs write what EXIF data begin with in JPEG files into WebP files, too.
    let found = match exif.as_deref().and_then(|exif| exif.strip_prefix(jpeg::EXIF)) {
        Some(exif) => Orientation::from_exif_chunk(exif),
        None => decoder.orientation().ok(),
    };
    found.unwrap_or(Orientation::NoTransforms)
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
    let image = higher_bytes(image);
    if image.color().has_alpha() { composite(&image.into_rgba8()) } else { image.into_rgb8() }
}

/// Colours of 16 bits cut to their higher 8, as Pillow does. (Greys of 16 bits are rounded to 8 by whoever
/// reads them.)
fn higher_bytes(image: DynamicImage) -> DynamicImage {
    let cut = |values: &[u16]| values.iter().map(|value| (value >> 8) as u8).collect();
    let (width, height) = (image.width(), image.height());
    let cut = match &image {
        DynamicImage::ImageRgb16(image) => {
            ImageBuffer::from_raw(width, height, cut(image)).map(DynamicImage::ImageRgb8)
        }
        DynamicImage::ImageRgba16(image) => {
            ImageBuffer::from_raw(width, height, cut(image)).map(DynamicImage::ImageRgba8)
        }
        _ => None,
    };
    cut.unwrap_or(image)
}

fn composite(image: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageEncoder, Rgba};

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
    fn a_webp_file_is_turned_whatever_its_exif_data_begin_with() {
        // Orientation 3: upside down.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
        for exif in [exif.to_vec(), [jpeg::EXIF, exif].concat()] {
            let mut bytes = Vec::new();
            let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
            encoder.set_exif_metadata(exif).unwrap();
            encoder.encode(&[1, 2, 3, 4, 5, 6], 1, 2, image::ExtendedColorType::Rgb8).unwrap();
            assert_eq!(decode(&bytes).unwrap().into_raw(), [4, 5, 6, 1, 2, 3]);
        }
    }

    #[test]
    fn an_undecodable_image_is_named() {
        let bytes = Arc::from(&b"no image"[..]);
        let error = ImageFile::Bytes { name: "shard.tar: a.png".into(), bytes }.decode().unwrap_err();
        assert!(error.to_string().starts_with("shard.tar: a.png: "), "{error}");
    }

    #[test]
    fn an_image_without_room_is_told_by_its_memory_and_not_by_its_format() {
        // A bitmap's header: 40,000 pixels square.
        let mut header = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        header.extend([40_000_u32.to_le_bytes(); 2].concat());
        header.extend(b"\x01\0\x18\0");
        header.extend([0; 24]);
        let error = ImageFile::Bytes { name: "wall.bmp".into(), bytes: header.into() }.decode().unwrap_err();
        let told = "wall.bmp: its pixels need more memory than the 1024 MB that an image may take: make the image smaller";
        assert_eq!(error.to_string(), told);
        let error = DataError::of_image("wall.bmp".into(), unreadable(&"Insufficient memory (case 4)"));
        assert!(
            error.to_string().starts_with("wall.bmp: there is not enough memory for its pixels: allow more")
        );
        assert!(
            matches!(check_size(u64::MAX >> 1), Err(ImageError::Limits(_))) && check_size(1 << 20).is_ok()
        );
    }

    #[test]
    fn a_broken_jpeg_is_an_error_and_no_panic() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/photographs/jpeg-420.jpg");
        let whole = fs::read(path).unwrap();
        for place in (2..whole.len() - 2).step_by(131) {
            let mut broken = whole.clone();
            broken[place] ^= 0x5a;
            broken[place + 1] = 0xff;
            // Some read as another picture; what matters is that all come back.
            let decoded = ImageFile::Bytes { name: "broken.jpg".into(), bytes: broken.into() }.decode();
            assert!(decoded.err().is_none_or(|error| error.to_string().starts_with("broken.jpg: ")));
        }
        let mut no_table = whole;
        let quantisation = no_table.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
        no_table[quantisation + 1] = 0xfe;
        let error =
            ImageFile::Bytes { name: "broken.jpg".into(), bytes: no_table.into() }.decode().unwrap_err();
        assert!(error.to_string().contains("broken.jpg: "), "{error}");
    }

    #[test]
    fn pixels_are_what_their_bitmap_shows() {
        let transparent = RgbaImage::from_fn(3, 2, |x, y| Rgba([90 * x as u8, 200, 10, 255 - 100 * y as u8]));
        let image = ImageFile::of_pixels("drawing", DynamicImage::ImageRgba8(transparent.clone()));
        let bitmap = ImageFile::Bytes { name: "drawing.bmp".into(), bytes: image.bytes().unwrap().into() };
        assert_eq!(image.decode().unwrap(), composite(&transparent));
        assert_eq!(image.decode().unwrap(), bitmap.decode().unwrap());
    }

    #[test]
    fn extensions_are_told_in_any_case() {
        assert!(has_image_extension("cat/one.JPG") && has_image_extension("a.b.webp"));
        assert!(!has_image_extension("one.txt") && !has_image_extension("png"));
    }
}
