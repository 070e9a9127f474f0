//! Meta-training: the outer loop over batches of episodes (eqs. 8 to 10), checked on topics it never learns from.
//!
//! Each step draws B episodes, sums their meta-gradients, and moves the start `theta` and the regulator `phi`. Every
//! so often the query loss after the inner loop is measured on fixed episodes of held-out topics; the best state is the one
//! in which it was smallest. Every draw has a random stream of its own, by the number of its step, so that a
//! [`Standing`] is all that a run goes on from, to the same bits.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::layers::indices;
use gram_clip::{ClipError, Signal, side_by_side, try_side_by_side};
use gram_cluster::Clusters;
use gram_data::fingerprint::{Fingerprinting, digits};
use gram_data::random::indexed_stream;
use gram_features::{FeatureError, ImageStore};
use gram_prompt::prompt_file::numbers;
use gram_prompt::prompted_clip::accuracy;
use gram_prompt::{ClassStore, LabelledImages, Part, Prompt, PromptedClip, Rates};
use serde::{Deserialize, Serialize};

use crate::episode::{Episode, EpisodeSettings, Shot, TooFewTopics, TopicPool};
use crate::meta_gradient::{InnerLoop, MetaGradient, NewClasses, Task};
use crate::outer_optimizer::{OuterOptimizer, OuterStep};
use crate::regulator::{Parameter, Regulator, RegulatorStart};

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
    /// Episodes that pass the towers at once: the same gradients, whatever it is, but for rounding.
    #[serde(default = "one")]
    pub tasks_at_once: usize,
    /// The norm that the summed meta-gradient is shortened to where it is longer; none leaves it.
    #[serde(default)]
    pub clip_norm: Option<f32>,
    /// Outer rate of the logarithm of inner rates that are learned.
    #[serde(default = "inner_rates_rate")]
    pub inner_rates_rate: f64,
    /// The part of the topics that is kept for validation.
    pub validation_topics: f64,
    /// Episodes of a validation.
    pub validation_episodes: usize,
    /// Outer steps between validations.
    pub validation_steps: usize,
    /// Validations without a smaller loss after which it ends; none goes through all steps.
    #[serde(default)]
    pub patience: Option<usize>,
}

fn one() -> usize {
    1
}

fn inner_rates_rate() -> f64 {
    1e-2
}

