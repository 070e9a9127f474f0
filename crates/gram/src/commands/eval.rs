//! `gram eval`: accuracy on a labelled dataset.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clap::Args;
use gram::model::open_dataset;
use gram_data::{ClassSubset, ImageFile, Split};
use gram_eval::image_batches::for_each_batch;
use serde::Serialize;

use crate::arguments::Common;
use crate::commands::prompting::PromptingArguments;
use crate::progress::bar;

/// Arguments of `gram eval`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram eval --model ViT-B/16 --data photos --template 'a photo of a {}.'")]
pub struct EvalArguments {
    /// The model and its prompt.
    #[command(flatten)]
    prompting: PromptingArguments,
    /// A folder for each class, a manifest, an archive, or `demo:NAME`.
    #[arg(long, value_name = "D")]
    data: String,
    /// The classes to choose from: all, base (the first half) or new (the second).
    #[arg(long, default_value = "all")]
    classes: ClassSubset,
    /// The images to measure on: train, val or test.
    #[arg(long, default_value = "test")]
    split: Split,
}

/// What is measured.
#[derive(Serialize)]
struct Evaluation {
    dataset: String,
    model: String,
    classes: usize,
    images: usize,
    unreadable: usize,
    /// Percent.
    accuracy: f64,
    /// Mean over the classes that have images, in percent.
    mean_per_class: f64,
    /// By domain, in percent.
    domains: BTreeMap<String, f64>,
}

/// Images that were named rightly, of how many.
#[derive(Clone, Copy, Default)]
struct Count {
    right: usize,
    of: usize,
}

impl Count {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.of += 1;
    }

    fn percent(self) -> f64 {
        100.0 * self.right as f64 / self.of.max(1) as f64
    }
}

/// Runs the command.
pub fn run(arguments: &EvalArguments, common: &Common) -> Result<()> {
    let device = common.device()?;
    let dataset = open_dataset(&arguments.data)?;
    let chosen = dataset.select(arguments.split, arguments.classes, None);
    ensure!(!chosen.is_empty(), "dataset {}: no images of that split and those classes", dataset.name);
    let model = arguments.prompting.model(&device)?;
    let names = dataset.class_names(arguments.classes).to_vec();
    let classifier = arguments.prompting.classifier(&model, Some(names))?;
    let images: Vec<ImageFile> = chosen.iter().map(|image| dataset.images[*image].image.clone()).collect();
    let (mut all, mut unreadable) = (Count::default(), 0);
    let mut by_class = vec![Count::default(); classifier.names.len()];
    let mut by_domain = vec![Count::default(); dataset.domains.len()];
    let progress = bar("images");
    progress.set_length(images.len() as u64);
    for_each_batch(&images, &model.preprocess, &device, |batch| {
        progress.inc((batch.rows.len() + batch.unreadable.len()) as u64);
        unreadable += batch.unreadable.len();
        batch.unreadable.iter().for_each(|(_, problem)| progress.suspend(|| eprintln!("gram: {problem}")));
        let Some(pixels) = batch.pixels else { return anyhow::Ok(()) };
        let predicted = classifier.probabilities(pixels).argmax(1).into_data().convert::<i64>();
        let predicted = predicted.try_to_vec::<i64>().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        for (row, predicted) in batch.rows.iter().zip(predicted) {
            let image = &dataset.images[chosen[*row]];
            let Some(label) = arguments.classes.label(image.class, dataset.classes.len()) else { continue };
            let right = label as i64 == predicted;
            all.add(right);
            by_class[label].add(right);
            if let Some(domain) = image.domain {
                by_domain[domain].add(right);
            }
        }
        Ok(())
    })?;
    progress.finish_and_clear();
    ensure!(all.of > 0, "dataset {}: none of {unreadable} images can be read", dataset.name);
    let seen: Vec<f64> = by_class.iter().filter(|count| count.of > 0).map(|count| count.percent()).collect();
    let domains = dataset.domains.iter().zip(&by_domain).filter(|(_, count)| count.of > 0);
    let evaluation = Evaluation {
        dataset: dataset.name.clone(),
        model: model.name.clone(),
        classes: classifier.names.len(),
        images: all.of,
        unreadable,
        accuracy: all.percent(),
        mean_per_class: seen.iter().sum::<f64>() / seen.len() as f64,
        domains: domains.map(|(name, count)| (name.clone(), count.percent())).collect(),
    };
    match common.json {
        true => println!("{}", serde_json::to_string(&evaluation)?),
        false => print(&evaluation),
    }
    Ok(())
}

fn print(evaluation: &Evaluation) {
    let Evaluation { dataset, model, classes, images, unreadable, accuracy, mean_per_class, domains } =
        evaluation;
    println!("{dataset} with {model}: {images} images, {classes} classes, {unreadable} unreadable");
    println!("{accuracy:8.2} %  accuracy\n{mean_per_class:8.2} %  mean over classes");
    domains.iter().for_each(|(domain, accuracy)| println!("{accuracy:8.2} %  {domain}"));
}
