//! JPEG through mozjpeg, whose decoder is libjpeg-turbo's: Pillow has the same, so the pixels are the same to the bit.
//! Decoders differ by several levels in how they smooth colours that are stored at half the size.

use std::io::{self, Cursor};

use image::error::{DecodingError, ImageFormatHint, LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageError, ImageFormat, ImageResult};
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::{LARGEST, inks};

/// What the EXIF data begin with in their segment, APP1.
const EXIF: &[u8] = b"Exif\0\0";

/// The pixels, and how the image is to be turned.
pub(super) fn decode(bytes: &[u8]) -> ImageResult<(DynamicImage, Orientation)> {
    if is_cut(bytes) {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the image does");
        return Err(ImageError::IoError(cut));
    }
    // libjpeg leaves by unwinding when it meets data that it cannot read: the caller catches it.
    let decoder = Decompress::builder().with_markers(&[Marker::APP(1)]).from_reader(Cursor::new(bytes))?;
    let (width, height) = decoder.size();
    if (width * height) as u64 * 4 > LARGEST {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)));
    }
    let exif = decoder.markers().find_map(|marker| marker.data.strip_prefix(EXIF));
    let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let four_inks = matches!(decoder.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
    let wanted = if four_inks { ColorSpace::JCS_CMYK } else { ColorSpace::JCS_RGB };
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

/// Whether a JPEG ends before its end marker: the decoder would fill the rest with grey and say nothing. (The marker's
/// bytes do not occur in the data between.)
fn is_cut(jpeg: &[u8]) -> bool {
    let last = |marker: u8| jpeg.windows(2).rposition(|pair| pair == [0xff, marker]);
    let (scan, end) = (last(0xda), last(0xd9));
    scan.is_some() && end < scan
}
