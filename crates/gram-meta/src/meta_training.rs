//! Meta-training: the outer loop over batches of episodes (eqs. 8 to 10), checked on topics it never learns from.
//!
//! Each step draws B episodes, sums their meta-gradients, and moves the start `theta` and the regulator `phi`. Every
//! so often the query loss after the inner loop is measured on fixed episodes of held-out topics; what is returned is
//! the state in which it was smallest.

use burn::tensor::Device;
use gram_clip::ClipError;
use gram_data::random::{indexed_stream, stream};
use gram_prompt::image_store::indices;
use gram_prompt::prompted_clip::accuracy;
use gram_prompt::{ClassStore, ImageStore, LabelledImages, Prompt, PromptedClip};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::episode::{Episode, EpisodeSettings, Shot, TooFewTopics, TopicPool};
use crate::meta_gradient::{InnerLoop, MetaGradient, Task};
use crate::outer_optimizer::{OuterOptimizer, OuterStep};
use crate::regulator::{Regulator, RegulatorStart};

/// Everything that decides a meta-training, but for model and clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaTrainingSettings {
    /// Seed of episodes, held-out topics and the regulator's start.
    pub seed: u64,
    /// How large episodes are.
    pub episodes: EpisodeSettings,
    /// The inner loop.
    pub inner: InnerLoop,
    /// The regulator's start; none meta-learns the prompt alone.
    pub regulator: Option<RegulatorStart>,
    /// Outer optimiser.
    pub optimizer: OuterOptimizer,
    /// Outer rate for the prompt.
    pub prompt_rate: f64,
    /// Outer rate for the regulator.
    pub regulator_rate: f64,
    /// Outer steps.
    pub steps: usize,
    /// B, episodes of a step.
    pub meta_batch: usize,
    /// The part of the topics that is kept for validation.
    pub validation_topics: f64,
    /// Episodes of a validation.
    pub validation_episodes: usize,
    /// Outer steps between validations.
    pub validation_steps: usize,
}

/// Why meta-training stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaTrainingError {
    /// Too few topics for the episodes.
    #[error(transparent)]
    TooFewTopics(#[from] TooFewTopics),
    /// An image or class cannot be read.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A number is not finite any more.
    #[error(
        "step {step}: the meta-gradient of episode {episode} is not finite: lower inner.rates or prompt_rate"
    )]
    Diverged {
        /// Outer step.
        step: usize,
        /// Episode of the step.
        episode: usize,
    },
    /// A setting is out of range.
    #[error("{field} must be {range}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// What it must be.
        range: &'static str,
    },
}

/// What episodes are made of.
#[derive(Clone, Debug)]
pub struct Material {
    /// Topic labels, by topic.
    pub classes: ClassStore,
    /// The pairs' images, by pair.
    pub images: ImageStore,
    /// Topics and domains.
    pub pool: TopicPool,
}

/// The state of meta-training: what it learns.
#[derive(Clone, Debug)]
pub struct MetaState {
    /// The start.
    pub theta: Prompt,
    /// The regulator.
    pub phi: Option<Regulator>,
}

/// What one outer step measured, means over its episodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetaStep {
    /// Steps done.
    pub step: usize,
    /// Query loss after the inner loop.
    pub query_loss: f32,
    /// Query accuracy after the inner loop, in percent.
    pub query_accuracy: f32,
    /// Cosine of regulated support gradient and query gradient.
    pub alignment: f32,
    /// Norm of the regulated gradient over that of the raw one.
    pub regulated_over_raw: f32,
    /// Query loss and accuracy on held-out topics, where they were measured.
    pub validation: Option<Validation>,
}

/// Query loss and accuracy after the inner loop, on held-out topics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Mean loss.
    pub loss: f32,
    /// Mean accuracy, in percent.
    pub accuracy: f32,
}

