//! Tangents are directional derivatives, and their reverse pass gives products with the Hessian.
//!
//! Everything here is computed in 64 bits, where a central difference with step 1e-5 is good to about 1e-9.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::sync::LazyLock;

use burn::module::Param;
use burn::tensor::{Device, FloatDType, Int, Tensor};
use fixtures::{Fixture, MODELS, assert_close, values, wave};
use gram_clip::layers::{LayerNorm, Linear};
use gram_clip::signal::{Activation, leaf};
use gram_clip::text_tower::Batching;
use gram_clip::{Compute, Signal};

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;

/// The CPU in 64 bits, which GPUs are not known for. It takes the setting only before its first tensor, so
/// every test begins here.
fn device() -> Device {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| {
        let mut device = Compute::cpu().device();
        device.configure(FloatDType::F64).unwrap();
        device
    });
    DEVICE.clone()
}

/// Panics unless the tangent of `f` at `x` along `direction` is the central difference of its values.
fn check<const D: usize, const E: usize>(
    what: &str,
    x: Tensor<D>,
    direction: Tensor<D>,
    f: impl Fn(Signal<D>) -> Signal<E>,
) {
    let tangent = values(f(Signal::dual(x.clone(), direction.clone())).tangent.unwrap());
    let at = |step: f64| values(f((x.clone() + direction.clone() * step).into()).value);
    let difference: Vec<f64> =
        at(STEP).iter().zip(at(-STEP)).map(|(after, before)| (after - before) / (2.0 * STEP)).collect();
    let largest = difference.iter().fold(1e-3_f64, |most, one| most.max(one.abs()));
    assert!(difference.iter().any(|one| one.abs() > 1e-4), "{what} does not move");
    assert_close(&tangent, &difference, TOLERANCE * largest.max(1.0), what);
}

fn check_wave<const E: usize>(what: &str, f: impl Fn(Signal<3>) -> Signal<E>) {
    let device = device();
    check(what, wave([2, 3, 4], 0.3, &device) * 2.0, wave([2, 3, 4], 1.1, &device), f);
}

fn linear() -> Linear {
    let device = device();
    Linear::new(
        Param::from_tensor(wave([4, 5], 0.7, &device)),
        Some(Param::from_tensor(wave([5], 0.2, &device))),
    )
}

fn layer_norm() -> LayerNorm {
    let device = device();
    LayerNorm {
        weight: Param::from_tensor(wave([4], 0.7, &device) + 1.0),
        bias: Param::from_tensor(wave([4], 0.2, &device)),
        epsilon: 1e-5,
    }
}

#[test]
fn the_tangent_of_every_operation_is_its_directional_derivative() {
    let device = device();
    let constant = wave([2, 3, 4], 0.5, &device);
    check_wave("sum", |x| x.clone().linear_map(|tensor| tensor * 3.0).plus(x).add_constant(constant.clone()));
    check_wave("product", |x| x.clone().multiply(x.multiply(constant.clone().into())));
    check_wave("product of matrices", |x| {
        x.clone().matmul(x.clone().linear_map(|tensor| tensor.swap_dims(1, 2))).matmul(x)
    });
    check_wave("affine map", |x| x.linear(&linear()));
    check_wave("layer norm", |x| x.layer_norm(&layer_norm()));
    check_wave("quick GELU", |x| x.activation(Activation::QuickGelu));
    check_wave("GELU", |x| x.activation(Activation::Gelu));
    check_wave("softmax", |x| x.softmax());
    check_wave("normalisation", |x| x.normalize());
    check_wave("join", |x| Signal::cat(vec![constant.clone().into(), x.clone(), x.softmax()], 1));
    let labels = Tensor::<1, Int>::from_ints([1, 3, 0, 0, 2, 1], &device);
    check_wave("cross-entropy", |x| {
        x.linear_map(|tensor| tensor.reshape([6, 4])).cross_entropy(labels.clone())
    });
}

#[test]
fn what_does_not_move_has_no_tangent() {
    let still = Signal::from(wave([2, 3, 4], 0.3, &device()));
    let joined = Signal::cat(vec![still.clone().layer_norm(&layer_norm()), still.softmax()], 0);
    assert!(joined.normalize().tangent.is_none());
}

/// A loss with both prompts, over the images and the shorter texts of a fixture.
struct Prompted {
    fixture: Fixture,
    texts: Vec<Vec<u32>>,
    context: Tensor<2>,
    prompt: Tensor<2>,
}

impl Prompted {
    fn open(model: &str) -> Self {
        let device = device();
        let fixture = Fixture::open_on(model, &Compute::cpu());
        let texts = fixture.texts().into_iter().filter(|ids| ids.len() <= 13).collect();
        Self { fixture, texts, context: wave([2, 32], 0.4, &device), prompt: wave([3, 48], 0.2, &device) }
    }

