//! `gram study`: the paper's studies, on the demo's data or on your own.

use std::path::{Path, PathBuf};

use crate::destination;
use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use gram_clip::Model;
use gram_cluster::{Clusters, StagesIn};
use gram_data::{ClassSubset, Pairs, Progress};
use gram_experiments::clustering::{PairFeatures, once_clustered};
use gram_experiments::defaults;
use gram_experiments::episodes::check_topics;
use gram_experiments::run_folder::RunFolder;
use gram_experiments::study::{Condition, StartSource, Study, claim};
use gram_experiments::workbench::{CheckedSettings, ClusteredPairs, Workbench};
use gram_features::Dataset;
use gram_hub::assets;
use gram_hub::model::{DEMO, open_pairs_with_metadata};
use gram_meta::MetaTrainingSettings;
use gram_prompt::{PromptKind, Template};
use gram_report::results::{Method, Results};
use gram_report::tables::{Cell, StudyRow, Table, study};
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::commands::clusters::load_clusters;
use crate::commands::studies::{kind_with_gram, model_of_clusters, show};
use crate::commands::study_design::{self, StudyDesignArguments};
use crate::commands::tuning::TuningArguments;
use crate::commands::{command_line, labelled};
use crate::progress::bar;
use gram_experiments::tuning_settings::learned_template;

/// Parts of meta-training that figure 3b has means of.
const QUARTERS: usize = 4;

/// Arguments of `gram study`.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  gram study table-6 --seeds 3 --shots 4 --out runs/table-6\n  \
                        gram study figure-1a --method coop-gram --initialisations 10 --shots 4 --out runs/figure-1a"
)]
pub struct StudyArguments {
    /// A search for settings.
    #[command(subcommand)]
    search: Option<Search>,
    /// The study.
    #[arg(required = true)]
    which: Option<Which>,
    /// A folder or file with a CLIP checkpoint, an id on the hub, or the built-in `tiny`. Default: the model
    /// of the clusters, or `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// The image-text pairs.
    #[arg(long, value_name = "SRC", default_value = DEMO)]
    pairs: String,
    /// Topics and domains from `gram cluster`. Default: they are found anew.
    #[arg(long, value_name = "DIR")]
    clusters: Option<PathBuf>,
    /// A labelled dataset. Can be given several times. Default: the datasets of the demo.
    #[arg(long, value_name = "D")]
    data: Vec<String>,
    /// The method with GRAM that is studied.
    #[arg(
        long,
        default_value = "unigram",
        help = format!("The method with GRAM that is studied: {}", Method::list_with_gram())
    )]
    method: Method,
    /// Training images per class.
    #[arg(long, value_name = "K", default_value_t = defaults::SHOTS)]
    shots: usize,
    /// Number of seeds, counted from --seed.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: usize,
    /// Random initialisations of figure-1a.
    #[arg(long, value_name = "N", default_value_t = 5)]
    initialisations: u64,
    /// Outer steps of meta-training.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Prompt template.
    #[arg(long)]
    template: Option<Template>,
    /// Folder of initialisations, runs and the table. The same command continues where it stopped; more
    /// seeds, shots, steps or epochs keep what is the same.
    #[arg(long, value_name = "DIR", default_value = "runs/study")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// Settings.
    #[command(flatten)]
    tuning: TuningArguments,
}

/// A study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
enum Which {
    /// Ablation: parts of GRAM left out, one after another.
    #[value(name = "table-6")]
    Ablation,
    /// 2, 4, 6 and 8 prompt tokens.
    #[value(name = "table-7")]
    Tokens,
    /// The spread over random initialisations, compared with GRAM's initialisation.
    #[value(name = "figure-1a")]
    Initialisations,
    /// Base and new accuracy after every epoch, with and without GRAM (also figure 1b).
    #[value(name = "figure-3a")]
    Epochs,
    /// Alignment of support and query gradients, with and without the regulator.
    #[value(name = "figure-3b")]
    Alignment,
}

impl Which {
    /// Its conditions, for a kind of prompt; `initialisations` are those of figure 1a.
    fn conditions(self, kind: PromptKind, initialisations: u64) -> Vec<Condition> {
        match self {
            Self::Ablation => Condition::ablations(),
            Self::Tokens => Condition::token_numbers(kind),
            Self::Initialisations => Condition::initialisations(initialisations),
            Self::Epochs => those(&[StartSource::Usual, StartSource::MetaTrained]),
            Self::Alignment => those(&[StartSource::MetaTrained, StartSource::WithoutRegulator]),
        }
    }
}

