//! `gram meta-train`: from topics to an initialisation and a regulator, by the outer loop over episodes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::destination;
use crate::output;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gram_cluster::Clusters;
use gram_experiments::defaults;
use gram_experiments::episodes::{EpisodesFile, check_topics};
use gram_experiments::meta_training::{MetaRun, listed_material, material, start_prompt};
use gram_experiments::pair_images::{PairSource, images_of, images_of_clusters};
use gram_experiments::settings_file;
use gram_experiments::starts::{model_of, start_of};
use gram_experiments::tuning_settings::learned_template;
use gram_features::FeatureFolder;
use gram_features::pixel_cache::USUAL_ROOM;
use gram_hub::model::{
    is_built_in, note_other_clusters, note_what_tiny_knows, open_model_or_own, open_pairs,
};
use gram_meta::{EpisodeSource, MetaState, MetaStep, MetaTrainingSettings, OuterOptimizer};
use gram_prompt::{ClassPosition, PromptKind, Rates, RegulatorForm, Template};
use gram_tune::design::PromptDesign;
use serde::Serialize;

use crate::arguments::{Anew, Common};
use crate::commands::command_line;
use crate::commands::prompting::load_prompt;
use crate::progress::bar;

/// Arguments of `gram meta-train`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram meta-train --pairs demo --clusters runs/clusters --method coop --out start.safetensors\n  \
                  gram meta-train --pairs demo --episodes episodes.json --method coop --out replayed.safetensors"
)]
pub struct MetaTrainArguments {
    /// A CLIP folder, or the built-in `tiny`. Default: the model that --init names, else that of the
    /// clusters or episodes, else `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// The image-text pairs that were clustered.
    #[arg(long, value_name = "SRC", required_unless_present = "features", conflicts_with = "features")]
    pairs: Option<String>,
    /// Features of their images, from `gram embed` or clip-retrieval: a prompt that is not visual needs no
    /// more.
    #[arg(long, value_name = "DIR")]
    features: Option<PathBuf>,
    /// Topics and domains from `gram cluster`, from which episodes are drawn.
    #[arg(long, value_name = "DIR", required_unless_present = "episodes", conflicts_with = "episodes")]
    clusters: Option<PathBuf>,
    /// Episodes from `gram episodes`, in their order, instead of drawn ones.
    #[arg(long, value_name = "FILE")]
    episodes: Option<PathBuf>,
    /// What is learned: coop (text), cocoop (text, moved by the image), vpt (vision) or joint.
    #[arg(long)]
    method: PromptKind,
    /// An initialisation, with its regulator if it has one, instead of the usual one.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Position of the class name in an initialisation in CoOp's format, whose file does not say it: end,
    /// middle or front.
    #[arg(long, value_name = "WHERE", requires = "init")]
    class_position: Option<ClassPosition>,
    /// Prompt template. A textual prompt is initialised with its words before the class name, unless
    /// --context-tokens is given. Default: `a photo of a {}.`, or `a picture of a {}` for the built-in
    /// model.
    #[arg(long)]
    template: Option<Template>,
    /// Context tokens with a random initialisation, as in the paper's algorithm 1; 0 uses the template's
    /// words.
    #[arg(long, value_name = "M", default_value_t = 0)]
    context_tokens: usize,
    /// Prompt tokens of a visual prompt.
    #[arg(long, value_name = "N", default_value_t = 2)]
    visual_tokens: usize,
    /// Prompt depth: vision layers with prompt tokens of their own. 1 is shallow, 0 means all layers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    visual_depth: usize,
    /// The initialisation with its regulator. Its run folder is beside it as .run, and the same command
    /// continues from it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Memory for decoded images of a visual prompt, in MB. Images beyond it are decoded again when they are
    /// drawn.
    #[arg(long, value_name = "MB", default_value_t = USUAL_ROOM >> 20)]
    pixel_memory: usize,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// Settings.
    #[command(flatten)]
    settings: MetaSettings,
}

