//! A signal is a tensor, or a dual number of tensors: a value and its derivative along one direction.
//!
//! The towers are written once over signals. With values alone they are the ordinary towers. With a tangent
//! they also carry the directional derivative `D_u f(x) = d/de f(x + e u)` forward, so that one ordinary
//! reverse pass through the tangent of the support loss gives the Hessian-vector product `H u` of the exact
//! meta-gradient (reverse over forward; Pearlmutter, "Fast exact multiplication by the Hessian", 1994). A
//! tangent that is absent is zero: what does not depend on the direction costs nothing.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use gram_clip::signal::Signal;
//!
//! let device = Device::flex();
//! let x = Tensor::<1>::from_floats([3.0, -1.0], &device);
//! let direction = Tensor::<1>::from_floats([1.0, 0.0], &device);
//! let squared = Signal::dual(x.clone(), direction.clone()).multiply(Signal::dual(x, direction));
//! assert_eq!(squared.tangent.unwrap().into_data().to_vec::<f32>().unwrap(), [6.0, 0.0]);
//! ```

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Int, Tensor, activation};

use crate::compute::is_on_cpu;
use crate::kernels;
use crate::product::product;

/// The slope of the logistic function in OpenAI's approximation of GELU.
pub(crate) const QUICK_GELU_SLOPE: f32 = 1.702;

/// A tensor of rank `D`, with its derivative along one direction when there is one.
#[derive(Clone, Debug)]
pub struct Signal<const D: usize> {
    /// The value.
    pub value: Tensor<D>,
    /// The directional derivative of the value, of the same shape; absent where it is zero.
    pub tangent: Option<Tensor<D>>,
}

impl<const D: usize> From<Tensor<D>> for Signal<D> {
    fn from(value: Tensor<D>) -> Self {
        Self { value, tangent: None }
    }
}

impl<const D: usize> Signal<D> {
    /// A value that moves along `tangent`.
    pub fn dual(value: Tensor<D>, tangent: Tensor<D>) -> Self {
        Self { value, tangent: Some(tangent) }
    }

    /// Applies a linear map (reshape, slice, transpose, scale, …) to value and tangent alike.
    pub fn linear_map<const E: usize>(self, map: impl Fn(Tensor<D>) -> Tensor<E>) -> Signal<E> {
        Signal { tangent: self.tangent.map(&map), value: map(self.value) }
    }

    /// The sum of two signals.
    pub fn plus(self, other: Self) -> Self {
        Self { value: self.value + other.value, tangent: sum_of_present(self.tangent, other.tangent) }
    }

    /// The signal plus a constant that broadcasts to its shape.
    pub fn add_constant(self, constant: Tensor<D>) -> Self {
        Self { value: self.value + constant, tangent: self.tangent }
    }

    /// The elementwise product: `(x y)' = x' y + x y'`.
    pub fn multiply(self, other: Self) -> Self {
        let left = self.tangent.map(|tangent| tangent * other.value.clone());
        let right = other.tangent.map(|tangent| self.value.clone() * tangent);
        Self { value: self.value * other.value, tangent: sum_of_present(left, right) }
    }

    /// The product of matrices in the last two dimensions: `(A B)' = A' B + A B'`.
    pub fn matmul(self, other: Self) -> Self {
        self.matmul_by(product, other)
    }

    /// [`matmul`](Self::matmul), whose products are computed by `multiply`.
    pub(crate) fn matmul_by(self, multiply: fn(Tensor<D>, Tensor<D>) -> Tensor<D>, other: Self) -> Self {
        let left = self.tangent.map(|tangent| multiply(tangent, other.value.clone()));
        let right = other.tangent.map(|tangent| multiply(self.value.clone(), tangent));
        Self { value: multiply(self.value, other.value), tangent: sum_of_present(left, right) }
    }

    /// The activation of the multi-layer perceptron.
    pub fn activation(self, activation: Activation) -> Self {
        if kernels::take(&self.value) {
            let tangent = self
                .tangent
                .map(|tangent| kernels::activation_tangent(self.value.clone(), tangent, activation));
            return Self { value: kernels::activation(self.value, activation), tangent };
        }
        match activation {
            Activation::QuickGelu => self.quick_gelu(),
            Activation::Gelu => self.gelu(),
        }
    }

    /// `x s(1.702 x)` with the logistic function `s`: OpenAI's approximation of GELU.
    fn quick_gelu(self) -> Self {
        let gate = sigmoid(self.value.clone() * QUICK_GELU_SLOPE);
        let value = self.value * gate.clone();
        let tangent = self.tangent.map(|tangent| {
            let steep = value.clone() * QUICK_GELU_SLOPE;
            tangent * (steep.clone() - steep * gate.clone() + gate)
        });
        Self { value, tangent }
    }

