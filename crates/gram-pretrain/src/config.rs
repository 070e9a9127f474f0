//! How a small CLIP is trained: the TOML file of `gram pretrain`.

use gram_clip::ClipConfig;
use serde::{Deserialize, Serialize};

use crate::PretrainError;

/// Everything that decides a pre-training, but for the pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Seed of the start, the order of the pairs and their augmentation.
    pub seed: u64,
    /// Entries of the tokenizer's vocabulary, learned from the captions (byte-pair encoding).
    pub vocabulary: usize,
    /// The optimisation.
    pub training: TrainingConfig,
    /// The sizes of the model, under the names of `config.json`; the vocabulary's is taken from the
    /// tokenizer.
    pub model: ClipConfig,
}

/// The optimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over the pairs. 1 or more.
    pub epochs: usize,
    /// Pairs of a step, each the others' negatives. 2 or more.
    pub batch_size: usize,
    /// Highest learning rate of AdamW. Above 0.
    pub learning_rate: f64,
    /// Steps in which the rate rises from zero; after them it falls along a cosine to zero.
    pub warmup_steps: usize,
    /// AdamW's weight decay, on matrices and tables only.
    pub weight_decay: f32,
    /// The smallest part of an image that augmentation keeps, in (0, 1].
    pub smallest_crop: f32,
    /// Texts that are longer, in tokens with start and end, are cut there.
    pub longest_caption: usize,
    /// Steps between two checkpoints. 1 or more.
    pub checkpoint_steps: usize,
}

impl PretrainConfig {
    /// Reads and checks the text of the file `file`.
    ///
    /// # Errors
    /// [`PretrainError`] names the file, and the line or key.
    pub fn parse(file: &str, text: &str) -> Result<Self, PretrainError> {
        let config: Self = toml::from_str(text)
            .map_err(|source| PretrainError::Toml { file: file.to_owned(), source: Box::new(source) })?;
        config.validate(file)?;
        Ok(config)
    }

    /// Checks every setting's range.
    ///
    /// # Errors
    /// [`PretrainError::Setting`] names the file, the key and its range.
    pub fn validate(&self, file: &str) -> Result<(), PretrainError> {
        let check = |valid: bool, key: &'static str, range: &'static str| match valid {
            true => Ok(()),
            false => Err(PretrainError::Setting { file: file.to_owned(), key, range }),
        };
        let training = &self.training;
        check(self.vocabulary >= 600, "vocabulary", "600 or more: bytes, their word ends and two marks")?;
        check(training.epochs >= 1, "training.epochs", "1 or more")?;
        check(training.batch_size >= 2, "training.batch_size", "2 or more")?;
        check(training.learning_rate > 0.0, "training.learning_rate", "above 0")?;
        check(training.weight_decay >= 0.0, "training.weight_decay", "0 or more")?;
        check(training.checkpoint_steps >= 1, "training.checkpoint_steps", "1 or more")?;
        let crop = training.smallest_crop > 0.0 && training.smallest_crop <= 1.0;
        check(crop, "training.smallest_crop", "above 0 and at most 1")?;
        let longest =
            (3..=self.model.text_config.max_position_embeddings).contains(&training.longest_caption);
        check(longest, "training.longest_caption", "3 to model.text_config.max_position_embeddings")?;
        Ok(self.model.validate()?)
    }
}

impl TrainingConfig {
    /// The learning rate of step `step` of `steps`: linear warm-up, then half a cosine down to zero.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let rest = steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = (step - self.warmup_steps) as f64 / rest;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_height_and_falls_to_zero() {
        let training = TrainingConfig {
            epochs: 1,
            batch_size: 2,
            learning_rate: 1e-3,
            warmup_steps: 10,
            weight_decay: 0.1,
            smallest_crop: 0.8,
            longest_caption: 24,
            checkpoint_steps: 5,
        };
        assert!((training.rate(0, 110) - 1e-4).abs() < 1e-12);
        assert!((training.rate(10, 110) - 1e-3).abs() < 1e-12);
        assert!((training.rate(60, 110) - 5e-4).abs() < 1e-12);
        assert!(training.rate(110, 110) < 1e-12);
    }
}
