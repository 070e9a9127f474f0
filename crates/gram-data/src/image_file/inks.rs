//! Four inks (cyan, magenta, yellow, black) as red, green and blue, rounded as Pillow rounds.

use std::io::Cursor;

use image::error::{DecodingError, ImageFormatHint};
use image::{DynamicImage, ImageBuffer, ImageError, ImageFormat, ImageResult};
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult};

/// `ink`: four values for each pixel, 255 where there is most ink. Gives three for each.
pub(super) fn to_rgb(ink: impl Iterator<Item = u8>) -> Vec<u8> {
    let ink: Vec<u32> = ink.map(u32::from).collect();
    let mut rgb = Vec::with_capacity(ink.len() / 4 * 3);
    for pixel in ink.chunks_exact(4) {
        let light = 255 - pixel[3];
        rgb.extend(pixel[..3].iter().map(|ink| (light - rounded_product(*ink, light)) as u8));
    }
    rgb
}

/// `one * other / 255`, rounded.
fn rounded_product(one: u32, other: u32) -> u32 {
    let product = one * other + 128;
    ((product >> 8) + product) >> 8
}

/// The image in a TIFF file of four inks of 8 bits; none if the file is of another kind. (The reader of all
/// other kinds rounds inks down.)
pub(super) fn decode_tiff(bytes: &[u8]) -> ImageResult<Option<DynamicImage>> {
    let wrong =
        |error| ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), error));
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(wrong)?;
    if decoder.colortype().map_err(wrong)? != ColorType::CMYK(8) {
        return Ok(None);
    }
    let (width, height) = decoder.dimensions().map_err(wrong)?;
    match decoder.read_image().map_err(wrong)? {
        DecodingResult::U8(inks) => {
            Ok(ImageBuffer::from_raw(width, height, to_rgb(inks.into_iter())).map(DynamicImage::ImageRgb8))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ink_is_white_black_ink_is_black_and_one_ink_takes_its_colour_away() {
        let ink = [0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 100, 50, 25, 51];
        // Pillow 13: Image.frombytes("CMYK", …).convert("RGB")
        assert_eq!(to_rgb(ink.into_iter()), [255, 255, 255, 0, 0, 0, 0, 255, 255, 124, 164, 184]);
    }
}
