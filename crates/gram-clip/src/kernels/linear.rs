//! The affine layer whose weight is frozen, and its reverse pass, which needs nothing of the input.
//!
//! The bias is in place before the product is added to it, so that the output is gone through once.
//!
//! The reverse pass is `dx = dy W^T`. A transposed view of the weight is brought into order first, and where
//! rows are few, as those of a handful of classes are, that takes up to five times as long as multiplying.
//! `dx^T = W dy^T` are the same numbers from the weight as it is; only the few rows are turned.
//!
//! Half of a layer may be known from an earlier pass ([`Products`](crate::Products)): its value, and the
//! derivative that its reverse pass sends to `x`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};

use super::finish;
use super::memory::{numbers, row_length, tensor};
use super::product::{Matrix, has_tiles, large};
use crate::signal::{Signal, leaf};

/// Above so many rows, bringing the weight into order costs nothing beside the product.
const FEW_ROWS: usize = 400;

/// An affine layer of which nothing is learned.
#[derive(Clone)]
pub(crate) struct Frozen {
    /// `[inputs, outputs]`
    pub(crate) weight: Tensor<2>,
    /// `[outputs]`
    pub(crate) bias: Option<Tensor<1>>,
    /// Whether rows are positions of images, and not of texts. Those are many, and are multiplied by tiles
    /// where the processor has them. How many there are does not matter: what an image gives must not
    /// depend on the others of its batch.
    pub(crate) of_images: bool,
}

impl Frozen {
    /// The same without the bias: what tangents see.
    pub(crate) fn unbiased(&self) -> Self {
        Self { bias: None, ..self.clone() }
    }
}

/// `x W + b` over the last dimension of `x`; without a bias, `x W`. The tangent sees the weight, not the
/// bias.
///
/// # Shapes
/// - x: `[…, inputs]`
/// - output: `[…, outputs]`
pub(crate) fn linear<const D: usize>(x: Signal<D>, layer: Frozen) -> Signal<D> {
    let tangent = x.tangent.map(|tangent| affine(tangent, layer.unbiased()));
    Signal { value: affine(x.value, layer), tangent }
}

fn affine<const D: usize>(x: Tensor<D>, Frozen { weight, bias, of_images }: Frozen) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => <Dispatch as Kernel>::affine(x, weight, bias.into_dispatch(), of_images),
        None => <Dispatch as Kernel>::frozen_product(x, weight, of_images),
    })
}

/// [`linear`], whose derivative for `x` will also be the gradient of the leaf that comes with it.
pub(crate) fn recorded(x: Tensor<2>, layer: Frozen) -> (Tensor<2>, Tensor<2>) {
    let Frozen { weight, of_images, .. } = layer.clone();
    let slot = leaf(weight.clone().narrow(0, 0, 1).zeros_like());
    let value = affine(x.clone().inner(), layer);
    let (x, of_slot, weight) = (x.into_dispatch(), slot.clone().into_dispatch(), weight.into_dispatch());
    let value = <Dispatch as Kernel>::recorded(x, of_slot, weight, value.into_dispatch(), of_images);
    (Tensor::from_dispatch(value), slot)
}

/// [`linear`] where it is known to be `value`, `[rows, outputs]`.
pub(crate) fn with_value(x: Tensor<2>, layer: Frozen, value: Tensor<2>) -> Tensor<2> {
    let (x, weight, value) = (x.into_dispatch(), layer.weight.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernel>::with_value(x, weight, value, layer.of_images))
}

/// `x W` where the derivative for `x` is known to be `along`, `[rows, inputs]`.
pub(crate) fn with_derivative(x: Tensor<2>, layer: Frozen, along: Tensor<2>) -> Tensor<2> {
    let (x, weight, along) = (x.into_dispatch(), layer.weight.into_dispatch(), along.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernel>::with_derivative(x, weight, along, layer.of_images))
}

#[backend_extension(Flex, Autodiff)]
trait Kernel: Backend {
    /// `x W + b`.
    fn affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self>;

    /// `x W`.
    fn frozen_product(x: FloatTensor<Self>, weight: FloatTensor<Self>, of_images: bool) -> FloatTensor<Self>;

    /// What is known to be `value`.
    fn with_value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        value: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self>;

