//! Design studies: which settings of meta-training are best, without a test image.
//!
//! On [`Stage::Topics`] no labelled image is needed at all. Held-out topics stand for classes, half of them
//! for base and half for new ones. A labelled dataset has one visual domain, which its classes share, so
//! their images are divided into domains first: by k-means on what is left of an image's features when the
//! mean of its topic is taken away. Each domain in turn is tuned in, on a few images of each base topic, by
//! the same code and for as long as at test time; other images of the domain are tested, of base and of new
//! topics, and base topics in the other domains. [`Stage::Datasets`] stays inside the base classes of
//! labelled datasets, on training and validation images. Every candidate is meta-trained once for each seed,
//! which also draws topics and shots, and tuned at each of several rates.

mod held_out;
mod question;

use std::path::{Path, PathBuf};

use gram_data::{ClassSubset, fingerprint};
use gram_features::Dataset;
use gram_features::pixel_cache::USUAL_ROOM;
use gram_meta::MetaTrainingSettings;
use gram_prompt::{PromptKind, Rates};
use gram_report::results::Method;
use gram_report::statistics;
use gram_tune::adaptation::Regulated;
use gram_tune::method::Starts;
use gram_tune::prepared::Prepared;
use ndarray::Array2;
pub use question::Question;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::bench::names;
use crate::clustering::features_of;
use crate::error::{Context, ExperimentError, Result};
use crate::meta_training::keys;
use crate::pair_images::{PairImages, check_captions, images_of, pairs_of};
use crate::protocol::Protocol;
use crate::run_folder::{Run, RunFolder, model_identity};
use crate::workbench::{ClusteredPairs, Workbench};

/// A search: candidates side by side, on classes that no test image shows.
pub struct DesignStudy<'a> {
    /// The model, the template and the settings, whose rates are replaced by each of `rates`. Its seeds are
    /// those of meta-trainings, topics and shots.
    pub workbench: Workbench<'a>,
    /// What initialisations are meta-trained on.
    pub source: ClusteredPairs<'a>,
    /// Tuning rates.
    pub rates: Vec<Rates>,
    /// What is tuned and tested on.
    pub stage: Stage<'a>,
    /// The method with GRAM.
    pub method: Method,
    /// Where initialisations and runs go.
    pub out: &'a Path,
    /// Whether what an earlier search left there is deleted.
    pub restart: bool,
}

/// What a design study tunes and tests on.
#[derive(Clone, Copy)]
pub enum Stage<'a> {
    /// Topics that meta-training never saw.
    Topics {
        /// Visual domains that their images are divided into.
        domains: usize,
        /// The part of the topics that is held out.
        held_out: f64,
    },
    /// Datasets of base classes alone ([`among_base_classes`](gram_tune::tuning::among_base_classes)).
    Datasets(&'a [Dataset]),
}

/// A way to meta-train and tune.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name in files.
    pub name: String,
    /// Settings of meta-training, but for the seed; none for the usual start.
    pub meta_training: Option<MetaTrainingSettings>,
    /// What is regulated at adaptation.
    pub regulated: Regulated,
}

