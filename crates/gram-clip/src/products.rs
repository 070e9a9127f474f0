//! What the products with frozen weights gave on the way to a gradient, kept for the Hessian at the same
//! point.
//!
//! A Hessian-vector product comes from a pass in dual numbers, which computes every product of the gradient's
//! pass again. Its values are the same. The tangent of the loss is linear in all tangents, with the
//! derivatives of the loss as factors, so that its reverse pass sends to the tangent of every `x` what the
//! reverse pass of the loss sent to `x`. What is left of `x W` is one product for the tangent and one for the
//! derivative of the value.
//!
//! What is taken from another place, another layer or other images would give a Hessian that looks right and
//! is wrong. So every product is kept under its [name](ProductName), which says the layer, the map and what
//! entered the tower, and is taken by that name alone: the order of the passes does not matter. The losses
//! must be the same too, for the derivatives are theirs. What is not known under its name, or has another
//! shape, is [refused](Refusal) and computed anew: a product that was not kept is no error, for there is room
//! for so many, and what is computed anew is right.

mod name;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Gradients, Tensor};
pub use name::{AffineMap, ProductName, ProductShape, Refusal, Tower};

use crate::contents::Contents;
use crate::kernels::{Frozen, linear, recorded, with_derivative, with_value};
use crate::signal::Signal;

/// Numbers that are kept at most, 1 GB: those of a task of five images by ViT-B/16 are 0.7 GB. What there is
/// no room for is computed anew.
const ROOM: usize = 1 << 28;

/// Products on the way to losses: their values, and the derivatives of the losses for what was multiplied.
#[derive(Clone, Debug)]
pub struct Products {
    /// What the losses are computed from.
    losses: u128,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    /// Before the reverse pass. Two passes with the same input have the same values but not the same
    /// derivatives: nothing is kept under a name that was given twice.
    Recording {
        kept: BTreeMap<ProductName, Option<Recorded>>,
        /// Numbers that are kept, values and derivatives.
        numbers: usize,
    },
    /// After it.
    Known { kept: BTreeMap<ProductName, Known>, refused: Vec<Refusal> },
}

/// A product before the reverse pass.
#[derive(Debug)]
struct Recorded {
    shape: ProductShape,
    value: Tensor<2>,
    /// A leaf whose gradient will be the derivative.
    slot: Tensor<2>,
}

/// A product after the reverse pass.
#[derive(Debug)]
struct Known {
    shape: ProductShape,
    value: Tensor<2>,
    /// The derivative of the losses for what was multiplied; none where they do not depend on it.
    along: Option<Tensor<2>>,
}

impl Products {
    /// To keep those on the way to `losses`: the [contents](Contents) of what these are computed from.
    pub fn towards(losses: &Contents) -> Self {
        Self {
            losses: losses.digest(),
            state: Arc::new(Mutex::new(State::Recording { kept: BTreeMap::new(), numbers: 0 })),
        }
    }

    /// Ends the pass over values: takes from its gradients the derivatives for what was multiplied.
    pub fn learn(&self, gradients: &Gradients) {
        let mut state = self.state();
        if let State::Recording { kept: recorded, .. } = &mut *state {
            let known = |(name, recorded): (ProductName, Option<Recorded>)| {
                let Recorded { shape, value, slot } = recorded?;
                Some((name, Known { shape, value, along: slot.grad(gradients) }))
            };
            let kept = std::mem::take(recorded).into_iter().filter_map(known).collect();
            *state = State::Known { kept, refused: Vec::new() };
        }
    }

    /// Whether they were kept on the way to these losses; notes a refusal if not.
    pub fn are_of(&self, losses: &Contents) -> bool {
        let same = self.losses == losses.digest();
        if !same {
            self.note(Refusal::OtherLosses);
        }
        same
    }

    /// Products that are kept and have not been taken.
    pub fn len(&self) -> usize {
        match &*self.state() {
            State::Recording { kept, .. } => kept.values().flatten().count(),
            State::Known { kept, .. } => kept.len(),
        }
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was computed anew instead of taken, and why: nothing, where the pass of the Hessian is that of
    /// the gradient.
    pub fn refused(&self) -> Vec<Refusal> {
        match &*self.state() {
            State::Recording { .. } => Vec::new(),
            State::Known { refused, .. } => refused.clone(),
        }
    }

    /// Those of a pass of `input` through a tower.
    pub(crate) fn of_pass(&self, tower: Tower, input: &Contents) -> PassProducts<'_> {
        PassProducts { products: self, tower, input: input.digest() }
    }

