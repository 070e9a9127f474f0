//! Few shots to a prompt file.

use std::collections::BTreeMap;

use crate::protocol::{Protocol, Shots};
use gram_clip::Model;
use gram_data::{ClassSubset, LabelledDataset};
use gram_features::Dataset;
use gram_hub::templates::of_dataset;
use gram_prompt::prompt_file::VERSION;
use gram_prompt::{Header, PromptFile, Source, Template};
use gram_report::results::Method;
use gram_tune::prepared::Prepared;
use serde_json::json;

use crate::error::{Context, Result, require};

/// A prompt that was tuned, and how.
#[derive(Clone, Debug)]
pub struct TunedPrompt {
    /// The prompt with what made it.
    pub file: PromptFile,
    /// The mean loss of every epoch.
    pub losses: Vec<f32>,
}

/// The dataset's own hand-written templates, where they have a part in what the method minimises; else none,
/// and that of the learned prompt is the hand-written one.
///
/// # Errors
/// If one of them is no template; names the dataset.
pub fn hand_written(method: Method, dataset: &LabelledDataset) -> Result<Vec<Template>> {
    if method.is_guided() { Ok(of_dataset(dataset)?) } else { Ok(Vec::new()) }
}

/// A dataset as a method's tuning wants it.
///
/// # Errors
/// If a class is longer than the model reads, or a template is none.
pub fn prepared<'a>(
    method: Method,
    dataset: &'a Dataset,
    model: &'a Model,
    template: &'a Template,
) -> Result<Prepared<'a>> {
    let prepared = Prepared::new(dataset, model, template, template)?;
    let hand_written = hand_written(method, dataset)?;
    Ok(if hand_written.is_empty() { prepared } else { prepared.asked_in(&hand_written)? })
}

/// Tunes a method's prompt on `shots` of some classes. `command` is for the file, which says what made it.
///
/// # Errors
/// If the method leaves no prompt, its meta-trained initialisation is not there, an image cannot be read, or
/// the descent diverges.
pub fn tune(
    protocol: &Protocol,
    method: Method,
    classes: ClassSubset,
    shots: &Shots,
    seed: u64,
    command: &str,
) -> Result<TunedPrompt> {
    let prepared = protocol.prepared;
    let kind = method.kind().with_context(|| format!("{}: it leaves no prompt", method.key()))?;
    let missing = "the method's meta-trained initialisation is missing: pass it with --init";
    let course = protocol.tune(method, shots)?.context(missing)?;
    let losses: Vec<f32> = course.iter().skip(1).map(|(_, loss)| *loss).collect();
    let last = course.last().and_then(|(tuned, _)| tuned.prompt());
    let (prompt, placement) = last.context("the method left no prompt")?;
    require!(prompt.is_plausible(), "the descent diverged: lower --rate");
    let data = &prepared.dataset.name;
    let header = Header {
        regulator_form: Default::default(),
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        model: prepared.model.identity()?,
        clusters: None,
        kind,
        placement,
        template: prepared.template.to_string(),
        classes: prepared.dataset.class_names(classes).to_vec(),
        settings: json!({"seed": seed, "data": data, "method": method, "tuning": protocol.settings}),
        command: command.to_owned(),
    };
    let (prompt, regulator) = (prompt.clone(), BTreeMap::new());
    Ok(TunedPrompt { file: PromptFile { header, prompt, regulator, source: Source::Gram }, losses })
}
