//! Checkpoints of a meta-training: safetensors with a JSON header, all that a run goes on from.
//!
//! Tensors: `now.…` and `best.…` are states ([`MetaState::named`]), `log_rates` the logarithms of the inner
//! rates, `first_moment.…` and `second_moment.…` Adam's. The header has the numbers, and what run it is.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use burn_optim::{AdamState, AdaptiveMomentumState};
use gram_clip::checkpoint::{Named, read_tensors, to_f32_bytes_with_header};
use gram_prompt::prompt_file::numbers;
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta_training::{Best, MetaState, MetaTrainingError, MetaTrainingSettings, TrainingState};
use crate::outer_optimizer::OuterStep;

/// What is not a tensor.
#[derive(Serialize, Deserialize)]
struct Numbers {
    /// What run it is of; another one does not go on from it.
    run: Value,
    step: usize,
    without_gain: usize,
    best: Option<(usize, f32)>,
    /// Steps of the optimiser, by tensor.
    times: BTreeMap<String, usize>,
}

/// The bytes of a checkpoint of `run`.
///
/// # Errors
/// [`MetaTrainingError::Clip`] if the library refuses.
pub fn to_bytes(training_state: &TrainingState, run: &Value) -> Result<Vec<u8>, MetaTrainingError> {
    let mut tensors = Named::new();
    let mut put = |prefix: &str, name: &str, tensor: &Tensor<2>| {
        tensors.insert(format!("{prefix}{name}"), numbers(tensor));
    };
    training_state.state.named().iter().for_each(|(name, tensor)| put("now.", name, tensor));
    if let Some(best) = &training_state.best {
        best.state.named().iter().for_each(|(name, tensor)| put("best.", name, tensor));
    }
    put("", "log_rates", &training_state.log_rates);
    let mut times = BTreeMap::new();
    for (name, AdamState { momentum }) in training_state.outer.moments() {
        put("first_moment.", name, &momentum.moment_1);
        put("second_moment.", name, &momentum.moment_2);
        times.insert(name.clone(), momentum.time);
    }
    let best = training_state.best.as_ref().map(|best| (best.step, best.loss));
    let (run, step, without_gain) = (run.clone(), training_state.step, training_state.without_gain);
    let header = serde_json::to_string(&Numbers { run, step, without_gain, best, times });
    let header = header.map_err(|error| damaged(&error))?;
    Ok(to_f32_bytes_with_header(&tensors, header)?)
}

/// The training state in a checkpoint of `run`, whose states look like `like`.
///
/// # Errors
/// [`MetaTrainingError::Checkpoint`] if it is damaged or of another run.
pub fn from_bytes(
    bytes: &[u8],
    run: &Value,
    like: &MetaState,
    settings: &MetaTrainingSettings,
    device: &Device,
) -> Result<TrainingState, MetaTrainingError> {
    let header: Numbers = header_of(bytes)?;
    if header.run != *run {
        let other = "was made under other settings, or from other data".to_owned();
        return Err(MetaTrainingError::Checkpoint(other));
    }
    let named = Tensors::read(bytes)?;
    let tensor = |name: &str| {
        let cpu = Device::flex();
        // The rates, and what the optimiser knows of them, are read at every step.
        named.tensor(name, None, if name.ends_with("log_rates") { &cpu } else { device })
    };
    let state = |prefix: &str| named.state(prefix, like, device);
    let moments = header.times.into_iter().map(|(name, time)| {
        let first = tensor(&format!("first_moment.{name}"))?;
        let second = tensor(&format!("second_moment.{name}"))?;
        Ok((name, AdamState::new(AdaptiveMomentumState::new(time, first, second))))
    });
    let moments = moments.collect::<Result<BTreeMap<_, _>, MetaTrainingError>>()?;
    let best = |(step, loss)| Ok::<_, MetaTrainingError>(Best { loss, step, state: state("best")? });
    Ok(TrainingState {
        step: header.step,
        state: state("now")?,
        log_rates: tensor("log_rates")?,
        outer: OuterStep::with_moments(settings.optimizer, moments),
        best: header.best.map(best).transpose()?,
        without_gain: header.without_gain,
    })
}

/// The header of a file of ours.
pub(crate) fn header_of<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MetaTrainingError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
    let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get("gram").cloned());
    let header = header.ok_or_else(|| damaged(&"it has no header"))?;
    serde_json::from_str(&header).map_err(|error| damaged(&error))
}

/// The tensors of a file of ours.
pub(crate) struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, MetaTrainingError> {
        Ok(Self(read_tensors("checkpoint", bytes)?))
    }

    /// One of them, of a shape where one is expected.
    pub(crate) fn tensor(
        &self,
        name: &str,
        expected: Option<[usize; 2]>,
        device: &Device,
    ) -> Result<Tensor<2>, MetaTrainingError> {
        let found = self.0.get(name).and_then(|(shape, values)| {
            let shape: [usize; 2] = shape.as_slice().try_into().ok()?;
            let fits = expected.is_none_or(|expected| expected == shape);
            fits.then(|| Tensor::<2>::from_data(TensorData::new(values.clone(), shape), device))
        });
        found.ok_or_else(|| damaged(&format!("no tensor `{name}` that fits")))
    }

    /// Those of a state that looks like `like`.
    pub(crate) fn state(
        &self,
        prefix: &str,
        like: &MetaState,
        device: &Device,
    ) -> Result<MetaState, MetaTrainingError> {
        like.of_same_form(|name, shape| self.tensor(&format!("{prefix}.{name}"), Some(shape), device))
    }
}

pub(crate) fn damaged(problem: &dyn std::fmt::Display) -> MetaTrainingError {
    MetaTrainingError::Checkpoint(format!("is damaged ({problem})"))
}
