//! `gram bench`: protocols over datasets, methods, shots and seeds.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Args, ValueEnum};
use gram_clip::{Compute, Model};
use gram_data::{Benchmark, ClassSubset, LabelledDataset, Sampling};
use gram_experiments::bench::{Bench, BenchPlan, Card, Courses, ProtocolKind, distinct_names, write_outputs};
use gram_experiments::starts::{model_of, shipped_start};
use gram_experiments::tuning_settings::learned_template;
use gram_experiments::workbench::{CheckedSettings, Workbench};
use gram_features::Dataset;
use gram_hub::assets;
use gram_hub::model::{DEMO, is_built_in, note_what_tiny_knows, open_model_or_own};
use gram_prompt::{Part, PromptKind, Template};
use gram_report::results::{Method, Results};
use gram_report::tables;
use gram_tune::method::Starts;
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::commands::adapt::add_start;
use crate::commands::prompting::load_prompt;
use crate::commands::tuning::TuningArguments;
use crate::commands::{command_line, labelled};
use crate::progress::bar;
use crate::{destination, output};

/// Stands for the seed in the path of a start.
const SEED: &str = "{seed}";

/// Arguments of `gram bench`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("input").args(["data_root", "data", "features"]).required(true).multiple(true),
    after_help = after_help()
)]
pub struct BenchArguments {
    /// A folder or file with a CLIP checkpoint, an id on the hub, or the built-in `tiny`. Default: the model
    /// that the first --start names, else that of the features, or `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// A named set of --protocol, --methods, --shots, --seeds and --sampling; flags beside it override it.
    /// paper: all protocols, the paper's methods (zero-shot, cocoop, coop, coop-gram, vpt, vpt-gram,
    /// unigram), 16 shots as CoOp's code draws them, 3 seeds.
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// base-to-new, cross-domain, cross-dataset, several separated by commas, or all. Default: base-to-new.
    #[arg(long, value_name = "NAMES")]
    protocol: Option<String>,
    /// Methods separated by commas, or all, the default. They are listed at the end of this help.
    #[arg(long, value_name = "NAMES")]
    methods: Option<String>,
    /// A folder with standard benchmarks in CoOp's layout, or `demo`.
    #[arg(long, value_name = "DIR")]
    data_root: Option<String>,
    /// A dataset. Can be given several times.
    #[arg(long, value_name = "D")]
    data: Vec<String>,
    /// The features of a dataset's images, so that no image is needed: a folder by `gram embed --data`. Can
    /// be given several times. With as many --data, which then give the labels, also one by clip-retrieval
    /// or a matrix (.npy, .safetensors). Only for methods without a visual prompt; nothing is
    /// augmented.
    #[arg(long, value_name = "DIR", conflicts_with = "data_root")]
    features: Vec<PathBuf>,
    /// The dataset that cross-dataset prompts are tuned on.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Training images per class; several numbers separated by commas.
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "16")]
    shots: Vec<usize>,
    /// Number of seeds, counted from --seed.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: usize,
    /// The meta-trained initialisation of a method with GRAM. `{seed}` in FILE stands for the seed, which
    /// gives each seed its own. The built-in model has its own for vpt-gram and unigram.
    #[arg(long, value_name = "METHOD=FILE")]
    start: Vec<String>,
    /// Prompt template. Textual prompts are initialised with its words before the class name.
    #[arg(long)]
    template: Option<Template>,
    /// Prompt template of zero-shot classification, instead of each dataset's own.
    #[arg(long)]
    zero_shot_template: Option<Template>,
    /// Folder of runs and tables. The same command continues where it stopped; runs of more datasets,
    /// methods, shots or seeds are added. Tables are those of the last command.
    #[arg(long, value_name = "DIR", default_value = "runs/bench")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// Settings.
    #[command(flatten)]
    tuning: TuningArguments,
}

/// Sets of settings by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// What the paper's tables 1 to 3 measure.
    Paper,
}

/// The methods of the paper's tables.
const PAPER_METHODS: [Method; 7] = [
    Method::ZeroShot,
    Method::Cocoop,
    Method::Coop,
    Method::CoopGram,
    Method::Vpt,
    Method::VptGram,
    Method::Unigram,
];

/// Examples.
const EXAMPLES: &str = "Examples:\n  \
    gram bench --data-root demo --protocol base-to-new --methods coop,vpt --shots 4 --seeds 3 --out runs/bench\n  \
    gram bench --model ViT-B/16 --data-root ~/data --shots 1,2,4,8,16 --seeds 3 --start coop-gram=start.safetensors";

/// The end of the help: every method, and examples.
fn after_help() -> String {
    format!("Methods:\n{}\n\n{EXAMPLES}", Method::table())
}

