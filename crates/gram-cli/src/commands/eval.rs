//! `gram eval`: accuracy on a labelled dataset.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clap::Args;
use gram_clip::{Model, ModelIdentity};
use gram_data::{ClassSubset, ImageFile, LabelledDataset, Split};
use gram_features::image_batches::{batches, for_each_batch};
use gram_features::matrix::values;
use gram_hub::model::{is_built_in, note_what_tiny_knows};
use gram_hub::templates;
use gram_tune::score::{Score, Tally};
use serde::Serialize;

use crate::arguments::Common;
use crate::commands::prompting::PromptingArguments;
use crate::commands::{Outcome, labelled};
use crate::output::{self, OutputError, shown};
use crate::progress::bar;

/// Arguments of `gram eval`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram eval --model ViT-B/16 --data photos --template 'a photo of a {}.'")]
pub struct EvalArguments {
    /// The model and its prompt.
    #[command(flatten)]
    prompting: PromptingArguments,
    /// A folder for each class, a manifest, an archive, a standard benchmark, or `demo:NAME`.
    #[arg(long, value_name = "D")]
    data: String,
    /// The candidate classes: all, base (the first half) or new (the second half).
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
    #[serde(flatten)]
    model: ModelIdentity,
    classes: usize,
    images: usize,
    unreadable: usize,
    #[serde(flatten)]
    score: Score,
    /// Accuracy by domain, in percent.
    domains: BTreeMap<String, f64>,
}

/// Runs the command.
pub fn run(arguments: &EvalArguments, common: &Common) -> Result<Outcome> {
    let evaluation = arguments.resolve(common)?.run()?;
    match common.json {
        true => output::json(&evaluation)?,
        false => print(&evaluation)?,
    }
    Ok(Outcome::without(evaluation.unreadable))
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a EvalArguments,
    dataset: LabelledDataset,
    /// The images that are measured on, by number.
    chosen: Vec<usize>,
    model: Model,
}

impl EvalArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        let compute = common.compute()?;
        let dataset = labelled::open(&self.data)?;
        let chosen = dataset.select(self.split, self.classes, None);
        ensure!(!chosen.is_empty(), "dataset {}: no images of that split and those classes", dataset.name);
        let model = self.prompting.model(&compute)?;
        note_what_tiny_knows(&model, !is_built_in(&self.data));
        Ok(Resolved { arguments: self, dataset, chosen, model })
    }
}

impl Resolved<'_> {
    /// Classifies the images.
    fn run(&self) -> Result<Evaluation> {
        let Self { arguments, dataset, chosen, model } = self;
        let names = dataset.class_names(arguments.classes).to_vec();
        let own = templates::of_dataset(dataset)?;
        let classifier = arguments.prompting.classifier(model, Some(names), &own)?;
        let images: Vec<ImageFile> =
            chosen.iter().map(|image| dataset.images[*image].image.clone()).collect();
        let classes = classifier.names.len();
        let (mut all, mut unreadable) = (Tally::new(classes), 0);
        let mut by_domain = vec![Tally::new(classes); dataset.domains.len()];
        let progress = bar("images");
        progress.set_length(images.len() as u64);
        let sized_batches = batches(images.len(), model.compute().images_at_once());
        for_each_batch(&images, sized_batches, &model.preprocess, &model.device(), |batch| {
            progress.inc((batch.rows.len() + batch.unreadable.len()) as u64);
            unreadable += batch.unreadable.len();
            batch
                .unreadable
                .iter()
                .for_each(|(_, problem)| progress.suspend(|| output::note(format!("gram: {problem}"))));
            let Some(pixels) = batch.pixels else { return anyhow::Ok(()) };
            let logits = values(classifier.logits(pixels))?;
            for (row, logits) in batch.rows.iter().zip(logits.chunks_exact(classes)) {
                let image = &dataset.images[chosen[*row]];
                let Some(label) = arguments.classes.label(image.class, dataset.classes.len()) else {
                    continue;
                };
                all.add(logits, label);
                if let Some(domain) = image.domain {
                    by_domain[domain].add(logits, label);
                }
            }
            Ok(())
        })?;
        progress.finish_and_clear();
        ensure!(all.images() > 0, "dataset {}: none of {unreadable} images can be read", dataset.name);
        let domains = dataset.domains.iter().zip(&by_domain).filter(|(_, tally)| tally.images() > 0);
        Ok(Evaluation {
            dataset: dataset.name.clone(),
            model: model.identity()?,
            classes,
            images: all.images(),
            unreadable,
            score: all.score(),
            domains: domains.map(|(name, tally)| (name.clone(), tally.score().accuracy)).collect(),
        })
    }
}

fn print(evaluation: &Evaluation) -> Result<(), OutputError> {
    let Evaluation { dataset, model, classes, images, unreadable, score, domains } = evaluation;
    output::line(format!(
        "{} with {}: {images} images, {classes} classes, {unreadable} unreadable",
        shown(dataset),
        shown(&model.name)
    ))?;
    output::line(format!("{:8.2} %  accuracy", score.accuracy))?;
    score.top_five.iter().try_for_each(|percent| output::line(format!("{percent:8.2} %  top-5 accuracy")))?;
    output::line(format!("{:8.2} %  mean per-class recall", score.mean_per_class))?;
    domains
        .iter()
        .try_for_each(|(domain, accuracy)| output::line(format!("{accuracy:8.2} %  {}", shown(domain))))
}
