//! `gram study design`: hyper-parameter search on validation classes: topics that meta-training never saw, or
//! base classes.

use std::path::PathBuf;

use crate::destination;
use anyhow::{Context, Result};
use clap::Args;
use gram_clip::Model;
use gram_cluster::Clusters;
use gram_data::{LabelledDataset, Pairs};
use gram_experiments::design_study::{Candidate, DesignStudy, Question, Stage, Trial};
use gram_experiments::episodes::check_topics;
use gram_experiments::workbench::{CheckedSettings, ClusteredPairs, Workbench};
use gram_features::Dataset;
use gram_hub::assets;
use gram_hub::model::{DEMO, open_pairs};
use gram_meta::MetaTrainingSettings;
use gram_prompt::{Rates, Template};
use gram_report::results::Method;
use gram_report::statistics::{BySeed, Estimate, harmonic_mean};
use gram_report::tables::{Cell, Table};
use gram_tune::adaptation::Regulated;
use gram_tune::tuning::among_base_classes;
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::commands::clusters::load_clusters;
use crate::commands::meta_settings::MetaSettings;
use crate::commands::studies::{kind_with_gram, model_of_clusters, show};
use crate::commands::tuning::TuningArguments;
use crate::commands::{command_line, labelled};
use crate::progress::bar;
use gram_experiments::tuning_settings::learned_template;

/// Arguments of `gram study design`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  gram study design --clusters runs/clusters --method coop-gram --vary regulator --seeds 5 --out runs/design"
)]
pub struct StudyDesignArguments {
    /// A folder or file with a CLIP checkpoint, an id on the hub, or the built-in `tiny`. Default: the model
    /// of the clusters, or `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// The image-text pairs that were clustered.
    #[arg(long, value_name = "SRC", default_value = DEMO)]
    pairs: String,
    /// Topics and domains from `gram cluster`.
    #[arg(long, value_name = "DIR")]
    clusters: PathBuf,
    /// The method with GRAM whose hyper-parameters are searched.
    #[arg(long, default_value = "coop-gram", help = format!("The method with GRAM: {}", Method::list_with_gram()))]
    method: Method,
    /// What is varied: regulator, regulator-start, momentum, inner-rate, inner-steps, inner-momentum,
    /// episodes, ways, query-domains, new-classes, validation, long-inner-loop, length, order, optimizer.
    /// Can be given several times. Without it, the settings are compared with the usual initialisation as
    /// they are.
    #[arg(long, value_name = "NAME", alias = "question")]
    vary: Vec<Question>,
    /// Training images per class.
    #[arg(long, value_name = "K", default_value_t = 2)]
    shots: usize,
    /// Number of seeds, counted from --seed.
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: usize,
    /// A labelled dataset whose base classes are the validation classes, with training and validation images
    /// only, instead of held-out topics. Can be given several times. `demo` means the datasets of the demo.
    #[arg(long, value_name = "D")]
    data: Vec<String>,
    /// Visual domains that the images of held-out topics are divided into.
    #[arg(long, value_name = "N", default_value_t = 4, alias = "looks", value_parser = clap::value_parser!(u16).range(2..))]
    domains: u16,
    /// Share of the topics that is held out.
    #[arg(long, value_name = "PART", default_value_t = 0.4)]
    held_out: f64,
    /// Learning rates of tuning to try, each TEXT/VISUAL, separated by commas.
    #[arg(
        long,
        value_name = "RATES",
        value_delimiter = ',',
        default_value = "0.003/0.001,0.01/0.002,0.03/0.004"
    )]
    rates: Vec<Rates>,
    /// Prompt template.
    #[arg(long)]
    template: Option<Template>,
    /// Folder of initialisations, runs and the table. The same command continues where it stopped.
    #[arg(long, value_name = "DIR", default_value = "runs/design")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// Settings of meta-training that are varied (TOML), any part of them.
    #[arg(long, value_name = "FILE")]
    meta_config: Option<PathBuf>,
    /// Settings of tuning.
    #[command(flatten)]
    tuning: TuningArguments,
}

/// Runs the command.
pub fn run(arguments: &StudyDesignArguments, common: &Common) -> Result<()> {
    let resolved = arguments.resolve(common)?;
    let (candidates, found) = (&resolved.candidates, resolved.run()?);
    let tables = [
        table(arguments.method, &arguments.rates, candidates, &found),
        by_rate(&arguments.rates, candidates, &found),
    ];
    let runs = candidates.iter().zip(&found);
    let runs = runs.map(|(one, runs)| json!({"candidate": one.name, "runs": runs}));
    show(&arguments.out.join("design.md"), &tables, ("candidates", runs.collect()), common)
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a StudyDesignArguments,
    model: Model,
    template: Template,
    settings: CheckedSettings,
    seeds: Vec<u64>,
    pairs: Pairs,
    clusters: Clusters,
    /// Base classes; none where held-out topics are searched on.
    datasets: Vec<Dataset>,
    candidates: Vec<Candidate>,
}

impl Resolved<'_> {
    /// Runs what is not finished yet: of each candidate all runs.
    fn run(&self) -> Result<Vec<Vec<Trial>>> {
        let Self { arguments, model, template, pairs, clusters, datasets, candidates, .. } = self;
        let (command, progress) = (&command_line(), &bar("trials"));
        let (settings, seeds) = (self.settings.clone(), self.seeds.clone());
        let stage = match datasets.is_empty() {
            true => Stage::Topics { domains: usize::from(arguments.domains), held_out: arguments.held_out },
            false => Stage::Datasets(datasets),
        };
        let study = DesignStudy {
            workbench: Workbench { model, template, settings, seeds, command, progress },
            source: ClusteredPairs { pairs, clusters },
            rates: arguments.rates.clone(),
            stage,
            method: arguments.method,
            out: &arguments.out,
            restart: arguments.anew.restart,
        };
        Ok(study.run(candidates)?)
    }
}

