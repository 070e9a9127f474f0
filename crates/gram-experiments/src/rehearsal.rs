//! What a start is worth, told without a test image: how questions of design are answered.
//!
//! On [`Stage::Topics`] no labelled image is needed at all. Held-out topics stand for classes, half of them
//! for base and half for new ones. A labelled dataset has one look, which its classes share, so their images
//! are divided into looks first: by k-means on what is left of an image's features when the mean of its topic
//! is taken away. Each look in turn is tuned in, on a few images of each base topic, by the same code and for
//! as long as at test time; other images of the look are tested, of base and of new topics, and base topics
//! in the other looks. [`Stage::Datasets`] rehearses inside the base classes of labelled datasets, on
//! training and validation images. Every candidate is meta-trained once for each seed, which also draws
//! topics and shots, and tuned at each of several rates.

use std::path::{Path, PathBuf};

use crate::protocol::{Protocol, ProtocolSettings};
use burn::tensor::Device;
use gram_clip::Model;
use gram_cluster::Clusters;
use gram_cluster::k_means::{KMeansSettings, k_means};
use gram_data::few_shot::sample;
use gram_data::random::stream;
use gram_data::{ClassSubset, LabelledDataset, LabelledImage, Pairs, Progress, Split, fingerprint};
use gram_features::pixel_cache::USUAL_ROOM;
use gram_meta::{EpisodeSource, InnerLoop, MetaState, MetaTrainingSettings, held_out_topics};
use gram_prompt::{PromptFile, Rates, RegulatorForm, Template};
use gram_report::results::Method;
use gram_report::statistics;
use gram_tune::adaptation::Regulated;
use gram_tune::method::Starts;
use gram_tune::prepared::Prepared;
use ndarray::{Array2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::bench::names;
use crate::clustering::features_of;
use crate::error::{Context, ExperimentError, Result};
use crate::meta_training::{MetaRun, keys, material};
use crate::pair_images::{PairImages, check_captions, images_of, pairs_of};
use crate::run_folder::{Run, RunFolder, model_identity};
use crate::starts::start_of;

/// What a rehearsal works with.
pub struct Rehearsal<'a> {
    /// The model.
    pub model: &'a Model,
    /// The sentence.
    pub template: &'a Template,
    /// The pairs that were clustered.
    pub pairs: &'a Pairs,
    /// Their topics and domains.
    pub clusters: &'a Clusters,
    /// How prompts are tuned; rates are replaced by each of `rates`.
    pub settings: ProtocolSettings,
    /// Tuning rates.
    pub rates: Vec<Rates>,
    /// What is tuned and tested on.
    pub stage: Stage<'a>,
    /// Seeds of meta-trainings, topics and shots.
    pub seeds: Vec<u64>,
    /// The method with GRAM.
    pub method: Method,
    /// Where starts and runs go.
    pub out: &'a Path,
    /// Whether what an earlier rehearsal left there is deleted.
    pub restart: bool,
    /// The command, for the files that say what made them.
    pub command: &'a str,
    /// Where tensors live.
    pub device: &'a Device,
    /// Sees what is being done.
    pub progress: &'a dyn Progress,
}

/// What a rehearsal tunes and tests on.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// Topics that meta-training never saw.
    Topics {
        /// Looks that their images are divided into.
        looks: usize,
        /// The part of the topics that is held out.
        held_out: f64,
    },
    /// Datasets of base classes alone ([`among_base_classes`](gram_tune::tuning::among_base_classes)).
    Datasets(&'a [LabelledDataset]),
}

/// A way to meta-train and tune.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name in files.
    pub name: String,
    /// Settings of meta-training, but for the seed; none for the usual start.
    pub meta_training: Option<MetaTrainingSettings>,
    /// What the regulator bends at adaptation.
    pub regulated: Regulated,
}

impl Candidate {
    /// What every rehearsal holds others against: the usual start, and `settings` as they are. The regulator
    /// bends `usual` at adaptation.
    pub fn as_set(settings: &MetaTrainingSettings, usual: Regulated) -> [Self; 2] {
        [("usual start", None), ("as set", Some(settings))].map(|(name, settings)| Self {
            name: name.to_owned(),
            meta_training: settings.cloned(),
            regulated: usual,
        })
    }
}

