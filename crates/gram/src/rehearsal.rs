//! What a start is worth, told by topics that its meta-training never saw: how questions of design are answered without a
//! labelled image.
//!
//! The held-out topics stand for a dataset, half of them for base classes and half for new ones. Images of one domain of each
//! base topic are tuned on, by the same code and for as long as at test time; the other images of base topics, of all
//! domains, and all images of new topics are tested. Every candidate is meta-trained once for each seed, which also
//! draws the topics and the shots, and tuned at each of several rates.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use gram_clip::Model;
use gram_cluster::Clusters;
use gram_data::random::stream;
use gram_data::{ClassSubset, LabelledDataset, LabelledImage, Pairs, Split};
use gram_eval::adaptation::Regulated;
use gram_eval::design::PromptDesign;
use gram_eval::method::Starts;
use gram_eval::prepared::Prepared;
use gram_eval::protocol::{Protocol, ProtocolSettings};
use gram_eval::results::Method;
use gram_meta::{EpisodeSource, MetaState, MetaTrainingSettings, held_out_topics};
use gram_prompt::{ImageStore, PromptFile, Rates, Template};
use rand::seq::IndexedRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::meta_training::{MetaRun, images_of, keys, material};
use crate::starts::start_of;
use crate::whole_file;

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
    /// Seeds of meta-trainings, topics and shots.
    pub seeds: Vec<u64>,
    /// The method with GRAM.
    pub method: Method,
    /// Where starts and runs go.
    pub out: &'a Path,
    /// The command, for the files that say what made them.
    pub command: &'a str,
    /// Where tensors live.
    pub device: &'a Device,
    /// Sees what is being done.
    pub observe: &'a (dyn Fn(&str) + Sync),
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
}