impl StudyDesignArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        destination::folder(&self.out)?;
        let kind = kind_with_gram(self.method)?;
        let clusters = load_clusters(&self.clusters)?;
        let base = MetaSettings::of_file(self.meta_config.as_deref(), kind, common.seed)?;
        let mut episodes = base.clone();
        if self.data.is_empty() {
            episodes.validation_topics = self.held_out;
        }
        check_topics(&clusters, &episodes)?;
        let grouped_by = clusters.model.clone().map(|model| (self.clusters.as_path(), model));
        let data = self.data.iter().chain([&self.pairs]);
        let model = model_of_clusters(self.model.as_deref(), grouped_by, data, common)?;
        let template = learned_template(self.template.as_ref(), &model)?;
        let settings = self.tuning.settings(&model, Some(self.shots), false, None, None)?;
        let candidates = self.candidates(&base, settings.regulated.regulated);
        let pairs = open_pairs(&self.pairs)?;
        let (datasets, seeds) = (self.datasets()?, (common.seed..).take(self.seeds).collect());
        Ok(Resolved {
            arguments: self,
            model,
            template,
            settings,
            seeds,
            pairs,
            clusters,
            datasets,
            candidates,
        })
    }

    /// What is compared: the settings as they are, and what the questions change in them.
    fn candidates(&self, base: &MetaTrainingSettings, usual: Regulated) -> Vec<Candidate> {
        let mut candidates = Candidate::as_set(base, usual).to_vec();
        for candidate in self.vary.iter().flat_map(|question| question.candidates(base, usual)) {
            // A question that is given twice is asked once.
            if !candidates.iter().any(|known| known.name == candidate.name) {
                candidates.push(candidate);
            }
        }
        candidates
    }

    /// The base classes of the datasets that are given.
    fn datasets(&self) -> Result<Vec<Dataset>> {
        let demo = self.data.iter().any(|name| name == DEMO).then_some(assets::DATASETS);
        let of_demo = demo.iter().flatten().map(|name| Ok(assets::dataset(name)?));
        let given = self.data.iter().filter(|name| *name != DEMO).map(|name| labelled::open(name));
        let base = |dataset: Result<LabelledDataset>| {
            let dataset = dataset?;
            let base = among_base_classes(&dataset);
            base.map(Dataset::from)
                .with_context(|| format!("dataset {}: it has fewer than four base classes", dataset.name))
        };
        of_demo.chain(given).map(base).collect()
    }
}

/// A value for each seed of the runs at some rates.
fn by_seed(runs: &[Trial], rates: Rates, value: fn(&Trial) -> Option<f64>) -> BySeed {
    let of = |run: &Trial| Some((run.seed, value(run)?));
    runs.iter().filter(|run| run.rates == rates).filter_map(of).collect()
}

fn h(run: &Trial) -> Option<f64> {
    Some(harmonic_mean(run.base, run.new))
}

/// Every candidate at the rates where its mean H is best, and what it wins over the usual initialisation at
/// its own best rates.
fn table(method: Method, rates: &[Rates], candidates: &[Candidate], found: &[Vec<Trial>]) -> Table {
    let best = |runs: &[Trial]| {
        let mean =
            |rates: &Rates| Estimate::over_seeds(&by_seed(runs, *rates, h)).map(|estimate| estimate.mean);
        rates
            .iter()
            .copied()
            .max_by(|one, other| mean(one).partial_cmp(&mean(other)).unwrap_or(std::cmp::Ordering::Equal))
    };
    let header = [
        "Candidate",
        "Rates",
        "Base",
        "New",
        "H",
        "Other domains",
        "Base won",
        "New won",
        "H won",
        "Other won",
    ];
    let mut table =
        Table::new(format!("{method}: base to new on validation classes (accuracy in %)"), header);
    let usual = found.first().and_then(|runs| Some((runs, best(runs)?)));
    let values: [fn(&Trial) -> Option<f64>; 4] =
        [|run| Some(run.base), |run| Some(run.new), h, |run| run.other];
    for (candidate, runs) in candidates.iter().zip(found) {
        let Some(rates) = best(runs) else { continue };
        let own = values.map(|value| Cell::estimate(Estimate::over_seeds(&by_seed(runs, rates, value))));
        let won = values.map(|value| {
            let difference = usual.and_then(|(usual, at)| {
                Estimate::of_paired_difference(&by_seed(runs, rates, value), &by_seed(usual, at, value))
            });
            Cell::plain(difference.map(|difference| difference.signed()).unwrap_or_default())
        });
        let cells = std::iter::once(Cell::plain(rates.to_string())).chain(own).chain(won).collect();
        table.push(candidate.name.clone(), cells);
    }
    table.notes.push(
        "Each at the learning rates with its best mean H. Won: over the usual initialisation, within seeds."
            .into(),
    );
    table
}

/// Every candidate at every rate.
fn by_rate(rates: &[Rates], candidates: &[Candidate], found: &[Vec<Trial>]) -> Table {
    let mut table = Table::new("By learning rate", ["Candidate, rates", "Base", "New", "H"]);
    let values: [fn(&Trial) -> Option<f64>; 3] = [|run| Some(run.base), |run| Some(run.new), h];
    for (candidate, runs) in candidates.iter().zip(found) {
        for at in rates {
            let cell = |value| Cell::estimate(Estimate::over_seeds(&by_seed(runs, *at, value)));
            table.push(format!("{}, {at}", candidate.name), values.map(cell).into());
        }
    }
    table
}
