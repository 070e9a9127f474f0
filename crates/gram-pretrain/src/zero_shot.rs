//! Zero-shot accuracy on a labelled dataset whose drawings were never trained on: reported as training goes,
//! and never used to choose anything.

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, ClipTokenizer, Preprocess};
use gram_data::LabelledDataset;

use crate::PretrainError;

/// Images that pass through the tower at once.
const BATCH: usize = 128;

/// Accuracy in percent over all images of `dataset`, and by domain, with the sentences `template` (`{}` is
/// the name).
///
/// # Errors
/// [`PretrainError`] names the image or class that cannot be read.
pub fn zero_shot(
    clip: &Clip,
    tokenizer: &ClipTokenizer,
    preprocess: &Preprocess,
    dataset: &LabelledDataset,
    template: &str,
    device: &Device,
) -> Result<(f64, Vec<(String, f64)>), PretrainError> {
    let positions = clip.config.text_config.max_position_embeddings;
    let sentences = dataset
        .classes
        .iter()
        .map(|class| tokenizer.sentence(&template.replace("{}", class), 1, positions))
        .collect::<Result<Vec<_>, _>>()?;
    let text = clip.text.forward(tokenizer.start(), None, &sentences, Batching::ByLength);
    let mut correct = Vec::with_capacity(dataset.images.len());
    for images in dataset.images.chunks(BATCH) {
        let mut pixels = Vec::new();
        for image in images {
            pixels.extend(preprocess.pixels(&image.image.decode()?)?);
        }
        let side = preprocess.crop as usize;
        let pixels = Tensor::from_data(TensorData::new(pixels, [images.len(), 3, side, side]), device);
        let logits = clip.logits(clip.vision.forward(pixels, None), text.clone()).value;
        let chosen = logits.argmax(1).into_data().convert::<i64>().try_to_vec::<i64>().unwrap_or_default();
        correct.extend(images.iter().zip(chosen).map(|(image, chosen)| image.class as i64 == chosen));
    }
    let accuracy = |domain: Option<usize>| {
        let of = |image: &usize| domain.is_none() || dataset.images[*image].domain == domain;
        let images: Vec<usize> = (0..correct.len()).filter(of).collect();
        100.0 * images.iter().filter(|image| correct[**image]).count() as f64 / images.len().max(1) as f64
    };
    let domains = dataset.domains.iter().enumerate();
    Ok((accuracy(None), domains.map(|(index, name)| (name.clone(), accuracy(Some(index)))).collect()))
}
