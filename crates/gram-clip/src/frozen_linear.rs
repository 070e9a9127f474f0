//! A product with a weight that is frozen, with a reverse pass that reads the weight as it lies in memory.
//!
//! The reverse pass of `y = x W` is `dx = dy W^T`. burn gives that product a transposed view of the weight,
//! and where rows are few, as those of a handful of classes are, bringing the view into order takes up to
//! five times as long as multiplying. `dx^T = W dy^T` are the same numbers from the weight as it is; only the
//! few rows are turned.
//!
//! Half of a product may be known from an earlier pass ([`Products`](crate::Products)): its value, and the
//! derivative that its reverse pass sends to `x`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as PassGradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use crate::compute::is_on_cpu;
use crate::product::linear;
use crate::rounded_product::rounded_product;
use crate::signal::{Signal, leaf};

/// Above so many rows, bringing the weight into order costs nothing beside the product.
const FEW_ROWS: usize = 400;

/// Whether something is asked of a few rows and nothing of the weight, on the CPU in f32: a GPU multiplies by
/// a transposed view as fast as by the matrix.
pub(crate) fn is_frozen<const D: usize>(x: &Tensor<D>, weight: &Tensor<2>) -> bool {
    D == 2
        && x.dims()[0] <= FEW_ROWS
        && x.is_autodiff()
        && !weight.is_autodiff()
        && weight.dtype() == x.dtype()
        && is_on_cpu(weight)
}

/// `x W`. Value and tangent are one product, for reading the weight is what costs time where rows are few.
pub(crate) fn product<const D: usize>(x: Signal<D>, weight: Tensor<2>) -> Signal<D> {
    let Some(tangent) = x.tangent else {
        return multiply(x.value, weight).into();
    };
    let rows = x.value.dims()[0];
    let both = multiply(Tensor::cat(vec![x.value, tangent], 0), weight);
    Signal::dual(both.clone().narrow(0, 0, rows), both.narrow(0, rows, rows))
}

pub(crate) fn multiply<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    if x.dtype() != weight.dtype() {
        return rounded_product(x, weight);
    }
    if !is_frozen(&x, &weight) {
        return linear(x, weight, None);
    }
    let product = <Dispatch as FrozenProduct>::frozen_product(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(product)
}

/// `x W`, whose derivative for `x` will also be the gradient of the leaf that comes with it.
///
/// # Shapes
/// - x: `[rows, inputs]`
/// - weight: `[inputs, outputs]`
pub(crate) fn recorded(x: Tensor<2>, weight: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let slot = leaf(weight.clone().narrow(0, 0, 1).zeros_like());
    let product = <Dispatch as FrozenProduct>::recorded_product(
        x.into_dispatch(),
        slot.clone().into_dispatch(),
        weight.into_dispatch(),
    );
    (Tensor::from_dispatch(product), slot)
}

/// `x W` where it is known to be `value`, `[rows, outputs]`.
pub(crate) fn with_value(x: Tensor<2>, weight: Tensor<2>, value: Tensor<2>) -> Tensor<2> {
    let (x, weight, value) = (x.into_dispatch(), weight.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FrozenProduct>::product_with_value(x, weight, value))
}

/// `x W` where the derivative for `x` is known to be `along`, `[rows, inputs]`.
pub(crate) fn with_derivative(x: Tensor<2>, weight: Tensor<2>, along: Tensor<2>) -> Tensor<2> {
    let (x, weight, along) = (x.into_dispatch(), weight.into_dispatch(), along.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FrozenProduct>::product_with_derivative(x, weight, along))
}

/// A product with a weight that nothing is asked of.
///
/// # Shapes
/// - x: `[rows, inputs]`
/// - weight: `[inputs, outputs]`
/// - output: `[rows, outputs]`
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FrozenProduct: Backend {
    /// `x W`.
    fn frozen_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(x, weight)
    }

    /// `x W`, whose derivative for `x` is also left as the gradient of `slot`, a leaf.
    fn recorded_product(
        x: FloatTensor<Self>,
        _slot: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_matmul(x, weight)
    }

    /// `x W` where it is known to be `value`.
    fn product_with_value(
        _x: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        value
    }

    /// `x W` where the derivative for `x` is known to be `along`.
    fn product_with_derivative(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _along: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_matmul(x, weight)
    }
}

impl FrozenProduct for Flex {}

impl<B: FrozenProduct, C: CheckpointStrategy> FrozenProduct for Autodiff<B, C> {
    fn frozen_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (node, weight) = (x.node(), weight.into_primitive());
        let value = B::float_matmul(x.into_primitive(), weight.clone());
        finish(AsItLies.prepare::<C>([node]).compute_bound().stateful(), weight, value)
    }

    fn recorded_product(
        x: FloatTensor<Self>,
        slot: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (nodes, weight) = ([x.node(), slot.node()], weight.into_primitive());
        let value = B::float_matmul(x.into_primitive(), weight.clone());
        finish(AsItLies.prepare::<C>(nodes).compute_bound().stateful(), weight, value)
    }

    fn product_with_value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (weight, value) = (weight.into_primitive(), value.into_primitive());
        finish(AsItLies.prepare::<C>([x.node()]).compute_bound().stateful(), weight, value)
    }

    fn product_with_derivative(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        along: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let node = x.node();
        let value = B::float_matmul(x.into_primitive(), weight.into_primitive());
        finish(Known.prepare::<C>([node]).compute_bound().stateful(), along.into_primitive(), value)
    }
}

/// `value`, with what its reverse pass needs where there will be one.
fn finish<O, B, C, const N: usize>(
    operation: OpsKind<O, B, FloatTensor<B>, C, N>,
    needed: FloatTensor<B>,
    value: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>>
where
    O: Backward<B, N, State = FloatTensor<B>>,
    B: Backend,
    C: CheckpointStrategy,
{
    match operation {
        OpsKind::Tracked(tracked) => tracked.finish(needed, value),
        OpsKind::UnTracked(untracked) => untracked.finish(value),
    }
}

/// The reverse pass `dx^T = W dy^T`, for all parents the same.
#[derive(Debug)]
struct AsItLies;

impl<B: Backend, const N: usize> Backward<B, N> for AsItLies {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, N>, gradients: &mut PassGradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let turned = B::float_matmul(ops.state, B::float_transpose(along));
        for parent in ops.parents.into_iter().flatten() {
            gradients.register::<B>(parent.id, B::float_transpose(turned.clone()));
        }
    }
}

/// The reverse pass whose outcome is known.
#[derive(Debug)]
struct Known;

impl<B: Backend> Backward<B, 1> for Known {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, 1>, gradients: &mut PassGradients, _: &mut Checkpointer) {
        gradients.consume::<B>(&ops.node);
        if let [Some(x)] = ops.parents {
            gradients.register::<B>(x.id, ops.state);
        }
    }
}
