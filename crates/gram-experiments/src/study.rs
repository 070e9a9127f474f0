//! The paper's studies: what becomes of GRAM when a part of it is left out (table 6, figure 3b), has other
//! sizes (table 7), or starts elsewhere (figure 1a), and how base and new classes fare from epoch to epoch
//! (figures 1b and 3a).
//!
//! Every condition has a start that is meta-trained once, `starts/NAME-N-steps.safetensors`, and a bench of
//! its own, `conditions/NAME/N-steps-M-epochs`, so that a study that was killed goes on where it stopped, and
//! one that is given more seeds, shots, steps or epochs keeps what is the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::protocol::ProtocolSettings;
use burn::tensor::Device;
use gram_clip::Model;
use gram_cluster::Clusters;
use gram_data::{LabelledDataset, Pairs, Progress};
use gram_features::pixel_cache::USUAL_ROOM;
use gram_meta::{EpisodeSource, MetaState, MetaTrainingSettings};
use gram_prompt::{PromptFile, PromptKind, Template};
use gram_report::results::{Method, Results};
use gram_tune::design::PromptDesign;
use gram_tune::method::Starts;
use serde_json::{Value, json};

use crate::bench::{Bench, Courses, ProtocolKind};
use crate::clustering::CLUSTERED;
use crate::error::{Context, Result, refuse};
use crate::meta_training::{MetaRun, material, steps_of};
use crate::pair_images::{PairImages, images_of_clusters};
use crate::run_folder::{Run, RunFolder, model_identity};
use crate::starts::start_of;

/// What a study works with.
pub struct Study<'a> {
    /// The model.
    pub model: &'a Model,
    /// The sentence.
    pub template: &'a Template,
    /// The pairs that were clustered.
    pub pairs: &'a Pairs,
    /// Their topics and domains.
    pub clusters: &'a Clusters,
    /// Labelled datasets.
    pub datasets: &'a [LabelledDataset],
    /// How starts are meta-trained.
    pub meta_training: MetaTrainingSettings,
    /// How prompts are tuned.
    pub settings: ProtocolSettings,
    /// Seeds of shots.
    pub seeds: Vec<u64>,
    /// The method with GRAM that is studied.
    pub method: Method,
    /// Where starts and runs go, from [`claim`].
    pub folder: &'a RunFolder,
    /// The command, for the files that say what made them.
    pub command: &'a str,
    /// Where tensors live.
    pub device: &'a Device,
    /// Sees what is being done.
    pub progress: &'a dyn Progress,
}

/// What a condition changes.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its name in files.
    pub name: String,
    /// What it is, in the words of the paper.
    pub label: String,
    /// Base, new and H as the paper prints them, if it does.
    pub printed: Option<[f64; 3]>,
    /// Where its start comes from.
    pub start: StartSource,
    /// Context tokens that start at random, where that is not as set.
    pub context_tokens: Option<usize>,
    /// Vectors of a visual prompt, where that is not as set.
    pub visual_tokens: Option<usize>,
    /// What draws vectors that start at random.
    pub start_seed: Option<u64>,
}

/// Where a condition's start comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartSource {
    /// Nothing is meta-trained: the method without GRAM.
    Usual,
    /// GRAM's meta-training as it is.
    MetaTrained,
    /// Support and query sets from the same domains.
    WithoutDomainShift,
    /// No gradient regulating function.
    WithoutRegulator,
    /// Neither inner loop nor regulator: the prompt is trained on the topics.
    WithoutMetaLearning,
    /// Tasks of labelled classes and looks in the place of topics and domains.
    Supervised,
}

impl Condition {
    fn new(name: &str, label: &str, printed: Option<[f64; 3]>, start: StartSource) -> Self {
        let (name, label) = (name.to_owned(), label.to_owned());
        let (context_tokens, visual_tokens, start_seed) = (None, None, None);
        Self { name, label, printed, start, context_tokens, visual_tokens, start_seed }
    }

