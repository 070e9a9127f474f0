//! What is learned: a few vectors for the text tower, for the vision tower, or for both.
//!
//! A [`Prompt`] is a point in the space of those vectors; gradients, directions and velocities are points of the same
//! space and have the same type.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::Clip;
use gram_clip::signal::leaf;
use gram_data::random::{normal, stream};
use serde::{Deserialize, Serialize};

/// Which tower reads a part of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// The text tower: context tokens (CoOp, eq. 2).
    Text,
    /// The vision tower: vectors beside the patches (VPT).
    Visual,
}

impl Modality {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Modality::Text => "text",
            Modality::Visual => "visual",
        }
    }

    /// Width of the vectors that a model's tower reads.
    pub fn width(self, clip: &Clip) -> usize {
        match self {
            Modality::Text => clip.config.text_config.hidden_size,
            Modality::Visual => clip.config.vision_config.hidden_size,
        }
    }
}

/// Which towers a prompt speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptKind {
    /// Text only: CoOp.
    Textual,
    /// Vision only: VPT, shallow.
    Visual,
    /// Both at once: UNIGRAM's.
    Joint,
}

impl PromptKind {
    /// The towers, text first.
    pub fn modalities(self) -> &'static [Modality] {
        match self {
            PromptKind::Textual => &[Modality::Text],
            PromptKind::Visual => &[Modality::Visual],
            PromptKind::Joint => &[Modality::Text, Modality::Visual],
        }
    }

    /// Whether the prompt speaks to that tower.
    pub fn has(self, modality: Modality) -> bool {
        self.modalities().contains(&modality)
    }
}

impl fmt::Display for PromptKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            PromptKind::Textual => "coop",
            PromptKind::Visual => "vpt",
            PromptKind::Joint => "joint",
        })
    }
}

impl FromStr for PromptKind {
    type Err = String;

    fn from_str(method: &str) -> Result<Self, Self::Err> {
        match method {
            "coop" => Ok(PromptKind::Textual),
            "vpt" => Ok(PromptKind::Visual),
            "joint" => Ok(PromptKind::Joint),
            other => Err(format!("no prompt is called `{other}`: coop, vpt or joint")),
        }
    }
}

/// Prompt vectors, or anything of their shape: `[vectors, width of the tower]` for every tower.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    parts: BTreeMap<Modality, Tensor<2>>,
}

impl FromIterator<(Modality, Tensor<2>)> for Prompt {
    fn from_iter<I: IntoIterator<Item = (Modality, Tensor<2>)>>(parts: I) -> Self {
        Self { parts: parts.into_iter().collect() }
    }
}

impl Prompt {
    /// No vectors: the frozen model as it is.
    pub fn none() -> Self {
        Self::default()
    }

    /// `[vectors, width]` drawn from N(0, deviation²), each tower from a stream of its own.
    pub fn random(
        modality: Modality,
        [vectors, width]: [usize; 2],
        deviation: f32,
        seed: u64,
        device: &Device,
    ) -> Tensor<2> {
        let mut random = stream(seed, &format!("{} prompt", modality.name()));
        let values: Vec<f32> = (0..vectors * width).map(|_| deviation * normal(&mut random)).collect();
        Tensor::from_data(TensorData::new(values, [vectors, width]), device)
    }

    /// The vectors for one tower, `[vectors, width]`.
    pub fn get(&self, modality: Modality) -> Option<&Tensor<2>> {
        self.parts.get(&modality)
    }

    /// The towers and their vectors, text first.
    pub fn parts(&self) -> impl Iterator<Item = (Modality, &Tensor<2>)> {
        self.parts.iter().map(|(modality, part)| (*modality, part))
    }

    /// Every part through `map`.
    pub fn map(&self, map: impl Fn(Modality, Tensor<2>) -> Tensor<2>) -> Self {
        self.parts().map(|(modality, part)| (modality, map(modality, part.clone()))).collect()
    }

    /// Both prompts' parts through `map`, for the towers that both have.
    pub fn zip(&self, other: &Self, map: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>) -> Self {
        let both = |(modality, part): (Modality, &Tensor<2>)| {
            Some((modality, map(part.clone(), other.get(modality)?.clone())))
        };
        self.parts().filter_map(both).collect()
    }

    /// `self + factor * other`.
    pub fn add_scaled(&self, other: &Self, factor: f32) -> Self {
        self.zip(other, |one, other| one + other * factor)
    }

    /// The inner product over all parts.
    pub fn dot(&self, other: &Self) -> f32 {
        let products = self.zip(other, |one, other| one * other);
        products.parts().map(|(_, part)| part.clone().sum().into_scalar::<f32>()).sum()
    }

    /// The Euclidean norm over all parts.
    pub fn norm(&self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        self.norm().is_finite()
    }

    /// The same vectors, ready to be differentiated for.
    pub fn leaf(&self) -> Self {
        self.map(|_, part| leaf(part))
    }
}