    /// `x Phi(x)` with the normal distribution function `Phi`.
    fn gelu(self) -> Self {
        let cumulative = |x: Tensor<D>| ((x / std::f32::consts::SQRT_2).erf() + 1.0) * 0.5;
        let tangent = self.tangent.map(|tangent| {
            let density = (self.value.clone().square() * -0.5).exp() / std::f32::consts::TAU.sqrt();
            tangent * (cumulative(self.value.clone()) + self.value.clone() * density)
        });
        // On GPUs burn 0.22 takes the reverse pass of another function, GELU's approximation by tanh.
        let value = if self.value.is_autodiff() && !is_on_cpu(&self.value) {
            self.value.clone() * cumulative(self.value)
        } else {
            activation::gelu(self.value)
        };
        Self { value, tangent }
    }

    /// The positive part: `x'` where `x > 0`, else 0.
    pub fn relu(self) -> Self {
        let positive = self.value.clone().greater_elem(0.0).float();
        Self { tangent: self.tangent.map(|tangent| tangent * positive), value: activation::relu(self.value) }
    }

    /// Softmax over the last dimension: `s' = s (x' - sum(s x'))`.
    pub fn softmax(self) -> Self {
        let value = softmax(self.value, D - 1);
        let tangent = self.tangent.map(|tangent| {
            let mean = (value.clone() * tangent.clone()).sum_dim(D - 1);
            value.clone() * (tangent - mean)
        });
        Self { value, tangent }
    }

    /// The signal divided by its Euclidean norm over the last dimension: `y' = (x' - y (y . x')) / |x|`.
    pub fn normalize(self) -> Self {
        let inverse_norm = self.value.clone().square().sum_dim(D - 1).sqrt().recip();
        let value = self.value * inverse_norm.clone();
        let tangent = self.tangent.map(|tangent| {
            let along = (value.clone() * tangent.clone()).sum_dim(D - 1);
            (tangent - value.clone() * along) * inverse_norm
        });
        Self { value, tangent }
    }

    /// Joins signals along `dimension`.
    pub fn cat(parts: Vec<Self>, dimension: usize) -> Self {
        let tangent = parts.iter().any(|part| part.tangent.is_some()).then(|| {
            let tangents =
                parts.iter().map(|part| part.tangent.clone().unwrap_or_else(|| part.value.zeros_like()));
            Tensor::cat(tangents.collect(), dimension)
        });
        Self { value: Tensor::cat(parts.into_iter().map(|part| part.value).collect(), dimension), tangent }
    }
}

impl Signal<2> {
    /// Mean cross-entropy of logits (the loss of eq. 1).
    ///
    /// # Shapes
    /// - self: `[images, classes]`
    /// - labels: `[images]`
    /// - output: `[1]`
    pub fn cross_entropy(self, labels: Tensor<1, Int>) -> Signal<1> {
        let log_probabilities = log_softmax(self.value, 1);
        let labels = labels.unsqueeze_dim::<2>(1);
        let tangent = self.tangent.map(|tangent| {
            let expected = (log_probabilities.clone().exp() * tangent.clone()).sum_dim(1);
            (expected - tangent.gather(1, labels.clone())).mean()
        });
        Signal { value: log_probabilities.gather(1, labels).mean().neg(), tangent }
    }
}

fn sum_of_present<const D: usize>(left: Option<Tensor<D>>, right: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}

/// A tensor that gradients are asked for.
pub fn leaf<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    value.inner().autodiff().require_grad()
}

/// The non-linearity of a tower's multi-layer perceptrons, as `hidden_act` of the configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x s(1.702 x)`: OpenAI's checkpoints.
    QuickGelu,
    /// `x Phi(x)`: most others.
    Gelu,
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, TensorData, Tolerance};

    use super::*;
    use crate::compute::Compute;

    /// Tangents are held to differences of values elsewhere. The reverse pass is the backend's own, and not
    /// every backend's was the derivative of its value.
    #[test]
    fn the_reverse_pass_of_an_activation_takes_the_derivative_that_its_tangent_takes() {
        let random =
            || Tensor::<2>::random([30, 20], Distribution::Uniform(-4.0, 4.0), &Compute::tested().device());
        let (x, along) = (random(), random());
        let on_leaf = leaf(x.clone());
        let derivative = |signal: fn(Signal<2>) -> Signal<2>| -> [TensorData; 2] {
            let value = signal(on_leaf.clone().into()).value;
            let back = on_leaf.grad(&(value * along.clone()).sum().backward()).unwrap();
            let forward = signal(Signal::dual(x.clone(), along.clone())).tangent.unwrap();
            [back, forward].map(Tensor::into_data)
        };
        for signal in [Signal::quick_gelu, Signal::gelu, Signal::relu] {
            let [back, forward] = derivative(signal);
            back.assert_approx_eq::<f32>(&forward, Tolerance::absolute(1e-5));
        }
    }
}
