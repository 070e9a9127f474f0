//! The affine layer whose weight is frozen, and its reverse pass, `dx = dy W^T`, which needs nothing of `x`.
//!
//! The bias is in place before the product is added to it, so that the output is gone through once.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::memory::{self, numbers, row_length};
use super::product::{Matrix, large};

/// `x W + b` over the last dimension of `x`; without a bias, `x W`.
///
/// # Shapes
/// - x: `[…, inputs]`
/// - weight: `[inputs, outputs]`, of which nothing is asked
/// - bias: `[outputs]`
pub(crate) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => <Dispatch as Kernel>::affine(x, weight, bias.into_dispatch()),
        None => <Dispatch as Kernel>::frozen(x, weight),
    })
}

#[backend_extension(Flex, Autodiff)]
trait Kernel: Backend {
    /// `x W + b`.
    fn affine(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x W`.
    fn frozen(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What only reverse passes compute.
trait Reverse: Kernel {
    /// `dy W^T`.
    fn turned(along: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `x M + b` where `matrix` gives `M` from the numbers of the weight, `[inputs, outputs]`.
fn product(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    matrix: impl Fn(Matrix<'_>) -> Matrix<'_>,
) -> FlexTensor {
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.map(FlexTensor::to_contiguous));
    let (inputs, shape) = (row_length(&x), weight.layout().shape());
    let count = x.layout().num_elements() / inputs.max(1);
    let weight = matrix(Matrix::new(numbers(&weight), [shape[0], shape[1]], shape[1]));
    let outputs = weight.columns();
    let mut out_shape = x.layout().shape().clone();
    let last = out_shape.num_dims() - 1;
    out_shape[last] = outputs;
    let x = Matrix::new(numbers(&x), [count, inputs], inputs);
    let bias = bias.as_ref().map(numbers);
    memory::tensor(large(x, weight, bias), out_shape)
}

impl Kernel for Flex {
    fn affine(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        product(&x, &weight, Some(&bias), |weight| weight)
    }

    fn frozen(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        product(&x, &weight, None, |weight| weight)
    }
}

impl Reverse for Flex {
    fn turned(along: FlexTensor, weight: FlexTensor) -> FlexTensor {
        product(&along, &weight, None, |weight| weight.turned())
    }
}

impl<B: Reverse, C: CheckpointStrategy> Kernel for Autodiff<B, C> {
    fn affine(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let (node, weight) = (x.node(), weight.into_primitive());
        let value = B::affine(x.into_primitive(), weight.clone(), bias.into_primitive());
        match OfInput.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish(weight, value),
            OpsKind::UnTracked(untracked) => untracked.finish(value),
        }
    }

    fn frozen(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (node, weight) = (x.node(), weight.into_primitive());
        let value = B::frozen(x.into_primitive(), weight.clone());
        match OfInput.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish(weight, value),
            OpsKind::UnTracked(untracked) => untracked.finish(value),
        }
    }
}

#[derive(Debug)]
struct OfInput;

impl<B: Reverse> Backward<B, 1> for OfInput {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        if let [Some(node)] = ops.parents {
            gradients.register::<B>(node.id, B::turned(along, ops.state));
        }
    }
}
