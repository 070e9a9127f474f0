//! KgCoOp: a textual prompt whose classes must not move far from the hand-written ones.
//!
//! Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023. With
//! `w_i` a class's normalised text feature under the learned prompt, `v_i` that under the hand-written prompt
//! template, `C` classes:
//!
//! ```text
//! L = cross-entropy(logits, y) + weight * (1 - 1/C sum_i cos(w_i, v_i)),    weight = 8
//! ```
//!
//! So the authors' code has it (`htyao89/KgCoOp`, `trainers/kgcoop.py`). The paper writes the mean of `|w_i -
//! v_i|^2`, which of unit vectors is twice as much: its weight of 8 would be 4 there.
//!
//! Where this differs from that code:
//!
//! - The hand-written template is the dataset's own, or the one of zero-shot classification that the command
//!   line gives. Those of standard benchmarks are CoOp's, which are that code's but for one: Describable
//!   Textures has `{} texture.` here and `a photo of a {}, a type of texture.` there. Where a dataset has
//!   several, their features are averaged. A dataset that has none takes the template of the learned prompt.
//! - That code starts from the words `a photo of a` whatever the dataset, and tunes for 100 epochs in batches
//!   of 128, in half precision by default, and with hand-written features in half precision always. Here the
//!   initialisation, the epochs and the batches are those of every other method, and all is in single
//!   precision.

use burn::tensor::{Int, Tensor};
use gram_prompt::{Answer, CrossEntropy, Objective};
use serde::{Deserialize, Serialize};

use crate::out_of_range::OutOfRange;

/// What KgCoOp weighs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KgcoopSettings {
    /// Weight of the distance to the hand-written prompt. At least 0, which is CoOp.
    pub weight: f32,
}

impl Default for KgcoopSettings {
    /// The authors'.
    fn default() -> Self {
        Self { weight: 8.0 }
    }
}

impl KgcoopSettings {
    /// Checks the weight.
    ///
    /// # Errors
    /// [`OutOfRange`] if it is below 0 or no number.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let found = self.weight;
        match found >= 0.0 && found.is_finite() {
            true => Ok(()),
            false => Err(OutOfRange { setting: "kgcoop.weight", found, expected: "0 or more" }),
        }
    }
}

/// KgCoOp's loss.
#[derive(Clone, Debug)]
pub struct KnowledgeGuided {
    /// Normalised features of the classes under the hand-written prompt, `[classes, joint width]`.
    pub hand_written: Tensor<2>,
    /// Weight of the distance to them.
    pub weight: f32,
}

impl KnowledgeGuided {
    /// One minus the mean cosine of each class with its hand-written prompt, `[1]`.
    ///
    /// # Shapes
    /// - texts: `[classes, joint width]`, normalised
    pub fn distance(&self, texts: Tensor<2>) -> Tensor<1> {
        (texts * self.hand_written.clone()).sum_dim(1).mean().neg() + 1.0
    }
}

impl Objective for KnowledgeGuided {
    fn loss(&self, answer: Answer, labels: Tensor<1, Int>) -> Tensor<1> {
        let distance = self.distance(answer.texts.clone());
        CrossEntropy.loss(answer, labels) + distance * self.weight
    }
}
