//! Meta-trained starts: from their files, or those that are shipped.

use std::path::Path;

use burn::tensor::Device;
use gram_clip::{Model, ModelIdentity};
use gram_hub::assets;
use gram_meta::{MetaState, MetaStep, Regulator};
use gram_prompt::{Placement, PromptFile, PromptKind};
use gram_report::results::MetaPoint;

use crate::error::{Context, Result, refused};

/// A meta-trained start and how it was made.
pub struct TrainedStart {
    /// Where it comes from, in words.
    pub source: String,
    /// Start and regulator.
    pub state: MetaState,
    /// Where its vectors enter.
    pub placement: Placement,
    /// The course of its meta-training.
    pub course: Vec<MetaPoint>,
}

/// Checks that a prompt file is for `model`, and says once what the file does not say.
///
/// # Errors
/// The file's name, both models, and the way out.
pub fn check_model(file: &PromptFile, path: &Path, model: &Model) -> Result<()> {
    file.check_model(path, model)?;
    note_doubt(file, path);
    Ok(())
}

/// Says once what a prompt file does not say.
pub fn note_doubt(file: &PromptFile, path: &Path) {
    if let Some(doubt) = file.doubt() {
        log::warn!("{}: {doubt}", path.display());
    }
}

/// The model that the prompt file at `path` was made for, if it says so.
///
/// # Errors
/// As [`PromptFile::load`].
pub fn model_of(path: &Path) -> Result<Option<ModelIdentity>> {
    Ok(PromptFile::load(path, &Device::flex())?.made_for().cloned())
}

/// Start and regulator of a prompt file made for `model`.
///
/// # Errors
/// The file's name and why it does not fit.
pub fn start_of(file: &PromptFile, path: &Path, model: &Model) -> Result<MetaState> {
    check_model(file, path, model)?;
    let phi = Regulator::from_named(&file.prompt, &file.regulator, file.header.regulator_form)
        .map_err(|problem| refused!("{}: {problem}: meta-train the initialisation again", path.display()))?;
    Ok(MetaState { theta: file.prompt.clone(), phi })
}

/// The shipped start of a visual or joint prompt.
///
/// # Errors
/// If none is shipped, or it does not belong to `model`.
pub fn shipped_start(kind: PromptKind, model: &Model, device: &Device) -> Result<TrainedStart> {
    let shipped = assets::start(kind)?;
    let path = Path::new(shipped.name);
    let file = PromptFile::parse(path, shipped.file, device)?;
    let course = shipped
        .metrics
        .lines()
        .map(|line| Ok(curve_point(&serde_json::from_str(line)?)))
        .collect::<Result<_>>()
        .with_context(|| format!("the metrics of {}", shipped.name))?;
    let source = format!("shipped, made by `{}`", file.header.command);
    Ok(TrainedStart {
        source,
        state: start_of(&file, path, model)?,
        placement: file.header.placement,
        course,
    })
}

/// A step of meta-training as results hold it.
pub fn curve_point(step: &MetaStep) -> MetaPoint {
    MetaPoint {
        step: step.step,
        query_loss: f64::from(step.query_loss),
        query_accuracy: f64::from(step.query_accuracy),
        alignment: f64::from(step.alignment),
        held_out_loss: step.validation.map(|validation| f64::from(validation.loss)),
        held_out_accuracy: step.validation.map(|validation| f64::from(validation.accuracy)),
        regulated_over_raw: f64::from(step.regulated_over_raw),
    }
}
