//! The settings of transformers' `CLIPImageProcessor`: `preprocessor_config.json`, and what version 5 nests
//! in `processor_config.json`.
//!
//! Every key that changes pixels is followed, or refused; keys that change none (`data_format`,
//! `return_tensors`) are passed over, as transformers passes over those that it does not know.

use gram_resample::Filter;
use serde_json::{Map, Value};

use super::{Preprocess, Resize};
use crate::error::ClipError;

/// The processors that do what is done here.
const TYPES: [&str; 4] =
    ["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"];

/// Reads a file's text.
pub(super) fn parse(file: &'static str, text: &str) -> Result<Preprocess, ClipError> {
    let keys = serde_json::from_str(text).map_err(|source| ClipError::Json { file: file.into(), source })?;
    Settings { file, prefix: "", keys: &keys }.preprocess()
}

/// Reads what a file's text says of images under `image_processor`, if it does.
pub(super) fn parse_nested(file: &'static str, text: &str) -> Result<Option<Preprocess>, ClipError> {
    let keys: Map<String, Value> =
        serde_json::from_str(text).map_err(|source| ClipError::Json { file: file.into(), source })?;
    let outer = Settings { file, prefix: "", keys: &keys };
    match keys.get("image_processor") {
        None => Ok(None),
        Some(Value::Object(keys)) => {
            Settings { file, prefix: "image_processor.", keys }.preprocess().map(Some)
        }
        Some(_) => Err(outer.wrong("image_processor", "an object with the settings of the images")),
    }
}

/// The keys of an object, by which values are refused.
pub(super) struct Settings<'a> {
    pub(super) file: &'static str,
    pub(super) prefix: &'static str,
    pub(super) keys: &'a Map<String, Value>,
}

