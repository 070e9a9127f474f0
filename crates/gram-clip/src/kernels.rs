//! What the towers compute between their products, on the CPU in f32: each operation in one pass over memory,
//! with reverse passes that keep their inputs and compute the rest again.
//!
//! The tensors' own operations make a new tensor in every step, which for images costs more time than the
//! products do. [`signal`](crate::signal), [`layers`](crate::layers) and [`block`](crate::block) define in
//! tensors what is computed, and take that way where these operations do not: on GPUs, in other number
//! formats, with weights that are learned. Here are the same numbers, faster.
//!
//! Every operation comes twice: for values, and for the tangent along which they move. Each has a reverse
//! pass of its own, so that reverse over forward is as fast as a plain gradient.
//!
//! Work is divided by rows or by items of a batch, and no sum crosses them: numbers do not depend on the
//! number of threads.

mod activation;
mod attention;
mod exponential;
mod layer_norm;
mod linear;
mod memory;
mod product;

pub(crate) use activation::{activation, activation_tangent};
pub(crate) use attention::{attention, attention_tangent};
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};
use burn::tensor::{DType, Tensor};
pub(crate) use layer_norm::{layer_norm, layer_norm_tangent};
pub(crate) use linear::{Frozen, linear, recorded, with_derivative, with_value};

use crate::compute::is_on_cpu;

/// Whether these operations take such a tensor.
pub(crate) fn take<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_on_cpu(tensor)
}

/// Whether these operations take such a tensor with a weight and a bias that nothing is asked of.
pub(crate) fn take_frozen<const D: usize, const E: usize>(
    tensor: &Tensor<D>,
    weight: &Tensor<E>,
    bias: Option<&Tensor<1>>,
) -> bool {
    let is_frozen = !weight.is_autodiff() && !bias.is_some_and(Tensor::is_autodiff);
    is_frozen && take(tensor) && take(weight)
}

/// `value`, with what its reverse pass needs where there will be one.
fn finish<O, B, C, const N: usize>(
    operation: OpsKind<O, B, O::State, C, N>,
    needed: O::State,
    value: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>>
where
    O: Backward<B, N>,
    B: Backend,
    C: CheckpointStrategy,
{
    match operation {
        OpsKind::Tracked(tracked) => tracked.finish(needed, value),
        OpsKind::UnTracked(untracked) => untracked.finish(value),
    }
}

/// Numbers that are added side by side.
const LANES: usize = 16;

/// The sum of `term` over a row, in an order that vectors allow.
#[inline(always)]
fn sum(length: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = length - length % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let rest: f32 = (whole..length).map(&term).sum();
    lanes.iter().sum::<f32>() + rest
}
