//! Protocols over datasets, methods, shots and seeds, run by run: what is finished is never repeated.
//!
//! Every run has a file below `runs/`, written whole or not at all. Tables are made from these files alone, so that a bench
//! that was killed and started again gives the same as one that was not.

mod outputs;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use gram_clip::Model;
use gram_data::{Benchmark, ClassSubset, LabelledDataset, Split};
use gram_eval::method::Starts;
use gram_eval::prepared::Prepared;
use gram_eval::protocol::{Protocol, ProtocolSettings};
use gram_eval::results::{BaseToNewRun, CrossDomainRun, Method, Results};
use gram_prompt::Template;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::whole_file;

pub use outputs::write_outputs;

/// A protocol of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolKind {
    /// Tuned on half of the classes, tested on both halves.
    BaseToNew,
    /// Tuned in one domain of a dataset, tested in all; or tuned on ImageNet, tested on its variants.
    CrossDomain,
    /// Tuned on one dataset, tested on the others.
    CrossDataset,
}

impl ProtocolKind {
    /// All three.
    pub const ALL: [ProtocolKind; 3] = [Self::BaseToNew, Self::CrossDomain, Self::CrossDataset];
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BaseToNew => "base-to-new",
            Self::CrossDomain => "cross-domain",
            Self::CrossDataset => "cross-dataset",
        })
    }
}

impl FromStr for ProtocolKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.to_string() == name);
        known.ok_or_else(|| {
            format!("no protocol is called `{name}`: base-to-new, cross-domain or cross-dataset")
        })
    }
}

/// What is run.
pub struct Bench<'a> {
    /// The model.
    pub model: &'a Model,
    /// The sentence of learned prompts; its words before the name are where they start.
    pub template: &'a Template,
    /// The sentence of zero-shot classification and of unprompted text, where it is not the dataset's own.
    pub hand_written: Option<&'a Template>,
    /// Meta-trained starts, for each of `seeds`.
    pub starts: &'a [Starts],
    /// Settings; the number of shots is replaced by each of `shots`.
    pub settings: &'a ProtocolSettings,
    /// Protocols.
    pub protocols: Vec<ProtocolKind>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Images of a class.
    pub shots: Vec<usize>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Datasets.
    pub datasets: &'a [LabelledDataset],
    /// The dataset that cross-dataset prompts are tuned on; the first, or ImageNet where it is among them.
    pub source: Option<&'a str>,
    /// Where runs and tables go.
    pub out: &'a Path,
    /// Where tensors live.
    pub device: &'a Device,
}

/// What runs of a bench have in common; another folder is needed where it differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The model's name.
    pub model: String,
    /// The fingerprint of its weights.
    pub projections: String,
    /// The sentence of learned prompts.
    pub template: String,
    /// That of zero-shot classification, where it is not each dataset's own.
    pub hand_written: Option<String>,
    /// Settings without shots.
    pub settings: Value,
    /// Checksums of the meta-trained starts, by method; a list by seed where each seed has its own.
    pub starts: Value,
}

/// A run: what it measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Run {
    BaseToNew(BaseToNewRun),
    Transfer(CrossDomainRun),
}

/// Where prompts of a protocol are tuned and tested.
#[derive(Clone, Debug)]
struct Task<'a> {
    protocol: ProtocolKind,
    dataset: &'a LabelledDataset,
    /// Other datasets that are tested.
    targets: Vec<&'a LabelledDataset>,
}

impl Task<'_> {
    /// The domain that a seed tunes in: each seed in another one.
    fn domain(&self, seed: u64) -> Option<usize> {
        let domains = self.dataset.domains.len().max(1) as u64;
        let one_dataset = self.protocol == ProtocolKind::CrossDomain && self.targets.is_empty();
        one_dataset.then(|| (seed % domains) as usize)
    }
}

