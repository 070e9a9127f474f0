//! The layers that both towers share: affine maps and layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, module};

use crate::compute::Precision;
use crate::kernels::{self, Frozen};
use crate::products::{AffineMap, LayerProducts};
use crate::rounded_product::rounded_product;
use crate::signal::Signal;

/// An affine map.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Whether rows are positions of images, and not of texts: the CPU multiplies these in another way.
    of_images: bool,
}

impl Linear {
    /// A map of texts with a weight `[inputs, outputs]` and a bias `[outputs]`.
    pub fn new(weight: Param<Tensor<2>>, bias: Option<Param<Tensor<1>>>) -> Self {
        Self { weight, bias, of_images: false }
    }

    /// The same map of images.
    pub fn of_images(self) -> Self {
        Self { of_images: true, ..self }
    }

    fn frozen(&self) -> Frozen {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|bias| bias.val()));
        Frozen { weight, bias, of_images: self.of_images }
    }

    /// Rounds the weight to a number format: the product is in it then, its sums and the bias are not.
    pub(crate) fn round_to(&mut self, precision: Precision) {
        self.weight = self.weight.clone().map(|weight| weight.cast(precision.float()));
    }

    /// `x W + b` over the last dimension.
    fn forward<const D: usize>(&self, x: Signal<D>) -> Signal<D> {
        let layer = self.frozen();
        if kernels::take_frozen(&x.value, &layer.weight, layer.bias.as_ref()) {
            return kernels::linear(x, layer);
        }
        let Frozen { weight, bias, .. } = layer;
        if x.tangent.is_none() && weight.dtype() == x.value.dtype() {
            return crate::product::linear(x.value, weight, bias).into();
        }
        let product = product(x, weight);
        match bias {
            Some(bias) => product.add_constant(bias.unsqueeze::<D>()),
            None => product,
        }
    }

    /// [`forward`](Self::forward), by what `kept` knows of it where the kernels of the CPU take it.
    pub(crate) fn forward_keeping(&self, map: AffineMap, x: Signal<2>, kept: LayerProducts) -> Signal<2> {
        let layer = self.frozen();
        if !x.value.is_autodiff() || !kernels::take_frozen(&x.value, &layer.weight, layer.bias.as_ref()) {
            return self.forward(x);
        }
        kept.linear(map, x, layer)
    }
}

/// `x W`, value and tangent in one product.
fn product<const D: usize>(x: Signal<D>, weight: Tensor<2>) -> Signal<D> {
    let multiply = |x: Tensor<D>| match x.dtype() == weight.dtype() {
        true => crate::product::linear(x, weight.clone(), None),
        false => rounded_product(x, weight.clone()),
    };
    let Some(tangent) = x.tangent else {
        return multiply(x.value).into();
    };
    let rows = x.value.dims()[0];
    let both = multiply(Tensor::cat(vec![x.value, tangent], 0));
    Signal::dual(both.clone().narrow(0, 0, rows), both.narrow(0, rows, rows))
}

/// Layer normalisation over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Param<Tensor<1>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl<const D: usize> Signal<D> {
    /// An affine layer over the last dimension: the tangent sees the weight, not the bias.
    ///
    /// # Shapes
    /// - self: `[…, inputs]`
    /// - output: `[…, outputs]`
    pub fn linear(self, layer: &Linear) -> Self {
        layer.forward(self)
    }

    /// Layer normalisation over the last dimension. With `r = 1 / sqrt(var x + epsilon)` and
    /// `y = (x - mean x) r`: `y' = r (x' - mean x' - y mean(y x'))`.
    pub fn layer_norm(self, norm: &LayerNorm) -> Self {
        let (weight, bias, epsilon) = (norm.weight.val(), norm.bias.val(), norm.epsilon);
        if kernels::take_frozen(&self.value, &weight, Some(&bias)) {
            let tangent = self.tangent.map(|tangent| {
                kernels::layer_norm_tangent(self.value.clone(), tangent, weight.clone(), epsilon)
            });
            return Self { value: kernels::layer_norm(self.value, weight, bias, epsilon), tangent };
        }
        if self.tangent.is_none() && !self.value.is_autodiff() {
            // The fused kernel has no reverse pass of its own, but without autodiff it needs none.
            return module::layer_norm(self.value, weight, Some(bias), epsilon).into();
        }
        let last = D - 1;
        let centred = self.value.clone() - self.value.mean_dim(last);
        let variance = centred.clone().square().mean_dim(last);
        let scale = variance.add_scalar(epsilon).sqrt().recip();
        let normed = centred * scale.clone();
        let weight = weight.unsqueeze::<D>();
        let tangent = self.tangent.map(|tangent| {
            let along = (normed.clone() * tangent.clone()).mean_dim(last);
            let centred = tangent.clone() - tangent.mean_dim(last);
            (centred - normed.clone() * along) * scale * weight.clone()
        });
        Self { value: normed * weight + bias.unsqueeze::<D>(), tangent }
    }
}

/// Numbers as a tensor, `[numbers]`: rows to select, or labels.
pub fn indices(numbers: &[usize], device: &Device) -> Tensor<1, Int> {
    let all: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
    Tensor::from_data(TensorData::new(all, [numbers.len()]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::compute::Compute;
    use crate::signal::leaf;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Default, &Compute::tested().device())
    }

    #[test]
    fn a_frozen_weight_gives_the_same_values_and_derivatives_as_one_that_could_be_learned() {
        let (weight, turn) = (random([6, 9]), random([5, 9]));
        let bias = Some(Param::from_tensor(random([9])));
        let x = random([5, 6]);
        let through = |weight: Tensor<2>| {
            let x = leaf(x.clone());
            let layer = Linear::new(Param::from_tensor(weight), bias.clone());
            let y = Signal::from(x.clone()).linear(&layer).value;
            let gradients = (y.clone() * turn.clone()).sum().backward();
            (y.inner().into_data(), x.grad(&gradients).unwrap().into_data())
        };
        let ((y, along), (expected, expected_along)) = (through(weight.clone()), through(weight.autodiff()));
        y.assert_approx_eq::<f32>(&expected, Default::default());
        along.assert_approx_eq::<f32>(&expected_along, Default::default());
    }
}
