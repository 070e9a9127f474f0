//! Image-text pairs and their topics to an initialisation and a gradient regulator.

use gram_cluster::Clusters;
use gram_experiments::defaults;
use gram_experiments::meta_training::{episode_data, start_prompt};
use gram_experiments::pair_images::images_of_clusters;
use gram_features::pixel_cache::USUAL_ROOM;
use gram_meta::{EpisodeSource, MetaState, MetaTraining, MetaTrainingSettings};
use gram_prompt::{Placement, PromptKind, PromptedClip};
use gram_tune::design::PromptDesign;

use crate::{Clip, Error, Pairs};

/// What meta-training learned: where a prompt starts, and how its gradient is regulated.
#[derive(Clone, Debug)]
pub struct Initialisation {
    /// What kind of prompt it is.
    pub kind: PromptKind,
    /// The prompt and the regulator.
    pub state: MetaState,
    /// Where the prompt's vectors enter.
    pub placement: Placement,
}

/// Meta-trains an initialisation in memory, with the settings of the command line unless others are given.
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

    /// Meta-trains on episodes that are drawn from the topics and domains of `pairs`.
    ///
    /// # Errors
    /// If a setting is out of its range, there are too few topics, an image cannot be read, or a step
    /// diverges.
    pub fn fit(&self, pairs: &Pairs, clusters: &Clusters) -> Result<Initialisation, Error> {
        self.settings.validate()?;
        let template = self.model.template(self.template.as_deref())?;
        let (device, design) = (self.model.device(), PromptDesign::default());
        let placement = design.placement(self.kind, self.model, 1);
        let start = start_prompt(self.model, self.kind, &template, design, self.settings.seed)?;
        let images = images_of_clusters(self.model, clusters, &**pairs, self.kind, USUAL_ROOM, &())?;
        let episode_data =
            episode_data(self.model, clusters, images.store, &start, &template, &self.settings)?;
        let start = MetaState::start(start, &self.settings, &device);
        let clip = PromptedClip::new(self.model, placement);
        let mut training =
            MetaTraining::new(&clip, &episode_data, start, EpisodeSource::Sampled, &self.settings, &device)?;
        while !training.is_finished() {
            training.advance()?;
        }
        Ok(Initialisation { kind: self.kind, state: training.result().clone(), placement })
    }
}
