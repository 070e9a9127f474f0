//! Augmentation of training images as in CoOp: a random resized crop, and a mirror image half of the time.
//!
//! A crop takes a random part `s` of the image's area, `s ~ U(scale)`, with a random ratio `r` of width to
//! height, `log r ~ U(log 3/4, log 4/3)`; it is resized to a square by bicubic interpolation with
//! antialiasing. The procedure is that of torchvision's `RandomResizedCrop`.

use image::RgbImage;
use image::imageops::{self, FilterType};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::random::Stream;

/// The narrowest and the widest crop, as ratio of width to height.
const RATIO: (f32, f32) = (3.0 / 4.0, 4.0 / 3.0);

/// Draws of a crop before the fallback: the largest centred crop whose ratio is in range.
const ATTEMPTS: usize = 10;

/// How training images are varied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// The smallest and the largest part of an image's area that a crop takes, in (0, 1]; (0.08, 1) in CoOp.
    /// With (1, 1) nothing is drawn: the crop is the largest centred square.
    pub scale: (f32, f32),
    /// Whether every other image, on average, is mirrored; true in CoOp.
    pub flip: bool,
    /// Width and height of the result, in pixels.
    pub size: u32,
}

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crop {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Augmentation {
    /// CoOp's augmentation, to `size` by `size` pixels.
    pub fn coop(size: u32) -> Self {
        Self { scale: (0.08, 1.0), flip: true, size }
    }

    /// No augmentation: the largest centred square, resized to `size` by `size` pixels.
    pub fn none(size: u32) -> Self {
        Self { scale: (1.0, 1.0), flip: false, size }
    }

    /// Whether nothing is varied. What tunes then sees an image as the model's preprocessing brings it.
    pub fn is_none(&self) -> bool {
        self.scale == (1.0, 1.0) && !self.flip
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`DataError::Setting`], which names the field, its value and its range.
    pub fn validate(&self) -> Result<(), DataError> {
        let (smallest, largest) = self.scale;
        if !(0.0 < smallest && smallest <= largest && largest <= 1.0) {
            let value = format!("({smallest}, {largest})");
            return Err(DataError::Setting {
                field: "scale",
                value,
                range: "(low, high), 0 < low <= high <= 1",
            });
        }
        if self.size == 0 {
            return Err(DataError::Setting {
                field: "size",
                value: "0".to_owned(),
                range: "1 pixel or more",
            });
        }
        Ok(())
    }

    /// A variation of `image`, drawn from `stream`: `size` by `size` pixels.
    pub fn apply(&self, image: &RgbImage, stream: &mut Stream) -> RgbImage {
        let crop = self.crop(image.dimensions(), stream);
        let part = imageops::crop_imm(image, crop.left, crop.top, crop.width, crop.height);
        let mut result = imageops::resize(&*part, self.size, self.size, FilterType::CatmullRom);
        if self.flip && stream.random::<bool>() {
            imageops::flip_horizontal_in_place(&mut result);
        }
        result
    }

    fn crop(&self, (width, height): (u32, u32), stream: &mut Stream) -> Crop {
        if self.scale == (1.0, 1.0) {
            let side = width.min(height);
            return Crop::centred(width, height, side, side);
        }
        let drawn = (0..ATTEMPTS).find_map(|_| self.draw_crop(width, height, stream));
        drawn.unwrap_or_else(|| Crop::widest_in_range(width, height))
    }

    /// One draw of a crop; nothing if it does not fit into the image.
    fn draw_crop(&self, width: u32, height: u32, stream: &mut Stream) -> Option<Crop> {
        let area = width as f32 * height as f32 * uniform(self.scale, stream);
        let ratio = uniform((RATIO.0.ln(), RATIO.1.ln()), stream).exp();
        let crop_width = (area * ratio).sqrt().round() as u32;
        let crop_height = (area / ratio).sqrt().round() as u32;
        let fits = (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height);
        fits.then(|| Crop {
            top: stream.random_range(0..=height - crop_height),
            left: stream.random_range(0..=width - crop_width),
            width: crop_width,
            height: crop_height,
        })
    }
}

impl Crop {
    /// The centred crop of a size that fits into an image.
    fn centred(image_width: u32, image_height: u32, width: u32, height: u32) -> Self {
        Self { left: (image_width - width) / 2, top: (image_height - height) / 2, width, height }
    }

    /// The largest centred crop whose ratio is in range.
    fn widest_in_range(width: u32, height: u32) -> Self {
        let highest = (width as f32 / RATIO.0).round() as u32;
        let widest = (height as f32 * RATIO.1).round() as u32;
        Self::centred(width, height, width.min(widest), height.min(highest))
    }
}

fn uniform((low, high): (f32, f32), stream: &mut Stream) -> f32 {
    low + (high - low) * stream.random::<f32>()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::random::indexed_stream;

    /// Red tells the column, green the row.
    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 0]))
    }

    fn draws(augmentation: Augmentation, size: (u32, u32)) -> Vec<Crop> {
        (0..500).map(|index| augmentation.crop(size, &mut indexed_stream(1, "crops", index))).collect()
    }

    #[test]
    fn crops_lie_inside_the_image_with_area_and_ratio_in_range() {
        let augmentation = Augmentation { scale: (0.25, 0.5), flip: false, size: 8 };
        for crop in draws(augmentation, (200, 100)) {
            assert!(crop.left + crop.width <= 200 && crop.top + crop.height <= 100, "{crop:?}");
            let part = f64::from(crop.width * crop.height) / 20_000.0;
            assert!((0.24..=0.51).contains(&part), "{crop:?}");
            let ratio = f64::from(crop.width) / f64::from(crop.height);
            assert!((0.73..=1.36).contains(&ratio), "{crop:?}");
        }
    }

    #[test]
    fn crops_reach_every_side_and_both_ends_of_the_scale() {
        let crops = draws(Augmentation::coop(8), (100, 100));
        let part = |crop: &&Crop| f64::from(crop.width * crop.height) / 10_000.0;
        assert!(crops.iter().any(|crop| part(&crop) < 0.12) && crops.iter().any(|crop| part(&crop) > 0.9));
        assert!(crops.iter().any(|crop| crop.left == 0) && crops.iter().any(|crop| crop.top == 0));
        assert!(crops.iter().any(|crop| crop.left + crop.width == 100));
    }

    #[test]
    fn an_image_too_long_for_any_crop_falls_back_to_the_centre() {
        let augmentation = Augmentation { scale: (0.9, 1.0), flip: false, size: 8 };
        let expected = Crop { left: 43, top: 0, width: 13, height: 10 };
        assert!(draws(augmentation, (100, 10)).iter().all(|crop| *crop == expected));
        assert_eq!(Crop::widest_in_range(10, 100), Crop { left: 0, top: 43, width: 10, height: 13 });
    }

    #[test]
    fn no_augmentation_is_the_centred_square_and_draws_nothing() {
        let mut stream = indexed_stream(1, "none", 0);
        let result = Augmentation::none(10).apply(&gradient(30, 10), &mut stream);
        assert_eq!(result.get_pixel(0, 0).0, [10, 0, 0]);
        assert_eq!(result.get_pixel(9, 9).0, [19, 9, 0]);
        assert_eq!(stream, indexed_stream(1, "none", 0));
    }

    #[test]
    fn about_half_of_the_images_are_mirrored() {
        let augmentation = Augmentation { flip: true, ..Augmentation::none(16) };
        let image = gradient(16, 16);
        let mirrored = |index| {
            let result = augmentation.apply(&image, &mut indexed_stream(1, "flips", index));
            assert!(result == image || result == imageops::flip_horizontal(&image));
            result != image
        };
        assert!((80..=120).contains(&(0..200).filter(|&index| mirrored(index)).count()));
    }

    #[test]
    fn one_stream_gives_one_variation_and_another_gives_another() {
        let image = gradient(40, 30);
        let apply = |index| Augmentation::coop(8).apply(&image, &mut indexed_stream(3, "images", index));
        assert_eq!(apply(0), apply(0));
        assert_ne!(apply(0), apply(1));
        assert_eq!(apply(0).dimensions(), (8, 8));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let error = Augmentation { scale: (0.0, 1.0), ..Augmentation::coop(8) }.validate().unwrap_err();
        assert_eq!(error.to_string(), "scale = (0, 1): must be (low, high), 0 < low <= high <= 1");
        assert!(Augmentation::coop(0).validate().is_err() && Augmentation::coop(224).validate().is_ok());
        assert!(Augmentation { scale: (f32::NAN, 1.0), ..Augmentation::coop(8) }.validate().is_err());
    }
}