/// Why meta-training stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaTrainingError {
    /// Too few topics for the episodes.
    #[error(transparent)]
    TooFewTopics(#[from] TooFewTopics),
    /// A class cannot be read.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// An image cannot be read any more.
    #[error(transparent)]
    Image(#[from] FeatureError),
    /// An image is named that is not there.
    #[error("episode {episode} names pair {pair}, topic {topic}: of {pairs} pairs and {topics} topics")]
    Episode {
        /// Its number.
        episode: usize,
        /// The largest number of a pair in it.
        pair: usize,
        /// The largest number of a topic in it.
        topic: usize,
        /// Pairs that there are.
        pairs: usize,
        /// Topics that there are.
        topics: usize,
    },
    /// Fewer episodes are listed than the steps take.
    #[error("{listed} episodes are listed, {needed} are needed: lower steps or meta_batch")]
    TooFewEpisodes {
        /// Episodes that are listed.
        listed: usize,
        /// Steps times episodes of a step.
        needed: usize,
    },
    /// A checkpoint cannot be gone on from.
    #[error("the checkpoint {0}: delete it to begin anew")]
    Checkpoint(String),
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

impl MetaState {
    /// Before the first step: `theta`, and a regulator near the identity where there is to be one.
    pub fn start(theta: Prompt, settings: &MetaTrainingSettings, device: &Device) -> Self {
        let near_identity = |start| Regulator::near_identity(&theta, start, settings.seed, device);
        let phi = settings.regulator.map(near_identity);
        Self { theta, phi }
    }

    /// Every tensor by name: `theta.text`, …, `phi.text.gamma_weight`, ….
    pub fn named(&self) -> BTreeMap<String, Tensor<2>> {
        let theta =
            self.theta.parts().map(|(part, tensor)| (format!("theta.{}", part.name()), tensor.clone()));
        let phi = self.phi.iter().flat_map(Regulator::named);
        theta.chain(phi.map(|(name, tensor)| (format!("phi.{name}"), tensor))).collect()
    }

    /// The state with every tensor through `map`, which is given its name.
    pub fn map(&self, mut map: impl FnMut(&str, Tensor<2>) -> Tensor<2>) -> Self {
        let theta = self.theta.parts();
        let theta =
            theta.map(|(part, tensor)| (part, map(&format!("theta.{}", part.name()), tensor.clone())));
        let theta = theta.collect();
        let name = |(modality, parameter): &(Part, Parameter)| {
            format!("phi.{}.{}", modality.name(), parameter.name())
        };
        let phi = self.phi.as_ref().map(|phi| phi.map(|key, tensor| map(&name(key), tensor)));
        Self { theta, phi }
    }

    /// What tells it from another state: 32 hexadecimal digits over the names, shapes and values of its tensors, and the
    /// form of its regulator.
    pub fn fingerprint(&self) -> String {
        let mut all = Fingerprinting::default();
        all.text(&format!("{:?}", self.phi.as_ref().map(Regulator::form)));
        for (name, tensor) in self.named() {
            all.text(&name);
            all.values(&numbers(&tensor));
        }
        digits(all.finish())
    }

    /// The Euclidean norm over all tensors.
    pub fn norm(&self) -> f32 {
        let square = |tensor: Tensor<2>| tensor.square().sum().into_scalar::<f32>();
        self.named().into_values().map(square).sum::<f32>().sqrt()
    }
}

/// Where a meta-training stands: all that it goes on from.
#[derive(Clone)]
pub struct Standing {
    /// Steps done.
    pub step: usize,
    /// What is learned.
    pub state: MetaState,
    /// Logarithms of the inner rates of text and vision, `[1, 2]`.
    pub log_rates: Tensor<2>,
    /// The outer optimiser.
    pub outer: OuterStep,
    /// The best state so far.
    pub best: Option<Best>,
    /// Validations since then.
    pub without_gain: usize,
}

/// The state with the smallest loss on held-out topics.
#[derive(Clone)]
pub struct Best {
    /// The loss.
    pub loss: f32,
    /// Steps that were done.
    pub step: usize,
    /// The state.
    pub state: MetaState,
}

/// Where episodes come from.
#[derive(Clone, Debug)]
pub enum EpisodeSource {
    /// Drawn from the material's topics, some of which are held out.
    Sampled,
    /// These, one after the other. Nothing is held out.
    Listed(Vec<Episode>),
}

/// What one outer step measured, means over its episodes. What is not known is NaN, `null` in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetaStep {
    /// Steps done.
    pub step: usize,
    /// Query loss after the inner loop.
    #[serde(deserialize_with = "number")]
    pub query_loss: f32,
    /// Query accuracy after the inner loop, in percent.
    #[serde(deserialize_with = "number")]
    pub query_accuracy: f32,
    /// Cosine of regulated support gradient and query gradient.
    #[serde(deserialize_with = "number")]
    pub alignment: f32,
    /// Norm of the regulated gradient over that of the raw one.
    #[serde(deserialize_with = "number")]
    pub regulated_over_raw: f32,
    /// Mean of gamma (eq. 5).
    #[serde(default = "unknown", deserialize_with = "number")]
    pub gamma: f32,
    /// Mean of the absolute value of beta (eq. 5).
    #[serde(default = "unknown", deserialize_with = "number")]
    pub beta: f32,
    /// Norm of the summed meta-gradient, before it is shortened.
    #[serde(default = "unknown", deserialize_with = "number")]
    pub meta_gradient_norm: f32,
    /// Inner rates, where they are learned.
    #[serde(default)]
    pub inner_rates: Option<Rates>,
    /// Query loss and accuracy on held-out topics, where they were measured.
    pub validation: Option<Validation>,
}

fn unknown() -> f32 {
    f32::NAN
}

fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN))
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
        check(self.episodes.new_ways != 1, "episodes.new_ways", "0, or 2 or more")?;
        check(
            self.inner.steps >= 1 || self.regulator.is_none(),
            "inner.steps",
            "1 or more, for a regulator bends the inner steps",
        )?;
        check(self.inner.rates.are_positive(), "inner.rates", "above 0")?;
        check((0.0..1.0).contains(&self.inner.momentum), "inner.momentum", "at least 0 and below 1")?;
        check(self.meta_batch >= 1, "meta_batch", "1 or more")?;
        check(self.tasks_at_once >= 1, "tasks_at_once", "1 or more")?;
        check(self.clip_norm.is_none_or(|norm| norm > 0.0), "clip_norm", "above 0")?;
        check(self.patience != Some(0), "patience", "1 or more")?;
        check(self.validation_steps >= 1, "validation_steps", "1 or more")?;
        check((0.0..1.0).contains(&self.validation_topics), "validation_topics", "at least 0 and below 1")
    }
}