    /// Those of table 6.
    pub fn ablations() -> Vec<Self> {
        use StartSource::{
            MetaTrained, Supervised, Usual, WithoutDomainShift, WithoutMetaLearning, WithoutRegulator,
        };
        vec![
            Self::new("gram", "GRAM", Some([80.34, 75.92, 78.07]), MetaTrained),
            Self::new(
                "without-domain-shift",
                "- domain shift simulating",
                Some([79.68, 75.56, 77.57]),
                WithoutDomainShift,
            ),
            Self::new(
                "without-regulator",
                "- gradient regulating",
                Some([77.9, 74.79, 76.31]),
                WithoutRegulator,
            ),
            Self::new(
                "without-meta-learning",
                "- meta-learning (prompt pre-training)",
                Some([75.9, 74.32, 75.1]),
                WithoutMetaLearning,
            ),
            Self::new(
                "supervised",
                "- clustering (supervised meta-learning)",
                Some([78.68, 74.47, 76.52]),
                Supervised,
            ),
            Self::new("usual", "no meta-training", Some([77.41, 72.85, 75.06]), Usual),
        ]
    }

    /// Those of table 7: 2, 4, 6 and 8 vectors, half of them in each tower.
    pub fn token_numbers(kind: PromptKind) -> Vec<Self> {
        let printed =
            [[77.49, 76.09, 76.78], [80.34, 75.92, 78.07], [80.09, 75.63, 77.8], [80.31, 74.79, 77.45]];
        let towers = kind.parts().len().min(2);
        let condition = |(printed, tokens): ([f64; 3], usize)| {
            let each = Some(tokens / towers);
            let name = format!("tokens-{tokens}");
            let condition =
                Self::new(&name, &format!("{tokens} tokens"), Some(printed), StartSource::MetaTrained);
            Self { context_tokens: each, visual_tokens: each, ..condition }
        };
        printed.into_iter().zip([2, 4, 6, 8]).map(condition).collect()
    }

    /// Those of figure 1a: as many random starts, and GRAM's.
    pub fn initialisations(count: u64) -> Vec<Self> {
        let random = |seed| {
            let name = format!("random-{seed}");
            let condition =
                Self::new(&name, &format!("random initialisation {seed}"), None, StartSource::Usual);
            Self { context_tokens: Some(4), start_seed: Some(seed), ..condition }
        };
        let gram = Self::new("gram", "GRAM's initialisation", None, StartSource::MetaTrained);
        (1..=count).map(random).chain([gram]).collect()
    }

    /// The look of its prompts, where the settings say `design`.
    fn design(&self, design: PromptDesign) -> PromptDesign {
        PromptDesign {
            context_tokens: self.context_tokens.unwrap_or(design.context_tokens),
            visual_tokens: self.visual_tokens.unwrap_or(design.visual_tokens),
            ..design
        }
    }
}

impl StartSource {
    /// How the start is meta-trained.
    fn settings(self, settings: &MetaTrainingSettings) -> MetaTrainingSettings {
        let mut settings = settings.clone();
        match self {
            Self::WithoutRegulator => settings.regulator = None,
            Self::WithoutMetaLearning => {
                settings.regulator = None;
                settings.inner.steps = 0;
            }
            Self::Usual | Self::MetaTrained | Self::WithoutDomainShift | Self::Supervised => {}
        }
        settings
    }
}

/// The progress of a condition's bench.
struct Labelled<'a> {
    progress: &'a dyn Progress,
    label: &'a str,
}

impl Progress for Labelled<'_> {
    fn begin(&self, stage: &str, steps: usize) {
        self.progress.begin(&format!("{}: {stage}", self.label), steps);
    }

    fn advance(&self, message: &str) {
        self.progress.advance(message);
    }

    fn reach(&self, done: usize, message: &str) {
        self.progress.reach(done, message);
    }
}

/// Begins a study in the folder `out`, or goes on with it. `clusters` says which they are: a fingerprint, or
/// how they will be found.
///
/// # Errors
/// If the folder belongs to a study with another model, pairs, clusters, method or settings of meta-training.
pub fn claim(
    out: &std::path::Path,
    restart: bool,
    model: &Model,
    pairs: &Pairs,
    clusters: &Value,
    method: Method,
    meta_training: &MetaTrainingSettings,
) -> Result<RunFolder> {
    // Other numbers of steps have starts of their own.
    let settings = MetaTrainingSettings { steps: 0, ..meta_training.clone() };
    let identity = json!({
        "model": model_identity(model)?,
        "pairs": pairs.fingerprint(),
        "clusters": clusters,
        "method": method,
        "meta_training": settings,
    });
    let makes = ["clusters", CLUSTERED, "starts", "conditions", "study.md"];
    RunFolder::claim(out, &Run { command: "study", identity: &identity, makes: &makes, restart })
}

