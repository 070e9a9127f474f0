//! An affine map whose weight is frozen, with a reverse pass that reads the weight as it lies in memory, and a memory of what
//! its products gave.
//!
//! The reverse pass of `y = x W + b` is `dx = dy W^T`. burn gives that product a transposed view of the weight, and where rows
//! are few, as those of a handful of classes are, bringing the view into order takes up to five times as long as multiplying.
//! `dx^T = W dy^T` are the same numbers from the weight as it is; only the few rows are turned.
//!
//! A Hessian-vector product at a point whose gradient is known needs half of its products again: [`Products`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as PassGradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Gradients, Tensor, module};

use crate::layers::Linear;
use crate::signal::{Signal, leaf};

/// Above so many rows, bringing the weight into order costs nothing beside the product.
const FEW_ROWS: usize = 400;

/// `x W + b` over the last dimension; the tangent sees the weight, not the bias.
///
/// # Shapes
/// - x: `[…, inputs]`
/// - output: `[…, outputs]`
pub(crate) fn linear<const D: usize>(x: Signal<D>, layer: &Linear) -> Signal<D> {
    let (weight, bias) = (layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()));
    let frozen = is_frozen(&x.value, &weight);
    if x.tangent.is_none() && !frozen {
        return module::linear(x.value, weight, bias).into();
    }
    let product = match &layer.products {
        Some(products) if frozen => products.product(x, weight),
        _ => product(x, weight),
    };
    match bias {
        Some(bias) => product.add_constant(bias.unsqueeze::<D>()),
        None => product,
    }
}

/// Whether something is asked of a few rows and nothing of the weight.
fn is_frozen<const D: usize>(x: &Tensor<D>, weight: &Tensor<2>) -> bool {
    D == 2 && x.dims()[0] <= FEW_ROWS && x.is_autodiff() && !weight.is_autodiff()
}

/// `x W`. Value and tangent are one product, for reading the weight is what costs time where rows are few.
fn product<const D: usize>(x: Signal<D>, weight: Tensor<2>) -> Signal<D> {
    let Some(tangent) = x.tangent else {
        return multiply(x.value, weight).into();
    };
    let rows = x.value.dims()[0];
    let both = multiply(Tensor::cat(vec![x.value, tangent], 0), weight);
    Signal::dual(both.clone().narrow(0, 0, rows), both.narrow(0, rows, rows))
}

fn multiply<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    if !is_frozen(&x, &weight) {
        return module::linear(x, weight, None);
    }
    let product = <Dispatch as FrozenProduct>::frozen_product(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(product)
}

/// What the products with frozen weights gave on the way to a gradient: their values, and the derivatives for what they
/// multiplied, in the order of the forward pass.
///
/// A pass in dual numbers at the same point computes both again. Its values are the same. The tangent of the loss is linear
/// in all tangents, with the derivatives of the loss as factors, so that its reverse pass sends to the tangent of every `x`
/// what the reverse pass of the loss sent to `x`. What is left is one product for the tangent and one for the
/// derivative of the value.
#[derive(Clone, Debug, Default)]
pub struct Products(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// Before the reverse pass: values, and leaves whose gradients will be the derivatives.
    Recording(Vec<(Tensor<2>, Tensor<2>)>),
    /// After it: values and derivatives.
    Known(VecDeque<(Tensor<2>, Option<Tensor<2>>)>),
}

impl Default for State {
    fn default() -> Self {
        Self::Recording(Vec::new())
    }
}

impl Products {
    /// Ends the pass over values: takes from its gradients the derivatives for what was multiplied.
    pub fn learn(&self, gradients: &Gradients) {
        let mut state = self.state();
        if let State::Recording(recorded) = &mut *state {
            let known = recorded.drain(..).map(|(value, slot)| (value, slot.grad(gradients)));
            *state = State::Known(known.collect());
        }
    }

    /// Products that are kept.
    pub fn len(&self) -> usize {
        match &*self.state() {
            State::Recording(recorded) => recorded.len(),
            State::Known(known) => known.len(),
        }
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `x W`: kept in a pass over values, and taken from what is kept in one in dual numbers.
    fn product<const D: usize>(&self, x: Signal<D>, weight: Tensor<2>) -> Signal<D> {
        let known = match (&mut *self.state(), &x.tangent) {
            (State::Recording(recorded), None) => {
                let slot = leaf(weight.clone().narrow(0, 0, 1).zeros_like());
                let (x, weight) = (x.value.into_dispatch(), weight.into_dispatch());
                let value = Tensor::from_dispatch(<Dispatch as FrozenProduct>::recorded_product(
                    x,
                    slot.clone().into_dispatch(),
                    weight,
                ));
                recorded.push((Tensor::from_dispatch(value.clone().inner().into_dispatch()), slot));
                return value.into();
            }
            (State::Recording(_), Some(_)) => None,
            (State::Known(known), _) => known.pop_front(),
        };
        let Some((value, along)) = known else {
            return product(x, weight);
        };
        let tangent = x.tangent.map(|tangent| match along {
            Some(along) => Tensor::from_dispatch(<Dispatch as FrozenProduct>::product_with_derivative(
                tangent.into_dispatch(),
                weight.clone().into_dispatch(),
                along.into_dispatch(),
            )),
            None => multiply(tangent, weight.clone()),
        });
        let value = <Dispatch as FrozenProduct>::product_with_value(
            x.value.into_dispatch(),
            weight.into_dispatch(),
            value.into_dispatch(),
        );
        Signal { value: Tensor::from_dispatch(value), tangent }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::{Device, Distribution};

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Default, &Device::default())
    }

    #[test]
    fn a_frozen_weight_gives_the_same_values_and_derivatives_as_one_that_could_be_learned() {
        let (weight, turn) = (random([6, 9]), random([5, 9]));
        let bias = Some(Param::from_tensor(random([9])));
        let x = random([5, 6]);
        let through = |weight: Tensor<2>| {
            let x = leaf(x.clone());
            let y = linear(x.clone().into(), &Linear::new(Param::from_tensor(weight), bias.clone())).value;
            let gradients = (y.clone() * turn.clone()).sum().backward();
            (y.inner().into_data(), x.grad(&gradients).unwrap().into_data())
        };
        let ((y, along), (expected, expected_along)) = (through(weight.clone()), through(weight.autodiff()));
        y.assert_approx_eq::<f32>(&expected, Default::default());
        along.assert_approx_eq::<f32>(&expected_along, Default::default());
    }
}
