//! `config.json` of a CLIP model, in Hugging Face's layout and with its names.
//!
//! Keys that are absent have the defaults of `transformers.CLIPConfig`, those of ViT-B/32; keys that say
//! nothing about the towers are ignored. Before 2023 transformers wrote `text_config_dict` and
//! `vision_config_dict` too. As there, what they say counts in the place of all of `text_config` and
//! `vision_config`, defaults of absent keys included.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::compute::BytesOfImage;
use crate::error::ClipError;
use crate::signal::Activation;

/// The sizes of a CLIP model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipConfig {
    /// The text tower.
    #[serde(default)]
    pub text_config: TextConfig,
    /// The vision tower.
    #[serde(default)]
    pub vision_config: VisionConfig,
    /// Width of the joint space of images and texts.
    #[serde(default = "ClipConfig::default_projection")]
    pub projection_dim: usize,
    /// Logarithm of the logit scale before training.
    #[serde(default = "ClipConfig::default_logit_scale")]
    pub logit_scale_init_value: f32,
}

/// The sizes of the causal text tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Activation of the perceptrons.
    pub hidden_act: Activation,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
    /// Id of the token that starts a text.
    pub bos_token_id: u32,
    /// Id of the token that ends a text and carries its feature; 2 means "the highest id of the text", see
    /// [`TextConfig::pooled_position`].
    pub eos_token_id: u32,
}

/// The sizes of the vision transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// Side of the image in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Activation of the perceptrons.
    pub hidden_act: Activation,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            bos_token_id: 49406,
            eos_token_id: 49407,
        }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipConfig {
    fn default_projection() -> usize {
        512
    }

    fn default_logit_scale() -> f32 {
        2.6592
    }

    /// Reads and checks the text of `config.json`.
    ///
    /// # Errors
    /// [`ClipError::Json`] where the text is no configuration, [`ClipError::Config`] where a size makes no
    /// sense.
    pub fn parse(text: &str) -> Result<Self, ClipError> {
        let wrong = |source| ClipError::Json { file: "config.json".into(), source };
        let mut file: Map<String, Value> = serde_json::from_str(text).map_err(wrong)?;
        if let Some(value) = file.get("model_type").and_then(Value::as_str).filter(|model| *model != "clip") {
            let (key, value, expected) = ("model_type".to_owned(), value.to_owned(), "clip".to_owned());
            return Err(ClipError::Config { file: "config.json", key, value, expected });
        }
        for tower in ["text_config", "vision_config"] {
            if let Some(older) = file.remove(&format!("{tower}_dict")).filter(|older| !older.is_null()) {
                file.insert(tower.to_owned(), older);
            }
        }
        // transformers writes what is not set as null.
        file.retain(|_, value| !value.is_null());
        let config: Self = serde_json::from_value(Value::Object(file)).map_err(wrong)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that the towers can be built.
    ///
    /// # Errors
    /// [`ClipError::Config`] names the first key that makes no sense.
    pub fn validate(&self) -> Result<(), ClipError> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        check_heads("text_config.num_attention_heads", text.num_attention_heads, text.hidden_size)?;
        check_heads("vision_config.num_attention_heads", vision.num_attention_heads, vision.hidden_size)?;
        for (key, value) in [
            ("projection_dim", self.projection_dim),
            ("text_config.num_hidden_layers", text.num_hidden_layers),
            ("text_config.vocab_size", text.vocab_size),
            ("text_config.max_position_embeddings", text.max_position_embeddings),
            ("vision_config.num_hidden_layers", vision.num_hidden_layers),
        ] {
            check(value > 0, key, value, "1 or more")?;
        }
        let divides = vision.patch_size > 0 && vision.image_size.is_multiple_of(vision.patch_size);
        let expected = format!("a divisor of image_size, {}", vision.image_size);
        check(divides && vision.image_size > 0, "vision_config.patch_size", vision.patch_size, expected)
    }
}

fn check_heads(key: &'static str, heads: usize, width: usize) -> Result<(), ClipError> {
    let divides = heads > 0 && width > 0 && width.is_multiple_of(heads);
    check(divides, key, heads, format!("a divisor of hidden_size, {width}"))
}

fn check(valid: bool, key: &'static str, value: usize, expected: impl Into<String>) -> Result<(), ClipError> {
    if valid {
        return Ok(());
    }
    Err(ClipError::Config {
        file: "config.json",
        key: key.to_owned(),
        value: value.to_string(),
        expected: expected.into(),
    })
}

impl TextConfig {
    /// Where the feature of a text is read: at its first EOS, or, in configurations older than the correction
    /// of `eos_token_id` (they say 2), at its highest token id. The last position if there is no EOS.
    pub fn pooled_position(&self, ids: &[u32]) -> usize {
        let last = ids.len().saturating_sub(1);
        if self.eos_token_id == 2 {
            return (0..ids.len()).rev().max_by_key(|position| ids[*position]).unwrap_or(last);
        }
        ids.iter().position(|id| *id == self.eos_token_id).unwrap_or(last)
    }
}

impl VisionConfig {
    /// Patches of an image.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Bytes, about, that an image takes on its way through a layer of the frozen tower: the states beside
    /// each other there, and the scores of its attention.
    pub(crate) fn bytes_of_image(&self) -> BytesOfImage {
        /// States of the tower's width, and of the perceptrons', that are there at once.
        const STATES: usize = 12;
        const HIDDEN: usize = 2;
        let tokens = 1 + self.patches();
        let states = tokens * (STATES * self.hidden_size + HIDDEN * self.intermediate_size);
        let scores = self.num_attention_heads * tokens * tokens;
        let pixels = 3 * self.image_size * self.image_size;
        let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
        BytesOfImage {
            all: bytes(states + 2 * scores),
            largest_tensor: bytes(scores.max(tokens * self.intermediate_size).max(pixels)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_configuration_is_vit_b_32() {
        let config = ClipConfig::parse("{}").unwrap();
        assert_eq!((config.vision_config.patches(), config.text_config.hidden_size), (49, 512));
    }

    #[test]
    fn an_older_description_of_a_tower_counts_in_the_place_of_the_other_unless_it_is_null() {
        let config = ClipConfig::parse(
            r#"{"text_config": {"hidden_size": 64, "num_hidden_layers": 3}, "text_config_dict": {"hidden_size": 128},
                "vision_config": {"patch_size": 16}, "vision_config_dict": null, "projection_dim": null}"#,
        )
        .unwrap();
        assert_eq!((config.text_config.hidden_size, config.text_config.num_hidden_layers), (128, 12));
        assert_eq!((config.vision_config.patch_size, config.projection_dim), (16, 512));
    }

    #[test]
    fn the_feature_is_read_at_the_first_end_or_at_the_highest_id() {
        let config = |eos_token_id| TextConfig { eos_token_id, ..TextConfig::default() };
        assert_eq!(config(7).pooled_position(&[1, 9, 7, 0, 7]), 2);
        assert_eq!(config(2).pooled_position(&[1, 9, 7, 9, 0]), 1);
        assert_eq!(config(5).pooled_position(&[1, 9, 7]), 2);
    }

    #[test]
    fn an_impossible_size_is_named() {
        let error = ClipConfig::parse(r#"{"vision_config": {"patch_size": 15}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.json: vision_config.patch_size = 15: must be a divisor of image_size, 224"
        );
    }
}
