//! Checkpoints: a folder that appears whole or not at all.
//!
//! `OUT/checkpoint/` holds `state.json` (step and configuration), `weights.safetensors` (32-bit),
//! `optimizer.bpk` (AdamW's moments) and `tokenizer.json`. A new one is written beside it and put in its
//! place by renaming.

use std::fs;
use std::path::Path;

use burn_optim::ModuleOptimizer;
use gram_clip::checkpoint::{Weights, to_f32_bytes};
use gram_clip::{Clip, Compute};
use gram_data::whole_file::write_whole;
use serde::{Deserialize, Serialize};

use crate::PretrainError;
use crate::config::PretrainConfig;

/// Where a run stands.
#[derive(Serialize, Deserialize)]
struct State {
    step: usize,
    config: PretrainConfig,
}

/// What a run goes on from.
pub struct Checkpoint {
    /// Steps done.
    pub step: usize,
    /// The model.
    pub clip: Clip,
    /// The optimiser.
    pub optimizer: ModuleOptimizer,
    /// The text of the tokenizer's file.
    pub tokenizer: String,
}

/// The folder of a checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Saves the state after `step` steps.
///
/// # Errors
/// [`PretrainError::File`] or [`PretrainError::Checkpoint`].
pub fn save(
    out: &Path,
    step: usize,
    config: &PretrainConfig,
    clip: &Clip,
    optimizer: &ModuleOptimizer,
    tokenizer: &str,
) -> Result<(), PretrainError> {
    replace(out, CHECKPOINT, |next| {
        let state = State { step, config: config.clone() };
        let text = serde_json::to_string_pretty(&state).map_err(|error| damaged(next, &error))?;
        write(&next.join("state.json"), text.as_bytes())?;
        write(&next.join("weights.safetensors"), &to_f32_bytes(&clip.named_weights())?)?;
        write(&next.join("tokenizer.json"), tokenizer.as_bytes())?;
        optimizer.save(next.join("optimizer.bpk")).map_err(|error| damaged(next, &error))
    })
}

/// Makes the folder called `name` in `out` as `make` fills it, whole: it is filled beside its place, where
/// what stood there stays until then.
pub(crate) fn replace(
    out: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), PretrainError>,
) -> Result<(), PretrainError> {
    let [next, current, old] = [".next", "", ".old"].map(|ending| out.join(format!("{name}{ending}")));
    remove(&next)?;
    fs::create_dir_all(&next).map_err(|source| PretrainError::File { path: next.clone(), source })?;
    make(&next)?;
    remove(&old)?;
    if current.exists() {
        rename(&current, &old)?;
    }
    rename(&next, &current)?;
    remove(&old)
}

/// Loads the checkpoint of `out`, if there is one.
///
/// # Errors
/// [`PretrainError::Checkpoint`] if it belongs to another configuration or is damaged.
pub fn load(
    out: &Path,
    config: &PretrainConfig,
    fresh: ModuleOptimizer,
    compute: &Compute,
) -> Result<Option<Checkpoint>, PretrainError> {
    // A run that was stopped between the two renames left the checkpoint under its old name.
    let folder =
        [CHECKPOINT, "checkpoint.old"].map(|name| out.join(name)).into_iter().find(|folder| folder.exists());
    let Some(folder) = folder else { return Ok(None) };
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|source| PretrainError::File { path, source })
    };
    let (state_file, optimizer_file) = (folder.join("state.json"), folder.join("optimizer.bpk"));
    let state: State =
        serde_json::from_str(&read("state.json")?).map_err(|error| damaged(&state_file, &error))?;
    if !same(&state.config, config) {
        return Err(damaged(&state_file, &"made under another configuration than this run's"));
    }
    let clip =
        Clip::read(&state.config.model, &mut Weights::open(&folder.join("weights.safetensors"))?, compute)?;
    let optimizer = fresh.load(&optimizer_file).map_err(|error| damaged(&optimizer_file, &error))?;
    Ok(Some(Checkpoint { step: state.step, clip, optimizer, tokenizer: read("tokenizer.json")? }))
}

/// Whether two configurations are equal, but for what the tokenizer decides.
fn same(saved: &PretrainConfig, given: &PretrainConfig) -> bool {
    let mut saved = saved.clone();
    let (text, given_text) = (&mut saved.model.text_config, &given.model.text_config);
    text.vocab_size = given_text.vocab_size;
    (text.bos_token_id, text.eos_token_id) = (given_text.bos_token_id, given_text.eos_token_id);
    saved == *given
}

fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> PretrainError {
    PretrainError::Checkpoint { path: path.to_owned(), problem: problem.to_string() }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), PretrainError> {
    write_whole(path, bytes).map_err(|source| PretrainError::File { path: path.to_owned(), source })
}

fn rename(from: &Path, to: &Path) -> Result<(), PretrainError> {
    fs::rename(from, to).map_err(|source| PretrainError::File { path: from.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), PretrainError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(PretrainError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
