//! The sizes of a model, read off the shapes of its tensors: for checkpoints that come without a
//! configuration.

use crate::checkpoint::{Layout, Weights};
use crate::config::{ClipConfig, TextConfig, VisionConfig};
use crate::error::ClipError;
use crate::signal::Activation;

/// Width of a head in OpenAI's models, and in nearly all of open_clip's.
const HEAD: usize = 64;
/// Towers with wider heads: ViT-H/14, ViT-g/14 and ViT-bigG/14 by their widths (open_clip's model
/// configurations). Most of them were trained with GELU.
const WIDE_HEADS: [(usize, usize); 3] = [(1280, 80), (1408, 88), (1664, 104)];

/// The configuration that the tensors show, and a line on what was assumed. What they do not show is as in
/// OpenAI's models: heads of 64 values, quick-GELU unless the file names its activation, and the feature of a
/// text at its highest token id; but open_clip's three largest towers are known by their widths.
///
/// # Errors
/// [`ClipError`] names a tensor that is missing, or has no shape that it could have.
pub fn config_of(weights: &Weights) -> Result<(ClipConfig, Option<String>), ClipError> {
    let shape = |name: &str, rank: usize| {
        let file = weights.file().to_owned();
        let found = weights.shape(name).ok_or_else(|| weights.missing(name))?;
        match found.len() == rank {
            true => Ok(found),
            false => Err(ClipError::Shape { file, name: name.to_owned(), found, expected: vec![0; rank] }),
        }
    };
    let layers = |tower: &str| {
        let first = |layer: usize| format!("{tower}.encoder.layers.{layer}.layer_norm1.weight");
        let count = (0..).take_while(|layer| weights.shape(&first(*layer)).is_some()).count();
        // A layer inside an object would be left out without a word.
        match weights.unread_around(&first(count)) {
            Some(_) => Err(weights.missing(&first(count))),
            None => Ok(count),
        }
    };
    let tokens = shape("text_model.embeddings.token_embedding.weight", 2)?;
    let text_positions = shape("text_model.embeddings.position_embedding.weight", 2)?;
    let text_hidden = shape("text_model.encoder.layers.0.mlp.fc1.weight", 2)?;
    let patches = shape("vision_model.embeddings.patch_embedding.weight", 4)?;
    let vision_positions = shape("vision_model.embeddings.position_embedding.weight", 2)?;
    let vision_hidden = shape("vision_model.encoder.layers.0.mlp.fc1.weight", 2)?;
    let projection = shape("visual_projection.weight", 2)?;
    let grid = vision_positions[0].saturating_sub(1).isqrt();
    let wide = WIDE_HEADS.iter().find(|(width, _)| *width == patches[0]);
    let usual = if wide.is_some() { Activation::Gelu } else { Activation::QuickGelu };
    let hidden_act = weights.activation().unwrap_or(usual);
    let text = TextConfig::default();
    let (bos_token_id, eos_token_id) = match weights.layout() {
        Layout::HuggingFace => (text.bos_token_id, text.eos_token_id),
        Layout::OpenAi(_) => (text.bos_token_id, 2),
    };
    let config = ClipConfig {
        text_config: TextConfig {
            vocab_size: tokens[0],
            hidden_size: tokens[1],
            intermediate_size: text_hidden[0],
            num_hidden_layers: layers("text_model")?,
            num_attention_heads: (tokens[1] / HEAD).max(1),
            max_position_embeddings: text_positions[0],
            hidden_act,
            bos_token_id,
            eos_token_id,
            ..text
        },
        vision_config: VisionConfig {
            hidden_size: patches[0],
            intermediate_size: vision_hidden[0],
            num_hidden_layers: layers("vision_model")?,
            num_attention_heads: (patches[0] / wide.map_or(HEAD, |(_, head)| *head)).max(1),
            image_size: grid * patches[2],
            patch_size: patches[2],
            hidden_act,
            ..VisionConfig::default()
        },
        projection_dim: projection[0],
        ..ClipConfig::parse("{}")?
    };
    config.validate()?;
    let assumed = weights.activation().is_none().then(|| assumption(weights, hidden_act));
    Ok((config, assumed))
}

/// What was assumed of weights that do not say it, and how to say another.
fn assumption(weights: &Weights, assumed: Activation) -> String {
    let [assumed, other] = match assumed {
        Activation::QuickGelu => ["quick-GELU, as in OpenAI's models", "GELU, as LAION's"],
        Activation::Gelu => ["GELU, as in most models of this width", "quick-GELU"],
    };
    let (file, name) = match weights.layout() {
        Layout::HuggingFace => ("config.json", "the config.json of its model"),
        Layout::OpenAi(_) => ("open_clip_config.json", "open_clip's configuration of its model"),
    };
    format!(
        "{}: the weights do not say their activation: {assumed}, is assumed; if they were trained with {other}, put \
         {name} beside them as {file}",
        weights.file()
    )
}
