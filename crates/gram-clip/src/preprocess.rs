//! Images to pixel values, as a model's settings say: another size, the centre, and mean and deviation.
//!
//! With `v` the values of 0 to 255 of a resized and cropped image, the tower reads `(v * scale - mean) /
//! deviation`. Resizing is Pillow's, to the byte; the libraries round the place of the crop in two ways
//! ([`Centre`]).

mod preprocess_cfg;
mod processor_config;

use gram_resample::{Filter, Part, resize_part};
use image::{Rgb, RgbImage};

pub use preprocess_cfg::of_open_clip;

use crate::error::ClipError;

/// How an image becomes what the vision tower reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// The size before the crop.
    pub resize: Resize,
    /// How values are weighted when the size changes.
    pub filter: Filter,
    /// Width and height of the crop: the side of the images that the model reads.
    pub crop: u32,
    /// Where the crop is.
    pub centre: Centre,
    /// The colour beside an image that is smaller than the crop.
    pub fill: [u8; 3],
    /// What values of 0 to 255 are multiplied with, 1/255 as a rule.
    pub scale: f64,
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub deviation: [f32; 3],
}

/// The size that an image is brought to before it is cropped, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It keeps its own.
    Keep,
    /// The shorter side has this length, the longer is in proportion, rounded down.
    Shorter(u32),
    /// The longer side has this length, the shorter is in proportion, rounded to even.
    Longer(u32),
    /// Both sides are given; proportions change.
    Exact {
        /// The width.
        width: u32,
        /// The height.
        height: u32,
    },
}

/// What becomes of half a pixel where a crop cannot be in the very middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centre {
    /// It is left out (transformers).
    Down,
    /// The place is rounded to an even number, and a border too narrow is rounded down (torchvision, and so
    /// open_clip and OpenAI).
    Even,
}

