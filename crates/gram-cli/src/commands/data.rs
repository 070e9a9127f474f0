//! `gram data`: what is in a dataset, and few shots of it that others can use.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::destination;
use crate::output::{self, OutputError, shown};
use anyhow::Result;
use clap::{Args, Subcommand};
use gram_data::{ClassSubset, FewShotSplit, LabelledDataset, Sampling, Split, fingerprint};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::arguments::Common;
use crate::commands::{Outcome, labelled};
use crate::progress::bar;

/// Arguments of `gram data`.
#[derive(Args, Debug)]
pub struct DataArguments {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand, Debug)]
enum DataCommand {
    /// Describes a dataset: its kind, its counts, and what is broken.
    Validate(ValidateArguments),
    /// Draws K images per class, and writes them as a file that other programs can read.
    FewShot(FewShotArguments),
}

/// Arguments of `gram data validate`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram data validate flowers/")]
struct ValidateArguments {
    /// A folder for each class, a manifest, an archive, a standard benchmark, or `demo:NAME`.
    #[arg(value_name = "D")]
    data: String,
}

/// Arguments of `gram data few-shot`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram data few-shot flowers/ --shots 16 --seed 2 --out flowers-16-2.json")]
struct FewShotArguments {
    /// As for `gram data validate`.
    #[arg(value_name = "D")]
    data: String,
    /// Training images per class. Validation images are as many, but at most 4.
    #[arg(long, value_name = "K", default_value_t = 16)]
    shots: usize,
    /// Sampling: gram, or coop for the images that CoOp's code draws from a shared split.
    #[arg(long, value_name = "WHOSE", default_value_t)]
    sampling: Sampling,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What is found.
#[derive(Serialize)]
struct Report {
    dataset: String,
    /// The standard benchmark that it is.
    benchmark: Option<&'static str>,
    classes: usize,
    domains: Vec<String>,
    /// By split.
    images: BTreeMap<Split, usize>,
    /// Training images of the classes that have fewest.
    fewest: Vec<(String, usize)>,
    /// Files that are no images of a class.
    left_out: Vec<String>,
    /// Names that several classes have.
    names_of_several: Vec<String>,
    /// Image and cause.
    unreadable: Vec<(String, String)>,
    /// Images of equal bytes in different splits: one of them was seen in training.
    in_several_splits: Vec<Vec<String>>,
}

/// Runs the command.
pub fn run(arguments: &DataArguments, common: &Common) -> Result<Outcome> {
    match &arguments.command {
        DataCommand::Validate(arguments) => validate(arguments, common),
        DataCommand::FewShot(arguments) => few_shot(arguments, common).map(|()| Outcome::Complete),
    }
}

fn validate(arguments: &ValidateArguments, common: &Common) -> Result<Outcome> {
    let dataset = labelled::open(&arguments.data)?;
    let report = report(&dataset)?;
    match common.json {
        true => output::json(&report)?,
        false => print(&report)?,
    }
    Ok(Outcome::without(report.unreadable.len()))
}

fn report(dataset: &LabelledDataset) -> Result<Report> {
    let progress = bar("images");
    progress.set_length(dataset.images.len() as u64);
    let looked_at: Vec<(Option<String>, String)> = dataset
        .images
        .par_iter()
        .map(|image| {
            progress.inc(1);
            let content = image.image.bytes().map(|bytes| fingerprint::of_bytes(&bytes));
            (image.image.decode().err().map(|error| error.to_string()), content.unwrap_or_default())
        })
        .collect();
    progress.finish_and_clear();
    let mut images = BTreeMap::new();
    let mut training = vec![0; dataset.classes.len()];
    let mut by_content: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, image) in dataset.images.iter().enumerate() {
        *images.entry(image.split).or_default() += 1;
        training[image.class] += usize::from(image.split == Split::Train);
        if looked_at[index].0.is_none() {
            by_content.entry(&looked_at[index].1).or_default().push(index);
        }
    }
    let several = |same: &Vec<usize>| {
        same.iter().any(|one| dataset.images[*one].split != dataset.images[same[0]].split)
    };
    let keys =
        |same: Vec<usize>| same.into_iter().map(|one| dataset.images[one].key.clone()).collect::<Vec<_>>();
    let mut in_several_splits: Vec<Vec<String>> =
        by_content.into_values().filter(several).map(keys).collect();
    in_several_splits.sort();
    let least = training.iter().min().copied().unwrap_or(0);
    let fewest = dataset.classes.iter().zip(&training).filter(|(_, count)| **count == least);
    let unreadable = dataset.images.iter().zip(&looked_at);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    dataset.classes.iter().for_each(|name| *names.entry(name).or_default() += 1);
    Ok(Report {
        dataset: dataset.name.clone(),
        benchmark: dataset.benchmark.map(|benchmark| benchmark.key()),
        classes: dataset.classes.len(),
        domains: dataset.domains.clone(),
        images,
        fewest: fewest.map(|(name, count)| (name.clone(), *count)).collect(),
        left_out: dataset.left_out.clone(),
        names_of_several: names
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .map(|(name, _)| name.into())
            .collect(),
        unreadable: unreadable
            .filter_map(|(image, (problem, _))| Some((image.key.clone(), problem.clone()?)))
            .collect(),
        in_several_splits,
    })
}

fn print(report: &Report) -> Result<(), OutputError> {
    let Report { dataset, benchmark, classes, domains, images, fewest, .. } = report;
    let kind = benchmark.map(|name| format!(" (standard benchmark {name})")).unwrap_or_default();
    output::line(format!("{}{kind}: {classes} classes", shown(dataset)))?;
    images.iter().try_for_each(|(split, count)| output::line(format!("{count:8} {split} images")))?;
    if !domains.is_empty() {
        output::line(format!("domains: {}", shown(domains.join(", "))))?;
    }
    if let Some((name, count)) = fewest.first() {
        let others = match fewest.len() {
            1 => String::new(),
            several => format!(" and {} others", several - 1),
        };
        output::line(format!("fewest training images: {count}, of {}{others}", shown(name)))?;
    }
    report
        .names_of_several
        .iter()
        .try_for_each(|name| output::line(format!("several classes are called {}", shown(name))))?;
    report.unreadable.iter().try_for_each(|(image, problem)| {
        output::line(format!("unreadable: {}: {}", shown(image), shown(problem)))
    })?;
    report.in_several_splits.iter().try_for_each(|same| {
        output::line(format!("the same image in several splits: {}", shown(same.join(", "))))
    })?;
    if report.unreadable.is_empty() && report.in_several_splits.is_empty() {
        output::line("every image can be read, and none is in two splits")?;
    }
    Ok(())
}

fn few_shot(arguments: &FewShotArguments, common: &Common) -> Result<()> {
    destination::file_of_kind("--out", &arguments.out, "few-shot split", |path| {
        FewShotSplit::read(path).is_ok()
    })?;
    let dataset = labelled::open(&arguments.data)?;
    labelled::tell_shortfall(&dataset, &[(ClassSubset::All, None)], arguments.shots);
    let split = FewShotSplit::draw(&dataset, arguments.sampling, arguments.shots, common.seed);
    split.write(&arguments.out)?;
    match common.json {
        true => output::json(
            &json!({"file": arguments.out.to_string_lossy(), "train": split.train.len(), "val": split.val.len()}),
        )?,
        false => output::line(format!(
            "{}: {} training and {} validation images",
            arguments.out.display(),
            split.train.len(),
            split.val.len()
        ))?,
    }
    Ok(())
}
