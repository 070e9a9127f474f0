//! Image-text pairs and their topics to an initialisation and a gradient regulator.

use std::path::Path;

use gram_clip::ModelIdentity;
use gram_cluster::Clusters;
use gram_data::Progress;
use gram_experiments::defaults;
use gram_experiments::meta_training::{Elsewhere, GradientWorker, MetaRun, episode_data, start_prompt};
use gram_experiments::pair_images::{PairSource, images_of_clusters};
use gram_experiments::settings_file::SettingsFile;
use gram_experiments::starts::start_of;
use gram_features::pixel_cache::USUAL_ROOM;
use gram_meta::{EpisodeData, EpisodeSource, MetaState, MetaStep, MetaTrainingSettings};
use gram_prompt::{Placement, PromptFile, PromptKind, Template};
use gram_tune::design::PromptDesign;
use serde_json::{Map, Value};

use crate::{Clip, Error};

/// What meta-training learned: where a prompt starts, and how its gradient is regulated.
#[derive(Clone, Debug)]
pub struct Initialisation {
    /// What kind of prompt it is.
    pub kind: PromptKind,
    /// The prompt and the regulator.
    pub state: MetaState,
    /// Where the prompt's vectors enter.
    pub placement: Placement,
    file: PromptFile,
}

impl Initialisation {
    /// Reads the file of an initialisation.
    ///
    /// # Errors
    /// If it cannot be read, or is for another model; names both.
    pub fn open(path: impl AsRef<Path>, model: &Clip) -> Result<Self, Error> {
        let file = PromptFile::load(path.as_ref(), &model.device())?;
        let state = start_of(&file, path.as_ref(), model)?;
        Ok(Self::of_state(state, file))
    }

    /// Writes the file, which `gram adapt --init` reads, too.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Ok(self.file.save(path.as_ref())?)
    }

    fn of_state(state: MetaState, file: PromptFile) -> Self {
        Self { kind: file.header.kind, placement: file.header.placement, state, file }
    }
}

/// Meta-trains an initialisation, with the settings of the command line unless others are given.
#[derive(Clone, Debug)]
pub struct MetaTrainer<'a> {
    model: &'a Clip,
    kind: PromptKind,
    settings: MetaTrainingSettings,
    template: Option<String>,
}

impl<'a> MetaTrainer<'a> {
    /// Of a kind of prompt.
    pub fn new(model: &'a Clip, kind: PromptKind) -> Self {
        Self { model, kind, settings: defaults::meta_training(kind, 1), template: None }
    }

    /// Of a textual prompt, for CoOp and CoCoOp.
    pub fn textual(model: &'a Clip) -> Self {
        Self::new(model, PromptKind::Textual)
    }

    /// Of a visual prompt, for VPT.
    pub fn visual(model: &'a Clip) -> Self {
        Self::new(model, PromptKind::Visual)
    }

    /// Of both, for UNIGRAM.
    pub fn joint(model: &'a Clip) -> Self {
        Self::new(model, PromptKind::Joint)
    }

    /// Outer steps.
    pub fn steps(mut self, steps: usize) -> Self {
        self.settings.steps = steps;
        self
    }

    /// The seed of episodes and of vectors that start at random; 1 where nothing is said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// The prompt template, with `{}` where a topic's name goes: a textual prompt starts from its words.
    pub fn template(mut self, template: &str) -> Self {
        self.template = Some(template.to_owned());
        self
    }