impl<'a> Bench<'a> {
    /// Runs what has no file yet. `observe` sees every run as it is done: its name, and how many of all are done.
    ///
    /// # Errors
    /// If the folder belongs to a bench with other settings, or a run fails.
    pub fn run(
        &self,
        identity: &Identity,
        observe: &(dyn Fn(&str, usize, usize) + Sync),
    ) -> Result<Vec<Results>> {
        claim(identity, &self.out.join("bench.json"))?;
        let tasks = self.tasks()?;
        let all = self.shots.len() * tasks.len() * self.seeds.len() * self.methods.len();
        let done = std::sync::atomic::AtomicUsize::new(0);
        let note = |name: &str| {
            let done = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            observe(name, done, all);
        };
        let mut prepared = BTreeMap::new();
        for shots in &self.shots {
            let settings = ProtocolSettings { shots: *shots, ..self.settings.clone() };
            for task in &tasks {
                self.task(task, &settings, &mut prepared, &note)
                    .with_context(|| format!("{}, dataset {}", task.protocol, task.dataset.name))?;
            }
        }
        self.shots.iter().map(|shots| self.results(*shots, &tasks, identity)).collect()
    }

    /// What the protocols ask for, in the order of the datasets.
    fn tasks(&self) -> Result<Vec<Task<'a>>> {
        let is_variant = |dataset: &&LabelledDataset| {
            let trained = dataset.images.iter().any(|image| image.split == Split::Train);
            !trained
        };
        let image_net = self.datasets.iter().find(|dataset| dataset.benchmark == Some(Benchmark::Imagenet));
        let mut tasks = Vec::new();
        for protocol in &self.protocols {
            let protocol = *protocol;
            let sources = self.datasets.iter().filter(|dataset| !is_variant(dataset));
            let before = tasks.len();
            match protocol {
                ProtocolKind::BaseToNew => {
                    tasks.extend(sources.map(|dataset| Task { protocol, dataset, targets: Vec::new() }));
                }
                ProtocolKind::CrossDomain => {
                    let several = sources.filter(|dataset| dataset.domains.len() > 1);
                    tasks.extend(several.map(|dataset| Task { protocol, dataset, targets: Vec::new() }));
                    let variants: Vec<_> = self.datasets.iter().filter(is_variant).collect();
                    if let (Some(dataset), false) = (image_net, variants.is_empty()) {
                        tasks.push(Task { protocol, dataset, targets: variants });
                    }
                }
                ProtocolKind::CrossDataset => {
                    let dataset = match self.source {
                        Some(name) => self.datasets.iter().find(|dataset| dataset.name == name),
                        None => image_net.or_else(|| self.datasets.first()),
                    };
                    let Some(dataset) = dataset else {
                        bail!("--source {}: no dataset has that name", self.source.unwrap_or_default())
                    };
                    let others = self.datasets.iter().filter(|other| other.name != dataset.name);
                    let targets: Vec<_> = others.filter(|other| !is_variant(other)).collect();
                    if !targets.is_empty() {
                        tasks.push(Task { protocol, dataset, targets });
                    }
                }
            }
            ensure!(
                tasks.len() > before,
                "{protocol}: none of the datasets serves it: base-to-new needs training images, cross-domain several \
                 domains or ImageNet with its variants, cross-dataset two datasets"
            );
        }
        Ok(tasks)
    }

    /// A dataset's number.
    fn number(&self, dataset: &LabelledDataset) -> usize {
        self.datasets.iter().take_while(|other| !std::ptr::eq(*other, dataset)).count()
    }

    /// The dataset with the features of its test images, which every protocol and number of shots uses.
    fn prepare(&self, dataset: &'a LabelledDataset) -> Result<Prepared<'a>> {
        let own = dataset.benchmark.map(|benchmark| benchmark.template().parse()).transpose()?;
        let hand_written = self.hand_written.or(own.as_ref()).unwrap_or(self.template);
        let prepared = Prepared::new(dataset, self.model, self.template, hand_written, self.device)?;
        prepared.with_test_features().with_context(|| format!("dataset {}", dataset.name))
    }

    /// Runs of one task; datasets that it needs are `prepared` once.
    fn task(
        &self,
        task: &Task<'a>,
        settings: &ProtocolSettings,
        prepared: &mut BTreeMap<usize, Prepared<'a>>,
        note: &(dyn Fn(&str) + Sync),
    ) -> Result<()> {
        let missing = |seed: u64| -> Vec<Method> {
            self.runnable()
                .filter(|method| !self.path(task, settings.shots, seed, **method).exists())
                .copied()
                .collect()
        };
        let skipped = |seed: u64, missing: &[Method]| {
            for method in self.methods.iter().filter(|method| !missing.contains(method)) {
                note(&format!("{}, {}, seed {seed}, {method}", task.protocol, task.dataset.name));
            }
        };
        if self.seeds.iter().all(|seed| missing(*seed).is_empty()) {
            self.seeds.iter().for_each(|seed| skipped(*seed, &[]));
            return Ok(());
        }
        for dataset in std::iter::once(&task.dataset).chain(&task.targets) {
            if let Entry::Vacant(place) = prepared.entry(self.number(dataset)) {
                place.insert(self.prepare(dataset)?);
            }
        }
        let of = |dataset: &LabelledDataset| &prepared[&self.number(dataset)];
        let targets: Vec<&Prepared> = task.targets.iter().map(|target| of(target)).collect();
        for (seed, starts) in self.seeds.iter().zip(self.starts) {
            let protocol = Protocol { prepared: of(task.dataset), settings, starts };
            let missing = missing(*seed);
            skipped(*seed, &missing);
            if missing.is_empty() {
                continue;
            }
            let (classes, domain) = match task.protocol {
                ProtocolKind::BaseToNew => (ClassSubset::Base, None),
                _ => (ClassSubset::All, task.domain(*seed)),
            };
            let shots = protocol.shots(classes, domain, &missing, *seed)?;
            missing.par_iter().try_for_each(|method| {
                let name = format!("{}, {}, seed {seed}, {method}", task.protocol, task.dataset.name);
                let run = match (task.protocol, domain) {
                    (ProtocolKind::BaseToNew, _) => {
                        protocol.base_to_new(*method, &shots, false)?.map(|(run, _)| Run::BaseToNew(run))
                    }
                    (_, Some(source)) => protocol.cross_domain(*method, &shots, source)?.map(Run::Transfer),
                    (_, None) => protocol.cross_dataset(*method, &shots, &targets)?.map(Run::Transfer),
                };
                if let Some(run) = run {
                    let path = self.path(task, settings.shots, *seed, *method);
                    whole_file::write(
                        &path,
                        format!("{}\n", serde_json::to_string_pretty(&run)?).as_bytes(),
                    )?;
                }
                note(&name);
                anyhow::Ok(())
            })?;
        }
        Ok(())
    }

    /// The methods whose starts are there.
    fn runnable(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| self.starts.iter().all(|starts| starts.has(**method)))
    }

    /// The file of a run.
    fn path(&self, task: &Task, shots: usize, seed: u64, method: Method) -> PathBuf {
        let Task { protocol, dataset, .. } = task;
        let folder = self.out.join("runs").join(format!("{shots}-shot")).join(protocol.to_string());
        folder.join(&dataset.name).join(format!("seed-{seed}")).join(format!("{}.json", method.key()))
    }

    /// The finished runs of a number of shots.
    fn results(&self, shots: usize, tasks: &[Task], identity: &Identity) -> Result<Results> {
        let settings = serde_json::json!({"bench": identity, "shots": shots});
        let mut results = Results::new("gram bench", self.model.name.clone(), settings);
        results.seeds.clone_from(&self.seeds);
        for task in tasks {
            if task.protocol == ProtocolKind::BaseToNew {
                results.datasets.push(task.dataset.name.clone());
            }
            for seed in &self.seeds {
                for method in self.runnable() {
                    let run: Run = read(&self.path(task, shots, *seed, *method))?;
                    match (task.protocol, run) {
                        (_, Run::BaseToNew(run)) => results.base_to_new.push(run),
                        (ProtocolKind::CrossDataset, Run::Transfer(run)) => results.cross_dataset.push(run),
                        (_, Run::Transfer(run)) => results.cross_domain.push(run),
                    }
                }
            }
        }
        let left_out = self.methods.iter().filter(|method| self.runnable().all(|other| other != *method));
        let left_out: Vec<&str> = left_out.map(|method| method.name()).collect();
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            results.notes.push(format!(
                "Not run, for there is no meta-trained start: {names}. Pass one with --start."
            ));
        }
        Ok(results)
    }
}

/// Writes the identity down, or checks that the folder was begun with the same.
fn claim(identity: &Identity, path: &Path) -> Result<()> {
    if !path.exists() {
        return whole_file::write(path, format!("{}\n", serde_json::to_string_pretty(identity)?).as_bytes());
    }
    let begun: Identity = read(path)?;
    if begun != *identity {
        bail!(
            "{}: this folder was begun with another model, other settings or other starts: name another one with --out",
            path.display()
        );
    }
    Ok(())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{}: delete it, and the command makes it again", path.display()))
}
