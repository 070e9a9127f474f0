//! `gram meta-train`: from topics to an initialisation and a regulator, by the outer loop over episodes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::{ArgGroup, Args};
use gram_clip::{Model, ModelIdentity};
use gram_cluster::Clusters;
use gram_data::Pairs;
use gram_experiments::episodes::{EpisodesFile, check_topics};
use gram_experiments::meta_training::{MetaRun, episode_data, listed_episode_data, start_prompt};
use gram_experiments::pair_images::{PairSource, images_of, images_of_clusters};
use gram_experiments::starts::{model_of, start_of};
use gram_experiments::tuning_settings::learned_template;
use gram_features::FeatureFolder;
use gram_features::pixel_cache::USUAL_ROOM;
use gram_hub::model::{
    is_built_in, note_other_clusters, note_what_tiny_knows, open_model_or_own, open_pairs,
};
use gram_meta::{EpisodeData, EpisodeSource, MetaState, MetaStep, MetaTrainingSettings};
use gram_prompt::{ClassPosition, Placement, PromptKind, Template};
use gram_tune::design::PromptDesign;
use serde::Serialize;

use crate::arguments::{Anew, Common};
use crate::commands::clusters::{load_clusters, told};
use crate::commands::command_line;
use crate::commands::meta_settings::MetaSettings;
use crate::commands::prompting::load_prompt;
use crate::progress::bar;
use crate::{destination, output};

/// Arguments of `gram meta-train`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("input").args(["pairs", "features"]).required(true),
    group = ArgGroup::new("tasks").args(["clusters", "episodes"]).required(true),
    after_help = "Examples:\n  gram meta-train --pairs demo --clusters runs/clusters --method coop --out start.safetensors\n  \
                  gram meta-train --pairs demo --episodes episodes.json --method coop --out replayed.safetensors"
)]
pub struct MetaTrainArguments {
    /// A folder or file with a CLIP checkpoint, an id on the hub, or the built-in `tiny`. Default: the model
    /// that --init names, else that of the clusters or episodes, else `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// The image-text pairs that were clustered.
    #[arg(long, value_name = "SRC")]
    pairs: Option<String>,
    /// Features of their images, from `gram embed` or clip-retrieval: a prompt that is not visual needs no
    /// more.
    #[arg(long, value_name = "DIR")]
    features: Option<PathBuf>,
    /// Topics and domains from `gram cluster`, from which episodes are drawn.
    #[arg(long, value_name = "DIR")]
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

/// What is printed for machines.
#[derive(Serialize)]
struct Trained<'a> {
    start: Cow<'a, str>,
    last: Option<MetaStep>,
}

/// Runs the command.
pub fn run(arguments: &MetaTrainArguments, common: &Common) -> Result<()> {
    let resolved = arguments.resolve(common)?;
    let last = resolved.run()?;
    match common.json {
        true => output::json(&Trained { start: arguments.out.to_string_lossy(), last })?,
        false => output::line(arguments.out.display())?,
    }
    Ok(())
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a MetaTrainArguments,
    settings: MetaTrainingSettings,
    model: Model,
    template: Template,
    tasks: Tasks<'a>,
    source: Source,
}

/// Where tasks come from.
enum Tasks<'a> {
    /// Drawn from topics.
    Clusters(&'a Path, Clusters),
    /// Listed.
    Episodes(&'a Path, EpisodesFile),
}

impl Tasks<'_> {
    /// The model whose features made topics and domains, and the file that says so.
    fn grouped_by(&self) -> Option<(&Path, ModelIdentity)> {
        match self {
            Tasks::Clusters(path, clusters) => Some((path, clusters.model.clone()?)),
            Tasks::Episodes(path, listed) => Some((path, listed.clusters.clone()?)),
        }
    }
}

/// Where images come from.
enum Source {
    Pairs(Pairs),
    Features(FeatureFolder),
}

impl<'a> From<&'a Source> for PairSource<'a> {
    fn from(source: &'a Source) -> Self {
        match source {
            Source::Pairs(pairs) => Self::Images(pairs),
            Source::Features(features) => Self::Features(features),
        }
    }
}

