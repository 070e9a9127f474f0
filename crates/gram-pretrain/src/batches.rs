//! The order of the pairs, and a batch ready for the towers.

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::{ClipError, ClipTokenizer, Preprocess};
use gram_data::Augmentation;
use gram_data::Pair;
use gram_data::random::indexed_stream;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::PretrainError;

/// The pairs, with everything that makes batches of them.
pub struct Batches<'a> {
    /// The pairs.
    pub pairs: &'a [Pair],
    /// The tokenizer.
    pub tokenizer: &'a ClipTokenizer,
    /// The model's preprocessing.
    pub preprocess: &'a Preprocess,
    /// How images are varied.
    pub augmentation: Augmentation,
    /// Longest text, in tokens with start and end.
    pub longest_caption: usize,
    /// Pairs of a batch.
    pub batch_size: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
}

/// A batch.
pub struct Batch<'a> {
    /// `[pairs, 3, side, side]`
    pub pixels: Tensor<4>,
    /// Token ids after SOS, EOS included.
    pub texts: Vec<Vec<u32>>,
    /// The captions.
    pub captions: Vec<&'a str>,
}

impl<'a> Batches<'a> {
    /// Steps of one pass; the rest that fills no batch waits for another order.
    pub fn per_epoch(&self) -> usize {
        self.pairs.len() / self.batch_size
    }

    /// The order of epoch `epoch`.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.pairs.len()).collect();
        order.shuffle(&mut indexed_stream(self.seed, "data order", epoch as u64));
        order
    }

    /// Batch `index` of an epoch in `order`. Any batch can be made without those before it.
    ///
    /// # Errors
    /// [`PretrainError`] names the image that cannot be decoded.
    pub fn batch(
        &self,
        order: &[usize],
        epoch: usize,
        index: usize,
        device: &Device,
    ) -> Result<Batch<'a>, PretrainError> {
        let chosen = &order[index * self.batch_size..][..self.batch_size];
        let pixels = chosen
            .par_iter()
            .map(|pair| self.pixels(*pair, epoch))
            .collect::<Result<Vec<Vec<f32>>, PretrainError>>()?;
        let texts = chosen.iter().map(|pair| self.text(*pair)).collect::<Result<_, ClipError>>()?;
        let side = self.preprocess.crop as usize;
        let data = TensorData::new(pixels.concat(), [chosen.len(), 3, side, side]);
        let captions = chosen.iter().map(|pair| self.pairs[*pair].caption.as_str()).collect();
        Ok(Batch { pixels: Tensor::from_data(data, device), texts, captions })
    }

    fn pixels(&self, pair: usize, epoch: usize) -> Result<Vec<f32>, PretrainError> {
        let image = self.pairs[pair].image.decode()?;
        let draw = (epoch * self.pairs.len() + pair) as u64;
        let varied = self.augmentation.apply(&image, &mut indexed_stream(self.seed, "augmentation", draw));
        Ok(self.preprocess.pixels(&varied)?)
    }

    fn text(&self, pair: usize) -> Result<Vec<u32>, ClipError> {
        let mut ids = self.tokenizer.encode(&self.pairs[pair].caption)?;
        ids.truncate(self.longest_caption - 2);
        ids.push(self.tokenizer.end());
        Ok(ids)
    }
}
