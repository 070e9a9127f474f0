//! The symmetric contrastive loss (InfoNCE) of CLIP, where pairs with equal captions are not each other's
//! negatives.
//!
//! With logits `s_ij = exp(scale) image_i . text_j` and targets `t_ij = [caption_i = caption_j]`, rows
//! normalised to one, the loss is the mean of the cross-entropies of rows and columns.

use std::collections::HashMap;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// The loss `[1]` of `logits` `[images, texts]`, both in one order, with `targets` from [`targets`].
pub fn contrastive_loss(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let over = |dimension| (log_softmax(logits.clone(), dimension) * targets.clone()).sum();
    // Targets are symmetric: an image's row and its text's column ask for the same.
    let pairs = logits.dims()[0] as f32;
    (over(0) + over(1)) / (-2.0 * pairs)
}

/// The targets `[captions, captions]`: rows of one over the number of equal captions.
pub fn targets(captions: &[&str], device: &Device) -> Tensor<2> {
    let mut counts = HashMap::<&str, usize>::new();
    captions.iter().for_each(|caption| *counts.entry(caption).or_default() += 1);
    let count = captions.len();
    let share = |row: &str, column: &str| if row == column { 1.0 / counts[row] as f32 } else { 0.0 };
    let values: Vec<f32> = captions
        .iter()
        .flat_map(|row| captions.iter().map(move |column| (row, column)))
        .map(|(r, c)| share(r, c))
        .collect();
    Tensor::from_data(TensorData::new(values, [count, count]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(logits: [[f32; 3]; 3], captions: &[&str]) -> f32 {
        let device = Device::flex();
        contrastive_loss(Tensor::from_data(logits, &device), targets(captions, &device)).into_scalar::<f32>()
    }

    #[test]
    fn without_knowledge_the_loss_is_the_logarithm_of_the_batch() {
        assert!((loss([[0.0; 3]; 3], &["a", "b", "c"]) - 3.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn equal_captions_are_no_negatives() {
        let alike = [[20.0, 20.0, 0.0], [20.0, 20.0, 0.0], [0.0, 0.0, 20.0]];
        let expected = 2.0 / 3.0 * 2.0_f32.ln();
        assert!((loss(alike, &["a", "a", "b"]) - expected).abs() < 1e-5);
    }
}