impl Rehearsal<'_> {
    /// Rehearses candidates: for each all runs, by rate and seed.
    ///
    /// # Errors
    /// If a start cannot be meta-trained, or a run fails.
    pub fn run(&self, candidates: &[Candidate]) -> Result<Vec<Vec<Rehearsed>>> {
        let kind = self.method.kind().context("a method with a prompt is rehearsed")?;
        let images = images_of(self.model, &keys(self.clusters), self.pairs, kind, &mut |_| {})?;
        let of = |candidate: &Candidate| {
            let runs = self.seeds.par_iter().map(|seed| self.candidate(candidate, *seed, &images));
            let runs = runs.collect::<Result<Vec<_>>>().with_context(|| candidate.name.clone())?;
            anyhow::Ok(runs.into_iter().flatten().collect())
        };
        candidates.iter().map(of).collect()
    }

    fn candidate(&self, candidate: &Candidate, seed: u64, images: &ImageStore) -> Result<Vec<Rehearsed>> {
        let path = self.out.join("rehearsals").join(&candidate.name).join(format!("seed-{seed}.json"));
        if !path.exists() {
            let runs = self.rehearse(candidate, seed, images)?;
            whole_file::write(&path, serde_json::to_string(&runs)?.as_bytes())?;
        }
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        (self.observe)(&format!("{}, seed {seed}", candidate.name));
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    fn rehearse(&self, candidate: &Candidate, seed: u64, images: &ImageStore) -> Result<Vec<Rehearsed>> {
        let kind = self.method.kind().context("a method with a prompt is rehearsed")?;
        let mut starts = Starts::default();
        let usual = crate::defaults::meta_training(kind, seed);
        let settings = MetaTrainingSettings { seed, ..candidate.meta_training.clone().unwrap_or(usual) };
        let mut method = self.method.baseline().context("a method with GRAM is rehearsed")?;
        if candidate.meta_training.is_some() {
            method = self.method;
            let start = self.start(&self.start_path(candidate, seed), &settings, images)?;
            starts.insert(method, start, PromptDesign::default().placement(kind, self.model, 1));
        }
        let dataset = self.dataset(&settings)?;
        let prepared = Prepared::new(&dataset, self.model, self.template, self.template, self.device)?;
        let prepared = prepared.with_test_features()?;
        let protocol = Protocol { prepared: &prepared, settings: &self.settings, starts: &starts };
        let shots = protocol.shots(ClassSubset::Base, None, &[method], seed)?;
        let mut runs = Vec::new();
        for rates in &self.rates {
            let mut settings = self.settings.clone();
            for adaptation in [&mut settings.baseline, &mut settings.regulated] {
                (adaptation.rates, adaptation.regulated) = (*rates, candidate.regulated);
            }
            let protocol = Protocol { prepared: &prepared, settings: &settings, starts: &starts };
            let found = protocol.base_to_new(method, &shots, false)?;
            let (run, _) = found.context("the method's start is missing")?;
            runs.push(Rehearsed { rates: *rates, seed, base: run.base, new: run.new });
        }
        Ok(runs)
    }

    /// Candidates that meta-train alike share a start.
    fn start_path(&self, candidate: &Candidate, seed: u64) -> PathBuf {
        let settings = serde_json::to_string(&candidate.meta_training).unwrap_or_default();
        let digest = crc32fast::hash(settings.as_bytes());
        self.out.join("starts").join(format!("{digest:08x}-seed-{seed}.safetensors"))
    }

    fn start(&self, path: &Path, settings: &MetaTrainingSettings, images: &ImageStore) -> Result<MetaState> {
        let kind = self.method.kind().context("a method with a prompt is rehearsed")?;
        if !path.exists() {
            let design = PromptDesign::default();
            let placement = design.placement(kind, self.model, 1);
            let seed = settings.seed;
            let start = design.start(kind, placement, self.model, self.template, seed, self.device)?;
            let material =
                material(self.model, self.clusters, images.clone(), &start, self.template, settings)?;
            let run = MetaRun {
                model: self.model,
                kind,
                placement,
                template: self.template,
                material: &material,
                start: MetaState::start(start, settings, self.device),
                episodes: EpisodeSource::Sampled,
                settings,
                command: self.command,
            };
            run.run(path, &mut |_| {})?;
        }
        start_of(&PromptFile::load(path, self.device)?, path, self.model)
    }

    /// The held-out topics as a dataset.
    fn dataset(&self, settings: &MetaTrainingSettings) -> Result<LabelledDataset> {
        let by_key: HashMap<&str, usize> =
            self.pairs.pairs.iter().enumerate().map(|(index, pair)| (pair.key.as_str(), index)).collect();
        let mut topics = held_out_topics(self.clusters, settings).topics;
        topics.sort_by(|one, other| self.label(one.topic).cmp(self.label(other.topic)));
        let mut random = stream(settings.seed, "rehearsed domains");
        let mut images = Vec::new();
        for (class, topic) in topics.iter().enumerate() {
            let large: Vec<usize> = (0..topic.domains.len())
                .filter(|domain| topic.domains[*domain].len() >= self.settings.shots)
                .collect();
            let tuned = large.choose(&mut random).copied();
            for (domain, members) in topic.domains.iter().enumerate() {
                for member in members {
                    let key = &self.clusters.pairs[*member].key;
                    let pair = by_key.get(key.as_str()).map(|index| &self.pairs.pairs[*index]);
                    let image = pair.with_context(|| format!("pair {key} is not given"))?.image.clone();
                    let split = if Some(domain) == tuned && class < topics.len().div_ceil(2) {
                        Split::Train
                    } else {
                        Split::Test
                    };
                    images.push(LabelledImage { key: key.clone(), image, class, domain: None, split });
                }
            }
        }
        let classes = topics.iter().map(|topic| self.label(topic.topic).to_owned()).collect();
        let name = "held-out topics".to_owned();
        Ok(LabelledDataset { name, classes, domains: Vec::new(), images, benchmark: None })
    }

    fn label(&self, topic: usize) -> &str {
        &self.clusters.topics[topic].label
    }
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
    /// Classes and images of an episode.
    Episodes,
    /// Outer steps and episodes of each.
    Length,
    /// Exact meta-gradient or first order.
    Order,
    /// The outer optimiser.
    Optimizer,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 9] = [
        Self::Regulator,
        Self::RegulatorStart,
        Self::Momentum,
        Self::InnerRate,
        Self::InnerSteps,
        Self::Episodes,
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
            Self::Episodes => "episodes",
            Self::Length => "length",
            Self::Order => "order",
            Self::Optimizer => "optimizer",
        }
    }

    /// The usual start, `settings` as they are, and what the question changes in them.
    pub fn candidates(self, settings: &MetaTrainingSettings) -> Vec<Candidate> {
        let candidate = |name: String, regulated, change: &dyn Fn(&mut MetaTrainingSettings)| {
            let mut changed = settings.clone();
            change(&mut changed);
            Candidate { name, meta_training: Some(changed), regulated }
        };
        let with = |name: String, change: &dyn Fn(&mut MetaTrainingSettings)| {
            candidate(name, Regulated::Gradient, change)
        };
        let mut all = vec![
            Candidate { name: "usual start".into(), meta_training: None, regulated: Regulated::Gradient },
            with("as set".into(), &|_| {}),
        ];
        match self {
            Self::Regulator => {
                all.push(with("no regulator".into(), &|settings| settings.regulator = None));
                for form in gram_prompt::RegulatorForm::ALL {
                    let name = format!("regulator {}", format!("{form:?}").to_lowercase());
                    all.push(with(name, &|settings| {
                        settings.regulator.iter_mut().for_each(|regulator| regulator.form = form);
                    }));
                }
            }
            Self::RegulatorStart => {
                for bias in [1.0, 2.0, 3.0] {
                    all.push(with(format!("gamma bias {bias}"), &|settings| {
                        settings.regulator.iter_mut().for_each(|regulator| regulator.gamma_bias = bias);
                    }));
                }
            }
            Self::Momentum => {
                all.push(candidate("regulated velocity".into(), Regulated::Velocity, &|_| {}));
            }
            Self::InnerRate => {
                for factor in [0.1, 0.3, 3.0] {
                    all.push(with(format!("inner rate x {factor}"), &|settings| {
                        let Rates { text, visual } = settings.inner.rates;
                        settings.inner.rates = Rates { text: text * factor, visual: visual * factor };
                    }));
                }
                all.push(with("inner rate learned".into(), &|settings| settings.inner.learn_rates = true));
            }
            Self::InnerSteps => {
                for steps in [1, 2, 5] {
                    all.push(with(format!("{steps} inner steps"), &|settings| settings.inner.steps = steps));
                }
            }
            Self::Episodes => {
                for ways in [4, 16] {
                    all.push(with(format!("{ways} ways"), &|settings| settings.episodes.ways = ways));
                }
                all.push(with("2 + 8 images".into(), &|settings| settings.episodes.support_shots = 2));
            }
            Self::Length => {
                for factor in [1, 2, 4] {
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

impl std::str::FromStr for Question {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|question| question.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        known.ok_or_else(|| format!("no question is called `{name}`: {names}"))
    }
}