    /// `x W + b`: kept in a pass over values, and taken from what is kept in one in dual numbers.
    fn linear(&self, name: ProductName, x: Signal<2>, layer: Frozen) -> Signal<2> {
        if self.is_recording() {
            return match x.tangent {
                None => self.record(name, x.value, layer).into(),
                Some(_) => linear(x, layer),
            };
        }
        match self.take(name, ProductShape::new(&x.value, &layer.weight)) {
            Ok(known) => known.linear(x, layer),
            Err(refusal) => {
                self.note(refusal);
                linear(x, layer)
            }
        }
    }

    fn is_recording(&self) -> bool {
        matches!(&*self.state(), State::Recording { .. })
    }

    fn record(&self, name: ProductName, x: Tensor<2>, layer: Frozen) -> Tensor<2> {
        let shape = ProductShape::new(&x, &layer.weight);
        if !self.has_room(shape) {
            return linear(x.into(), layer).value;
        }
        let (product, slot) = recorded(x, layer);
        if let State::Recording { kept, .. } = &mut *self.state() {
            let value = product.clone().inner();
            let first = !kept.contains_key(&name);
            kept.insert(name, first.then_some(Recorded { shape, value, slot }));
        }
        product
    }

    /// Whether there is room for a product's value and derivative, which is taken then.
    fn has_room(&self, ProductShape { rows, inputs, outputs }: ProductShape) -> bool {
        let State::Recording { numbers, .. } = &mut *self.state() else { return false };
        let own = rows * (inputs + outputs);
        let fits = *numbers + own <= ROOM;
        *numbers += if fits { own } else { 0 };
        fits
    }

    /// The product of that name and shape, which is not kept any longer.
    fn take(&self, name: ProductName, asked: ProductShape) -> Result<Known, Refusal> {
        let mut state = self.state();
        let State::Known { kept, .. } = &mut *state else { return Err(Refusal::Unknown(name)) };
        match kept.get(&name).map(|known| known.shape) {
            Some(shape) if shape != asked => Err(Refusal::Shape { name, kept: shape, asked }),
            _ => kept.remove(&name).ok_or(Refusal::Unknown(name)),
        }
    }

    fn note(&self, refusal: Refusal) {
        if let State::Known { refused, .. } = &mut *self.state() {
            refused.push(refusal);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// `x W + b`, of which the value and the derivative of the tangent are known.
    fn linear(self, x: Signal<2>, layer: Frozen) -> Signal<2> {
        let tangent = x.tangent.map(|tangent| match self.along {
            Some(along) => with_derivative(tangent, layer.clone(), along),
            None => linear(tangent.into(), layer.unbiased()).value,
        });
        Signal { value: with_value(x.value, layer, self.value), tangent }
    }
}

/// The products of one pass through a tower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassProducts<'a> {
    products: &'a Products,
    tower: Tower,
    input: u128,
}

impl<'a> PassProducts<'a> {
    /// Those of a layer.
    pub(crate) fn of_layer(self, layer: usize) -> LayerProducts<'a> {
        LayerProducts { pass: self, layer }
    }
}

/// The products of one layer in one pass through its tower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerProducts<'a> {
    pass: PassProducts<'a>,
    layer: usize,
}

