//! Layer normalisation over the last dimension, its tangent, and the reverse passes of both.
//!
//! With `m` for the mean over a row of `n` numbers, `r = 1 / sqrt(var x + epsilon)` and `y = (x - m(x)) r`,
//! all before weight and bias:
//!
//! - the derivative of `y` along `u` is `J u = r (u - m(u) - y m(y u))`, and `J` is symmetric: it is the
//!   tangent, and the reverse pass of the value;
//! - the reverse pass of the tangent sends `J g` to the tangent, and to `x`, with `A = m(g u) - m(g) m(u)`,
//!   `B = m(y g)`, `C = m(y u)`: `-r^2 (y (A - 3 B C) + C (g - m(g)) + B (u - m(u)))`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::memory::{each_row, numbers};
use super::{finish, sum};

/// The norm of `x`, `[…, width]`, with a weight and a bias `[width]`.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernel>::layer_norm_value(x, weight, bias, epsilon as f32))
}

/// The tangent of the norm where `x` moves along `tangent`, both `[…, width]`.
pub(crate) fn layer_norm_tangent<const D: usize>(
    x: Tensor<D>,
    tangent: Tensor<D>,
    weight: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let (x, tangent, weight) = (x.into_dispatch(), tangent.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernel>::layer_norm_tangent(x, tangent, weight, epsilon as f32))
}

#[backend_extension(Flex, Autodiff)]
trait Kernel: Backend {
    /// `y w + b`.
    fn layer_norm_value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// `w J u`.
    fn layer_norm_tangent(
        x: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

/// What only reverse passes compute.
trait Reverse: Kernel {
    /// `J (w u)`.
    fn layer_norm_reverse(
        x: FloatTensor<Self>,
        along: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// What the reverse pass of the tangent sends to `x`.
    fn layer_norm_curvature(
        x: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        along: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

/// What normalises a row: its mean, and `r`.
#[derive(Clone, Copy)]
struct Normed<'a> {
    row: &'a [f32],
    mean: f32,
    scale: f32,
}

impl<'a> Normed<'a> {
    #[inline(always)]
    fn new(row: &'a [f32], epsilon: f32) -> Self {
        let mean = average(row.len(), |i| row[i]);
        let variance = average(row.len(), |i| (row[i] - mean) * (row[i] - mean));
        Self { row, mean, scale: 1.0 / (variance + epsilon).sqrt() }
    }

    /// `y` at a place.
    #[inline(always)]
    fn at(self, place: usize) -> f32 {
        (self.row[place] - self.mean) * self.scale
    }

    /// Writes `J u`, each number as `change` makes it from its place and its value.
    #[inline(always)]
    fn derivative(self, out: &mut [f32], u: impl Fn(usize) -> f32, change: impl Fn(usize, f32) -> f32) {
        let width = out.len();
        let mean = average(width, &u);
        let along = average(width, |i| self.at(i) * u(i));
        for (place, out) in out.iter_mut().enumerate() {
            *out = change(place, self.scale * (u(place) - mean - self.at(place) * along));
        }
    }
}

#[inline(always)]
fn average(length: usize, term: impl Fn(usize) -> f32) -> f32 {
    sum(length, term) / length as f32
}

impl Kernel for Flex {
    fn layer_norm_value(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, epsilon: f32) -> FlexTensor {
        let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
        let (weight, bias) = (numbers(&weight), numbers(&bias));
        each_row(
            [x],
            #[inline(always)]
            |[x], out| {
                let (weight, bias) = (&weight[..out.len()], &bias[..out.len()]);
                let normed = Normed::new(x, epsilon);
                for (place, out) in out.iter_mut().enumerate() {
                    *out = normed.at(place) * weight[place] + bias[place];
                }
            },
        )
    }

    fn layer_norm_tangent(
        x: FlexTensor,
        tangent: FlexTensor,
        weight: FlexTensor,
        epsilon: f32,
    ) -> FlexTensor {
        let weight = weight.to_contiguous();
        let weight = numbers(&weight);
        each_row(
            [x, tangent],
            #[inline(always)]
            |[x, u], out| {
                let weight = &weight[..out.len()];
                Normed::new(x, epsilon).derivative(out, |i| u[i], |i, y| y * weight[i]);
            },
        )
    }
}

impl Reverse for Flex {
    fn layer_norm_reverse(x: FlexTensor, along: FlexTensor, weight: FlexTensor, epsilon: f32) -> FlexTensor {
        let weight = weight.to_contiguous();
        let weight = numbers(&weight);
        each_row(
            [x, along],
            #[inline(always)]
            |[x, along], out| {
                let weight = &weight[..out.len()];
                Normed::new(x, epsilon).derivative(out, |i| along[i] * weight[i], |_, y| y);
            },
        )
    }

    fn layer_norm_curvature(
        x: FlexTensor,
        tangent: FlexTensor,
        along: FlexTensor,
        weight: FlexTensor,
        epsilon: f32,
    ) -> FlexTensor {
        let weight = weight.to_contiguous();
        let weight = numbers(&weight);
        each_row(
            [x, tangent, along],
            #[inline(always)]
            |[x, u, along], out| {
                let (weight, width) = (&weight[..out.len()], out.len());
                let normed = Normed::new(x, epsilon);
                let g = |i: usize| along[i] * weight[i];
                let (mean_g, mean_u) = (average(width, g), average(width, |i| u[i]));
                let a = average(width, |i| (g(i) - mean_g) * u[i]);
                let b = average(width, |i| normed.at(i) * g(i));
                let c = average(width, |i| normed.at(i) * u[i]);
                let scale = -normed.scale * normed.scale;
                for (i, out) in out.iter_mut().enumerate() {
                    let centred = c * (g(i) - mean_g) + b * (u[i] - mean_u);
                    *out = scale * (normed.at(i) * (a - 3.0 * b * c) + centred);
                }
            },
        )
    }
}

impl<B: Reverse, C: CheckpointStrategy> Kernel for Autodiff<B, C> {
    fn layer_norm_value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let (node, x, weight) = (x.node(), x.into_primitive(), weight.into_primitive());
        let value = B::layer_norm_value(x.clone(), weight.clone(), bias.into_primitive(), epsilon);
        finish(OfValue.prepare::<C>([node]).compute_bound().stateful(), (x, weight, epsilon), value)
    }

    fn layer_norm_tangent(
        x: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), tangent.node()];
        let (x, tangent, weight) = (x.into_primitive(), tangent.into_primitive(), weight.into_primitive());
        let value = B::layer_norm_tangent(x.clone(), tangent.clone(), weight.clone(), epsilon);
        finish(OfTangent.prepare::<C>(nodes).compute_bound().stateful(), (x, tangent, weight, epsilon), value)
    }
}

#[derive(Debug)]
struct OfValue;

impl<B: Reverse> Backward<B, 1> for OfValue {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        if let [Some(node)] = ops.parents {
            gradients.register::<B>(node.id, B::layer_norm_reverse(x, along, weight, epsilon));
        }
    }
}

#[derive(Debug)]
struct OfTangent;

impl<B: Reverse> Backward<B, 2> for OfTangent {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (x, tangent, weight, epsilon) = ops.state;
        let [of_x, of_tangent] = ops.parents;
        if let Some(node) = of_x {
            let derivative =
                B::layer_norm_curvature(x.clone(), tangent, along.clone(), weight.clone(), epsilon);
            gradients.register::<B>(node.id, derivative);
        }
        if let Some(node) = of_tangent {
            gradients.register::<B>(node.id, B::layer_norm_reverse(x, along, weight, epsilon));
        }
    }
}
