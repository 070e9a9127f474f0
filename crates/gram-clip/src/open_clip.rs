//! `open_clip_config.json`: how open_clip describes its models, and how it prepares their images.
//!
//! Defaults are those of open_clip's `CLIPTextCfg` and `CLIPVisionCfg`. GELU is its rule; only models that
//! were trained with quick-GELU, OpenAI's above all, say `quick_gelu`.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{ClipConfig, TextConfig, VisionConfig};
use crate::error::ClipError;
use crate::preprocess::{Preprocess, of_open_clip};
use crate::signal::Activation;

/// The file's name.
pub const FILE: &str = "open_clip_config.json";

/// Keys that change what a tower computes in ways that gram does not follow, with the only value that it
/// does.
const UNUSUAL: [(&str, &[&str]); 35] = [
    ("vision_cfg.timm_model_name", &["null", "\"\""]),
    ("vision_cfg.attentional_pool", &["false", "null"]),
    ("vision_cfg.global_average_pool", &["false", "null"]),
    ("vision_cfg.pool_type", &["\"tok\"", "null"]),
    ("vision_cfg.no_ln_pre", &["false", "null"]),
    ("vision_cfg.final_ln_after_pool", &["false", "null"]),
    ("vision_cfg.pos_embed_type", &["\"learnable\"", "null"]),
    ("vision_cfg.ls_init_value", &["null"]),
    ("vision_cfg.act_kwargs", &["null", "{}"]),
    ("vision_cfg.norm_kwargs", &["null", "{}"]),
    ("vision_cfg.block_type", &["null", "\"default\""]),
    ("vision_cfg.qk_norm", &["false", "null"]),
    ("vision_cfg.scaled_cosine_attn", &["false", "null"]),
    ("vision_cfg.scale_heads", &["false", "null"]),
    ("vision_cfg.scale_attn_inner", &["false", "null"]),
    ("vision_cfg.scale_attn", &["false", "null"]),
    ("vision_cfg.scale_fc", &["false", "null"]),
    ("text_cfg.hf_model_name", &["null", "\"\""]),
    ("text_cfg.pool_type", &["\"argmax\"", "null"]),
    ("text_cfg.no_causal_mask", &["false", "null"]),
    ("text_cfg.embed_cls", &["false", "null"]),
    ("text_cfg.proj_bias", &["false", "null"]),
    ("text_cfg.proj_type", &["\"linear\"", "null"]),
    ("text_cfg.ls_init_value", &["null"]),
    ("text_cfg.act_kwargs", &["null", "{}"]),
    ("text_cfg.norm_kwargs", &["null", "{}"]),
    ("text_cfg.block_type", &["null", "\"default\""]),
    ("text_cfg.qk_norm", &["false", "null"]),
    ("text_cfg.scaled_cosine_attn", &["false", "null"]),
    ("text_cfg.scale_heads", &["false", "null"]),
    ("text_cfg.scale_attn_inner", &["false", "null"]),
    ("text_cfg.scale_attn", &["false", "null"]),
    ("text_cfg.scale_fc", &["false", "null"]),
    ("multimodal_cfg", &["null"]),
    ("init_logit_bias", &["null"]),
];

/// What the file says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenClipConfig {
    /// The sizes.
    pub model: ClipConfig,
    /// How images are prepared.
    pub preprocess: Preprocess,
}

#[derive(Deserialize)]
struct ModelConfig {
    embed_dim: usize,
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: VisionPart,
    text_cfg: TextPart,
}

#[derive(Deserialize)]
#[serde(default)]
struct VisionPart {
    layers: Value,
    width: usize,
    head_width: usize,
    mlp_ratio: f64,
    patch_size: usize,
    image_size: usize,
}

#[derive(Deserialize)]
#[serde(default)]
struct TextPart {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: f64,
}

impl Default for VisionPart {
    fn default() -> Self {
        Self {
            layers: 12.into(),
            width: 768,
            head_width: 64,
            mlp_ratio: 4.0,
            patch_size: 16,
            image_size: 224,
        }
    }
}

impl Default for TextPart {
    fn default() -> Self {
        Self { context_length: 77, vocab_size: 49_408, width: 512, heads: 8, layers: 12, mlp_ratio: 4.0 }
    }
}