    /// What is known to be `value`, and whose derivative for `x` is also left as the gradient of `slot`, a
    /// leaf.
    fn recorded(
        x: FloatTensor<Self>,
        slot: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        value: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self>;

    /// `x W`, where the derivative for `x` is known to be `along`.
    fn with_derivative(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        along: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self>;
}

/// What only reverse passes compute.
trait Reverse: Kernel {
    /// `dy W^T`.
    fn turned(along: FloatTensor<Self>, weight: FloatTensor<Self>, of_images: bool) -> FloatTensor<Self>;
}

/// The numbers of a tensor in order as a matrix of its rows.
fn rows_of(tensor: &FlexTensor) -> Matrix<'_> {
    let length = row_length(tensor);
    let rows = tensor.layout().num_elements() / length.max(1);
    Matrix::new(numbers(tensor), [rows, length], length)
}

/// The shape of `x` with rows of another length.
fn with_rows_of(x: &FlexTensor, length: usize) -> Shape {
    let mut shape = x.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = length;
    shape
}

/// `x W + b`.
fn product(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>, of_images: bool) -> FlexTensor {
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.map(FlexTensor::to_contiguous));
    let out = large(rows_of(&x), rows_of(&weight), bias.as_ref().map(numbers), of_images);
    tensor(out, with_rows_of(&x, row_length(&weight)))
}

impl Kernel for Flex {
    fn affine(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, of_images: bool) -> FlexTensor {
        product(&x, &weight, Some(&bias), of_images)
    }

    fn frozen_product(x: FlexTensor, weight: FlexTensor, of_images: bool) -> FlexTensor {
        product(&x, &weight, None, of_images)
    }

    fn with_value(_x: FlexTensor, _weight: FlexTensor, value: FlexTensor, _of_images: bool) -> FlexTensor {
        value
    }

    fn recorded(
        _x: FlexTensor,
        _slot: FlexTensor,
        _weight: FlexTensor,
        value: FlexTensor,
        _of_images: bool,
    ) -> FlexTensor {
        value
    }

    fn with_derivative(x: FlexTensor, weight: FlexTensor, _along: FlexTensor, of_images: bool) -> FlexTensor {
        product(&x, &weight, None, of_images)
    }
}

impl Reverse for Flex {
    fn turned(along: FlexTensor, weight: FlexTensor, of_images: bool) -> FlexTensor {
        let (along, weight) = (along.to_contiguous(), weight.to_contiguous());
        let shape = with_rows_of(&along, weight.layout().shape()[0]);
        let (along, matrix) = (rows_of(&along), rows_of(&weight));
        if along.rows() > FEW_ROWS || of_images && has_tiles() {
            return tensor(large(along, matrix.turned(), None, of_images), shape);
        }
        let turned = large(matrix, along.turned(), None, false);
        tensor(turned, Shape::new([matrix.rows(), along.rows()])).transpose(0, 1).reshape(shape)
    }
}

impl<B: Reverse, C: CheckpointStrategy> Kernel for Autodiff<B, C> {
    fn affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self> {
        let (node, weight) = (x.node(), weight.into_primitive());
        let value = B::affine(x.into_primitive(), weight.clone(), bias.into_primitive(), of_images);
        finish(OfInput.prepare::<C>([node]).compute_bound().stateful(), (weight, of_images), value)
    }

    fn frozen_product(x: FloatTensor<Self>, weight: FloatTensor<Self>, of_images: bool) -> FloatTensor<Self> {
        let (node, weight) = (x.node(), weight.into_primitive());
        let value = B::frozen_product(x.into_primitive(), weight.clone(), of_images);
        finish(OfInput.prepare::<C>([node]).compute_bound().stateful(), (weight, of_images), value)
    }

    fn with_value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        value: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self> {
        let (weight, value) = (weight.into_primitive(), value.into_primitive());
        finish(OfInput.prepare::<C>([x.node()]).compute_bound().stateful(), (weight, of_images), value)
    }

    fn recorded(
        x: FloatTensor<Self>,
        slot: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        value: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self> {
        let (weight, value) = (weight.into_primitive(), value.into_primitive());
        let nodes = [x.node(), slot.node()];
        finish(OfInput.prepare::<C>(nodes).compute_bound().stateful(), (weight, of_images), value)
    }

    fn with_derivative(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        along: FloatTensor<Self>,
        of_images: bool,
    ) -> FloatTensor<Self> {
        let node = x.node();
        let value = B::frozen_product(x.into_primitive(), weight.into_primitive(), of_images);
        finish(Known.prepare::<C>([node]).compute_bound().stateful(), along.into_primitive(), value)
    }
}

/// `dx = dy W^T`, for all parents the same.
#[derive(Debug)]
struct OfInput;

impl<B: Reverse, const N: usize> Backward<B, N> for OfInput {
    type State = (FloatTensor<B>, bool);

    fn backward(self, ops: Ops<(FloatTensor<B>, bool), N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (weight, of_images) = ops.state;
        let derivative = B::turned(along, weight, of_images);
        for parent in ops.parents.into_iter().flatten() {
            gradients.register::<B>(parent.id, derivative.clone());
        }
    }
}

/// The reverse pass whose outcome is known.
#[derive(Debug)]
struct Known;

impl<B: Backend> Backward<B, 1> for Known {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        gradients.consume::<B>(&ops.node);
        if let [Some(x)] = ops.parents {
            gradients.register::<B>(x.id, ops.state);
        }
    }
}