    /// Any other settings.
    pub fn settings(mut self, change: impl FnOnce(&mut MetaTrainingSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Any other settings, as a file of settings says them.
    ///
    /// # Errors
    /// Names a key that is unknown, or whose value is wrong.
    pub fn settings_of(mut self, said: &Map<String, Value>) -> Result<Self, Error> {
        self.settings = SettingsFile::of_object("settings", said).over(&self.settings)?;
        Ok(self)
    }

    /// Meta-trains in memory, on episodes that are drawn from the topics and domains of `pairs`.
    ///
    /// # Errors
    /// If a setting is out of its range, there are too few topics, an image cannot be read, or a step
    /// diverges.
    pub fn fit<'p>(
        &self,
        pairs: impl Into<PairSource<'p>>,
        clusters: &Clusters,
    ) -> Result<Initialisation, Error> {
        self.fit_with(pairs, clusters, None, &())
    }

    /// [`fit`](Self::fit), telling how far it is: outer steps with their `query loss`. With a file `out` it
    /// is what `gram meta-train --out` does: checkpoints lie in a folder beside the file, and a run that was
    /// stopped goes on.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), or if another run stands at `out`.
    pub fn fit_with<'p>(
        &self,
        pairs: impl Into<PairSource<'p>>,
        clusters: &Clusters,
        out: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Initialisation, Error> {
        self.prepare(pairs, clusters, progress)?.fit(self.model, out, None, progress)
    }

    /// Reads all that meta-training needs, to be done by several machines.
    ///
    /// # Errors
    /// If a setting is out of its range, or an image cannot be read.
    pub fn prepare<'p>(
        &self,
        pairs: impl Into<PairSource<'p>>,
        clusters: &Clusters,
        progress: &dyn Progress,
    ) -> Result<PreparedMetaTraining, Error> {
        let Self { model, kind, ref settings, .. } = *self;
        settings.validate()?;
        let template = model.template(self.template.as_deref())?;
        let design = PromptDesign::default();
        let start = start_prompt(model, kind, &template, design, settings.seed)?;
        let images = images_of_clusters(model, clusters, pairs, kind, USUAL_ROOM, progress)?;
        let episode_data = episode_data(model, clusters, images.store, &start, &template, settings)?;
        Ok(PreparedMetaTraining {
            kind,
            placement: design.placement(kind, model, 1),
            start: MetaState::start(start, settings, &model.device()),
            settings: settings.clone(),
            template,
            clusters: clusters.model.clone(),
            images: images.fingerprint,
            episode_data,
        })
    }
}

/// All that a meta-training needs but the model.
#[derive(Clone, Debug)]
pub struct PreparedMetaTraining {
    kind: PromptKind,
    placement: Placement,
    start: MetaState,
    settings: MetaTrainingSettings,
    template: Template,
    clusters: Option<ModelIdentity>,
    images: String,
    episode_data: EpisodeData,
}

impl PreparedMetaTraining {
    /// Meta-trains as [`MetaTrainer::fit_with`] does. Where `elsewhere` computes meta-gradients, by
    /// [workers](Self::worker), the result has the bytes that it has here.
    ///
    /// # Errors
    /// If another run stands at `out`, a step diverges, or `elsewhere` fails.
    pub fn fit(
        &self,
        model: &Clip,
        out: Option<&Path>,
        elsewhere: Option<&Elsewhere>,
        progress: &dyn Progress,
    ) -> Result<Initialisation, Error> {
        let run = MetaRun { elsewhere, ..self.run(model) };
        progress.begin(&format!("meta-training {}", self.kind), self.settings.steps);
        let mut observe = |step: &MetaStep| {
            progress.measured("query loss", step.step, f64::from(step.query_loss));
            progress.advance(&format!("query loss {:.3}", step.query_loss));
        };
        let state = match out {
            Some(out) => run.run(out, &mut observe)?,
            None => run.run_in_memory(&mut observe)?,
        };
        let file = run.file(&state)?;
        Ok(Initialisation::of_state(state, file))
    }

    /// What computes the meta-gradients of passes on another machine.
    ///
    /// # Errors
    /// If the model's weights cannot be read.
    pub fn worker<'a>(&'a self, model: &'a Clip) -> Result<GradientWorker<'a>, Error> {
        GradientWorker::new(self.run(model))
    }

    /// The passes of a step.
    pub fn passes(&self) -> usize {
        self.settings.passes().len()
    }

    fn run<'a>(&'a self, model: &'a Clip) -> MetaRun<'a> {
        MetaRun {
            model,
            kind: self.kind,
            placement: self.placement,
            template: &self.template,
            clusters: self.clusters.as_ref(),
            episode_data: &self.episode_data,
            images: &self.images,
            start: self.start.clone(),
            episodes: EpisodeSource::Sampled,
            settings: &self.settings,
            command: "meta-train, from a program",
            restart: false,
            elsewhere: None,
        }
    }
}