/// Reads the text of an `open_clip_config.json`, or of one of open_clip's model configurations.
///
/// # Errors
/// [`ClipError`] names the key that is missing, or that asks for what gram does not compute.
pub fn parse(text: &str) -> Result<OpenClipConfig, ClipError> {
    let json = |source| ClipError::Json { file: FILE.into(), source };
    let mut file: Map<String, Value> = serde_json::from_str(text).map_err(json)?;
    let preprocess = file.remove("preprocess_cfg").unwrap_or(Value::Object(Map::new()));
    let model = file.remove("model_cfg").unwrap_or(Value::Object(file));
    for (key, usual) in UNUSUAL {
        let path = format!("/{}", key.replace('.', "/"));
        if let Some(value) = model.pointer(&path).map(Value::to_string)
            && !usual.contains(&value.as_str())
        {
            return Err(wrong(
                format!("model_cfg.{key}"),
                value,
                format!("{}: gram computes no other tower", usual[0]),
            ));
        }
    }
    let model: ModelConfig = serde_json::from_value(model).map_err(json)?;
    let model = model.config()?;
    let preprocess = of_open_clip(FILE, &preprocess, model.vision_config.image_size as u32)?;
    Ok(OpenClipConfig { model, preprocess })
}

fn wrong(key: String, value: impl ToString, expected: impl Into<String>) -> ClipError {
    ClipError::Config { file: FILE, key, value: value.to_string(), expected: expected.into() }
}

impl ModelConfig {
    fn config(self) -> Result<ClipConfig, ClipError> {
        let (text, vision) = (self.text_cfg, self.vision_cfg);
        let layers = vision.layers.as_u64().ok_or_else(|| {
            let expected = "a number of layers: a list is a ResNet, which gram does not compute";
            wrong("model_cfg.vision_cfg.layers".into(), &vision.layers, expected)
        })?;
        let hidden_act = if self.quick_gelu { Activation::QuickGelu } else { Activation::Gelu };
        let inner = |width: usize, ratio: f64| (width as f64 * ratio) as usize;
        let config = ClipConfig {
            text_config: TextConfig {
                vocab_size: text.vocab_size,
                hidden_size: text.width,
                intermediate_size: inner(text.width, text.mlp_ratio),
                num_hidden_layers: text.layers,
                num_attention_heads: text.heads,
                max_position_embeddings: text.context_length,
                hidden_act,
                // open_clip reads the feature of a text at its highest token id.
                eos_token_id: 2,
                ..TextConfig::default()
            },
            vision_config: VisionConfig {
                hidden_size: vision.width,
                intermediate_size: inner(vision.width, vision.mlp_ratio),
                num_hidden_layers: usize::try_from(layers).unwrap_or(usize::MAX),
                num_attention_heads: vision.width.checked_div(vision.head_width).unwrap_or(0),
                image_size: vision.image_size,
                patch_size: vision.patch_size,
                hidden_act,
                ..VisionConfig::default()
            },
            projection_dim: self.embed_dim,
            ..ClipConfig::parse("{}")?
        };
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"{"model_cfg": {"embed_dim": 1024, "vision_cfg": {"image_size": 224, "layers": 32,
        "width": 1280, "head_width": 80, "patch_size": 14}, "text_cfg": {"context_length": 77, "vocab_size": 49408,
        "width": 1024, "heads": 16, "layers": 24}}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}"#;

    #[test]
    fn vit_h_14_has_its_wide_heads_and_gelu() {
        let read = parse(MODEL).unwrap();
        let vision = &read.model.vision_config;
        assert_eq!((vision.num_attention_heads, vision.intermediate_size, vision.patches()), (16, 5120, 256));
        assert_eq!((vision.hidden_act, read.preprocess.mean), (Activation::Gelu, [0.5; 3]));
    }

    #[test]
    fn towers_that_are_not_clip_s_are_refused_by_key() {
        for (from, to, key) in [
            ("\"layers\": 32", "\"layers\": [3, 4, 6, 3]", "model_cfg.vision_cfg.layers"),
            (
                "\"layers\": 24",
                "\"layers\": 24, \"hf_model_name\": \"roberta\"",
                "model_cfg.text_cfg.hf_model_name",
            ),
            (
                "\"patch_size\": 14",
                "\"patch_size\": 14, \"pool_type\": \"avg\"",
                "model_cfg.vision_cfg.pool_type",
            ),
            ("\"mean\"", "\"resize_mode\": \"crop\", \"mean\"", "preprocess_cfg.resize_mode"),
        ] {
            let error = parse(&MODEL.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("open_clip_config.json: {key} = ")), "{error}");
        }
    }
}