impl Study<'_> {
    /// Runs the conditions: the method that each ends in, and what it gave.
    ///
    /// # Errors
    /// If a start cannot be meta-trained, or a run fails.
    pub fn run(&self, conditions: &[Condition]) -> Result<Vec<(Method, Results)>> {
        self.bench(conditions, Courses::default())
    }

    /// A bench of each condition, some of its runs with their course by epoch.
    fn bench(&self, conditions: &[Condition], courses: Courses) -> Result<Vec<(Method, Results)>> {
        let kind = self.method.kind().context("a method with a prompt is studied")?;
        let images =
            images_of_clusters(self.model, self.clusters, self.pairs, kind, USUAL_ROOM, self.progress)?;
        conditions.iter().map(|condition| self.condition(condition, kind, &images, courses)).collect()
    }

    fn condition(
        &self,
        condition: &Condition,
        kind: PromptKind,
        images: &PairImages,
        courses: Courses,
    ) -> Result<(Method, Results)> {
        let (method, starts) = self.start(condition, kind, images)?;
        let settings = ProtocolSettings {
            design: condition.design(self.settings.design),
            start_seed: condition.start_seed,
            ..self.settings.clone()
        };
        let epochs = settings.adaptation(method).epochs;
        let length = match condition.start {
            StartSource::Usual => format!("{epochs}-epochs"),
            _ => format!("{}-steps-{epochs}-epochs", self.meta_training.steps),
        };
        let out = self.folder.path().join("conditions").join(&condition.name).join(length);
        let bench = Bench {
            model: self.model,
            template: self.template,
            hand_written: Some(self.template),
            starts: &vec![starts; self.seeds.len()],
            settings: &settings,
            protocols: vec![ProtocolKind::BaseToNew],
            methods: vec![method],
            shots: vec![settings.shots],
            seeds: self.seeds.clone(),
            datasets: self.datasets,
            source: None,
            courses,
            out: &out,
            restart: false,
            device: self.device,
        };
        let results = bench
            .run(&Labelled { progress: self.progress, label: &condition.label })?
            .pop()
            .context("no number of shots")?;
        Ok((method, results))
    }

    /// The method that a condition ends in, with its start, which is meta-trained if it is not there yet.
    fn start(
        &self,
        condition: &Condition,
        kind: PromptKind,
        images: &PairImages,
    ) -> Result<(Method, Starts)> {
        let mut starts = Starts::default();
        let baseline = self.method.baseline().context("a method with GRAM is studied")?;
        if condition.start == StartSource::Usual {
            return Ok((baseline, starts));
        }
        let path = self.start_path(condition);
        self.meta_train(condition, kind, images)?;
        let file = PromptFile::load(&path, self.device)?;
        starts.insert(self.method, start_of(&file, &path, self.model)?, file.header.placement);
        Ok((self.method, starts))
    }

    fn start_path(&self, condition: &Condition) -> PathBuf {
        let name = format!("{}-{}-steps.safetensors", condition.name, self.meta_training.steps);
        self.folder.path().join("starts").join(name)
    }

    /// Figures 1b and 3a: base and new accuracy of each condition after every epoch, the start first,
    /// averaged over datasets and seeds.
    ///
    /// # Errors
    /// As [`Study::run`].
    pub fn courses(&self, conditions: &[Condition]) -> Result<Vec<Vec<[f64; 2]>>> {
        let everywhere = Courses { datasets: self.datasets.len(), seeds: self.seeds.len() };
        let found = self.bench(conditions, everywhere)?;
        found.into_iter().map(|(method, results)| self.course(method, &results)).collect()
    }

    fn course(&self, method: Method, results: &Results) -> Result<Vec<[f64; 2]>> {
        let mut by_epoch = vec![([0.0; 2], 0); self.settings.adaptation(method).epochs + 1];
        for point in &results.curves {
            let (sum, count) = by_epoch.get_mut(point.epoch).context("an epoch too many")?;
            sum[0] += point.base;
            sum[1] += point.new;
            *count += 1;
        }
        let runs = self.datasets.len() * self.seeds.len();
        let mean = |(sum, count): ([f64; 2], usize)| {
            crate::error::require!(count == runs, "{count} of {runs} runs have this epoch");
            Ok(sum.map(|sum| sum / runs as f64))
        };
        by_epoch.into_iter().map(mean).collect()
    }

    /// Meta-trains a start.
    fn meta_train(&self, condition: &Condition, kind: PromptKind, images: &PairImages) -> Result<()> {
        let source = condition.start;
        let settings = source.settings(&self.meta_training);
        let clusters = match source {
            StartSource::WithoutDomainShift => one_domain(self.clusters.clone()),
            StartSource::Supervised => labelled(self.clusters, self.pairs)?,
            _ => self.clusters.clone(),
        };
        let design = condition.design(self.settings.design);
        let (seed, placement) = (settings.seed, design.placement(kind, self.model, 1));
        let start = design.start(kind, placement, self.model, self.template, seed, self.device)?;
        let material =
            material(self.model, &clusters, images.store.clone(), &start, self.template, &settings)?;
        let run = MetaRun {
            model: self.model,
            kind,
            placement,
            template: self.template,
            clusters: clusters.model.as_ref(),
            material: &material,
            images: &images.fingerprint,
            start: MetaState::start(start, &settings, self.device),
            episodes: EpisodeSource::Sampled,
            settings: &settings,
            command: self.command,
            restart: false,
        };
        self.progress.begin(&format!("{}: meta-training", condition.label), settings.steps);
        run.run(&self.start_path(condition), &mut |_| self.progress.advance(""))?;
        Ok(())
    }

    /// Figure 3b: the mean normalised inner product of support and query gradients in each quarter of each
    /// condition's meta-training.
    ///
    /// # Errors
    /// As [`Study::run`].
    pub fn alignments(&self, conditions: &[Condition]) -> Result<Vec<[f64; 4]>> {
        let kind = self.method.kind().context("a method with a prompt is studied")?;
        let images =
            images_of_clusters(self.model, self.clusters, self.pairs, kind, USUAL_ROOM, self.progress)?;
        let of = |condition: &Condition| {
            self.start(condition, kind, &images)?;
            self.alignment(condition)
        };
        conditions.iter().map(of).collect()
    }

    fn alignment(&self, condition: &Condition) -> Result<[f64; 4]> {
        let steps = steps_of(&self.start_path(condition))?;
        let course: Vec<f64> = steps.iter().map(|step| f64::from(step.alignment)).collect();
        let mean = |quarter: usize| {
            let part = &course[quarter * course.len() / 4..(quarter + 1) * course.len() / 4];
            part.iter().sum::<f64>() / part.len() as f64
        };
        Ok([0, 1, 2, 3].map(mean))
    }
}

