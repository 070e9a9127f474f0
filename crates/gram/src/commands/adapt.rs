//! `gram adapt`: a prompt for your own classes, from a few labelled images.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gram::model::{is_built_in, note_what_tiny_knows, open_dataset, open_model_or_own};
use gram::output;
use gram::starts::{model_of, start_of};
use gram::{assets, defaults, whole_file};
use gram_clip::Model;
use gram_data::whole_file::beside;
use gram_data::{ClassSubset, FewShotSplit};
use gram_eval::method::Starts;
use gram_eval::prepared::Prepared;
use gram_eval::protocol::{Protocol, ProtocolSettings};
use gram_eval::results::Method;
use gram_prompt::prompt_file::VERSION;
use gram_prompt::{Header, Part, PromptFile, Template};
use serde::Serialize;
use serde_json::json;

use crate::arguments::Common;
use crate::commands::command_line;
use crate::commands::tuning::TuningArguments;

/// Arguments of `gram adapt`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram adapt --model ViT-B/16 --data flowers/ --method coop --shots 16 --out flowers.safetensors\n  \
                  gram adapt --data demo:animals --method coop-gram --init start.safetensors --out animals.safetensors"
)]
pub struct AdaptArguments {
    /// A folder or file with a CLIP checkpoint, an id on the hub, or `tiny`, which is built in; else the start's own, or
    /// `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// A folder for each class, a manifest, an archive, a dataset of the literature, or `demo:NAME`.
    #[arg(long, value_name = "D")]
    data: String,
    /// coop, cocoop, vpt, vpt-deep or joint; coop-gram, cocoop-gram, vpt-gram or unigram from a meta-trained start.
    #[arg(long)]
    method: Method,
    /// The meta-trained start, from `gram meta-train`.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Images of a class.
    #[arg(long, value_name = "K")]
    shots: Option<usize>,
    /// The shots, from `gram data few-shot`, in the place of drawn ones.
    #[arg(long, value_name = "FILE", conflicts_with = "shots")]
    few_shot: Option<PathBuf>,
    /// The classes: all, base (the first half) or new (the second).
    #[arg(long, default_value = "all")]
    classes: ClassSubset,
    /// The sentence around a name; a textual prompt starts from its words before the name.
    #[arg(long)]
    template: Option<Template>,
    /// The prompt; the loss of every epoch goes beside it, as .metrics.jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Settings.
    #[command(flatten)]
    tuning: TuningArguments,
}

/// What is printed for machines.
#[derive(Serialize)]
struct Adapted<'a> {
    prompt: Cow<'a, str>,
    classes: usize,
    images: usize,
    loss: f32,
    settings: &'a ProtocolSettings,
}