/// Runs the command.
pub fn run(arguments: &StudyArguments, common: &Common) -> Result<()> {
    match (&arguments.search, arguments.which) {
        (Some(Search::Design(design)), _) => study_design::run(design, common),
        (None, Some(which)) => of_the_paper(which, arguments, common),
        (None, None) => bail!("name a study: see gram study --help"),
    }
}

/// What is not a study of the paper.
#[derive(Subcommand, Debug)]
enum Search {
    /// Searches hyper-parameters of meta-training on validation classes.
    Design(StudyDesignArguments),
}

/// Runs a study of the paper.
fn of_the_paper(which: Which, arguments: &StudyArguments, common: &Common) -> Result<()> {
    let resolved = arguments.resolve(which, common)?;
    let (command, progress) = (command_line(), bar("study"));
    let study = resolved.study(&command, &progress);
    let mut found = Vec::new();
    let conditions = &resolved.conditions;
    let table = match which {
        Which::Epochs => epochs(&study, conditions)?,
        Which::Alignment => alignment(&study, conditions)?,
        Which::Ablation | Which::Tokens | Which::Initialisations => {
            found = study.run(conditions)?;
            accuracies(which, arguments, conditions, &found)
        }
    };
    drop(study);
    drop(progress);
    let results = conditions.iter().zip(&found).map(|(condition, (method, results))| {
        json!({"condition": condition.name, "method": method, "results": results})
    });
    show(&arguments.out.join("study.md"), &[table], ("conditions", results.collect()), common)
}

/// What the arguments ask for, opened and checked.
struct Resolved {
    model: Model,
    template: Template,
    settings: CheckedSettings,
    seeds: Vec<u64>,
    pairs: Pairs,
    clusters: Clusters,
    datasets: Vec<Dataset>,
    meta_training: MetaTrainingSettings,
    method: Method,
    folder: RunFolder,
    conditions: Vec<Condition>,
}

impl Resolved {
    fn study<'a>(&'a self, command: &'a str, progress: &'a dyn Progress) -> Study<'a> {
        let Self { model, template, pairs, clusters, datasets, folder, method, .. } = self;
        let (settings, seeds) = (self.settings.clone(), self.seeds.clone());
        Study {
            workbench: Workbench { model, template, settings, seeds, command, progress },
            source: ClusteredPairs { pairs, clusters },
            datasets,
            meta_training: self.meta_training.clone(),
            method: *method,
            folder,
        }
    }
}

fn accuracies(
    which: Which,
    arguments: &StudyArguments,
    conditions: &[Condition],
    found: &[(Method, Results)],
) -> Table {
    let title = match which {
        Which::Ablation => "Parts of GRAM left out",
        Which::Tokens => "Numbers of prompt tokens",
        Which::Initialisations | Which::Alignment | Which::Epochs => "Initialisations",
    };
    let rows: Vec<StudyRow> = conditions
        .iter()
        .zip(found)
        .map(|(condition, (method, results))| StudyRow {
            label: condition.label.clone(),
            method: *method,
            results,
            printed: condition.printed,
        })
        .collect();
    study(&format!("{title}: {}, {} shots (accuracy in %)", arguments.method, arguments.shots), &rows)
}

/// The conditions of table 6 with these starts.
fn those(starts: &[StartSource]) -> Vec<Condition> {
    Condition::ablations().into_iter().filter(|condition| starts.contains(&condition.start)).collect()
}

fn epochs(study: &Study, conditions: &[Condition]) -> Result<Table> {
    let labels =
        conditions.iter().flat_map(|one| ["base", "new"].map(|part| format!("{}: {part}", one.label)));
    let header = std::iter::once("Epoch".to_owned()).chain(labels);
    let mut table = Table::new(format!("Accuracy by epoch: {} (in %)", study.method), header);
    let courses = study.courses(conditions)?;
    for epoch in 0..courses.iter().map(Vec::len).min().unwrap_or(0) {
        let cells = courses.iter().flat_map(|course| course[epoch]);
        table.push(epoch.to_string(), cells.map(|accuracy| Cell::plain(format!("{accuracy:.2}"))).collect());
    }
    Ok(table)
}

