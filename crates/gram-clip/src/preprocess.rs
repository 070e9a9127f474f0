//! Images to pixel values, as `preprocessor_config.json` says: shorter side, centre crop, mean and deviation.
//!
//! Resizing is bicubic with antialias (a = -1/2), on 8-bit values, rows before columns: PIL's, as in CLIP's own
//! preprocessing.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer, images::Image,
};
use image::RgbImage;
use serde::Deserialize;

use crate::error::ClipError;

/// How an image becomes what the vision tower reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Length of the shorter side after resizing.
    pub shorter_side: u32,
    /// Width and height of the centre crop.
    pub crop: u32,
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub deviation: [f32; 3],
}

/// The file's keys; sizes are a number or an object, by the age of the file.
#[derive(Deserialize)]
struct PreprocessorConfig {
    #[serde(default)]
    size: Option<Size>,
    #[serde(default)]
    crop_size: Option<Size>,
    #[serde(default)]
    image_mean: Option<[f32; 3]>,
    #[serde(default)]
    image_std: Option<[f32; 3]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Shortest { shortest_edge: u32 },
    Box { height: u32 },
}

impl Size {
    fn side(&self) -> u32 {
        match *self {
            Size::Side(side) | Size::Shortest { shortest_edge: side } | Size::Box { height: side } => side,
        }
    }
}

impl Preprocess {
    /// CLIP's own mean and deviation, for images of `side` pixels.
    pub fn clip(side: u32) -> Self {
        Self {
            shorter_side: side,
            crop: side,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// Reads the text of a `preprocessor_config.json`; keys that are absent are CLIP's.
    ///
    /// # Errors
    /// [`ClipError::Json`] or [`ClipError::Config`].
    pub fn parse(text: &str) -> Result<Self, ClipError> {
        let file = "preprocessor_config.json";
        let read: PreprocessorConfig =
            serde_json::from_str(text).map_err(|source| ClipError::Json { file: file.into(), source })?;
        let crop = read.crop_size.as_ref().or(read.size.as_ref()).map_or(224, Size::side);
        let clip = Self::clip(crop);
        let shorter_side = read.size.as_ref().map_or(crop, Size::side);
        if crop == 0 || shorter_side < crop {
            let (key, expected) = ("size", format!("at least crop_size, {crop}, and above 0"));
            let key = key.to_owned();
            return Err(ClipError::Config { file, key, value: shorter_side.to_string(), expected });
        }
        let mean = read.image_mean.unwrap_or(clip.mean);
        let deviation = read.image_std.unwrap_or(clip.deviation);
        Ok(Self { shorter_side, crop, mean, deviation })
    }

    /// The text of a `preprocessor_config.json` that says the same.
    pub fn to_json(&self) -> String {
        let config = serde_json::json!({
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": true, "do_resize": true, "do_center_crop": true, "do_rescale": true, "do_normalize": true,
            "resample": 3, "rescale_factor": 1.0 / 255.0,
            "size": {"shortest_edge": self.shorter_side},
            "crop_size": {"height": self.crop, "width": self.crop},
            "image_mean": self.mean.map(f64::from), "image_std": self.deviation.map(f64::from),
        });
        format!("{config:#}\n")
    }

    /// The normalised pixels of an image: `[3, crop, crop]`, row-major.
    ///
    /// # Errors
    /// [`ClipError::Image`] for an image without pixels.
    pub fn pixels(&self, image: &RgbImage) -> Result<Vec<f32>, ClipError> {
        let resized;
        let image = if image.width().min(image.height()) == self.shorter_side {
            image
        } else {
            resized = self.resize(image)?;
            &resized
        };
        let (left, top) = ((image.width() - self.crop) / 2, (image.height() - self.crop) / 2);
        let mut pixels = Vec::with_capacity(3 * (self.crop * self.crop) as usize);
        for channel in 0..3 {
            let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
            for y in 0..self.crop {
                pixels.extend((0..self.crop).map(|x| {
                    let value = f32::from(image.get_pixel(left + x, top + y).0[channel]) / 255.0;
                    (value - mean) / deviation
                }));
            }
        }
        Ok(pixels)
    }

    /// Brings the shorter side to length, the longer in proportion (rounded down, as transformers does).
    fn resize(&self, image: &RgbImage) -> Result<RgbImage, ClipError> {
        let (width, height) = image.dimensions();
        let failed = |problem: String| ClipError::Image { width, height, problem };
        let longer = |long: u32, short: u32| {
            (u64::from(self.shorter_side) * u64::from(long) / u64::from(short)) as u32
        };
        let (new_width, new_height) = match (width, height) {
            (0, _) | (_, 0) => return Err(failed("it has no pixels".into())),
            _ if width <= height => (self.shorter_side, longer(height, width)),
            _ => (longer(width, height), self.shorter_side),
        };
        let whole = Image::from_vec_u8(width, height, image.as_raw().clone(), PixelType::U8x3)
            .map_err(|error| failed(error.to_string()))?;
        // The library would take columns first; between the passes values are rounded and cut off, so order matters.
        let rows = scale(&whole, new_width, height).map_err(|error| failed(error.to_string()))?;
        let both = scale(&rows, new_width, new_height).map_err(|error| failed(error.to_string()))?;
        RgbImage::from_raw(new_width, new_height, both.into_vec())
            .ok_or_else(|| failed("it cannot be resized".into()))
    }
}

/// `image` at another size.
fn scale(image: &Image, width: u32, height: u32) -> Result<Image<'static>, ResizeError> {
    let mut scaled = Image::new(width, height, PixelType::U8x3);
    let bicubic = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize(image, &mut scaled, &bicubic)?;
    Ok(scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ages_of_the_file_are_read() {
        let old = Preprocess::parse(r#"{"size": 224, "crop_size": 224}"#).unwrap();
        let new = Preprocess::parse(
            r#"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}"#,
        );
        assert_eq!(old, new.unwrap());
        assert_eq!(Preprocess::parse(&old.to_json()).unwrap(), old);
    }

    #[test]
    fn a_crop_larger_than_the_image_is_refused() {
        let error = Preprocess::parse(r#"{"size": 200, "crop_size": 224}"#).unwrap_err();
        assert!(error.to_string().starts_with("preprocessor_config.json: size = 200: must be at least"));
    }

    #[test]
    fn an_image_of_the_right_size_is_only_normalised() {
        let preprocess = Preprocess { mean: [0.0; 3], deviation: [1.0; 3], ..Preprocess::clip(2) };
        let image = RgbImage::from_fn(2, 2, |x, y| image::Rgb([255 * x as u8, 255 * y as u8, 51]));
        let pixels = preprocess.pixels(&image).unwrap();
        assert_eq!(pixels, [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.2, 0.2, 0.2, 0.2]);
    }
}