/// Runs the command.
pub fn run(arguments: &AdaptArguments, common: &Common) -> Result<()> {
    let device = common.device()?;
    let Some(kind) = arguments.method.kind() else {
        bail!("--method {}: it leaves no prompt; `gram bench` measures it", arguments.method.key());
    };
    let own =
        arguments.init.as_deref().map(|path| anyhow::Ok(model_of(path, &device)?.map(|own| (path, own))));
    let model = open_model_or_own(arguments.model.as_deref(), own.transpose()?.flatten(), &device)?;
    note_what_tiny_knows(&model, !is_built_in(&arguments.data));
    let settings = arguments.tuning.settings(&model, arguments.shots)?;
    let template = learned_template(arguments.template.as_ref(), &model)?;
    let dataset = open_dataset(&arguments.data)?;
    let starts = arguments.starts(&model)?;
    let prepared = Prepared::new(&dataset, &model, &template, &template, &device)?;
    let protocol = Protocol { prepared: &prepared, settings: &settings, starts: &starts };
    let (method, classes) = (arguments.method, arguments.classes);
    let shots = match &arguments.few_shot {
        Some(path) => {
            let split = FewShotSplit::read(path)?;
            let (chosen, validation) = split.find(&dataset, classes, path)?;
            protocol.shots_of(classes, chosen, validation, &[method], common.seed)?
        }
        None => protocol.shots(classes, None, &[method], common.seed)?,
    };
    let names = dataset.class_names(classes).to_vec();
    output::note(format!("{}: {} images of {} classes", method, shots.chosen.len(), names.len()));
    let memory = protocol.text_memory(method, classes)?;
    if memory.classes > 0 {
        let parts = memory.classes.div_ceil(memory.classes_at_once);
        let gigabytes = memory.bytes as f64 / f64::from(1 << 30);
        output::note(format!(
            "about {gigabytes:.1} GB for the gradient through the text tower, in {parts} part(s)"
        ));
    }
    let course =
        protocol.tune(method, &shots)?.context("the method's start is missing: pass it with --init")?;
    let losses: Vec<f32> = course.iter().skip(1).map(|(_, loss)| *loss).collect();
    let (prompt, placement) =
        course.last().and_then(|(tuned, _)| tuned.prompt()).context("the method left no prompt")?;
    ensure!(prompt.is_finite(), "the descent diverged: lower --rate");
    let header = Header {
        regulator_form: Default::default(),
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        model: model.identity()?,
        clusters: None,
        kind,
        placement,
        template: template.to_string(),
        classes: names,
        settings: json!({"seed": common.seed, "data": dataset.name, "method": method, "tuning": settings}),
        command: command_line(),
    };
    let file = PromptFile { header, prompt: prompt.clone(), regulator: std::collections::BTreeMap::new() };
    file.save(&arguments.out)?;
    let lines = losses
        .iter()
        .enumerate()
        .map(|(epoch, loss)| json!({"epoch": epoch + 1, "loss": loss}).to_string() + "\n");
    whole_file::write(&beside(&arguments.out, "metrics.jsonl"), lines.collect::<String>().as_bytes())?;
    let adapted = Adapted {
        prompt: arguments.out.to_string_lossy(),
        classes: file.header.classes.len(),
        images: shots.chosen.len(),
        loss: losses.last().copied().unwrap_or(f32::NAN),
        settings: &settings,
    };
    match common.json {
        true => output::json(&adapted)?,
        false => output::line(format!("{} (loss {:.3})", arguments.out.display(), adapted.loss))?,
    }
    Ok(())
}

/// The sentence of learned prompts: the one that is given, else the built-in model's own, or CoOp's.
pub fn learned_template(given: Option<&Template>, model: &Model) -> Result<Template> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let text = if assets::is_tiny(model) { defaults::TEMPLATE } else { "a photo of a {}." };
    Ok(text.parse()?)
}

impl AdaptArguments {
    /// The start that the method asks for.
    fn starts(&self, model: &Model) -> Result<Starts> {
        let mut starts = Starts::default();
        match (&self.init, self.method.baseline()) {
            (None, None) => {}
            (Some(path), Some(_)) => {
                let file = PromptFile::load(path, &model.clip.logit_scale.val().device())?;
                add_start(&mut starts, self.method, path, &file, model)?;
            }
            (Some(_), None) => bail!("--init: {} starts as usual; name its kin with GRAM", self.method.key()),
            (None, Some(_)) => {
                bail!(
                    "--method {}: it starts from a meta-trained prompt: pass one with --init",
                    self.method.key()
                )
            }
        }
        Ok(starts)
    }
}

/// Adds the start of a file for a method, if it has the parts that the method tunes.
pub fn add_start(
    starts: &mut Starts,
    method: Method,
    path: &Path,
    file: &PromptFile,
    model: &Model,
) -> Result<()> {
    for part in [Part::Text, Part::Visual] {
        ensure!(
            method.prompts(part) == file.prompt.get(part).is_some(),
            "{}: a start of {}, which {} does not tune: meta-train one for it",
            path.display(),
            file.header.kind,
            method.key()
        );
    }
    starts.insert(method, start_of(file, path, model)?, file.header.placement);
    Ok(())
}
