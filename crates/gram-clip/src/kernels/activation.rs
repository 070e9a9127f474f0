//! The activation of the perceptron, its tangent, and the reverse passes of both.
//!
//! With `f` for the activation: the value is `f(x)`, the tangent `f'(x) x'`. The reverse pass of the value
//! takes `f'`, that of the tangent `f'` and `f''`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::exponential::{erf, exp, sigmoid};
use super::finish;
use super::memory::each_row;
use crate::signal::{Activation, QUICK_GELU_SLOPE};

/// `f(x)`.
pub(crate) fn activation<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Kernel>::activation_value(x.into_dispatch(), activation))
}

/// `f'(x) x'`.
pub(crate) fn activation_tangent<const D: usize>(
    x: Tensor<D>,
    tangent: Tensor<D>,
    activation: Activation,
) -> Tensor<D> {
    let (x, tangent) = (x.into_dispatch(), tangent.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernel>::activation_tangent(x, tangent, activation))
}

#[backend_extension(Flex, Autodiff)]
trait Kernel: Backend {
    /// `f(x)`.
    fn activation_value(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    /// `f'(x) x'`.
    fn activation_tangent(
        x: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

/// What only reverse passes compute.
trait Reverse: Kernel {
    /// `f''(x) x' dy`.
    fn activation_curvature(
        x: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        along: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

impl Kernel for Flex {
    fn activation_value(x: FlexTensor, activation: Activation) -> FlexTensor {
        derivative_times(activation, [x])
    }

    fn activation_tangent(x: FlexTensor, tangent: FlexTensor, activation: Activation) -> FlexTensor {
        derivative_times(activation, [x, tangent])
    }
}

impl Reverse for Flex {
    fn activation_curvature(
        x: FlexTensor,
        tangent: FlexTensor,
        along: FlexTensor,
        activation: Activation,
    ) -> FlexTensor {
        derivative_times(activation, [x, tangent, along])
    }
}

/// Of the first tensor: `f` alone, `f'` times one other, or `f''` times two others, number by number.
fn derivative_times<const N: usize>(activation: Activation, inputs: [FlexTensor; N]) -> FlexTensor {
    match activation {
        Activation::QuickGelu => each(inputs, quick_gelu::<N>),
        Activation::Gelu => each(inputs, gelu::<N>),
    }
}

/// `derivative` of the numbers of the first tensor, times those of the others.
fn each<const N: usize>(inputs: [FlexTensor; N], derivative: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    each_row(
        inputs,
        #[inline(always)]
        |inputs, out| {
            for (place, out) in out.iter_mut().enumerate() {
                let factors: f32 = inputs[1..].iter().map(|input| input[place]).product();
                *out = derivative(inputs[0][place]) * factors;
            }
        },
    )
}

/// The derivative of order `N - 1` of `x s(a x)`, with the logistic function `s`.
#[inline(always)]
fn quick_gelu<const N: usize>(x: f32) -> f32 {
    const A: f32 = QUICK_GELU_SLOPE;
    let s = sigmoid(A * x);
    let slope = A * s * (1.0 - s);
    match N {
        1 => x * s,
        2 => s + x * slope,
        _ => slope * (2.0 + A * x * (1.0 - 2.0 * s)),
    }
}

/// The derivative of order `N - 1` of `x Phi(x)`, with the normal distribution function `Phi`.
#[inline(always)]
fn gelu<const N: usize>(x: f32) -> f32 {
    let cumulative = || 0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2);
    let density = || exp(-0.5 * x * x) * DENSITY_AT_ZERO;
    match N {
        1 => x * cumulative(),
        2 => cumulative() + x * density(),
        _ => density() * (2.0 - x * x),
    }
}

/// `1 / sqrt(2 pi)`.
const DENSITY_AT_ZERO: f32 = std::f32::consts::FRAC_1_SQRT_2 * std::f32::consts::FRAC_2_SQRT_PI * 0.5;

impl<B: Reverse, C: CheckpointStrategy> Kernel for Autodiff<B, C> {
    fn activation_value(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let (node, x) = (x.node(), x.into_primitive());
        let value = B::activation_value(x.clone(), activation);
        finish(OfValue.prepare::<C>([node]).compute_bound().stateful(), (x, activation), value)
    }

    fn activation_tangent(
        x: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), tangent.node()];
        let (x, tangent) = (x.into_primitive(), tangent.into_primitive());
        let value = B::activation_tangent(x.clone(), tangent.clone(), activation);
        finish(OfTangent.prepare::<C>(nodes).compute_bound().stateful(), (x, tangent, activation), value)
    }
}

/// `dx = f'(x) dy`.
#[derive(Debug)]
struct OfValue;

impl<B: Reverse> Backward<B, 1> for OfValue {
    type State = (FloatTensor<B>, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (x, activation) = ops.state;
        if let [Some(node)] = ops.parents {
            gradients.register::<B>(node.id, B::activation_tangent(x, along, activation));
        }
    }
}

/// `dx = f''(x) x' dy`, `dx' = f'(x) dy`.
#[derive(Debug)]
struct OfTangent;

impl<B: Reverse> Backward<B, 2> for OfTangent {
    type State = (FloatTensor<B>, FloatTensor<B>, Activation);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (x, tangent, activation) = ops.state;
        let [of_x, of_tangent] = ops.parents;
        if let Some(node) = of_x {
            let derivative = B::activation_curvature(x.clone(), tangent, along.clone(), activation);
            gradients.register::<B>(node.id, derivative);
        }
        if let Some(node) = of_tangent {
            gradients.register::<B>(node.id, B::activation_tangent(x, along, activation));
        }
    }
}
