//! The `preprocess_cfg` of open_clip: how it prepares the images of a model.

use gram_resample::Filter;
use serde_json::{Map, Value};

use super::processor_config::Settings;
use super::{Centre, Preprocess, Resize};
use crate::error::ClipError;

/// What a `preprocess_cfg` in `file` says for a model that reads images of `side` pixels; keys that are
/// absent or `null` have open_clip's default. Its own `size` is not read, as open_clip sets it to the
/// model's.
///
/// # Errors
/// [`ClipError::Config`] with the key that asks for what gram does not do.
pub fn of_open_clip(file: &'static str, preprocess_cfg: &Value, side: u32) -> Result<Preprocess, ClipError> {
    let keys: Map<String, Value> = match preprocess_cfg {
        Value::Object(keys) => keys.clone().into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    };
    let settings = Settings { file, prefix: "preprocess_cfg.", keys: &keys };
    let word = |key: &str, absent: &'static str| match keys.get(key) {
        None => Ok(absent.to_owned()),
        Some(Value::String(word)) => Ok(word.clone()),
        Some(_) => Err(settings.wrong(key, format!("a word, \"{absent}\" if it is absent"))),
    };
    if word("mode", "RGB")? != "RGB" {
        return Err(settings.wrong("mode", "\"RGB\": gram reads images of three colours"));
    }
    let filter = match word("interpolation", "bicubic")?.as_str() {
        // What open_clip draws by chance in training is bicubic afterwards.
        "bicubic" | "random" => Filter::Bicubic,
        "bilinear" => Filter::Bilinear,
        _ => return Err(settings.wrong("interpolation", "\"bicubic\", \"bilinear\" or \"random\"")),
    };
    let resize = match word("resize_mode", "shortest")?.as_str() {
        "shortest" => Resize::Shorter(side),
        "longest" => Resize::Longer(side),
        "squash" => Resize::Exact { width: side, height: side },
        _ => return Err(settings.wrong("resize_mode", "\"shortest\", \"longest\" or \"squash\"")),
    };
    let clip = Preprocess::clip(side);
    Ok(Preprocess {
        resize,
        filter,
        centre: Centre::Even,
        fill: fill(&settings)?,
        mean: settings.channels("mean", clip.mean)?,
        deviation: settings.deviation("std", clip.deviation)?,
        ..clip
    })
}

/// The colour beside an image whose shorter side does not fill the crop.
fn fill(settings: &Settings) -> Result<[u8; 3], ClipError> {
    let level = |value: &Value| value.as_u64().and_then(|value| u8::try_from(value).ok());
    let levels = match settings.keys.get("fill_color") {
        None => Some(vec![0; 3]),
        Some(Value::Array(levels)) => levels.iter().map(level).collect(),
        Some(value) => level(value).map(|level| vec![level; 3]),
    };
    let levels = levels.and_then(|levels| <[u8; 3]>::try_from(levels).ok());
    levels.ok_or_else(|| settings.wrong("fill_color", "a level of 0 to 255, or three: red, green, blue"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_done_is_refused_by_key_and_value() {
        for (settings, told) in [
            (json!({"interpolation": "nearest"}), "interpolation = \"nearest\": must be \"bicubic\""),
            (json!({"resize_mode": "crop"}), "resize_mode = \"crop\": must be \"shortest\""),
            (json!({"resize_mode": 3}), "resize_mode = 3: must be a word"),
            (json!({"mode": "L"}), "mode = \"L\": must be \"RGB\""),
            (json!({"fill_color": 256}), "fill_color = 256: must be a level"),
            (json!({"std": 0}), "std = 0: must be above 0"),
        ] {
            let error = of_open_clip("open_clip_config.json", &settings, 224).unwrap_err().to_string();
            assert!(error.starts_with(&format!("open_clip_config.json: preprocess_cfg.{told}")), "{error}");
        }
    }
}