impl Preprocess {
    /// CLIP's own settings, for images of `side` pixels, with the crop of transformers.
    pub fn clip(side: u32) -> Self {
        Self {
            resize: Resize::Shorter(side),
            filter: Filter::Bicubic,
            crop: side,
            centre: Centre::Down,
            fill: [0; 3],
            scale: 1.0 / 255.0,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// The same for images of another side.
    pub fn at_side(self, side: u32) -> Self {
        let resize = match self.resize {
            Resize::Keep => Resize::Keep,
            Resize::Shorter(_) => Resize::Shorter(side),
            Resize::Longer(_) => Resize::Longer(side),
            Resize::Exact { .. } => Resize::Exact { width: side, height: side },
        };
        Self { resize, crop: side, ..self }
    }

    /// Reads the text of a `preprocessor_config.json`; keys that are absent are those of transformers'
    /// `CLIPImageProcessor`.
    ///
    /// # Errors
    /// [`ClipError::Json`], or [`ClipError::Config`] with the key that asks for what gram does not do.
    pub fn parse(text: &str) -> Result<Self, ClipError> {
        processor_config::parse("preprocessor_config.json", text)
    }

    /// Reads the text of a `processor_config.json`, as transformers 5 writes it; [`None`] if it says nothing
    /// of images, as those of earlier versions.
    ///
    /// # Errors
    /// As [`Preprocess::parse`].
    pub fn parse_processor(text: &str) -> Result<Option<Self>, ClipError> {
        processor_config::parse_nested("processor_config.json", text)
    }

    /// The text of a `preprocessor_config.json` that says what [`Preprocess::clip`] does.
    pub fn clip_json(side: u32) -> String {
        let clip = Self::clip(side);
        let config = serde_json::json!({
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": true, "do_resize": true, "do_center_crop": true, "do_rescale": true, "do_normalize": true,
            "resample": 3, "rescale_factor": clip.scale,
            "size": {"shortest_edge": side},
            "crop_size": {"height": side, "width": side},
            "image_mean": clip.mean.map(f64::from), "image_std": clip.deviation.map(f64::from),
        });
        format!("{config:#}\n")
    }

    /// The normalised pixels of an image: `[3, crop, crop]`, row-major.
    ///
    /// # Errors
    /// [`ClipError::Image`] for an image without pixels, or too long to be brought to size.
    pub fn pixels(&self, image: &RgbImage) -> Result<Vec<f32>, ClipError> {
        Ok(self.normalised(&self.resized(image)?))
    }

    /// An image at the model's side, resized and cropped: all that the model reads of it, in a fraction of
    /// its bytes.
    ///
    /// # Errors
    /// As [`Preprocess::pixels`].
    pub fn resized(&self, image: &RgbImage) -> Result<RgbImage, ClipError> {
        let (width, height) = image.dimensions();
        let failed = |problem| ClipError::Image { width, height, problem };
        if width == 0 || height == 0 {
            return Err(failed("it has no pixels".to_owned()));
        }
        let size = self.resize.size((width, height)).filter(|size| size.0 > 0 && size.1 > 0);
        let size =
            size.ok_or_else(|| failed("it is too long to be brought to the model's size".to_owned()))?;
        let across = Overlap::new(self.centre.start(size.0, self.crop), size.0, self.crop);
        let down = Overlap::new(self.centre.start(size.1, self.crop), size.1, self.crop);
        let wanted = Part { left: across.first, top: down.first, width: across.length, height: down.length };
        let part = resize_part(image, Part::whole((width, height)), size, wanted, self.filter);
        let part = part.ok_or_else(|| failed("it cannot be resized".to_owned()))?;
        if part.dimensions() == (self.crop, self.crop) {
            return Ok(part);
        }
        let mut canvas = RgbImage::from_pixel(self.crop, self.crop, Rgb(self.fill));
        image::imageops::replace(&mut canvas, &part, i64::from(across.place), i64::from(down.place));
        Ok(canvas)
    }

    /// The normalised pixels of an image that [`Preprocess::resized`] gave: `[3, crop, crop]`, row-major.
    pub fn normalised(&self, image: &RgbImage) -> Vec<f32> {
        let mut pixels = Vec::with_capacity(image.as_raw().len());
        for channel in 0..3 {
            let of_value: [f32; 256] = std::array::from_fn(|value| {
                let scaled = (value as f64 * self.scale) as f32;
                (scaled - self.mean[channel]) / self.deviation[channel]
            });
            pixels.extend(image.pixels().map(|pixel| of_value[usize::from(pixel.0[channel])]));
        }
        pixels
    }
}

impl Resize {
    /// The size of an image of `(width, height)` pixels after it; [`None`] if it is beyond all bounds.
    fn size(self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let (shorter, longer) = (width.min(height), width.max(height));
        let (new_shorter, new_longer) = match self {
            Self::Keep => return Some((width, height)),
            Self::Exact { width, height } => return Some((width, height)),
            Self::Shorter(side) => {
                (side, u32::try_from(u64::from(side) * u64::from(longer) / u64::from(shorter)).ok()?)
            }
            Self::Longer(side) => {
                let ratio = f64::from(longer) / f64::from(side);
                let length = |length: u32| (f64::from(length) / ratio).round_ties_even() as u32;
                (length(shorter), length(longer))
            }
        };
        Some(if width <= height { (new_shorter, new_longer) } else { (new_longer, new_shorter) })
    }
}

impl Centre {
    /// Where a crop of `crop` pixels begins in `length` of them; below 0 where there are fewer.
    fn start(self, length: u32, crop: u32) -> i64 {
        let rest = i64::from(length) - i64::from(crop);
        match self {
            Self::Down => rest.div_euclid(2),
            // Towards the even one of both neighbours: 1/2 to 0, 3/2 to 2.
            Self::Even if rest > 0 => (rest as f64 / 2.0).round_ties_even() as i64,
            Self::Even => rest / 2,
        }
    }
}

/// What a crop and an image have in common along one axis.
struct Overlap {
    /// The first pixel of the image.
    first: u32,
    /// Where it is in the crop.
    place: u32,
    /// How many follow it, itself included.
    length: u32,
}

impl Overlap {
    fn new(start: i64, image: u32, crop: u32) -> Self {
        let (first, place) = (start.max(0) as u32, (-start).max(0) as u32);
        Self { first, place, length: (image - first).min(crop - place) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_clip_s() {
        assert_eq!(Preprocess::parse(&Preprocess::clip_json(32)).unwrap(), Preprocess::clip(32));
        assert_eq!(Preprocess::parse("{}").unwrap(), Preprocess::clip(224));
    }

    #[test]
    fn an_image_of_the_right_size_is_only_normalised() {
        let preprocess = Preprocess { mean: [0.0; 3], deviation: [1.0; 3], ..Preprocess::clip(2) };
        let image = RgbImage::from_fn(2, 2, |x, y| image::Rgb([255 * x as u8, 255 * y as u8, 51]));
        let pixels = preprocess.pixels(&image).unwrap();
        assert_eq!(pixels, [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.2, 0.2, 0.2, 0.2]);
    }

    #[test]
    fn a_very_long_image_is_cropped_without_its_whole_length() {
        let image = RgbImage::new(60_000, 1);
        assert_eq!(Preprocess::clip(224).resized(&image).unwrap().dimensions(), (224, 224));
        let longest = Preprocess { resize: Resize::Longer(224), ..Preprocess::clip(224) };
        let error = longest.resized(&image).unwrap_err().to_string();
        assert!(error.starts_with("image of 60000 x 1 pixels: it is too long"), "{error}");
    }

    #[test]
    fn another_side_keeps_the_way_of_resizing() {
        let squash = Preprocess { resize: Resize::Exact { width: 9, height: 9 }, ..Preprocess::clip(9) };
        assert_eq!(squash.at_side(12).resize, Resize::Exact { width: 12, height: 12 });
        assert_eq!(Preprocess::clip(9).at_side(12), Preprocess::clip(12));
    }
}
