//! CoCoOp's net: what an image adds to every context token.
//!
//! `pi(x) = W_2 relu(W_1 x + b_1) + b_2` of the normalised image feature `x`, through a hidden layer a
//! sixteenth as wide (Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022,
//! section 3.2).

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::Signal;
use gram_data::random::stream;
use rand::RngExt;

use crate::prompt::{Part, Prompt, REDUCTION};

/// The net's layers, as values or dual numbers.
#[derive(Clone, Debug)]
pub struct MetaNet {
    /// `W_1`, `[hidden, joint width]`, and `b_1`, `[1, hidden]`.
    hidden: [Signal<2>; 2],
    /// `W_2`, `[text width, hidden]`, and `b_2`, `[1, text width]`.
    shift: [Signal<2>; 2],
}

impl MetaNet {
    /// The net among the parts of a prompt, if they have one.
    pub fn of(part: impl Fn(Part) -> Option<Signal<2>>) -> Option<Self> {
        Some(Self {
            hidden: [part(Part::HiddenWeight)?, part(Part::HiddenBias)?],
            shift: [part(Part::ShiftWeight)?, part(Part::ShiftBias)?],
        })
    }

    /// A start as PyTorch's linear layers have it: weights and biases uniform within one over the root of the
    /// inputs.
    pub fn start(joint_width: usize, text_width: usize, seed: u64, device: &Device) -> Prompt {
        let hidden = (joint_width / REDUCTION).max(1);
        let shapes = [
            (Part::HiddenWeight, [hidden, joint_width], joint_width),
            (Part::HiddenBias, [1, hidden], joint_width),
            (Part::ShiftWeight, [text_width, hidden], hidden),
            (Part::ShiftBias, [1, text_width], hidden),
        ];
        let uniform = |(part, [rows, columns], inputs): (Part, [usize; 2], usize)| {
            let mut random = stream(seed, part.name());
            let bound = 1.0 / (inputs as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns).map(|_| random.random_range(-bound..bound)).collect();
            (part, Tensor::from_data(TensorData::new(values, [rows, columns]), device))
        };
        shapes.into_iter().map(uniform).collect()
    }

    /// What images add to every context token, `[images, text width]`.
    ///
    /// # Shapes
    /// - features: `[images, joint width]`, normalised
    pub fn shift(&self, features: Signal<2>) -> Signal<2> {
        affine(affine(features, &self.hidden).relu(), &self.shift)
    }
}

/// `x W^T + b`.
fn affine(x: Signal<2>, [weight, bias]: &[Signal<2>; 2]) -> Signal<2> {
    let product = x.matmul(weight.clone().linear_map(|tensor| tensor.transpose()));
    let shape = product.value.dims();
    product.plus(bias.clone().linear_map(|tensor| tensor.expand(shape)))
}