/// Settings of meta-training: those of the file or the defaults, and what replaces single ones.
#[derive(Args, Debug)]
pub struct MetaSettings {
    /// Settings (TOML), any part of them. A seed in the file overrides --seed.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Outer steps; 0 writes the initialisation as it is.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Meta-batch: episodes per outer step.
    #[arg(long, value_name = "B")]
    meta_batch: Option<usize>,
    /// Task micro-batch: episodes that pass the towers together.
    #[arg(long = "task-micro-batch", alias = "tasks-at-once", value_name = "N")]
    tasks_at_once: Option<usize>,
    /// Inner steps.
    #[arg(long, value_name = "K")]
    inner_steps: Option<usize>,
    /// Momentum of the inner steps, as at test time.
    #[arg(long, value_name = "MU")]
    inner_momentum: Option<f32>,
    /// Inner learning rate, or one for each tower: TEXT/VISUAL.
    #[arg(long = "inner-lr", alias = "inner-rate", value_name = "ALPHA")]
    inner_rate: Option<Rates>,
    /// Meta-learns the inner learning rates too.
    #[arg(long = "learn-inner-lr", alias = "learn-rates")]
    learn_rates: bool,
    /// First-order meta-gradient: leaves out the Hessian.
    #[arg(long)]
    first_order: bool,
    /// Form of the gradient regulator: paper, unit, rescaled, or none for no regulator.
    #[arg(long, value_name = "FORM")]
    regulator: Option<RegulatorName>,
    /// Classes per episode.
    #[arg(long, value_name = "N")]
    ways: Option<usize>,
    /// Support images per class.
    #[arg(long, value_name = "N")]
    support_shots: Option<usize>,
    /// Query images per class.
    #[arg(long, value_name = "N")]
    query_shots: Option<usize>,
    /// Query-only classes: further classes of the query set that the support set does not show. The paper
    /// has none.
    #[arg(long = "query-only-classes", alias = "new-ways", value_name = "N")]
    new_ways: Option<usize>,
    /// Meta optimiser.
    #[arg(long)]
    optimizer: Option<OptimizerName>,
    /// Meta learning rate, of prompt and regulator.
    #[arg(long, value_name = "RATE")]
    outer_lr: Option<f64>,
    /// Clips the meta-gradient to this norm.
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f32>,
    /// Share of the topics that is held out for validation.
    #[arg(long, value_name = "PART")]
    validation_topics: Option<f64>,
    /// Outer steps between validations.
    #[arg(long, value_name = "N")]
    validation_steps: Option<usize>,
    /// Early stopping: validations without improvement before training ends.
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
}

/// The optimisers by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Sgd,
}

/// The forms of a regulator by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RegulatorName {
    Paper,
    Unit,
    Rescaled,
    None,
}

/// What is printed for machines.
#[derive(Serialize)]
struct Trained<'a> {
    start: Cow<'a, str>,
    last: Option<MetaStep>,
}

/// Runs the command.
pub fn run(arguments: &MetaTrainArguments, common: &Common) -> Result<()> {
    destination::file(&arguments.out)?;
    let device = common.device()?;
    let settings = arguments.settings.in_force(arguments.method, common.seed)?;
    let kind = arguments.method;
    let clusters = arguments.clusters.as_deref().map(Clusters::load).transpose()?;
    let listed = arguments.episodes.as_deref().map(EpisodesFile::read).transpose()?;
    if let Some(clusters) = &clusters {
        check_topics(clusters, &settings)?;
    }
    if let Some(listed) = &listed {
        listed.check_count(&settings)?;
    }
    let grouped_by = match (&arguments.clusters, &clusters, &arguments.episodes, &listed) {
        (Some(path), Some(clusters), ..) => clusters.model.clone().map(|model| (path.as_path(), model)),
        (_, _, Some(path), Some(listed)) => listed.clusters.clone().map(|model| (path.as_path(), model)),
        _ => None,
    };
    let of_start = match &arguments.init {
        Some(path) => model_of(path, &device)?.map(|model| (path.as_path(), model)),
        None => None,
    };
    let model = open_model_or_own(
        arguments.model.as_deref(),
        of_start.or(grouped_by.clone()),
        &device,
        &bar("download"),
    )?;
    note_what_tiny_knows(&model, arguments.pairs.as_deref().is_some_and(|pairs| !is_built_in(pairs)));
    if let Some((path, grouped_by)) = &grouped_by {
        note_other_clusters(&model, path, grouped_by)?;
    }
    let template = &learned_template(arguments.template.as_ref(), &model)?;
    let pairs = arguments.pairs.as_deref().map(open_pairs).transpose()?;
    let features = arguments.features.as_deref().map(FeatureFolder::open).transpose()?;

    let design = PromptDesign {
        context_tokens: arguments.context_tokens,
        visual_tokens: arguments.visual_tokens,
        visual_depth: arguments.visual_depth,
        ..PromptDesign::default()
    };
    let usual = start_prompt(&model, kind, template, design, settings.seed)?;
    let (mut start, mut placement) =
        (MetaState::start(usual, &settings, &device), design.placement(kind, &model, 1));
    if let Some(path) = &arguments.init {
        let file = load_prompt(path, arguments.class_position, &device)?;
        ensure!(file.header.kind == kind, "{}: it is of {}, not of {kind}", path.display(), file.header.kind);
        (start, placement) = (start_of(&file, path, &model)?, file.header.placement);
    }
    let room = arguments.pixel_memory.saturating_mul(1 << 20);
    let source = match (&pairs, &features) {
        (Some(pairs), _) => PairSource::Images(pairs),
        (_, Some(features)) => PairSource::Features(features),
        (None, None) => bail!("name the pairs with --pairs, or their features with --features"),
    };
    let progress = bar("images");
    let (material, seen, episodes) = match (&clusters, &listed) {
        (Some(clusters), _) => {
            let images = images_of_clusters(&model, clusters, source, kind, room, &progress)?;
            let material = material(&model, clusters, images.store, &start.theta, template, &settings)?;
            output::note(format!(
                "{} topics, {} more are too small",
                material.pool.topics.len(),
                material.pool.too_small
            ));
            (material, images.fingerprint, EpisodeSource::Sampled)
        }
        (None, Some(listed)) => {
            let (names, keys, episodes) = listed.numbered();
            let images = images_of(&model, &keys, source, kind, room, &progress)?;
            let material = listed_material(&model, &names, images.store, &start.theta, template)?;
            (material, images.fingerprint, EpisodeSource::Listed(episodes))
        }
        (None, None) => bail!("name topics with --clusters, or episodes with --episodes"),
    };

    drop(progress);
    let progress = bar("meta-training");
    progress.set_length(settings.steps as u64);
    let (mut last, mut held_out) = (None, String::new());
    let command = command_line();
    let run = MetaRun {
        model: &model,
        kind,
        placement,
        template,
        clusters: grouped_by.as_ref().map(|(_, model)| model),
        material: &material,
        images: &seen,
        start,
        episodes,
        settings: &settings,
        command: &command,
        restart: arguments.anew.restart,
    };
    run.run(&arguments.out, &mut |step| {
        if let Some(validation) = step.validation {
            held_out = format!(", held out {:.3}", validation.loss);
        }
        progress.set_position(step.step as u64);
        progress.set_message(format!("query loss {:.3}{held_out}", step.query_loss));
        last = Some(step.clone());
    })?;
    progress.finish_and_clear();
    match common.json {
        true => output::json(&Trained { start: arguments.out.to_string_lossy(), last })?,
        false => output::line(arguments.out.display())?,
    }
    Ok(())
}

