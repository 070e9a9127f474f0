//! Texts to features through the text tower.

use burn::tensor::Tensor;
use gram_clip::Model;
use gram_clip::text_tower::Batching;
use ndarray::Array2;

use crate::FeatureError;
use crate::matrix::matrix;

/// Normalised text features, `[texts, joint width]`, and how many texts were cut to the tower's positions.
///
/// # Errors
/// [`FeatureError::Text`] if a text cannot be tokenised.
pub fn text_features(model: &Model, texts: &[impl AsRef<str>]) -> Result<(Array2<f32>, usize), FeatureError> {
    // One position is the start's, one the end's.
    let most = model.clip.config.text_config.max_position_embeddings.saturating_sub(2);
    let (mut parts, mut cut) = (Vec::new(), 0);
    for batch in texts.chunks(model.compute().images_at_once()) {
        let mut sentences = Vec::with_capacity(batch.len());
        for text in batch {
            let mut ids = model.tokenizer.encode(text.as_ref()).map_err(FeatureError::Text)?;
            cut += usize::from(ids.len() > most);
            ids.truncate(most);
            ids.push(model.tokenizer.end());
            sentences.push(ids);
        }
        parts
            .push(model.clip.text.forward(model.tokenizer.start(), None, &sentences, Batching::Padded).value);
    }
    Ok((matrix(Tensor::cat(parts, 0))?, cut))
}