impl MetaTrainingSettings {
    /// Checks every setting's range.
    ///
    /// # Errors
    /// [`MetaTrainingError::Setting`] names the first out of range.
    pub fn validate(&self) -> Result<(), MetaTrainingError> {
        let check = |valid: bool, field, range| match valid {
            true => Ok(()),
            false => Err(MetaTrainingError::Setting { field, range }),
        };
        check(self.episodes.ways >= 2, "episodes.ways", "2 or more")?;
        check(self.episodes.support_shots >= 1, "episodes.support_shots", "1 or more")?;
        check(self.episodes.query_shots >= 1, "episodes.query_shots", "1 or more")?;
        check(
            self.inner.steps >= 1 || self.regulator.is_none(),
            "inner.steps",
            "1 or more, for a regulator bends the inner steps",
        )?;
        check(self.inner.rates.are_positive(), "inner.rates", "above 0")?;
        check(self.steps >= 1, "steps", "1 or more")?;
        check(self.meta_batch >= 1, "meta_batch", "1 or more")?;
        check(self.validation_steps >= 1, "validation_steps", "1 or more")?;
        check((0.0..1.0).contains(&self.validation_topics), "validation_topics", "at least 0 and below 1")
    }
}

/// Meta-learns from `theta`. `observe` sees every step.
///
/// # Errors
/// [`MetaTrainingError`].
pub fn meta_train(
    clip: &PromptedClip,
    material: &Material,
    theta: Prompt,
    settings: &MetaTrainingSettings,
    device: &Device,
    observe: &mut dyn FnMut(&MetaStep),
) -> Result<MetaState, MetaTrainingError> {
    settings.validate()?;
    let seed = settings.seed;
    let phi = settings.regulator.map(|start| Regulator::near_identity(&theta, start, seed, device));
    let mut state = MetaState { theta, phi };
    let (learned, held_out) =
        material.pool.clone().hold_out(settings.validation_topics, &mut stream(seed, "validation topics"));
    let validation = ValidationTasks::new(&held_out, material, settings, device)?;
    let mut outer = OuterStep::new(settings.optimizer);
    let mut best = (f32::INFINITY, state.clone());
    for step in 0..settings.steps {
        let (summed, mut measured) = meta_batch(clip, material, &learned, &state, settings, step, device)?;
        state.theta = outer.step_prompt(&state.theta, &summed.theta, settings.prompt_rate);
        if let (Some(phi), Some(gradient)) = (&mut state.phi, &summed.phi) {
            *phi = outer.step_regulator(phi, gradient, settings.regulator_rate);
        }
        if (step + 1) % settings.validation_steps == 0 || step + 1 == settings.steps {
            measured.validation = validation.measure(clip, &state, settings);
            let loss = measured.validation.map_or(measured.query_loss, |validation| validation.loss);
            if loss < best.0 {
                best = (loss, state.clone());
            }
        }
        observe(&measured);
    }
    Ok(best.1)
}