/// What a candidate gave under a seed and a rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// Tuning rates.
    pub rates: Rates,
    /// The seed.
    pub seed: u64,
    /// Accuracy on base topics, in percent.
    pub base: f64,
    /// Accuracy on new topics, in percent.
    pub new: f64,
    /// Accuracy on base topics in other looks, in percent, if looks are rehearsed.
    pub other: Option<f64>,
}

impl Rehearsal<'_> {
    /// Rehearses candidates: for each all runs, by rate and seed.
    ///
    /// # Errors
    /// If a start cannot be meta-trained, or a run fails.
    pub fn run(&self, candidates: &[Candidate]) -> Result<Vec<Vec<Rehearsed>>> {
        let kind =
            self.method.kind().context("the hyper-parameters of a method with a prompt are searched")?;
        if let Stage::Datasets(datasets) = self.stage {
            // What decides the numbers is written down by their names.
            names::check(datasets)?;
        }
        check_captions(self.clusters, self.pairs)?;
        let folder = self.claim()?;
        let keys = keys(self.clusters);
        // Only looks are found by features.
        let features = match self.stage {
            Stage::Topics { .. } => {
                features_of(self.model, &pairs_of(&keys, self.pairs)?, self.progress)?.features
            }
            Stage::Datasets(_) => Array2::zeros((0, 0)),
        };
        let images = images_of(self.model, &keys, self.pairs, kind, USUAL_ROOM, self.progress)?;
        let pairs = Seen { images, features };
        self.progress.begin("trials", candidates.len() * self.seeds.len());
        let of = |candidate: &Candidate| {
            let runs = self.seeds.par_iter().map(|seed| self.candidate(candidate, *seed, &pairs, &folder));
            let runs = runs.collect::<Result<Vec<_>>>().with_context(|| candidate.name.clone())?;
            Ok::<_, ExperimentError>(runs.into_iter().flatten().collect())
        };
        candidates.iter().map(of).collect()
    }

    /// Begins the rehearsal in its folder, or goes on with it.
    fn claim(&self) -> Result<RunFolder> {
        let stage = match self.stage {
            Stage::Topics { looks, held_out } => json!({"looks": looks, "held_out": held_out}),
            Stage::Datasets(datasets) => datasets
                .iter()
                .map(|dataset| {
                    let all: Vec<usize> = (0..dataset.images.len()).collect();
                    (dataset.name.clone(), Value::from(dataset.fingerprint_of(&all)))
                })
                .collect::<Map<_, _>>()
                .into(),
        };
        let identity = json!({
            "model": model_identity(self.model)?,
            "template": self.template.to_string(),
            "pairs": self.pairs.fingerprint(),
            "clusters": self.clusters.fingerprint(),
            "method": self.method,
            "settings": self.settings,
            "rates": self.rates,
            "rehearsed_on": stage,
            "device": format!("{:?}", self.device),
        });
        let (makes, restart) = (["rehearsals", "starts", "rehearsal.md"], self.restart);
        RunFolder::claim(self.out, &Run { command: "rehearse", identity: &identity, makes: &makes, restart })
    }

    fn candidate(
        &self,
        candidate: &Candidate,
        seed: u64,
        pairs: &Seen,
        folder: &RunFolder,
    ) -> Result<Vec<Rehearsed>> {
        let name = format!("rehearsals/{}/seed-{seed}.json", candidate.name);
        let made_from = json!({
            "meta_training": candidate.meta_training,
            "regulated": candidate.regulated,
        });
        let runs = folder.once(&name, &made_from, || self.rehearse(candidate, seed, pairs))?;
        self.progress.advance(&format!("{}, seed {seed}", candidate.name));
        Ok(runs)
    }

    fn rehearse(&self, candidate: &Candidate, seed: u64, pairs: &Seen) -> Result<Vec<Rehearsed>> {
        let kind =
            self.method.kind().context("the hyper-parameters of a method with a prompt are searched")?;
        let mut starts = Starts::default();
        let usual = crate::defaults::meta_training(kind, seed);
        let mut settings = MetaTrainingSettings { seed, ..candidate.meta_training.clone().unwrap_or(usual) };
        if let Stage::Topics { held_out, .. } = self.stage {
            settings.validation_topics = held_out;
        }
        let mut method =
            self.method.baseline().context("the hyper-parameters of a method with GRAM are searched")?;
        if candidate.meta_training.is_some() {
            method = self.method;
            let start = self.start(&self.start_path(candidate, seed), &settings, &pairs.images)?;
            starts.insert(method, start, self.settings.design.placement(kind, self.model, 1));
        }
        let tuned_in = |dataset: &LabelledDataset, looks: usize| {
            let prepared = Prepared::new(dataset, self.model, self.template, self.template, self.device)?;
            let tuning = Tuning { prepared: prepared.with_test_features()?, starts: &starts, method, seed };
            match looks {
                0 => self.tune(&tuning, candidate, None, 0),
                looks => mean((0..looks).map(|look| self.tune(&tuning, candidate, Some(look), looks))),
            }
        };
        match self.stage {
            Stage::Topics { looks, .. } => tuned_in(&self.dataset(&settings, &pairs.features, looks)?, looks),
            Stage::Datasets(datasets) => mean(datasets.iter().map(|dataset| tuned_in(dataset, 0))),
        }
    }

    /// Tunes at each of the rates, in a look if one is given, and tests.
    fn tune(
        &self,
        tuning: &Tuning,
        candidate: &Candidate,
        look: Option<usize>,
        looks: usize,
    ) -> Result<Vec<Rehearsed>> {
        let Tuning { prepared, starts, method, seed } = tuning;
        let protocol = Protocol { prepared, settings: &self.settings, starts, progress: &() };
        let shots = protocol.shots(ClassSubset::Base, look, &[*method], *seed)?;
        let at = |rates: &Rates| {
            let mut settings = self.settings.clone();
            for adaptation in [&mut settings.baseline, &mut settings.regulated] {
                (adaptation.rates, adaptation.joint_rates) = (*rates, None);
                adaptation.regulated = candidate.regulated;
            }
            let protocol = Protocol { settings: &settings, ..protocol };
            let course = protocol.tune(*method, &shots)?.context("the method's initialisation is missing")?;
            let (tuned, _) = course.last().context("nothing was tuned")?;
            let accuracy = |classes, look| {
                Ok::<_, ExperimentError>(prepared.score(tuned, &prepared.test_set(classes, look)?)?.accuracy)
            };
            let others = (0..looks).filter(|other| Some(*other) != look);
            let others = others.map(|other| accuracy(ClassSubset::Base, Some(other)));
            let others = others.collect::<Result<Vec<f64>>>()?;
            Ok(Rehearsed {
                rates: *rates,
                seed: *seed,
                base: accuracy(ClassSubset::Base, look)?,
                new: accuracy(ClassSubset::New, look)?,
                other: statistics::mean(&others),
            })
        };
        self.rates.iter().map(at).collect()
    }

    /// Candidates that meta-train alike share a start.
    fn start_path(&self, candidate: &Candidate, seed: u64) -> PathBuf {
        let settings = serde_json::to_string(&candidate.meta_training).unwrap_or_default();
        let name = format!("{:.8}-seed-{seed}.safetensors", fingerprint::of_text(&settings));
        self.out.join("starts").join(name)
    }

    fn start(&self, path: &Path, settings: &MetaTrainingSettings, images: &PairImages) -> Result<MetaState> {
        let kind =
            self.method.kind().context("the hyper-parameters of a method with a prompt are searched")?;
        let design = self.settings.design;
        let placement = design.placement(kind, self.model, 1);
        let seed = settings.seed;
        let start = design.start(kind, placement, self.model, self.template, seed, self.device)?;
        let store = images.store.clone();
        let material = material(self.model, self.clusters, store, &start, self.template, settings)?;
        let run = MetaRun {
            model: self.model,
            kind,
            placement,
            template: self.template,
            clusters: self.clusters.model.as_ref(),
            material: &material,
            images: &images.fingerprint,
            start: MetaState::start(start, settings, self.device),
            episodes: EpisodeSource::Sampled,
            settings,
            command: self.command,
            restart: false,
        };
        run.run(path, &mut |_| {})?;
        start_of(&PromptFile::load(path, self.device)?, path, self.model)
    }

    /// The held-out topics as a dataset whose domains are looks.
    fn dataset(
        &self,
        settings: &MetaTrainingSettings,
        features: &Array2<f32>,
        looks: usize,
    ) -> Result<LabelledDataset> {
        let mut topics = held_out_topics(self.clusters, settings).topics;
        topics.sort_by(|one, other| self.label(one.topic).cmp(self.label(other.topic)));
        let members: Vec<Vec<usize>> = topics.iter().map(|topic| topic.domains.concat()).collect();
        let all: Vec<usize> = members.concat();
        let mut residuals = features.select(Axis(0), &all);
        let mut first = 0;
        for members in &members {
            let mut rows = residuals.slice_mut(s![first..first + members.len(), ..]);
            let mean = rows.mean_axis(Axis(0)).context("a topic has images")?;
            rows -= &mean;
            first += members.len();
        }
        let mut random = stream(settings.seed, "rehearsed looks");
        let of_images = k_means(residuals.view(), &KMeansSettings::new(looks), &mut random).labels;
        let keys: Vec<String> = all.iter().map(|pair| self.clusters.pairs[*pair].key.clone()).collect();
        let pairs = pairs_of(&keys, self.pairs)?;
        let classes =
            members.iter().enumerate().flat_map(|(class, members)| members.iter().map(move |_| class));
        let images = pairs.into_iter().zip(classes.zip(of_images)).map(|(pair, (class, look))| {
            let domain = Some(look);
            LabelledImage { key: pair.key, image: pair.image, class, domain, split: Split::Train }
        });
        let mut dataset = LabelledDataset {
            name: "held-out topics".to_owned(),
            classes: topics.iter().map(|topic| self.label(topic.topic).to_owned()).collect(),
            domains: (0..looks).map(|look| format!("look {look}")).collect(),
            images: images.collect(),
            ..LabelledDataset::default()
        };
        let mut tuned = vec![false; dataset.images.len()];
        for look in 0..looks {
            let shots = self.settings.shots;
            let drawn = sample(&dataset, Split::Train, ClassSubset::Base, Some(look), shots, settings.seed);
            drawn.into_iter().for_each(|image| tuned[image] = true);
        }
        for (image, tuned) in dataset.images.iter_mut().zip(tuned) {
            image.split = if tuned { Split::Train } else { Split::Test };
        }
        Ok(dataset)
    }

    fn label(&self, topic: usize) -> &str {
        &self.clusters.topics[topic].label
    }
}