/// Runs the command.
pub fn run(arguments: &BenchArguments, common: &Common) -> Result<()> {
    let resolved = arguments.resolve(common)?;
    let results = resolved.run()?;
    let (shots, mut files) = (&arguments.shots, Vec::new());
    for (shots, results) in shots.iter().zip(&results) {
        files.extend(write_outputs(results, *shots, &arguments.out.join(format!("{shots}-shot")))?);
    }
    if common.json {
        let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
        output::json(&json!({"files": files, "results": results}))?;
        return Ok(());
    }
    for (shots, results) in shots.iter().zip(&results) {
        output::line(format!("{shots} shots"))?;
        tables::all(results).iter().try_for_each(|table| output::line(table.to_text()))?;
        results.notes.iter().try_for_each(output::line)?;
    }
    Ok(files.iter().try_for_each(|file| output::line(file.display()))?)
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    model: Model,
    datasets: Vec<Dataset>,
    template: Template,
    settings: CheckedSettings,
    seeds: Vec<u64>,
    starts: Vec<Starts>,
    others: Vec<Card>,
    plan: BenchPlan<'a>,
    out: &'a Path,
    restart: bool,
}

impl Resolved<'_> {
    /// Runs what is not finished yet: results for each number of shots.
    fn run(&self) -> Result<Vec<Results>> {
        let Self { model, datasets, template, settings, seeds, starts, others, plan, out, restart } = self;
        let (command, progress) = (&command_line(), &bar("runs"));
        let (settings, seeds) = (settings.clone(), seeds.clone());
        let workbench = Workbench { model, template, settings, seeds, command, progress };
        let bench = Bench { workbench, datasets, starts, plan: plan.clone(), out, restart: *restart, others };
        bench.left_out().iter().for_each(|methods| output::note(format!("gram: {methods}")));
        Ok(bench.run()?)
    }
}

/// The classes and domains that protocols draw their shots from.
fn draws(protocols: &[ProtocolKind], dataset: &LabelledDataset) -> Vec<(ClassSubset, Option<usize>)> {
    let of = |protocol: &ProtocolKind| match protocol {
        ProtocolKind::BaseToNew => vec![(ClassSubset::Base, None)],
        ProtocolKind::CrossDomain if dataset.domains.len() > 1 => {
            (0..dataset.domains.len()).map(|domain| (ClassSubset::All, Some(domain))).collect()
        }
        ProtocolKind::CrossDomain | ProtocolKind::CrossDataset => vec![(ClassSubset::All, None)],
    };
    protocols.iter().flat_map(of).collect()
}

/// Names between commas, or `all`.
fn names<T: std::str::FromStr + Clone>(text: &str, all: &[T]) -> Result<Vec<T>>
where
    T::Err: std::fmt::Display,
{
    if text == "all" {
        return Ok(all.to_vec());
    }
    text.split(',').map(|name| name.trim().parse().map_err(|error| anyhow::anyhow!("{error}"))).collect()
}