/// The summed meta-gradients of the episodes of one step, and their mean measurements.
fn meta_batch(
    clip: &PromptedClip,
    material: &Material,
    pool: &TopicPool,
    state: &MetaState,
    settings: &MetaTrainingSettings,
    step: usize,
    device: &Device,
) -> Result<(MetaState, MetaStep), MetaTrainingError> {
    let gradients = (0..settings.meta_batch)
        .into_par_iter()
        .map(|index| {
            let draw = (step * settings.meta_batch + index) as u64;
            let mut random = indexed_stream(settings.seed, "episodes", draw);
            let task = material.task(&pool.sample(&settings.episodes, &mut random)?, device)?;
            let gradient = settings.inner.meta_gradient(clip, &state.theta, state.phi.as_ref(), &task);
            let finite = gradient.theta.is_finite() && gradient.phi.as_ref().is_none_or(Regulator::is_finite);
            if finite { Ok(gradient) } else { Err(MetaTrainingError::Diverged { step, episode: index }) }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mean =
        |value: fn(&MetaGradient) -> f32| gradients.iter().map(value).sum::<f32>() / gradients.len() as f32;
    let measured = MetaStep {
        step: step + 1,
        query_loss: mean(|gradient| gradient.query_loss),
        query_accuracy: mean(|gradient| gradient.query_accuracy),
        alignment: mean(|gradient| gradient.alignment),
        regulated_over_raw: mean(|gradient| gradient.regulated_over_raw),
        validation: None,
    };
    Ok((sum(&gradients, state), measured))
}

/// The sum of meta-gradients, in the order of their episodes.
fn sum(gradients: &[MetaGradient], state: &MetaState) -> MetaState {
    let zero = MetaState {
        theta: state.theta.map(|_, part| part.zeros_like()),
        phi: state.phi.as_ref().map(|phi| phi.map(|_, tensor| tensor.zeros_like())),
    };
    gradients.iter().fold(zero, |sum, gradient| MetaState {
        theta: sum.theta.add_scaled(&gradient.theta, 1.0),
        phi: sum.phi.zip(gradient.phi.as_ref()).map(|(sum, phi)| sum.add_scaled(phi, 1.0)),
    })
}

impl Material {
    /// An episode's classes and images.
    ///
    /// # Errors
    /// [`ClipError::Image`] for an image without pixels.
    pub fn task(&self, episode: &Episode, device: &Device) -> Result<Task, ClipError> {
        Ok(Task {
            classes: self.classes.classes(&episode.topics, device),
            support_set: self.set(&episode.support, device)?,
            query_set: self.set(&episode.query, device)?,
        })
    }

    fn set(&self, shots: &[Shot], device: &Device) -> Result<LabelledImages, ClipError> {
        let pairs: Vec<usize> = shots.iter().map(|shot| shot.pair).collect();
        let classes: Vec<usize> = shots.iter().map(|shot| shot.class).collect();
        Ok(LabelledImages { images: self.images.images(&pairs, device)?, labels: indices(&classes, device) })
    }
}

/// Fixed tasks from held-out topics.
struct ValidationTasks(Vec<Task>);

impl ValidationTasks {
    /// None if too few topics are held out.
    fn new(
        pool: &TopicPool,
        material: &Material,
        settings: &MetaTrainingSettings,
        device: &Device,
    ) -> Result<Self, MetaTrainingError> {
        if pool.topics.len() < settings.episodes.ways {
            return Ok(Self(Vec::new()));
        }
        let tasks = (0..settings.validation_episodes as u64).map(|index| {
            let mut random = indexed_stream(settings.seed, "validation episodes", index);
            let episode = pool.sample(&settings.episodes, &mut random)?;
            Ok(material.task(&episode, device)?)
        });
        Ok(Self(tasks.collect::<Result<_, MetaTrainingError>>()?))
    }

    fn measure(
        &self,
        clip: &PromptedClip,
        state: &MetaState,
        settings: &MetaTrainingSettings,
    ) -> Option<Validation> {
        let measured: Vec<(f32, f32)> = self
            .0
            .par_iter()
            .map(|task| {
                let trajectory = settings.inner.run(clip, &state.theta, state.phi.as_ref(), task);
                let logits = clip.logits(trajectory.adapted(), None, &task.classes, &task.query_set.images);
                let labels = task.query_set.labels.clone();
                let accuracy = accuracy(logits.value.clone(), labels.clone());
                (logits.cross_entropy(labels).value.into_scalar::<f32>(), accuracy)
            })
            .collect();
        let (losses, accuracies): (Vec<f32>, Vec<f32>) = measured.into_iter().unzip();
        let count = losses.len() as f32;
        (!losses.is_empty()).then(|| Validation {
            loss: losses.iter().sum::<f32>() / count,
            accuracy: accuracies.iter().sum::<f32>() / count,
        })
    }
}