impl Settings<'_> {
    /// A value that must be another.
    pub(super) fn wrong(&self, key: &str, expected: impl Into<String>) -> ClipError {
        let value = self.keys.get(key).map_or_else(|| "null".to_owned(), Value::to_string);
        let key = format!("{}{key}", self.prefix);
        ClipError::Config { file: self.file, key, value, expected: expected.into() }
    }

    /// A number, or one for each channel.
    pub(super) fn channels(&self, key: &str, absent: [f32; 3]) -> Result<[f32; 3], ClipError> {
        let Some(value) = self.keys.get(key) else { return Ok(absent) };
        let number =
            |value: &Value| value.as_f64().map(|value| value as f32).filter(|value| value.is_finite());
        let channels = match value {
            Value::Array(values) => values.iter().map(number).collect(),
            value => number(value).map(|value| vec![value; 3]),
        };
        let channels = channels.and_then(|channels: Vec<f32>| <[f32; 3]>::try_from(channels).ok());
        channels.ok_or_else(|| self.wrong(key, "a number, or three: red, green, blue"))
    }

    /// As [`Settings::channels`], of what is divided by.
    pub(super) fn deviation(&self, key: &str, absent: [f32; 3]) -> Result<[f32; 3], ClipError> {
        let deviation = self.channels(key, absent)?;
        match deviation.iter().all(|value| *value > 0.0) {
            true => Ok(deviation),
            false => Err(self.wrong(key, "above 0 for every channel")),
        }
    }

    fn preprocess(&self) -> Result<Preprocess, ClipError> {
        self.check_processor()?;
        let clip = Preprocess::clip(224);
        let (resize, crop) = self.sizes()?;
        let scale = match (self.flag("do_rescale", true)?, self.keys.get("rescale_factor")) {
            (false, _) => 1.0,
            (true, None) => clip.scale,
            (true, Some(factor)) => factor
                .as_f64()
                .filter(|factor| factor.is_finite())
                .ok_or_else(|| self.wrong("rescale_factor", "a number, 0.00392156862745098 in CLIP"))?,
        };
        let (mean, deviation) = match self.flag("do_normalize", true)? {
            true => (self.channels("image_mean", clip.mean)?, self.deviation("image_std", clip.deviation)?),
            false => ([0.0; 3], [1.0; 3]),
        };
        Ok(Preprocess { resize, filter: self.filter()?, crop, scale, mean, deviation, ..clip })
    }

    /// Refuses what no CLIP's processor does.
    fn check_processor(&self) -> Result<(), ClipError> {
        for key in ["image_processor_type", "feature_extractor_type"] {
            let kind = self.keys.get(key).filter(|kind| !kind.is_null());
            if kind.is_some_and(|kind| !kind.as_str().is_some_and(|kind| TYPES.contains(&kind))) {
                let expected = "CLIPImageProcessor: others have other defaults; if all its keys are there, name that one";
                return Err(self.wrong(key, expected));
            }
        }
        if self.flag("use_square_size", false)? {
            return Err(self.wrong("use_square_size", "false: give size its height and width"));
        }
        if self.flag("do_pad", false)? && self.keys.get("pad_size").is_some_and(|size| !size.is_null()) {
            return Err(self.wrong("pad_size", "absent: images have the model's side without it"));
        }
        // Without it transformers refuses images of other than three channels, and does the same to those of
        // three.
        self.flag("do_convert_rgb", true).map(|_| ())
    }

    /// The size before the crop, and the crop's.
    fn sizes(&self) -> Result<(Resize, u32), ClipError> {
        let resize = match self.flag("do_resize", true)? {
            true => self.size()?,
            false => Resize::Keep,
        };
        if self.flag("do_center_crop", true)? {
            return Ok((resize, self.crop_size()?));
        }
        match resize {
            Resize::Exact { width, height } if width == height => Ok((resize, width)),
            Resize::Exact { .. } => Err(self.wrong("size", "a square, or do_center_crop true")),
            _ => Err(self.wrong(
                "do_center_crop",
                "true where size is not {\"height\", \"width\"} and resized to: images would be of many sizes",
            )),
        }
    }

    fn size(&self) -> Result<Resize, ClipError> {
        let expected = "a number of pixels, {\"shortest_edge\"} or {\"height\", \"width\"}";
        let Some(size) = self.keys.get("size") else { return Ok(Resize::Shorter(224)) };
        let shortest = match size {
            Value::Object(edges) if edges.len() == 1 => edges.get("shortest_edge").and_then(pixels),
            Value::Number(_) if !self.flag("default_to_square", false)? => pixels(size),
            _ => None,
        };
        let exact = || both_sides(size).map(|(height, width)| Resize::Exact { width, height });
        shortest.map(Resize::Shorter).or_else(exact).ok_or_else(|| self.wrong("size", expected))
    }

    fn crop_size(&self) -> Result<u32, ClipError> {
        let Some(size) = self.keys.get("crop_size") else { return Ok(224) };
        match both_sides(size) {
            Some((height, width)) if height == width => Ok(height),
            _ => Err(self.wrong("crop_size", "a number of pixels, or {\"height\", \"width\"} of a square")),
        }
    }

    /// What a switch says; `null` is off, as in Python.
    fn flag(&self, key: &str, absent: bool) -> Result<bool, ClipError> {
        match self.keys.get(key) {
            None => Ok(absent),
            Some(Value::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    fn filter(&self) -> Result<Filter, ClipError> {
        match self.keys.get("resample") {
            Some(value) if self.flag("do_resize", true)? => {
                value.as_u64().and_then(Filter::of_number).ok_or_else(|| {
                    self.wrong("resample", "a number of Pillow's filters, 0 to 5: bicubic, CLIP's, is 3")
                })
            }
            _ => Ok(Filter::Bicubic),
        }
    }
}

/// A length in pixels.
fn pixels(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

/// Height and width: a number for both, a list, or an object.
fn both_sides(size: &Value) -> Option<(u32, u32)> {
    match size {
        Value::Number(_) => pixels(size).map(|side| (side, side)),
        Value::Array(sides) if sides.len() == 2 => Some((pixels(&sides[0])?, pixels(&sides[1])?)),
        Value::Object(sides) if sides.len() == 2 => {
            Some((pixels(sides.get("height")?)?, pixels(sides.get("width")?)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_refused_by_key_and_value() {
        for (text, told) in [
            (r#"{"size": {"longest_edge": 224}}"#, r#"size = {"longest_edge":224}: must be a number"#),
            (r#"{"size": {"shortest_edge": 9, "longest_edge": 20}}"#, "size = {"),
            (r#"{"size": 0}"#, "size = 0: must be"),
            (r#"{"size": null}"#, "size = null: must be"),
            (r#"{"crop_size": {"height": 224, "width": 200}}"#, "crop_size = {"),
            (r#"{"do_center_crop": false}"#, "do_center_crop = false: must be true"),
            (r#"{"do_resize": false, "do_center_crop": false}"#, "do_center_crop = false: must be true"),
            (r#"{"do_center_crop": false, "size": {"height": 4, "width": 5}}"#, "size = {"),
            (r#"{"resample": null}"#, "resample = null: must be a number of Pillow's"),
            (r#"{"resample": 6}"#, "resample = 6: must be a number of Pillow's"),
            (r#"{"do_rescale": "yes"}"#, "do_rescale = \"yes\": must be true or false"),
            (r#"{"rescale_factor": null}"#, "rescale_factor = null: must be a number"),
            (r#"{"image_mean": [0.5, 0.5]}"#, "image_mean = [0.5,0.5]: must be a number, or three"),
            (r#"{"image_mean": null}"#, "image_mean = null: must be a number, or three"),
            (r#"{"image_std": [0.5, 0, 0.5]}"#, "image_std = [0.5,0,0.5]: must be above 0"),
            (r#"{"use_square_size": true}"#, "use_square_size = true: must be false"),
            (r#"{"do_pad": true, "pad_size": {"height": 300, "width": 300}}"#, "pad_size = {"),
            (
                r#"{"image_processor_type": "ViTImageProcessor"}"#,
                "image_processor_type = \"ViTImageProcessor\"",
            ),
        ] {
            let error = Preprocess::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("preprocessor_config.json: {told}")), "{error}");
        }
    }

    #[test]
    fn a_nested_key_is_named_with_its_place() {
        let error = Preprocess::parse_processor(r#"{"image_processor": {"resample": 9}}"#).unwrap_err();
        let told = "processor_config.json: image_processor.resample = 9: must be";
        assert!(error.to_string().starts_with(told), "{error}");
        assert_eq!(Preprocess::parse_processor(r#"{"processor_class": "CLIPProcessor"}"#).unwrap(), None);
    }
}