fn alignment(study: &Study, conditions: &[Condition]) -> Result<Table> {
    let header = ["", "First quarter", "Second", "Third", "Last"];
    let mut table = Table::new(
        "Normalised inner product of support and query gradients, by quarters of meta-training",
        header,
    );
    for (condition, quarters) in conditions.iter().zip(study.alignments(conditions)?) {
        table.push(condition.label.clone(), quarters.map(|mean| Cell::plain(format!("{mean:.3}"))).into());
    }
    Ok(table)
}

impl StudyArguments {
    /// Opens and checks everything, and begins the study in its folder.
    fn resolve(&self, which: Which, common: &Common) -> Result<Resolved> {
        let (out, restart) = (&self.out, self.anew.restart);
        destination::folder(out)?;
        let (method, kind) = (self.method, kind_with_gram(self.method)?);
        let mut meta_training = defaults::meta_training(kind, common.seed);
        meta_training.steps = self.steps.unwrap_or(meta_training.steps);
        ensure!(
            which != Which::Alignment || meta_training.steps >= QUARTERS,
            "--steps {}: figure-3b has a mean for every quarter of the steps: {QUARTERS} or more are expected",
            meta_training.steps
        );
        let given = self.given_clusters()?;
        if let Some((_, clusters)) = &given {
            check_topics(clusters, &meta_training)?;
        }
        let grouped_by = given.as_ref().and_then(|(path, clusters)| Some((*path, clusters.model.clone()?)));
        let data = self.data.iter().chain([&self.pairs]);
        let model = model_of_clusters(self.model.as_deref(), grouped_by, data, common)?;
        let template = learned_template(self.template.as_ref(), &model)?;
        let settings = self.tuning.settings(&model, Some(self.shots), false, None, None)?;
        // One condition takes its tasks from the pairs' own labels.
        let pairs = open_pairs_with_metadata(&self.pairs)?;
        let clustered = match &given {
            Some((_, given)) => json!(given.fingerprint()),
            None => json!({"seed": common.seed, "settings": defaults::demo_clustering()}),
        };
        let folder = claim(out, restart, &model, &pairs, &clustered, method, &meta_training)?;
        let clusters = match given {
            Some((_, given)) => given,
            None => self.clusters(&folder, &model, &pairs, common.seed)?,
        };
        let datasets = self.datasets(which, &settings)?;
        let seeds = (common.seed..).take(self.seeds).collect();
        let conditions = which.conditions(kind, self.initialisations);
        Ok(Resolved {
            model,
            template,
            settings,
            seeds,
            pairs,
            clusters,
            datasets,
            meta_training,
            method,
            folder,
            conditions,
        })
    }

    /// The clusters that are given, and where they lie.
    fn given_clusters(&self) -> Result<Option<(&Path, Clusters)>> {
        let Some(path) = self.clusters.as_deref() else { return Ok(None) };
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        let is_inside = real(path).zip(real(&self.out)).is_some_and(|(path, out)| path.starts_with(out));
        ensure!(
            !(self.anew.restart && is_inside),
            "--clusters lies in --out {}, which --restart clears: name another --out",
            self.out.display()
        );
        Ok(Some((path, load_clusters(path)?)))
    }

    /// The datasets; those of the demo where none is given.
    fn datasets(&self, which: Which, settings: &CheckedSettings) -> Result<Vec<Dataset>> {
        let demo: Vec<String> = assets::DATASETS.map(|name| format!("{DEMO}:{name}")).to_vec();
        let named = if self.data.is_empty() { &demo } else { &self.data };
        let datasets = named.iter().map(|name| Ok(labelled::open(name)?.into()));
        let datasets = datasets.collect::<Result<Vec<Dataset>>>()?;
        if which != Which::Alignment {
            datasets.iter().for_each(|dataset| {
                labelled::tell_shortfall(dataset, &[(ClassSubset::Base, None)], settings.shots);
            });
        }
        Ok(datasets)
    }

    /// The clusters that are found, kept in the folder.
    fn clusters(&self, run: &RunFolder, model: &Model, pairs: &Pairs, seed: u64) -> Result<Clusters> {
        ensure!(
            self.pairs == DEMO,
            "--pairs {}: cluster them with `gram cluster`, and name the folder with --clusters",
            self.pairs
        );
        let settings = defaults::demo_clustering();
        let cluster = || {
            let features = PairFeatures::new(model, pairs, None, &settings.topic_words, &bar("pairs"))?;
            Ok((features.cluster(model, pairs, &settings, seed, StagesIn::Memory, &bar("pairs"))?, ()))
        };
        Ok(once_clustered(run, &run.path().join("clusters"), cluster)?.0)
    }
}