/// A meta-training under way.
pub struct MetaTraining<'a> {
    clip: &'a PromptedClip<'a>,
    material: &'a Material,
    settings: &'a MetaTrainingSettings,
    device: &'a Device,
    learned: Episodes,
    validation: Vec<Task>,
    standing: Standing,
}

enum Episodes {
    Sampled(TopicPool),
    Listed(Vec<Episode>),
}

impl<'a> MetaTraining<'a> {
    /// Begins from `start`.
    ///
    /// # Errors
    /// [`MetaTrainingError`] if a setting is out of range, or there are too few topics or episodes.
    pub fn new(
        clip: &'a PromptedClip<'a>,
        material: &'a Material,
        start: MetaState,
        episodes: EpisodeSource,
        settings: &'a MetaTrainingSettings,
        device: &'a Device,
    ) -> Result<Self, MetaTrainingError> {
        settings.validate()?;
        let (learned, validation) = match episodes {
            EpisodeSource::Sampled => {
                let (learned, held_out) = divided(material.pool.clone(), settings);
                (Episodes::Sampled(learned), validation_tasks(&held_out, material, settings, device)?)
            }
            EpisodeSource::Listed(episodes) => {
                let (listed, needed) = (episodes.len(), settings.steps * settings.meta_batch);
                if listed < needed {
                    return Err(MetaTrainingError::TooFewEpisodes { listed, needed });
                }
                material.check(&episodes)?;
                (Episodes::Listed(episodes), Vec::new())
            }
        };
        let Rates { text, visual } = settings.inner.rates;
        let log_rates = Tensor::from_data(TensorData::new(vec![text.ln(), visual.ln()], [1, 2]), device);
        let outer = OuterStep::new(settings.optimizer);
        let standing = Standing { step: 0, state: start, log_rates, outer, best: None, without_gain: 0 };
        Ok(Self { clip, material, settings, device, learned, validation, standing })
    }