/// The same topics, each a single domain: support and query images come from the same looks.
fn one_domain(mut clusters: Clusters) -> Clusters {
    for pair in &mut clusters.pairs {
        pair.domain = pair.topic.map(|_| 0);
    }
    for topic in &mut clusters.topics {
        topic.domains = vec![topic.size];
    }
    clusters
}

/// Topics and domains as the pairs' own labels say: `concept` and `vendor` of their metadata.
fn labelled(clusters: &Clusters, pairs: &Pairs) -> Result<Clusters> {
    let label = |key: &str, name: &str| {
        let pair = pairs.pairs.iter().find(|pair| pair.key == key)?;
        Some(pair.metadata.as_ref()?.get(name)?.as_str()?.to_owned())
    };
    // Pairs by concept and vendor, in the order of their names.
    let mut classes: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (index, pair) in clusters.pairs.iter().enumerate() {
        let (Some(concept), Some(vendor)) = (label(&pair.key, "concept"), label(&pair.key, "vendor")) else {
            refuse!(
                "pair {}: supervised tasks need labels: give pairs with `concept` and `vendor` in their metadata",
                pair.key
            )
        };
        classes.entry(concept).or_default().entry(vendor).or_default().push(index);
    }
    let mut labelled = clusters.clone();
    labelled.topics.clear();
    for (topic, (concept, domains)) in classes.into_iter().enumerate() {
        for (domain, members) in domains.values().enumerate() {
            for pair in members {
                labelled.pairs[*pair].topic = Some(topic);
                labelled.pairs[*pair].domain = Some(domain);
            }
        }
        let domains: Vec<usize> = domains.values().map(Vec::len).collect();
        let size = domains.iter().sum();
        labelled.topics.push(gram_cluster::Topic { label: concept, words: Vec::new(), domains, size });
    }
    Ok(labelled)
}
