//! Few shots to a prompt file.

use std::collections::BTreeMap;

use crate::protocol::{Protocol, Shots};
use gram_data::ClassSubset;
use gram_prompt::prompt_file::VERSION;
use gram_prompt::{Header, PromptFile, Source};
use gram_report::results::Method;
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

/// Tunes a method's prompt on `shots` of some classes. `command` is for the file, which says what made it.
///
/// # Errors
/// If the method leaves no prompt, its meta-trained initialisation is not there, an image cannot be read, or the descent
/// diverges.
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