    /// Where it stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Goes on from where a run of the same settings stood.
    pub fn go_on_from(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Whether all steps are done, or no gain is to be expected.
    pub fn is_finished(&self) -> bool {
        let tired = self.settings.patience.is_some_and(|patience| self.standing.without_gain >= patience);
        self.standing.step >= self.settings.steps || tired
    }

    /// What was best on held-out topics; the last state where nothing is held out.
    pub fn result(&self) -> &MetaState {
        self.standing.best.as_ref().map_or(&self.standing.state, |best| &best.state)
    }

    /// The inner loop with the rates in force.
    fn inner(&self) -> InnerLoop {
        let mut inner = self.settings.inner;
        if inner.learn_rates {
            let rates = self.standing.log_rates.clone().exp().into_data().try_to_vec::<f32>();
            if let [text, visual] = rates.unwrap_or_default()[..] {
                inner.rates = Rates { text, visual };
            }
        }
        inner
    }

    /// One outer step.
    ///
    /// # Errors
    /// [`MetaTrainingError::Diverged`] names step and episode.
    pub fn advance(&mut self) -> Result<MetaStep, MetaTrainingError> {
        let settings = self.settings;
        let gradients = self.meta_gradients()?;
        let (mut summed, mut log_rates) = sum(&gradients, &self.standing.state);
        let mut measured = means(&gradients, self.standing.step + 1);
        measured.inner_rates = settings.inner.learn_rates.then(|| self.inner().rates);
        measured.meta_gradient_norm = summed.norm();
        if let Some(longest) = settings.clip_norm.filter(|longest| measured.meta_gradient_norm > *longest) {
            let factor = longest / measured.meta_gradient_norm;
            summed = summed.map(|_, tensor| tensor * factor);
            log_rates = log_rates.times(factor);
        }
        let Standing { state, outer, log_rates: rates, .. } = &mut self.standing;
        let mut gradients = summed.named();
        *state = state.map(|name, tensor| {
            let rate = if name.starts_with("theta") { settings.prompt_rate } else { settings.regulator_rate };
            let gradient = gradients.remove(name).unwrap_or_else(|| tensor.zeros_like());
            outer.step(name, tensor, gradient, rate)
        });
        if settings.inner.learn_rates {
            let gradient = TensorData::new(vec![log_rates.text, log_rates.visual], [1, 2]);
            let gradient = Tensor::from_data(gradient, self.device);
            *rates = outer.step("log_rates", rates.clone(), gradient, settings.inner_rates_rate);
        }
        self.standing.step += 1;
        let step = self.standing.step;
        if step.is_multiple_of(settings.validation_steps) || step == settings.steps {
            measured.validation = self.validate();
            self.note(measured.validation);
        }
        Ok(measured)
    }

    /// Keeps the state if it is the best so far.
    fn note(&mut self, validation: Option<Validation>) {
        let Some(Validation { loss, .. }) = validation else { return };
        let Standing { step, state, best, without_gain, .. } = &mut self.standing;
        *without_gain += 1;
        if best.as_ref().is_none_or(|best| loss < best.loss) {
            (*best, *without_gain) = (Some(Best { loss, step: *step, state: state.clone() }), 0);
        }
    }

    /// The meta-gradients of the step's episodes.
    fn meta_gradients(&self) -> Result<Vec<MetaGradient>, MetaTrainingError> {
        let (settings, step, inner) = (self.settings, self.standing.step, self.inner());
        let MetaState { theta, phi } = &self.standing.state;
        let episodes: Vec<usize> = (0..settings.meta_batch).collect();
        let gradients = |chunk: &[usize]| {
            let task = |episode: &usize| {
                let episode = self.episode(step * settings.meta_batch + episode)?;
                Ok(self.material.task(&episode, self.device)?)
            };
            let tasks = chunk.iter().map(task).collect::<Result<Vec<_>, MetaTrainingError>>()?;
            let found = inner.meta_gradients(self.clip, theta, phi.as_ref(), &tasks);
            match found.iter().position(|gradient| !gradient.is_finite()) {
                Some(place) => Err(MetaTrainingError::Diverged { step: step + 1, episode: chunk[place] + 1 }),
                None => Ok(found),
            }
        };
        let found = try_side_by_side(episodes.chunks(settings.tasks_at_once).collect(), gradients)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The episode of a draw.
    fn episode(&self, draw: usize) -> Result<Episode, MetaTrainingError> {
        match &self.learned {
            Episodes::Sampled(pool) => Ok(sampled_episode(pool, self.settings, draw)?),
            Episodes::Listed(episodes) => Ok(episodes[draw].clone()),
        }
    }

    /// Query loss and accuracy on held-out topics, after the inner loop; none if too few are held out.
    fn validate(&self) -> Option<Validation> {
        let (inner, MetaState { theta, phi }) = (self.inner(), &self.standing.state);
        let measure = |tasks: &[Task]| -> Vec<(f32, f32)> {
            let trajectories = inner.run(self.clip, theta, phi.as_ref(), tasks);
            let adapted = trajectories.iter().map(|trajectory| trajectory.adapted());
            let queries = adapted.zip(tasks).flat_map(|(prompt, task)| {
                task.queries().map(move |(classes, set)| {
                    let logits = self.clip.logits(prompt, classes, &set.images);
                    let labels = set.labels.clone();
                    let accuracy = accuracy(logits.clone(), labels.clone());
                    (Signal::from(logits).cross_entropy(labels).value.into_scalar::<f32>(), accuracy)
                })
            });
            queries.collect()
        };
        let chunks = self.validation.chunks(self.settings.tasks_at_once).collect();
        let measured = side_by_side(chunks, measure).concat();
        let count = measured.len() as f32;
        (!measured.is_empty()).then(|| Validation {
            loss: measured.iter().map(|(loss, _)| loss).sum::<f32>() / count,
            accuracy: measured.iter().map(|(_, accuracy)| accuracy).sum::<f32>() / count,
        })
    }
}

/// The topics of `clusters` that a meta-training learns from.
pub fn learned_topics(clusters: &Clusters, settings: &MetaTrainingSettings) -> TopicPool {
    divided(TopicPool::new(clusters, &settings.episodes), settings).0
}

/// The topics that are held out of a meta-training, for validation.
pub fn held_out_topics(clusters: &Clusters, settings: &MetaTrainingSettings) -> TopicPool {
    divided(TopicPool::new(clusters, &settings.episodes), settings).1
}

fn divided(pool: TopicPool, settings: &MetaTrainingSettings) -> (TopicPool, TopicPool) {
    pool.hold_out(settings.validation_topics, settings.seed)
}

/// The episode of a draw: episode `draw % meta_batch` of step `draw / meta_batch`, both from 0 on.
///
/// # Errors
/// [`TooFewTopics`].
pub fn sampled_episode(
    pool: &TopicPool,
    settings: &MetaTrainingSettings,
    draw: usize,
) -> Result<Episode, TooFewTopics> {
    pool.sample(&settings.episodes, &mut indexed_stream(settings.seed, "episodes", draw as u64))
}

/// The means of what the episodes of a step measured.
fn means(gradients: &[MetaGradient], step: usize) -> MetaStep {
    let mean =
        |value: fn(&MetaGradient) -> f32| gradients.iter().map(value).sum::<f32>() / gradients.len() as f32;
    MetaStep {
        step,
        query_loss: mean(|gradient| gradient.query_loss),
        query_accuracy: mean(|gradient| gradient.query_accuracy),
        alignment: mean(|gradient| gradient.measured.alignment),
        regulated_over_raw: mean(|gradient| gradient.measured.regulated_over_raw),
        gamma: mean(|gradient| gradient.measured.gamma),
        beta: mean(|gradient| gradient.measured.beta),
        meta_gradient_norm: f32::NAN,
        inner_rates: None,
        validation: None,
    }
}

/// The sum of meta-gradients, in the order of their episodes.
fn sum(gradients: &[MetaGradient], state: &MetaState) -> (MetaState, Rates) {
    let mut summed = state.map(|_, tensor| tensor.zeros_like());
    let mut log_rates = Rates::both(0.0);
    for gradient in gradients {
        summed.theta = summed.theta.add_scaled(&gradient.theta, 1.0);
        summed.phi = summed.phi.zip(gradient.phi.as_ref()).map(|(sum, phi)| sum.add_scaled(phi, 1.0));
        log_rates = log_rates.plus(&gradient.log_rates);
    }
    (summed, log_rates)
}

impl Material {
    /// An episode's classes and images.
    ///
    /// # Errors
    /// [`FeatureError`] names the image that cannot be read any more.
    pub fn task(&self, episode: &Episode, device: &Device) -> Result<Task, FeatureError> {
        let new_classes = || {
            let classes = self.classes.classes(&episode.new_topics, device);
            Ok::<_, FeatureError>(NewClasses { classes, query_set: self.set(&episode.new_query, device)? })
        };
        Ok(Task {
            classes: self.classes.classes(&episode.topics, device),
            support_set: self.set(&episode.support, device)?,
            query_set: self.set(&episode.query, device)?,
            new_classes: (!episode.new_topics.is_empty()).then(new_classes).transpose()?,
        })
    }

    /// Checks that all that episodes name is there.
    fn check(&self, episodes: &[Episode]) -> Result<(), MetaTrainingError> {
        let (pairs, topics) = (self.images.len(), self.classes.len());
        for (index, episode) in episodes.iter().enumerate() {
            let shots = [&episode.support, &episode.query, &episode.new_query];
            let pair = shots.into_iter().flatten().map(|shot| shot.pair).max();
            let topic = episode.topics.iter().chain(&episode.new_topics).copied().max();
            let (pair, topic) = (pair.unwrap_or(0), topic.unwrap_or(0));
            if pair >= pairs || topic >= topics {
                return Err(MetaTrainingError::Episode { episode: index + 1, pair, topic, pairs, topics });
            }
        }
        Ok(())
    }

    fn set(&self, shots: &[Shot], device: &Device) -> Result<LabelledImages, FeatureError> {
        let pairs: Vec<usize> = shots.iter().map(|shot| shot.pair).collect();
        let classes: Vec<usize> = shots.iter().map(|shot| shot.class).collect();
        Ok(LabelledImages { images: self.images.images(&pairs, device)?, labels: indices(&classes, device) })
    }
}

/// Fixed tasks from held-out topics; none if too few are held out.
fn validation_tasks(
    pool: &TopicPool,
    material: &Material,
    settings: &MetaTrainingSettings,
    device: &Device,
) -> Result<Vec<Task>, MetaTrainingError> {
    if pool.topics.len() < settings.episodes.topics() {
        return Ok(Vec::new());
    }
    let tasks = (0..settings.validation_episodes as u64).map(|index| {
        let mut random = indexed_stream(settings.seed, "validation episodes", index);
        let episode = pool.sample(&settings.episodes, &mut random)?;
        Ok(material.task(&episode, device)?)
    });
    tasks.collect()
}
