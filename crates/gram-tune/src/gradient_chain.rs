//! Gradient transformations, and chains of them.
//!
//! A transformation is a pair of functions, as in optax: [`init`](GradientTransformation::init) starts it for
//! the parameters `theta` and returns its [`Update`]. That is called once for each step, takes the step as
//! far as it is known, and gives it back changed; what it has to remember from step to step it keeps. With
//! the gradient `g` at `theta` a chain begins and ends with
//!
//! ```text
//! step  <- { from: theta, along: g }
//! theta <- from - along
//! ```
//!
//! The order is that of the chain and nothing else: a [`Regulator`] in front of [`Momentum`] bends gradients,
//! one behind it bends the velocity.

use burn::tensor::Tensor;
use burn_optim::{AdamW, AdamWConfig, Optimizer};
use gram_meta::Regulator;
use gram_prompt::Prompt;

/// What is learned: a point in a space of numbers. Gradients, directions and velocities are points of the
/// same space.
pub trait Parameters: Clone + 'static {
    /// The origin.
    fn zeros_like(&self) -> Self;

    /// `self + factor * other`.
    fn add_scaled(&self, other: &Self, factor: f32) -> Self;

    /// `factor * self`.
    fn times(&self, factor: f32) -> Self;
}

impl Parameters for Prompt {
    fn zeros_like(&self) -> Self {
        self.map(|_, part| part.zeros_like())
    }

    fn add_scaled(&self, other: &Self, factor: f32) -> Self {
        Prompt::add_scaled(self, other, factor)
    }

    fn times(&self, factor: f32) -> Self {
        self.map(|_, part| part * factor)
    }
}

impl Parameters for Tensor<2> {
    fn zeros_like(&self) -> Self {
        Tensor::zeros_like(self)
    }

    fn add_scaled(&self, other: &Self, factor: f32) -> Self {
        self.clone() + other.clone() * factor
    }

    fn times(&self, factor: f32) -> Self {
        self.clone() * factor
    }
}

/// A step as far as it is known: it leads to `from - along`.
#[derive(Clone, Debug)]
pub struct Step<P> {
    /// Where it begins: `theta`, unless weight decay has drawn it to zero.
    pub from: P,
    /// Where it goes, with its sign turned round: at first the gradient.
    pub along: P,
}

impl<P: Parameters> Step<P> {
    /// Where the step leads.
    pub fn taken(&self) -> P {
        self.from.add_scaled(&self.along, -1.0)
    }
}

/// When a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Epochs done.
    pub epoch: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Steps of the whole descent.
    pub steps: usize,
}

/// What a transformation that has started does to each step.
pub type Update<'a, P> = Box<dyn FnMut(Step<P>, Moment) -> Step<P> + 'a>;

/// What becomes of a gradient before what is learned moves: a link of a chain.
pub trait GradientTransformation<P> {
    /// Starts it for parameters of the shape of `theta`: what it returns is its update, with the state of its
    /// own.
    fn init(&self, theta: &P) -> Update<'_, P>;
}

/// Transformations that follow one another.
pub type Chain<'a, P> = Vec<Box<dyn GradientTransformation<P> + 'a>>;

impl<P> GradientTransformation<P> for Chain<'_, P> {
    fn init(&self, theta: &P) -> Update<'_, P> {
        let mut updates: Vec<Update<P>> = self.iter().map(|link| link.init(theta)).collect();
        Box::new(move |step, at| updates.iter_mut().fold(step, |step, update| update(step, at)))
    }
}

/// GRAM's regulator (eq. 6): `along <- R(along)`.
impl GradientTransformation<Prompt> for &Regulator {
    fn init(&self, _: &Prompt) -> Update<'_, Prompt> {
        Box::new(|step, _| Step { along: self.regulate(&step.along), ..step })
    }
}

/// Weight decay in the gradient, that of SGD: `along <- along + decay * theta`.
#[derive(Clone, Copy, Debug)]
pub struct WeightDecay(
    /// The decay.
    pub f32,
);

impl<P: Parameters> GradientTransformation<P> for WeightDecay {
    fn init(&self, _: &P) -> Update<'_, P> {
        Box::new(|step, _| Step { along: step.along.add_scaled(&step.from, self.0), ..step })
    }
}

/// Momentum: `velocity <- along + momentum * velocity`, `along <- velocity`.
#[derive(Clone, Copy, Debug)]
pub struct Momentum(
    /// The momentum.
    pub f32,
);

impl<P: Parameters> GradientTransformation<P> for Momentum {
    fn init(&self, theta: &P) -> Update<'_, P> {
        let mut velocity = theta.zeros_like();
        Box::new(move |step, _| {
            velocity = step.along.add_scaled(&velocity, self.0);
            Step { along: velocity.clone(), ..step }
        })
    }
}

/// Adam's moments: `along <- m / (sqrt(v) + epsilon)` with the corrected means `m` of gradients and `v` of
/// their squares.
#[derive(Clone)]
pub struct AdaptiveMoments {
    /// Burn's, which here walks from the origin at a rate of one and does not decay.
    adam: AdamW,
}

impl AdaptiveMoments {
    /// With betas of 0.9 and 0.999.
    pub fn new(epsilon: f32) -> Self {
        Self { adam: AdamWConfig::new().with_epsilon(epsilon).with_weight_decay(0.0).build() }
    }
}

