//! An affine map whose weight is frozen, with a reverse pass that reads the weight as it lies in memory.
//!
//! The reverse pass of `y = x W + b` is `dx = dy W^T`. burn gives that product a transposed view of the weight, and where rows
//! are few, as those of a handful of classes are, bringing the view into order takes up to five times as long as multiplying.
//! `dx^T = W dy^T` are the same numbers from the weight as it is; only the few rows are turned.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, module};

/// Above so many rows, bringing the weight into order costs nothing beside the product.
const FEW_ROWS: usize = 400;

/// `x W + b` over the last dimension.
///
/// # Shapes
/// - x: `[…, inputs]`
/// - weight: `[inputs, outputs]`
/// - bias: `[outputs]`
/// - output: `[…, outputs]`
pub(crate) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let frozen = x.is_autodiff() && !weight.is_autodiff();
    if !frozen || D != 2 || x.dims()[0] > FEW_ROWS {
        return module::linear(x, weight, bias);
    }
    let product = <Dispatch as FrozenProduct>::frozen_product(x.into_dispatch(), weight.into_dispatch());
    let product = Tensor::from_dispatch(product);
    match bias {
        Some(bias) => product + bias.unsqueeze::<D>(),
        None => product,
    }
}

/// A product with a weight that nothing is asked of.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FrozenProduct: Backend {
    /// `x W`.
    ///
    /// # Shapes
    /// - x: `[rows, inputs]`
    /// - weight: `[inputs, outputs]`
    /// - output: `[rows, outputs]`
    fn frozen_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(x, weight)
    }
}

impl FrozenProduct for Flex {}

impl<B: FrozenProduct, C: CheckpointStrategy> FrozenProduct for Autodiff<B, C> {
    fn frozen_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = weight.into_primitive();
        match AsItLies.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => {
                tracked.finish(weight.clone(), B::frozen_product(x.into_primitive(), weight))
            }
            OpsKind::UnTracked(untracked) => untracked.finish(B::frozen_product(x.into_primitive(), weight)),
        }
    }
}

/// The reverse pass: `dx^T = W dy^T`.
#[derive(Debug)]
struct AsItLies;

impl<B: Backend> Backward<B, 1> for AsItLies {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        if let [Some(x)] = ops.parents {
            let turned = B::float_matmul(ops.state, B::float_transpose(along));
            gradients.register::<B>(x.id, B::float_transpose(turned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::leaf;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn a_frozen_weight_gives_the_same_values_and_derivatives_as_one_that_could_be_learned() {
        let device = Device::default();
        let random = |shape| Tensor::<2>::random(shape, Distribution::Default, &device);
        let (weight, turn) = (random([6, 9]), random([5, 9]));
        let bias = Tensor::<1>::random([9], Distribution::Default, &device);
        let x = random([5, 6]);
        let through = |weight: Tensor<2>| {
            let x = leaf(x.clone());
            let y = linear(x.clone(), weight, Some(bias.clone()));
            let gradients = (y.clone() * turn.clone()).sum().backward();
            (y.inner().into_data(), x.grad(&gradients).unwrap().into_data())
        };
        let ((y, along), (expected, expected_along)) = (through(weight.clone()), through(weight.autodiff()));
        y.assert_approx_eq::<f32>(&expected, Default::default());
        along.assert_approx_eq::<f32>(&expected_along, Default::default());
    }
}
