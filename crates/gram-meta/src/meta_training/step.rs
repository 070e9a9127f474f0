//! One outer step: the meta-gradients of its episodes, their sum, a move of all that is learned, and
//! validation.

use burn::tensor::{Tensor, TensorData};
use gram_clip::Signal;
use gram_clip::scalars::read;
use gram_prompt::Rates;
use gram_prompt::prompted_clip::accuracy;
use serde::{Deserialize, Serialize};

use super::MetaTraining;
use super::error::MetaTrainingError;
use super::state::{Best, MetaState, TrainingState};
use crate::meta_gradient::{MetaGradient, Reading, Task};

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

impl MetaTraining<'_> {
    /// One outer step.
    ///
    /// # Errors
    /// [`MetaTrainingError::Diverged`] names step and episode.
    pub fn advance(&mut self) -> Result<MetaStep, MetaTrainingError> {
        let gradients = self.step_gradients().of_step(&self.training_state)?;
        self.advance_by(&gradients)
    }

    /// One outer step by the meta-gradients of its episodes, in their order, wherever they were computed.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn advance_by(&mut self, gradients: &[MetaGradient]) -> Result<MetaStep, MetaTrainingError> {
        let settings = self.settings;
        let mut summed = sum(gradients, &self.training_state.state);
        // The one time that the step waits for the device.
        let (readings, square) =
            MetaGradient::read_all(gradients, summed.sum_of_squares().into_iter().collect());
        if let Some(episode) = readings.iter().position(|reading| !reading.is_finite) {
            let step = self.training_state.step + 1;
            return Err(MetaTrainingError::Diverged { step, episode: episode + 1 });
        }
        let rates = readings.iter().map(|reading| &reading.log_rates);
        let mut log_rates = rates.fold(Rates::both(0.0), |sum, rates| sum.plus(rates));
        let mut measured = means(&readings, self.training_state.step + 1);
        measured.inner_rates =
            settings.inner.learn_rates.then(|| self.training_state.inner_loop(settings).rates);
        measured.meta_gradient_norm = square.iter().sum::<f32>().sqrt();
        if let Some(longest) = settings.clip_norm.filter(|longest| measured.meta_gradient_norm > *longest) {
            let factor = longest / measured.meta_gradient_norm;
            summed = summed.map(|_, tensor| tensor * factor);
            log_rates = log_rates.times(factor);
        }
        self.descend(&summed, log_rates);
        self.training_state.step += 1;
        let step = self.training_state.step;
        if step.is_multiple_of(settings.validation_steps) || step == settings.steps {
            measured.validation = self.validate();
            self.note(measured.validation);
        }
        Ok(measured)
    }

    /// Moves start, regulator and inner rates against their gradients, by the outer optimiser.
    fn descend(&mut self, summed: &MetaState, log_rates: Rates) {
        let settings = self.settings;
        let TrainingState { state, outer, log_rates: rates, .. } = &mut self.training_state;
        let mut gradients = summed.named();
        *state = state.map(|name, tensor| {
            let rate = if name.starts_with("theta") { settings.prompt_rate } else { settings.regulator_rate };
            let gradient = gradients.remove(name).unwrap_or_else(|| tensor.zeros_like());
            outer.step(name, tensor, gradient, rate)
        });
        if settings.inner.learn_rates {
            let gradient = TensorData::new(vec![log_rates.text, log_rates.visual], [1, 2]);
            let gradient = Tensor::from_data(gradient, &rates.device());
            *rates = outer.step("log_rates", rates.clone(), gradient, settings.inner_rates_rate);
        }
    }

    /// Keeps the state if it is the best so far.
    fn note(&mut self, validation: Option<Validation>) {
        let Some(Validation { loss, .. }) = validation else { return };
        let TrainingState { step, state, best, without_gain, .. } = &mut self.training_state;
        *without_gain += 1;
        if best.as_ref().is_none_or(|best| loss < best.loss) {
            (*best, *without_gain) = (Some(Best { loss, step: *step, state: state.clone() }), 0);
        }
    }

    /// Query loss and accuracy on held-out topics, after the inner loop; none if too few are held out.
    fn validate(&self) -> Option<Validation> {
        let inner = self.training_state.inner_loop(self.settings);
        let MetaState { theta, phi } = &self.training_state.state;
        let measure = |tasks: &[Task]| -> Vec<[Tensor<1>; 2]> {
            let trajectories = inner.run(self.clip, theta, phi.as_ref(), tasks);
            let adapted = trajectories.iter().map(|trajectory| trajectory.adapted());
            let queries = adapted.zip(tasks).flat_map(|(prompt, task)| {
                task.queries().map(move |(classes, set)| {
                    let logits = self.clip.logits(prompt, classes, &set.images);
                    let labels = set.labels.clone();
                    let accuracy = accuracy(logits.clone(), labels.clone());
                    [Signal::from(logits).cross_entropy(labels).value, accuracy]
                })
            });
            queries.collect()
        };
        let chunks = self.validation.chunks(self.settings.tasks_at_once).collect();
        let measured = self.clip.clip.compute.side_by_side(chunks, measure).concat();
        let values = read(measured.into_iter().flatten().collect());
        let count = (values.len() / 2) as f32;
        (!values.is_empty()).then(|| Validation {
            loss: values.iter().step_by(2).sum::<f32>() / count,
            accuracy: values.iter().skip(1).step_by(2).sum::<f32>() / count,
        })
    }
}

/// The means of what the episodes of a step measured.
fn means(readings: &[Reading], step: usize) -> MetaStep {
    let mean = |value: fn(&Reading) -> f32| readings.iter().map(value).sum::<f32>() / readings.len() as f32;
    MetaStep {
        step,
        query_loss: mean(|reading| reading.query_loss),
        query_accuracy: mean(|reading| reading.query_accuracy),
        alignment: mean(|reading| reading.measured.alignment),
        regulated_over_raw: mean(|reading| reading.measured.regulated_over_raw),
        gamma: mean(|reading| reading.measured.gamma),
        beta: mean(|reading| reading.measured.beta),
        meta_gradient_norm: f32::NAN,
        inner_rates: None,
        validation: None,
    }
}

/// The sum of meta-gradients, in the order of their episodes.
fn sum(gradients: &[MetaGradient], state: &MetaState) -> MetaState {
    let mut summed = state.map(|_, tensor| tensor.zeros_like());
    for gradient in gradients {
        summed.theta = summed.theta.add_scaled(&gradient.theta, 1.0);
        summed.phi = summed.phi.zip(gradient.phi.as_ref()).map(|(sum, phi)| sum.add_scaled(phi, 1.0));
    }
    summed
}
