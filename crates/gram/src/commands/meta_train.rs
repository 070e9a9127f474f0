//! `gram meta-train`: topics to a start and a regulator, by the outer loop over episodes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use gram::defaults;
use gram::meta_training::{images_of, material, save_start, start_prompt};
use gram::model::{open_model, open_pairs};
use gram_cluster::Clusters;
use gram_eval::design::PromptDesign;
use gram_meta::{MetaStep, MetaTrainingSettings, OuterOptimizer, meta_train};
use gram_prompt::{PromptKind, PromptedClip, Rates, Template};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::arguments::Common;
use crate::commands::command_line;
use crate::progress::{bar, pairs_bar};

/// Arguments of `gram meta-train`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  gram meta-train --pairs demo --clusters runs/clusters --method coop --out start.safetensors"
)]
pub struct MetaTrainArguments {
    /// A CLIP folder, or `tiny`, which is built in.
    #[arg(long, value_name = "M", default_value = "tiny")]
    model: String,
    /// The image-text pairs that were clustered.
    #[arg(long, value_name = "SRC")]
    pairs: String,
    /// Their topics and domains, from `gram cluster`.
    #[arg(long, value_name = "DIR")]
    clusters: PathBuf,
    /// What is learned: coop (text), vpt (vision) or joint.
    #[arg(long)]
    method: PromptKind,
    /// Every setting (TOML); its seed counts, not --seed.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The sentence around a name; a textual prompt starts from its words before the name.
    #[arg(long, default_value = "a picture of a {}")]
    template: Template,
    /// Vectors of a visual prompt.
    #[arg(long, value_name = "N", default_value_t = 2)]
    visual_tokens: usize,
    /// Layers of the vision tower with vectors of their own: 1 is shallow, 0 all of them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    visual_depth: usize,
    /// The start with its regulator; measurements go beside it, as .metrics.jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What replaces single settings.
    #[command(flatten)]
    overrides: Overrides,
}

/// The settings that are most often changed.
#[derive(Args, Debug)]
struct Overrides {
    /// Outer steps.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Episodes of an outer step.
    #[arg(long, value_name = "B")]
    meta_batch: Option<usize>,
    /// Inner steps.
    #[arg(long, value_name = "K")]
    inner_steps: Option<usize>,
    /// Inner rate, or one for text and one for visual: TEXT/VISUAL.
    #[arg(long, value_name = "ALPHA")]
    inner_rate: Option<Rates>,
    /// Classes of an episode.
    #[arg(long, value_name = "N")]
    ways: Option<usize>,
    /// Outer optimiser.
    #[arg(long)]
    optimizer: Option<OptimizerName>,
    /// Outer rate, of prompt and regulator.
    #[arg(long, value_name = "RATE")]
    outer_lr: Option<f64>,
}

/// The optimisers by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Sgd,
}

/// What is printed for machines.
#[derive(Serialize)]
struct Trained<'a> {
    start: &'a Path,
    last: Option<MetaStep>,
}

/// Runs the command.
pub fn run(arguments: &MetaTrainArguments, common: &Common) -> Result<()> {
    let device = common.device()?;
    let settings = arguments.settings(common.seed)?;
    let (kind, template) = (arguments.method, &arguments.template);
    let clusters = Clusters::load(&arguments.clusters)?;
    let model = open_model(&arguments.model, &device)?;
    let pairs = open_pairs(&arguments.pairs)?;

    let mut progress = pairs_bar();
    let images = images_of(&model, &clusters, &pairs, kind, &mut |now| progress.show(now))?;
    progress.finish();
    let design = PromptDesign {
        visual_tokens: arguments.visual_tokens,
        visual_depth: arguments.visual_depth,
        ..PromptDesign::default()
    };
    let start = start_prompt(&model, kind, template, design, settings.seed)?;
    let material = material(&model, &clusters, images, &start, template, &settings)?;
    eprintln!("{} topics, {} more are too small", material.pool.topics.len(), material.pool.too_small);

    let placement = design.placement(kind, &model, 1);
    let clip = PromptedClip::new(&model, placement);
    let mut record = Record::new(&arguments.out, settings.steps)?;
    let state = meta_train(&clip, &material, start, &settings, &device, &mut |step| record.note(step))?;
    let last = record.finish()?;
    save_start(&arguments.out, &model, kind, placement, template, &settings, &state, &command_line())?;
    match common.json {
        true => println!("{}", serde_json::to_string(&Trained { start: &arguments.out, last })?),
        false => println!("{}", arguments.out.display()),
    }
    Ok(())
}

impl MetaTrainArguments {
    /// The file's settings or the defaults, with what the command line replaces.
    fn settings(&self, seed: u64) -> Result<MetaTrainingSettings> {
        let mut settings = match &self.config {
            None => defaults::meta_training(self.method, seed),
            Some(path) => {
                let file = || path.display().to_string();
                toml::from_str(&fs::read_to_string(path).with_context(file)?).with_context(file)?
            }
        };
        self.overrides.apply(&mut settings);
        settings.validate()?;
        Ok(settings)
    }
}

impl Overrides {
    fn apply(&self, settings: &mut MetaTrainingSettings) {
        settings.steps = self.steps.unwrap_or(settings.steps);
        settings.meta_batch = self.meta_batch.unwrap_or(settings.meta_batch);
        settings.inner.steps = self.inner_steps.unwrap_or(settings.inner.steps);
        settings.inner.rates = self.inner_rate.unwrap_or(settings.inner.rates);
        settings.episodes.ways = self.ways.unwrap_or(settings.episodes.ways);
        settings.prompt_rate = self.outer_lr.unwrap_or(settings.prompt_rate);
        settings.regulator_rate = self.outer_lr.unwrap_or(settings.regulator_rate);
        settings.optimizer = match self.optimizer {
            Some(OptimizerName::Adam) => OuterOptimizer::Adam,
            Some(OptimizerName::Sgd) => OuterOptimizer::Sgd,
            None => settings.optimizer,
        };
    }
}

/// What meta-training measures, on the way to a file and a progress bar.
struct Record {
    path: PathBuf,
    file: File,
    bar: ProgressBar,
    validation_loss: Option<f32>,
    last: Option<MetaStep>,
    failed: Option<anyhow::Error>,
}

impl Record {
    /// Beside the file `out`.
    fn new(out: &Path, steps: usize) -> Result<Self> {
        let path = out.with_extension("metrics.jsonl");
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let bar = bar("meta-training");
        bar.set_length(steps as u64);
        Ok(Self { path, file, bar, validation_loss: None, last: None, failed: None })
    }

    fn note(&mut self, step: &MetaStep) {
        self.validation_loss = step.validation.map(|validation| validation.loss).or(self.validation_loss);
        let validation =
            self.validation_loss.map(|loss| format!(", validation {loss:.3}")).unwrap_or_default();
        self.bar.set_position(step.step as u64);
        self.bar.set_message(format!("query loss {:.3}{validation}", step.query_loss));
        let written = serde_json::to_string(step)
            .map_err(anyhow::Error::from)
            .and_then(|line| Ok(writeln!(self.file, "{line}")?));
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
        self.last = Some(step.clone());
    }

    /// The last step, or why a line could not be written.
    fn finish(self) -> Result<Option<MetaStep>> {
        self.bar.finish_and_clear();
        match self.failed {
            Some(error) => Err(error.context(self.path.display().to_string())),
            None => Ok(self.last),
        }
    }
}