/// The images of the clustered pairs, as meta-training wants them, and their features.
struct Seen {
    images: PairImages,
    /// `[pairs, joint width]`; empty where no looks are rehearsed
    features: Array2<f32>,
}

/// A dataset that a method is tuned on from its start.
struct Tuning<'a> {
    prepared: Prepared<'a>,
    starts: &'a Starts,
    method: Method,
    seed: u64,
}

/// The means of several rehearsals at the same rates.
fn mean(rehearsals: impl Iterator<Item = Result<Vec<Rehearsed>>>) -> Result<Vec<Rehearsed>> {
    let all = rehearsals.collect::<Result<Vec<_>>>()?;
    let first = all.first().context("there is no dataset to search on")?;
    let mean = |place: usize, value: fn(&Rehearsed) -> Option<f64>| {
        let values: Option<Vec<f64>> = all.iter().map(|runs| value(&runs[place])).collect();
        values.and_then(|values| statistics::mean(&values))
    };
    let of = |(place, run): (usize, &Rehearsed)| Rehearsed {
        base: mean(place, |run| Some(run.base)).unwrap_or_default(),
        new: mean(place, |run| Some(run.new)).unwrap_or_default(),
        other: mean(place, |run| run.other),
        ..run.clone()
    };
    Ok(first.iter().enumerate().map(of).collect())
}