impl GradientTransformation<Tensor<2>> for AdaptiveMoments {
    fn init(&self, _: &Tensor<2>) -> Update<'_, Tensor<2>> {
        let mut moments = None;
        Box::new(move |step, _| {
            let (origin, before) = (step.along.zeros_like(), moments.take());
            let (reached, after) = self.adam.step(1.0, origin, step.along, before);
            moments = after;
            Step { along: reached.neg(), ..step }
        })
    }
}

/// Weight decay apart from the gradient, that of AdamW: `from <- (1 - rate * decay) from`.
pub struct DecoupledWeightDecay<F> {
    /// The decay.
    pub decay: f64,
    /// The learning rate of a moment.
    pub rate: F,
}

impl<P: Parameters, F: Fn(Moment) -> f64> GradientTransformation<P> for DecoupledWeightDecay<F> {
    fn init(&self, _: &P) -> Update<'_, P> {
        Box::new(|step, at| Step {
            from: step.from.times((1.0 - (self.rate)(at) * self.decay) as f32),
            ..step
        })
    }
}

/// The learning rate by a schedule: what it is called with, it scales as at that moment.
pub struct LearningRate<F>(
    /// From a direction and the moment to the scaled direction.
    pub F,
);

impl<P, F: Fn(P, Moment) -> P> GradientTransformation<P> for LearningRate<F> {
    fn init(&self, _: &P) -> Update<'_, P> {
        Box::new(|step, at| Step { along: (self.0)(step.along, at), ..step })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use gram_clip::Compute;
    use gram_meta::RegulatorStart;
    use gram_prompt::{Part, RegulatorForm};

    use super::*;

    const SHAPE: [usize; 2] = [3, 4];

    fn gradient(step: usize) -> Tensor<2> {
        let values: Vec<f32> =
            (0..12).map(|place| 0.37 * ((place * 7 + step * 5) % 11) as f32 - 1.9).collect();
        Tensor::from_data(TensorData::new(values, SHAPE), &Compute::tested().device())
    }

    fn values(tensor: &Tensor<2>) -> Vec<f32> {
        tensor.to_data().try_to_vec().unwrap()
    }

    fn walk<P: Parameters>(chain: &Chain<P>, start: P, gradient: impl Fn(usize) -> P) -> P {
        let mut update = chain.init(&start);
        (0..5).fold(start, |theta, step| {
            let at = Moment { epoch: step, step, steps: 5 };
            update(Step { from: theta, along: gradient(step) }, at).taken()
        })
    }

    #[test]
    fn a_chain_of_decay_momentum_and_rate_is_sgd_to_the_last_bit() {
        let rate = LearningRate(|along: Tensor<2>, _: Moment| along * 0.3);
        let chain: Chain<Tensor<2>> =
            vec![Box::new(WeightDecay(5e-4)), Box::new(Momentum(0.9)), Box::new(rate)];
        let (mut theta, mut velocity) = (gradient(9), gradient(9).zeros_like());
        for step in 0..5 {
            velocity = gradient(step) + theta.clone() * 5e-4_f32 + velocity * 0.9_f32;
            theta = theta - velocity.clone() * 0.3;
        }
        assert_eq!(values(&walk(&chain, gradient(9), gradient)), values(&theta));
    }

    #[test]
    fn a_chain_of_moments_rate_and_decay_is_adamw_to_the_last_bit() {
        let rate = |at: Moment| 1e-2 / (1 + at.step) as f64;
        let chain: Chain<Tensor<2>> = vec![
            Box::new(AdaptiveMoments::new(1e-4)),
            Box::new(LearningRate(move |along: Tensor<2>, at: Moment| along * rate(at) as f32)),
            Box::new(DecoupledWeightDecay { decay: f64::from(0.01_f32), rate }),
        ];
        let whole = AdamWConfig::new().with_epsilon(1e-4).with_weight_decay(0.01).build();
        let (mut theta, mut state) = (gradient(9), None);
        for step in 0..5 {
            (theta, state) = whole.step(1e-2 / (1 + step) as f64, theta, gradient(step), state);
        }
        assert_eq!(values(&walk(&chain, gradient(9), gradient)), values(&theta));
    }

    #[test]
    fn a_regulator_in_front_of_momentum_bends_gradients_and_one_behind_it_the_velocity() {
        let prompt = |tensor: Tensor<2>| [(Part::Text, tensor)].into_iter().collect::<Prompt>();
        let start = RegulatorStart { deviation: 0.3, gamma_bias: 1.0, form: RegulatorForm::Paper };
        let phi = Regulator::near_identity(&prompt(gradient(0)), start, 1, &Compute::tested().device());
        let text = |prompt: &Prompt| values(prompt.get(Part::Text).unwrap());
        let step = |at: usize| prompt(gradient(at));
        let before: Chain<Prompt> = vec![Box::new(&phi), Box::new(Momentum(0.9))];
        let behind: Chain<Prompt> = vec![Box::new(Momentum(0.9)), Box::new(&phi)];
        let bent = |at: usize| phi.regulate(&step(at));
        let only_momentum: Chain<Prompt> = vec![Box::new(Momentum(0.9))];
        let gradients_bent = walk(&only_momentum, step(9), bent);
        assert_eq!(text(&walk(&before, step(9), step)), text(&gradients_bent));
        assert_ne!(text(&walk(&behind, step(9), step)), text(&gradients_bent));
    }
}