impl MetaSettings {
    /// The file's settings or the defaults, with what the command line replaces.
    pub fn in_force(&self, kind: PromptKind, seed: u64) -> Result<MetaTrainingSettings> {
        let mut settings = Self::of_file(self.config.as_deref(), kind, seed)?;
        self.replace(&mut settings)?;
        settings.validate()?;
        Ok(settings)
    }

    /// What a file says, over the defaults.
    pub fn of_file(path: Option<&Path>, kind: PromptKind, seed: u64) -> Result<MetaTrainingSettings> {
        let usual = defaults::meta_training(kind, seed);
        path.map_or(Ok(usual.clone()), |path| Ok(settings_file::over(&usual, path)?))
    }

    fn replace(&self, settings: &mut MetaTrainingSettings) -> Result<()> {
        put(&mut settings.steps, self.steps);
        put(&mut settings.meta_batch, self.meta_batch);
        put(&mut settings.tasks_at_once, self.tasks_at_once);
        put(&mut settings.inner.steps, self.inner_steps);
        put(&mut settings.inner.momentum, self.inner_momentum);
        put(&mut settings.inner.rates, self.inner_rate);
        settings.inner.learn_rates |= self.learn_rates;
        settings.inner.first_order |= self.first_order;
        put(&mut settings.episodes.ways, self.ways);
        put(&mut settings.episodes.support_shots, self.support_shots);
        put(&mut settings.episodes.query_shots, self.query_shots);
        put(&mut settings.episodes.new_ways, self.new_ways);
        put(&mut settings.prompt_rate, self.outer_lr);
        put(&mut settings.regulator_rate, self.outer_lr);
        put(&mut settings.validation_topics, self.validation_topics);
        put(&mut settings.validation_steps, self.validation_steps);
        settings.clip_norm = self.clip_norm.or(settings.clip_norm);
        settings.patience = self.patience.or(settings.patience);
        settings.optimizer = match self.optimizer {
            Some(OptimizerName::Adam) => OuterOptimizer::Adam,
            Some(OptimizerName::Sgd) => OuterOptimizer::Sgd,
            None => settings.optimizer,
        };
        let form = match self.regulator {
            Some(RegulatorName::Paper) => RegulatorForm::Paper,
            Some(RegulatorName::Unit) => RegulatorForm::Unit,
            Some(RegulatorName::Rescaled) => RegulatorForm::Rescaled,
            Some(RegulatorName::None) => {
                settings.regulator = None;
                return Ok(());
            }
            None => return Ok(()),
        };
        let regulator = settings.regulator.as_mut();
        regulator.context("--regulator: the settings have none; give it a section [regulator]")?.form = form;
        Ok(())
    }
}

fn put<T: Copy>(setting: &mut T, given: Option<T>) {
    *setting = given.unwrap_or(*setting);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: MetaSettings,
    }

    #[test]
    fn flags_mean_the_same_under_their_old_names() {
        let parsed = |line: &str| {
            let words = std::iter::once("gram").chain(line.split(' '));
            format!("{:?}", Line::try_parse_from(words).unwrap().settings)
        };
        assert_eq!(
            parsed("--inner-lr 0.1 --learn-inner-lr --task-micro-batch 1 --query-only-classes 2"),
            parsed("--inner-rate 0.1 --learn-rates --tasks-at-once 1 --new-ways 2")
        );
    }
}