impl Candidate {
    /// What every design study holds others against: the usual start, and `settings` as they are. At
    /// adaptation `usual` is regulated.
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
pub struct Trial {
    /// Tuning rates.
    pub rates: Rates,
    /// The seed.
    pub seed: u64,
    /// Accuracy on base topics, in percent.
    pub base: f64,
    /// Accuracy on new topics, in percent.
    pub new: f64,
    /// Accuracy on base topics in other domains, in percent, if there are some.
    pub other: Option<f64>,
}

impl DesignStudy<'_> {
    /// Tries candidates: of each all trials, by rate and seed.
    ///
    /// # Errors
    /// If a start cannot be meta-trained, or a run fails.
    pub fn run(&self, candidates: &[Candidate]) -> Result<Vec<Vec<Trial>>> {
        let (kind, Workbench { model, seeds, progress, .. }) = (self.kind()?, &self.workbench);
        let ClusteredPairs { pairs, clusters } = self.source;
        if let Stage::Datasets(datasets) = self.stage {
            // What decides the numbers is written down by their names.
            names::check(datasets)?;
        }
        check_captions(clusters, pairs)?;
        let folder = self.claim()?;
        let keys = keys(clusters);
        // Only domains are found by features.
        let features = match self.stage {
            Stage::Topics { .. } => features_of(model, &pairs_of(&keys, pairs)?, *progress)?.features,
            Stage::Datasets(_) => Array2::zeros((0, 0)),
        };
        let images = images_of(model, &keys, pairs, kind, USUAL_ROOM, *progress)?;
        let pairs = Seen { images, features };
        progress.begin("trials", candidates.len() * seeds.len());
        let of = |candidate: &Candidate| {
            let run = |seed: &u64| self.candidate(candidate, *seed, &pairs, &folder);
            let runs: Result<Vec<_>> = model.compute().each(seeds, run);
            let runs = runs.with_context(|| candidate.name.clone())?;
            Ok::<_, ExperimentError>(runs.into_iter().flatten().collect())
        };
        candidates.iter().map(of).collect()
    }

    /// The kind of the method's prompt.
    fn kind(&self) -> Result<PromptKind> {
        self.method.kind().context("the hyper-parameters of a method with a prompt are searched")
    }