impl BenchArguments {
    /// Opens and checks everything.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        destination::folder(&self.out)?;
        let datasets = self.datasets()?;
        let computes = common.computes()?;
        let first = computes.first().context("no device")?;
        let model = self.model(&datasets, common.seed, first)?;
        let seen = !self.features.is_empty();
        let sampling = self.preset.map(|Preset::Paper| Sampling::Coop);
        let settings = self.tuning.settings(&model, self.shots.first().copied(), seen, sampling, None)?;
        let template = learned_template(self.template.as_ref(), &model)?;
        let methods = self.methods()?;
        let seeds: Vec<u64> = (common.seed..).take(self.seeds).collect();
        let starts = self.starts(&methods, &seeds, &template, &model)?;
        let others = computes.iter().skip(1).map(|compute| {
            let model = model.clone().on(compute)?;
            let starts = self.starts(&methods, &seeds, &template, &model)?;
            Ok(Card { model, starts })
        });
        let others = others.collect::<Result<Vec<Card>>>()?;
        let usual = if self.preset == Some(Preset::Paper) { "all" } else { "base-to-new" };
        let protocols = names(self.protocol.as_deref().unwrap_or(usual), &ProtocolKind::ALL)?;
        let most = self.shots.iter().max().copied().unwrap_or(0);
        for dataset in &datasets {
            labelled::tell_shortfall(dataset, &draws(&protocols, dataset), most);
        }
        let plan = BenchPlan {
            protocols,
            methods,
            shots: self.shots.clone(),
            hand_written: self.zero_shot_template.as_ref(),
            source: self.source.as_deref(),
            courses: Courses::default(),
        };
        let (out, restart) = (self.out.as_path(), self.anew.restart);
        Ok(Resolved { model, datasets, template, settings, seeds, starts, others, plan, out, restart })
    }

    /// The model: the one that is given, else that of the first start, else that of the features.
    fn model(&self, datasets: &[Dataset], seed: u64, compute: &Compute) -> Result<Model> {
        let first = self.start.first().and_then(|given| given.split_once('='));
        let path = first.map(|(_, path)| PathBuf::from(path.replace(SEED, &seed.to_string())));
        let of_start = match &path {
            Some(path) => model_of(path)?.map(|own| (path.as_path(), own)),
            None => None,
        };
        let of_features = || {
            let (place, own) = datasets.iter().find_map(Dataset::model)?;
            Some((place, own.clone()))
        };
        let own = of_start.or_else(of_features);
        let model = open_model_or_own(self.model.as_deref(), own, compute, &bar("download"))?;
        let of_a_user = |root: &str| root != DEMO;
        note_what_tiny_knows(
            &model,
            self.data_root.as_deref().is_some_and(of_a_user)
                || !self.data.iter().all(|name| is_built_in(name)),
        );
        Ok(model)
    }

    /// The methods. `all` are those that features serve, where there are features only.
    fn methods(&self) -> Result<Vec<Method>> {
        let given = self.methods.as_deref();
        let mut methods = match (given, self.preset) {
            (None, Some(Preset::Paper)) => PAPER_METHODS.to_vec(),
            _ => names(given.unwrap_or("all"), &Method::ALL)?,
        };
        if self.features.is_empty() {
            return Ok(methods);
        }
        let sees_pixels = |method: &Method| method.prompts(Part::Visual);
        if given.is_none_or(|given| given == "all") {
            methods.retain(|method| !sees_pixels(method));
        }
        match methods.iter().find(|method| sees_pixels(method)) {
            Some(method) => bail!(
                "--features: {} needs images, not features: leave it out of --methods, or give the images with --data",
                method.key()
            ),
            None => Ok(methods),
        }
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let (mut datasets, mut paths) = (Vec::<Dataset>::new(), Vec::new());
        match self.data_root.as_deref() {
            Some(DEMO) => {
                for name in assets::DATASETS {
                    datasets.push(assets::dataset(name)?.into());
                    paths.push(PathBuf::from(format!("{DEMO}:{name}")));
                }
            }
            Some(root) => {
                let found = Benchmark::below(root.as_ref());
                if found.is_empty() {
                    let folders: Vec<&str> = Benchmark::ALL.map(Benchmark::folder).to_vec();
                    bail!("--data-root {root}: none of the folders {} is in it", folders.join(", "));
                }
                for (benchmark, folder) in found {
                    output::note(benchmark.key());
                    let dataset = LabelledDataset::open(&folder);
                    datasets.push(dataset.with_context(|| folder.display().to_string())?.into());
                    paths.push(folder);
                }
            }
            None => {}
        }
        let (data, features) = (self.data.len(), self.features.len());
        ensure!(
            data == 0 || features == 0 || data == features,
            "--features: {features} for {data} --data: give one for each of them, in their order, or no --data"
        );
        for place in 0..data.max(features) {
            let (name, features) = (self.data.get(place), self.features.get(place));
            datasets.push(labelled::open_with_features(
                name.map(String::as_str),
                features.map(PathBuf::as_path),
            )?);
            paths.extend(name.map(PathBuf::from).or_else(|| features.cloned()));
        }
        distinct_names(&mut datasets, &paths)?;
        Ok(datasets)
    }

    /// The starts of every seed, those that are given or built in.
    fn starts(
        &self,
        methods: &[Method],
        seeds: &[u64],
        template: &Template,
        model: &Model,
    ) -> Result<Vec<Starts>> {
        let mut starts = Starts::default();
        let device = model.device();
        if assets::is_tiny(model) {
            for (method, kind) in
                [(Method::VptGram, PromptKind::Visual), (Method::Unigram, PromptKind::Joint)]
            {
                if methods.contains(&method) {
                    let shipped = shipped_start(kind, model, &device)?;
                    starts.insert(method, shipped.state, shipped.placement);
                }
            }
        }
        let mut of_seeds = vec![starts; seeds.len()];
        for given in &self.start {
            let Some((method, path)) = given.split_once('=') else {
                bail!("--start {given}: METHOD=FILE is expected, as in coop-gram=start.safetensors")
            };
            let method = method.parse::<Method>()?;
            for (seed, starts) in seeds.iter().zip(&mut of_seeds) {
                let path = PathBuf::from(path.replace(SEED, &seed.to_string()));
                let file = load_prompt(&path, self.tuning.class_position(), &device)?;
                add_start(starts, method, &path, &file, template, model)?;
            }
        }
        Ok(of_seeds)
    }
}