    fn text(&self, context: Signal<2>, batching: Batching) -> Signal<2> {
        self.fixture.clip.text.forward(self.fixture.start(), Some(context), &self.texts, batching)
    }

    fn image(&self, prompt: Signal<2>) -> Signal<2> {
        self.fixture.clip.vision.forward(self.fixture.pixels(&device()), Some(prompt.into()))
    }

    fn loss(&self, context: Signal<2>, prompt: Signal<2>) -> Signal<1> {
        let labels = Tensor::from_ints([3, 0, 1, 1, 4], &device());
        let text = self.text(context, Batching::ByLength);
        self.fixture.clip.logits(self.image(prompt), text).cross_entropy(labels)
    }

    fn directions(&self) -> (Tensor<2>, Tensor<2>) {
        (wave([2, 32], 1.7, &device()), wave([3, 48], 2.9, &device()))
    }

    /// The gradient of the loss for both prompts, after a move of `step` along the directions.
    fn gradient(&self, step: f64) -> Vec<f64> {
        let (along_context, along_prompt) = self.directions();
        let context = leaf(self.context.clone() + along_context * step);
        let prompt = leaf(self.prompt.clone() + along_prompt * step);
        let gradients = self.loss(context.clone().into(), prompt.clone().into()).value.backward();
        [values(context.grad(&gradients).unwrap()), values(prompt.grad(&gradients).unwrap())].concat()
    }
}

#[test]
fn the_tangents_of_prompted_features_are_their_directional_derivatives() {
    for model in MODELS {
        device();
        let case = Prompted::open(model);
        let (along_context, along_prompt) = case.directions();
        for batching in [Batching::ByLength, Batching::Padded] {
            check(model, case.context.clone(), along_context.clone(), |context| case.text(context, batching));
        }
        check(model, case.prompt.clone(), along_prompt, |prompt| case.image(prompt));
    }
}

#[test]
fn the_tangent_of_the_loss_is_its_directional_derivative_for_each_prompt_and_both() {
    for model in MODELS {
        let case = Prompted::open(model);
        let (along_context, along_prompt) = case.directions();
        let (context, prompt) = (case.context.clone(), case.prompt.clone());
        check(model, context.clone(), along_context.clone(), |moved| case.loss(moved, prompt.clone().into()));
        check(model, prompt.clone(), along_prompt.clone(), |moved| case.loss(context.clone().into(), moved));
        // Both at once, as one vector.
        let flat = |context: Tensor<2>, prompt: Tensor<2>| {
            Tensor::cat(vec![context.reshape([64]), prompt.reshape([144])], 0)
        };
        check(model, flat(context, prompt), flat(along_context, along_prompt), |moved: Signal<1>| {
            let context = moved.clone().linear_map(|tensor| tensor.narrow(0, 0, 64).reshape([2, 32]));
            let prompt = moved.linear_map(|tensor| tensor.narrow(0, 64, 144).reshape([3, 48]));
            case.loss(context, prompt)
        });
    }
}

#[test]
fn the_gradient_times_a_direction_is_the_tangent() {
    for model in MODELS {
        let case = Prompted::open(model);
        let (along_context, along_prompt) = case.directions();
        let directions = [values(along_context.clone()), values(along_prompt.clone())].concat();
        let product: f64 =
            case.gradient(0.0).iter().zip(directions).map(|(slope, move_)| slope * move_).sum();
        let context = Signal::dual(case.context.clone(), along_context);
        let prompt = Signal::dual(case.prompt.clone(), along_prompt);
        let tangent = values(case.loss(context, prompt).tangent.unwrap());
        assert_close(&tangent, &[product], 1e-8, model);
    }
}

/// `H u = grad D_u L`: the derivative of the gradient along `u`.
#[test]
fn the_gradient_of_the_tangent_is_the_hessian_times_the_direction() {
    for model in MODELS {
        let case = Prompted::open(model);
        let (along_context, along_prompt) = case.directions();
        let (context, prompt) = (leaf(case.context.clone()), leaf(case.prompt.clone()));
        let moved =
            (Signal::dual(context.clone(), along_context), Signal::dual(prompt.clone(), along_prompt));
        let gradients = case.loss(moved.0, moved.1).tangent.unwrap().backward();
        let found =
            [values(context.grad(&gradients).unwrap()), values(prompt.grad(&gradients).unwrap())].concat();
        let (after, before) = (case.gradient(STEP), case.gradient(-STEP));
        let expected: Vec<f64> = after.iter().zip(before).map(|(a, b)| (a - b) / (2.0 * STEP)).collect();
        let largest = expected.iter().fold(0.0_f64, |most, one| most.max(one.abs()));
        assert!(largest > 1e-2, "{model}: a loss that is not curved shows nothing");
        assert_close(&found, &expected, 1e-6 * largest, model);
    }
}