    /// Begins the study in its folder, or goes on with it.
    fn claim(&self) -> Result<RunFolder> {
        let stage = match self.stage {
            Stage::Topics { domains, held_out } => json!({"domains": domains, "held_out": held_out}),
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
            "model": model_identity(self.workbench.model)?,
            "template": self.workbench.template.to_string(),
            "pairs": self.source.pairs.fingerprint(),
            "clusters": self.source.clusters.fingerprint(),
            "method": self.method,
            "settings": *self.workbench.settings,
            "rates": self.rates,
            "searched_on": stage,
        });
        let (makes, restart) = (["trials", "starts", "design.md"], self.restart);
        RunFolder::claim(
            self.out,
            &Run { command: "study design", identity: &identity, makes: &makes, restart },
        )
    }

    fn candidate(
        &self,
        candidate: &Candidate,
        seed: u64,
        pairs: &Seen,
        folder: &RunFolder,
    ) -> Result<Vec<Trial>> {
        let name = format!("trials/{}/seed-{seed}.json", candidate.name);
        let made_from = json!({
            "meta_training": candidate.meta_training,
            "regulated": candidate.regulated,
        });
        let runs = folder.once(&name, &made_from, || self.trials(candidate, seed, pairs))?;
        self.workbench.progress.advance(&format!("{}, seed {seed}", candidate.name));
        Ok(runs)
    }

    fn trials(&self, candidate: &Candidate, seed: u64, pairs: &Seen) -> Result<Vec<Trial>> {
        let (kind, workbench) = (self.kind()?, &self.workbench);
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
            let (design, path) = (workbench.settings.design, self.start_path(candidate, seed));
            let source = (self.source.clusters, &pairs.images);
            let (state, placement) =
                workbench.meta_train(kind, design, source, &settings, &path, &mut |_| {})?;
            starts.insert(method, state, placement);
        }
        let tuned_in = |dataset: &Dataset, domains: usize| {
            let prepared = Prepared::new(dataset, workbench.model, workbench.template, workbench.template)?;
            let tuning = Tuning { prepared: prepared.with_test_features()?, starts: &starts, method, seed };
            match domains {
                0 => self.tune(&tuning, candidate, None, 0),
                domains => {
                    mean((0..domains).map(|domain| self.tune(&tuning, candidate, Some(domain), domains)))
                }
            }
        };
        match self.stage {
            Stage::Topics { domains, .. } => {
                let shots = workbench.settings.shots;
                let held_out = held_out::dataset(self.source, &settings, &pairs.features, domains, shots)?;
                tuned_in(&held_out.into(), domains)
            }
            Stage::Datasets(datasets) => mean(datasets.iter().map(|dataset| tuned_in(dataset, 0))),
        }
    }

    /// Tunes at each of the rates, in a domain if one is given, and tests.
    fn tune(
        &self,
        tuning: &Tuning,
        candidate: &Candidate,
        domain: Option<usize>,
        domains: usize,
    ) -> Result<Vec<Trial>> {
        let Tuning { prepared, starts, method, seed } = tuning;
        let protocol = Protocol { prepared, settings: &self.workbench.settings, starts, progress: &() };
        let shots = protocol.shots(ClassSubset::Base, domain, &[*method], *seed)?;
        let at = |rates: &Rates| {
            let mut settings = (*self.workbench.settings).clone();
            for adaptation in [&mut settings.baseline, &mut settings.regulated] {
                (adaptation.rates, adaptation.joint_rates) = (*rates, None);
                adaptation.regulated = candidate.regulated;
            }
            let protocol = Protocol { settings: &settings, ..protocol };
            let course = protocol.tune(*method, &shots)?.context("the method's initialisation is missing")?;
            let (tuned, _) = course.last().context("nothing was tuned")?;
            let accuracy = |classes, domain| {
                Ok::<_, ExperimentError>(
                    prepared.score(tuned, &prepared.test_set(classes, domain)?)?.accuracy,
                )
            };
            let others = (0..domains).filter(|other| Some(*other) != domain);
            let others = others.map(|other| accuracy(ClassSubset::Base, Some(other)));
            let others = others.collect::<Result<Vec<f64>>>()?;
            Ok(Trial {
                rates: *rates,
                seed: *seed,
                base: accuracy(ClassSubset::Base, domain)?,
                new: accuracy(ClassSubset::New, domain)?,
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
}

/// The images of the clustered pairs, as meta-training wants them, and their features.
struct Seen {
    images: PairImages,
    /// `[pairs, joint width]`; empty where no topics are held out
    features: Array2<f32>,
}

/// A dataset that a method is tuned on from its start.
struct Tuning<'a> {
    prepared: Prepared<'a>,
    starts: &'a Starts,
    method: Method,
    seed: u64,
}

/// The means of several trials at the same rates.
fn mean(trials: impl Iterator<Item = Result<Vec<Trial>>>) -> Result<Vec<Trial>> {
    let all = trials.collect::<Result<Vec<_>>>()?;
    let first = all.first().context("there is no dataset to search on")?;
    let mean = |place: usize, value: fn(&Trial) -> Option<f64>| {
        let values: Option<Vec<f64>> = all.iter().map(|runs| value(&runs[place])).collect();
        values.and_then(|values| statistics::mean(&values))
    };
    let of = |(place, run): (usize, &Trial)| Trial {
        base: mean(place, |run| Some(run.base)).unwrap_or_default(),
        new: mean(place, |run| Some(run.new)).unwrap_or_default(),
        other: mean(place, |run| run.other),
        ..run.clone()
    };
    Ok(first.iter().enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(base: f64, new: f64, other: Option<f64>) -> Trial {
        Trial { rates: Rates { text: 0.1, visual: 0.2 }, seed: 3, base, new, other }
    }

    #[test]
    fn the_mean_over_datasets_or_domains_keeps_rates_and_seed() {
        let runs = [vec![trial(10.0, 20.0, None)], vec![trial(30.0, 60.0, None)]];
        assert_eq!(mean(runs.into_iter().map(Ok)).unwrap(), [trial(20.0, 40.0, None)]);
        let runs = [vec![trial(1.0, 1.0, Some(4.0))], vec![trial(1.0, 1.0, Some(8.0))]];
        assert_eq!(mean(runs.into_iter().map(Ok)).unwrap(), [trial(1.0, 1.0, Some(6.0))]);
        assert!(mean(std::iter::empty()).unwrap_err().to_string().contains("no dataset to search on"));
    }
}