impl MetaTrainArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        destination::file(&self.out)?;
        let compute = common.compute()?;
        let settings = self.settings.in_force_on(&compute, self.method, common.seed)?;
        let tasks = match (&self.clusters, &self.episodes) {
            (Some(path), _) => {
                let clusters = load_clusters(path)?;
                check_topics(&clusters, &settings)?;
                Tasks::Clusters(path, clusters)
            }
            (None, Some(path)) => {
                let listed = EpisodesFile::read(path)?;
                listed.check_count(&settings)?;
                Tasks::Episodes(path, listed)
            }
            (None, None) => bail!("name topics with --clusters, or episodes with --episodes"),
        };
        let of_start = match &self.init {
            Some(path) => model_of(path)?.map(|model| (path.as_path(), model)),
            None => None,
        };
        let own = of_start.or(tasks.grouped_by());
        let model = open_model_or_own(self.model.as_deref(), own, &compute, &bar("download"))?;
        note_what_tiny_knows(&model, self.pairs.as_deref().is_some_and(|pairs| !is_built_in(pairs)));
        if let Some((path, grouped_by)) = tasks.grouped_by() {
            note_other_clusters(&model, path, &grouped_by)?;
        }
        let template = learned_template(self.template.as_ref(), &model)?;
        let source = match (&self.pairs, &self.features) {
            (Some(pairs), _) => Source::Pairs(open_pairs(pairs)?),
            (None, Some(features)) => Source::Features(FeatureFolder::open(features)?),
            (None, None) => bail!("name the pairs with --pairs, or their features with --features"),
        };
        Ok(Resolved { arguments: self, settings, model, template, tasks, source })
    }
}

impl Resolved<'_> {
    /// Meta-trains from where the run stood, and writes the initialisation: its last step.
    fn run(&self) -> Result<Option<MetaStep>> {
        let Self { arguments, settings, model, template, tasks, .. } = self;
        let (start, placement) = self.start()?;
        let (episode_data, images, episodes) = self.episode_data(&start)?;
        let progress = bar("meta-training");
        progress.set_length(settings.steps as u64);
        let (mut last, mut held_out) = (None, String::new());
        let grouped_by = tasks.grouped_by().map(|(_, model)| model);
        let run = MetaRun {
            model,
            kind: arguments.method,
            placement,
            template,
            clusters: grouped_by.as_ref(),
            episode_data: &episode_data,
            images: &images,
            start,
            episodes,
            settings,
            command: &command_line(),
            restart: arguments.anew.restart,
            elsewhere: None,
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
        Ok(last)
    }

    /// Where meta-training starts, and where its vectors enter.
    fn start(&self) -> Result<(MetaState, Placement)> {
        let Self { arguments, settings, model, template, .. } = self;
        let (kind, device) = (arguments.method, model.device());
        if let Some(path) = &arguments.init {
            let file = load_prompt(path, arguments.class_position, &device)?;
            ensure!(
                file.header.kind == kind,
                "{}: it is of {}, not of {kind}",
                path.display(),
                file.header.kind
            );
            return Ok((start_of(&file, path, model)?, file.header.placement));
        }
        let design = PromptDesign {
            context_tokens: arguments.context_tokens,
            visual_tokens: arguments.visual_tokens,
            visual_depth: arguments.visual_depth,
            ..PromptDesign::default()
        };
        let usual = start_prompt(model, kind, template, design, settings.seed)?;
        Ok((MetaState::start(usual, settings, &device), design.placement(kind, model, 1)))
    }

    /// What episodes are made of, the fingerprint of their pairs, and where they come from.
    fn episode_data(&self, start: &MetaState) -> Result<(EpisodeData, String, EpisodeSource)> {
        let Self { arguments, settings, model, template, source, .. } = self;
        let (kind, room) = (arguments.method, arguments.pixel_memory.saturating_mul(1 << 20));
        let progress = bar("images");
        match &self.tasks {
            Tasks::Clusters(_, clusters) => {
                let images = images_of_clusters(model, clusters, source, kind, room, &progress)?;
                let episode_data =
                    episode_data(model, clusters, images.store, &start.theta, template, settings)?;
                output::note(told(&episode_data.pool));
                Ok((episode_data, images.fingerprint, EpisodeSource::Sampled))
            }
            Tasks::Episodes(_, listed) => {
                let (names, keys, episodes) = listed.numbered();
                let images = images_of(model, &keys, source, kind, room, &progress)?;
                let episode_data = listed_episode_data(model, &names, images.store, &start.theta, template)?;
                Ok((episode_data, images.fingerprint, EpisodeSource::Listed(episodes)))
            }
        }
    }
}
