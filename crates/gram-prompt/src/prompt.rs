//! What is learned: a few vectors for the text tower, for the vision tower, or for both, and CoCoOp's net.
//!
//! A [`Prompt`] is a point in the space of those numbers; gradients, directions and velocities are points of
//! the same space and have the same type.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::Clip;
use gram_clip::scalars::read_one;
use gram_clip::signal::leaf;
use gram_data::random::{normal, stream};
use serde::{Deserialize, Serialize};

/// How much narrower the hidden layer of CoCoOp's net is than the image features.
pub const REDUCTION: usize = 16;

/// A part of what is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Context tokens of the text tower (CoOp, eq. 2).
    Text,
    /// Vectors beside the patches of the vision tower (VPT).
    Visual,
    /// `W_1` of CoCoOp's net ([`MetaNet`](crate::meta_net::MetaNet)).
    HiddenWeight,
    /// `b_1` of CoCoOp's net.
    HiddenBias,
    /// `W_2` of CoCoOp's net.
    ShiftWeight,
    /// `b_2` of CoCoOp's net.
    ShiftBias,
}

impl Part {
    /// All parts there can be.
    pub const ALL: [Part; 6] =
        [Part::Text, Part::Visual, Part::HiddenWeight, Part::HiddenBias, Part::ShiftWeight, Part::ShiftBias];

    /// The name in files; CoCoOp's net is called as in CoCoOp's.
    pub fn name(self) -> &'static str {
        match self {
            Part::Text => "text",
            Part::Visual => "visual",
            Part::HiddenWeight => "meta_net.linear1.weight",
            Part::HiddenBias => "meta_net.linear1.bias",
            Part::ShiftWeight => "meta_net.linear2.weight",
            Part::ShiftBias => "meta_net.linear2.bias",
        }
    }

    /// Whether a tower reads it among its tokens.
    pub fn is_of_tower(self) -> bool {
        matches!(self, Part::Text | Part::Visual)
    }

    /// Columns of the part for a model.
    pub fn width(self, clip: &Clip) -> usize {
        let joint = clip.config.projection_dim;
        match self {
            Part::Text | Part::ShiftBias => clip.config.text_config.hidden_size,
            Part::Visual => clip.config.vision_config.hidden_size,
            Part::HiddenWeight => joint,
            Part::HiddenBias | Part::ShiftWeight => (joint / REDUCTION).max(1),
        }
    }
}

/// What a prompt consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptKind {
    /// Text only: CoOp.
    Textual,
    /// Text, moved by the image: CoCoOp.
    Conditional,
    /// Vision only: VPT.
    Visual,
    /// Both towers at once: UNIGRAM's.
    Joint,
}

impl PromptKind {
    /// All kinds.
    pub const ALL: [PromptKind; 4] =
        [PromptKind::Textual, PromptKind::Conditional, PromptKind::Visual, PromptKind::Joint];

    /// The parts, text first.
    pub fn parts(self) -> &'static [Part] {
        match self {
            PromptKind::Textual => &[Part::Text],
            PromptKind::Conditional => {
                &[Part::Text, Part::HiddenWeight, Part::HiddenBias, Part::ShiftWeight, Part::ShiftBias]
            }
            PromptKind::Visual => &[Part::Visual],
            PromptKind::Joint => &[Part::Text, Part::Visual],
        }
    }

    /// Whether the prompt has that part.
    pub fn has(self, part: Part) -> bool {
        self.parts().contains(&part)
    }
}

impl fmt::Display for PromptKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            PromptKind::Textual => "coop",
            PromptKind::Conditional => "cocoop",
            PromptKind::Visual => "vpt",
            PromptKind::Joint => "joint",
        })
    }
}

impl FromStr for PromptKind {
    type Err = String;

    fn from_str(method: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.to_string() == method);
        known.ok_or_else(|| format!("no prompt is called `{method}`: coop, cocoop, vpt or joint"))
    }
}

/// The largest number of a prompt or a regulator, of either sign. CLIP's embeddings lie below 1, and the
/// longest vectors that are tuned below 100: a number beyond this comes from a descent that diverged, or from
/// a file that is damaged or of another kind, and drowns all others in the first norm.
pub const LARGEST: f32 = 1e4;

/// Prompt vectors, `[vectors, width of the tower]` for a tower, and the matrices of CoCoOp's net; or anything
/// of their shape. How several contexts, or vectors of several layers, lie below each other says the
/// [`Placement`](crate::Placement).
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    parts: BTreeMap<Part, Tensor<2>>,
}

impl FromIterator<(Part, Tensor<2>)> for Prompt {
    fn from_iter<I: IntoIterator<Item = (Part, Tensor<2>)>>(parts: I) -> Self {
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
        part: Part,
        [vectors, width]: [usize; 2],
        deviation: f32,
        seed: u64,
        device: &Device,
    ) -> Tensor<2> {
        let mut random = stream(seed, &format!("{} prompt", part.name()));
        let values: Vec<f32> = (0..vectors * width).map(|_| deviation * normal(&mut random)).collect();
        Tensor::from_data(TensorData::new(values, [vectors, width]), device)
    }

    /// A part: vectors for a tower, `[vectors, width]`, or a matrix of CoCoOp's net.
    pub fn get(&self, part: Part) -> Option<&Tensor<2>> {
        self.parts.get(&part)
    }

    /// The parts, text first.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Tensor<2>)> {
        self.parts.iter().map(|(part, tensor)| (*part, tensor))
    }

    /// Every part through `map`.
    pub fn map(&self, map: impl Fn(Part, Tensor<2>) -> Tensor<2>) -> Self {
        self.parts().map(|(part, tensor)| (part, map(part, tensor.clone()))).collect()
    }

    /// Both prompts' parts through `map`, for the parts that both have.
    pub fn zip(&self, other: &Self, map: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>) -> Self {
        let both =
            |(part, tensor): (Part, &Tensor<2>)| Some((part, map(tensor.clone(), other.get(part)?.clone())));
        self.parts().filter_map(both).collect()
    }

    /// `self + factor * other`.
    pub fn add_scaled(&self, other: &Self, factor: f32) -> Self {
        self.zip(other, |one, other| one + other * factor)
    }

    /// The inner product over all parts, `[1]`, where it was computed; none of a prompt without parts.
    pub fn inner_product(&self, other: &Self) -> Option<Tensor<1>> {
        let products = self.zip(other, |one, other| one * other);
        products.parts().map(|(_, part)| part.clone().sum()).reduce(|sum, part| sum + part)
    }

    /// The inner product over all parts.
    pub fn dot(&self, other: &Self) -> f32 {
        self.inner_product(other).map_or(0.0, read_one)
    }

    /// The Euclidean norm over all parts.
    pub fn norm(&self) -> f32 {
        self.dot(self).sqrt()
    }

    /// This prompt with the parts of `other`, which stand in the place of its own.
    pub fn with(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Whether tuning can have made it: every number is finite, and none is beyond [`LARGEST`].
    pub fn is_plausible(&self) -> bool {
        let is_small = |tensor: &Tensor<2>| read_one(tensor.clone().abs().max()) <= LARGEST;
        self.is_finite() && self.parts().all(|(_, tensor)| is_small(tensor))
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