impl LayerProducts<'_> {
    /// `x W + b` by one of the layer's maps, which must be frozen: kept, or taken from what is kept.
    ///
    /// # Shapes
    /// - x: `[rows, inputs]`
    /// - output: `[rows, outputs]`
    pub(crate) fn linear(self, map: AffineMap, x: Signal<2>, frozen: Frozen) -> Signal<2> {
        let Self { pass: PassProducts { products, tower, input }, layer } = self;
        products.linear(ProductName { tower, input, layer, map }, x, frozen)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::compute::Compute;
    use crate::signal::leaf;

    fn random(shape: [usize; 2]) -> Tensor<2> {
        Tensor::random(shape, Distribution::Default, &Compute::cpu().device())
    }

    fn contents(number: usize) -> Contents {
        let mut contents = Contents::default();
        contents.value(&number);
        contents
    }

    fn name(layer: usize, input: usize) -> ProductName {
        ProductName { tower: Tower::Text, input: contents(input).digest(), layer, map: AffineMap::Key }
    }

    fn unbiased(weight: &Tensor<2>) -> Frozen {
        Frozen { weight: weight.clone(), bias: None, of_images: false }
    }

    /// Products of one row with weights of two layers, on the way to the sum of all numbers.
    fn kept(x: &Tensor<2>, weights: &[Tensor<2>; 2]) -> Products {
        let products = Products::towards(&contents(0));
        let pass = products.of_pass(Tower::Text, &contents(1));
        let product = |(layer, weight): (usize, &Tensor<2>)| {
            let x = leaf(x.clone()).into();
            pass.of_layer(layer).linear(AffineMap::Key, x, unbiased(weight)).value.sum()
        };
        let [first, second] = [(0, &weights[0]), (1, &weights[1])].map(product);
        products.learn(&(first + second).backward());
        products
    }

    /// The value of `x W` as it is taken from what is kept of a layer.
    fn taken(
        products: &Products,
        layer: usize,
        input: usize,
        x: &Tensor<2>,
        weight: &Tensor<2>,
    ) -> Tensor<2> {
        let x = Signal::dual(leaf(x.clone()), x.clone());
        let pass = products.of_pass(Tower::Text, &contents(input));
        pass.of_layer(layer).linear(AffineMap::Key, x, unbiased(weight)).value.inner()
    }

    fn assert_same(found: Tensor<2>, expected: Tensor<2>) {
        found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
    }

    #[test]
    fn layers_in_another_order_take_their_own_products() {
        let (x, weights) = (random([3, 4]), [random([4, 5]), random([4, 5])]);
        let products = kept(&x, &weights);
        assert_eq!(products.len(), 2);
        for layer in [1, 0] {
            let found = taken(&products, layer, 1, &x, &weights[layer]);
            assert_same(found, x.clone().matmul(weights[layer].clone()));
        }
        assert!(products.is_empty() && products.refused().is_empty());
    }

    #[test]
    fn a_product_of_another_layer_input_or_shape_is_refused_and_computed_anew() {
        let (x, weights) = (random([3, 4]), [random([4, 5]), random([4, 5])]);
        let (products, wider) = (kept(&x, &weights), random([4, 6]));
        for (layer, input, weight) in [(2, 1, &weights[0]), (0, 2, &weights[0]), (0, 1, &wider)] {
            assert_same(taken(&products, layer, input, &x, weight), x.clone().matmul(weight.clone()));
        }
        let (kept, asked) = ([3, 4, 5], [3, 4, 6]);
        let shape = |[rows, inputs, outputs]: [usize; 3]| ProductShape { rows, inputs, outputs };
        let other = Refusal::Shape { name: name(0, 1), kept: shape(kept), asked: shape(asked) };
        let refused = [Refusal::Unknown(name(2, 1)), Refusal::Unknown(name(0, 2)), other];
        assert_eq!(products.refused(), refused);
        assert_eq!(products.len(), 2, "what is refused stays");
        let (refusal, input) = (refused[2].to_string(), contents(1).digest());
        assert_eq!(
            refusal,
            format!(
                "Key of layer 0 of the Text tower for input {input:032x}: [3, 4] times [4, 5] was kept, \
                 [3, 4] times [4, 6] is asked for: pass the towers what was passed for the gradient"
            )
        );
    }

    #[test]
    fn what_there_is_no_room_for_is_computed_anew() {
        let (x, weight) = (random([3, 4]), random([4, 5]));
        let product = x.clone().matmul(weight.clone());
        let products = Products::towards(&contents(0));
        // Room for one product of 3 times 4 + 5 numbers.
        if let State::Recording { numbers, .. } = &mut *products.state() {
            *numbers = ROOM - 30;
        }
        let pass = products.of_pass(Tower::Text, &contents(1));
        for layer in [0, 1] {
            let x = leaf(x.clone()).into();
            let found = pass.of_layer(layer).linear(AffineMap::Key, x, unbiased(&weight)).value;
            assert_same(found.inner(), product.clone());
            assert_eq!(products.len(), 1);
        }
    }

    #[test]
    fn other_losses_are_refused() {
        let (x, weights) = (random([3, 4]), [random([4, 5]), random([4, 5])]);
        let products = kept(&x, &weights);
        assert!(products.are_of(&contents(0)) && products.refused().is_empty());
        assert!(!products.are_of(&contents(1)));
        assert_eq!(products.refused(), [Refusal::OtherLosses]);
    }
}