/// A question of design and what answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the regulator is applied, and whether there is one.
    Regulator,
    /// Where gamma starts.
    RegulatorStart,
    /// Whether it bends the gradient or the velocity at adaptation.
    Momentum,
    /// The size of alpha.
    InnerRate,
    /// K.
    InnerSteps,
    /// K with momentum, as at test time.
    InnerMomentum,
    /// Classes and images of an episode.
    Episodes,
    /// Classes that the query set alone shows.
    NewClasses,
    /// Outer steps and episodes of each.
    Length,
    /// Exact meta-gradient or first order.
    Order,
    /// The outer optimiser.
    Optimizer,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 11] = [
        Self::Regulator,
        Self::RegulatorStart,
        Self::Momentum,
        Self::InnerRate,
        Self::InnerSteps,
        Self::InnerMomentum,
        Self::Episodes,
        Self::NewClasses,
        Self::Length,
        Self::Order,
        Self::Optimizer,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regulator => "regulator",
            Self::RegulatorStart => "regulator-start",
            Self::Momentum => "momentum",
            Self::InnerRate => "inner-rate",
            Self::InnerSteps => "inner-steps",
            Self::InnerMomentum => "inner-momentum",
            Self::Episodes => "episodes",
            Self::NewClasses => "new-classes",
            Self::Length => "length",
            Self::Order => "order",
            Self::Optimizer => "optimizer",
        }
    }

    /// What the question changes in `settings`. The regulator bends `usual` at adaptation.
    pub fn candidates(self, settings: &MetaTrainingSettings, usual: Regulated) -> Vec<Candidate> {
        let candidate = |name: String, regulated, change: &dyn Fn(&mut MetaTrainingSettings)| {
            let mut changed = settings.clone();
            change(&mut changed);
            Candidate { name, meta_training: Some(changed), regulated }
        };
        let with = |name: String, change: &dyn Fn(&mut MetaTrainingSettings)| candidate(name, usual, change);
        let mut all = Vec::new();
        match self {
            Self::Regulator => {
                all.push(with("no regulator".into(), &|settings| settings.regulator = None));
                let own = settings.regulator.map(|regulator| regulator.form);
                let others = RegulatorForm::ALL.into_iter().filter(|form| Some(*form) != own);
                for form in others {
                    let name = format!("regulator {}", format!("{form:?}").to_lowercase());
                    all.push(with(name, &|settings| {
                        settings.regulator.iter_mut().for_each(|regulator| regulator.form = form);
                    }));
                }
            }
            Self::RegulatorStart => {
                for bias in [1.0, 3.0] {
                    all.push(with(format!("gamma bias {bias}"), &|settings| {
                        settings.regulator.iter_mut().for_each(|regulator| regulator.gamma_bias = bias);
                    }));
                }
            }
            Self::Momentum => {
                all.push(candidate("regulated gradient".into(), Regulated::Gradient, &|_| {}));
                all.push(candidate("regulated velocity".into(), Regulated::Velocity, &|_| {}));
            }
            Self::InnerRate => {
                for factor in [0.1, 0.3, 3.0] {
                    all.push(with(format!("inner rate x {factor}"), &|settings| {
                        settings.inner.rates = settings.inner.rates.times(factor);
                    }));
                }
                all.push(with("inner rate learned".into(), &|settings| settings.inner.learn_rates = true));
            }
            Self::InnerSteps => {
                for steps in [2, 5] {
                    all.push(with(format!("{steps} inner steps"), &|settings| settings.inner.steps = steps));
                }
            }
            Self::InnerMomentum => {
                for steps in [5, 10] {
                    all.push(with(format!("{steps} inner steps with momentum"), &|settings| {
                        with_momentum(&mut settings.inner, steps);
                    }));
                }
            }
            Self::NewClasses => {
                // As many as there are others, or none where there are some.
                let ways = if settings.episodes.new_ways == 0 { settings.episodes.ways } else { 0 };
                all.push(with(format!("{ways} new classes"), &|settings| settings.episodes.new_ways = ways));
                all.push(with(format!("{ways} new classes, 5 inner steps with momentum"), &|settings| {
                    settings.episodes.new_ways = ways;
                    with_momentum(&mut settings.inner, 5);
                }));
            }
            Self::Episodes => {
                for ways in [4, 16] {
                    all.push(with(format!("{ways} ways"), &|settings| settings.episodes.ways = ways));
                }
                all.push(with("2 + 8 images".into(), &|settings| settings.episodes.support_shots = 2));
            }
            Self::Length => {
                for factor in [1, 4] {
                    let name = format!("{} steps", settings.steps * factor / 2);
                    all.push(with(name, &|settings| settings.steps = settings.steps * factor / 2));
                }
                for tasks in [1, 8] {
                    all.push(with(format!("{tasks} tasks"), &|settings| settings.meta_batch = tasks));
                }
            }
            Self::Order => {
                all.push(with("first order".into(), &|settings| settings.inner.first_order = true))
            }
            Self::Optimizer => {
                for rate in [0.01, 0.1] {
                    all.push(with(format!("SGD {rate}"), &|settings| {
                        settings.optimizer = gram_meta::OuterOptimizer::Sgd;
                        (settings.prompt_rate, settings.regulator_rate) = (rate, rate);
                    }));
                }
            }
        }
        all
    }
}

/// `steps` with momentum as at test time, at a fifth of the rate, since steps in one direction add up.
fn with_momentum(inner: &mut InnerLoop, steps: usize) {
    (inner.steps, inner.momentum, inner.rates) = (steps, 0.9, inner.rates.times(0.2));
}

impl std::str::FromStr for Question {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|question| question.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        known.ok_or_else(|| format!("no question is called `{name}`: {names}"))
    }
}
