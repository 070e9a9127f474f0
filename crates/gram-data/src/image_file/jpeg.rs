//! JPEG through mozjpeg, whose decoder is libjpeg-turbo's: Pillow has the same, so the pixels are the same to
//! the bit. Decoders differ by several levels in how they smooth colours that are stored at half the size.

use std::io::{self, BufRead, Read};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageError, ImageFormat, ImageResult};
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::{check_size, inks, unreadable};

/// What the EXIF data begin with in their segment, APP1.
pub(super) const EXIF: &[u8] = b"Exif\0\0";

/// The pixels, and how the image is to be turned.
///
/// Whatever is behind the end of the image is left alone: phones put films there, and cameras further images.
/// An image whose decoder asks for more than there is is cut short.
pub(super) fn decode(bytes: &[u8]) -> ImageResult<(DynamicImage, Orientation)> {
    let ended = AtomicBool::new(false);
    let read = catch_unwind(|| decompress(Watched { rest: bytes, ended: &ended }));
    if ended.into_inner() {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the image does");
        return Err(ImageError::IoError(cut));
    }
    read.unwrap_or_else(|cause| Err(unreadable(cause.as_ref())))
}

/// Bytes that know whether more was asked for than they are.
struct Watched<'a> {
    rest: &'a [u8],
    ended: &'a AtomicBool,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.rest.read(into)
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            // With no bytes libjpeg would fill the rest of the image with grey and say nothing; with an error
            // it stops.
            self.ended.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest.consume(amount);
    }
}

/// Reads an image. libjpeg leaves by unwinding when it meets what it cannot read.
fn decompress(reader: Watched) -> ImageResult<(DynamicImage, Orientation)> {
    let decoder = Decompress::builder().with_markers(&[Marker::APP(1)]).from_reader(reader)?;
    let (width, height) = decoder.size();
    let exif = decoder.markers().find_map(|marker| marker.data.strip_prefix(EXIF));
    let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let four_inks = matches!(decoder.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
    let (wanted, channels) = if four_inks { (ColorSpace::JCS_CMYK, 4) } else { (ColorSpace::JCS_RGB, 3) };
    check_size(width as u64 * height as u64 * channels)?;
    let mut started = decoder.to_colorspace(wanted)?;
    let values: Vec<u8> = started.read_scanlines()?;
    started.finish()?;
    // Inks are stored inverted, as Photoshop does; Pillow takes them so whatever the file says.
    let values = match four_inks {
        true => inks::to_rgb(values.iter().map(|ink| 255 - ink)),
        false => values,
    };
    let image = ImageBuffer::from_raw(width as u32, height as u32, values).map(DynamicImage::ImageRgb8);
    let wrong =
        || DecodingError::new(ImageFormatHint::Exact(ImageFormat::Jpeg), "its lines are not of its size");
    Ok((image.ok_or_else(|| ImageError::Decoding(wrong()))?, orientation))
}
