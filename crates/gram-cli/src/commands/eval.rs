//! `gram eval`: accuracy on a labelled dataset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use gram_clip::{Model, ModelIdentity};
use gram_data::{ClassSubset, ImageFile, LabelledDataset, Split};
use gram_experiments::whole_file;
use gram_features::image_batches::{batches, for_each_batch};
use gram_features::matrix::values;
use gram_hub::model::{is_built_in, note_what_tiny_knows};
use gram_hub::templates;
use gram_report::report::{ShownEvaluation, evaluation_page};
use gram_tune::examination::{Answer, Calibration, ClassScore, Confusion, Examination};
use gram_tune::score::{Score, Tally};
use serde::Serialize;

use crate::arguments::Common;
use crate::commands::prompting::PromptingArguments;
use crate::commands::{Outcome, command_line, labelled};
use crate::destination;
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
    /// A page of what is wrong: classes, confusions, the worst mistakes with their pictures, calibration.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
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
    per_class: Vec<ClassScore>,
    confusions: Vec<Confusion>,
    calibration: Calibration,
    /// Images that were named wrongly, the most confident mistakes first.
    mistakes: Vec<Mistake>,
}

/// An image that was named wrongly.
#[derive(Serialize)]
struct Mistake {
    image: String,
    class: String,
    named: String,
    /// The probability of what it was named.
    confidence: f64,
    /// The probability of its class.
    own: f64,
}

/// Runs the command.
pub fn run(arguments: &EvalArguments, common: &Common) -> Result<Outcome> {
    let resolved = arguments.resolve(common)?;
    let (evaluation, examination) = resolved.run()?;
    if let Some(path) = &arguments.report {
        resolved.write_page(path, &evaluation, &examination)?;
    }
    match common.json {
        true => output::json(&evaluation)?,
        false => print(&evaluation, arguments.report.as_deref())?,
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
        if let Some(path) = &self.report {
            let is_page =
                |path: &Path| std::fs::read(path).is_ok_and(|file| file.starts_with(b"<!doctype html>"));
            destination::file_of_kind("--report", path, "page", is_page)?;
        }
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
    fn run(&self) -> Result<(Evaluation, Examination)> {
        let Self { arguments, dataset, chosen, model } = self;
        let names = dataset.class_names(arguments.classes).to_vec();
        let own = templates::of_dataset(dataset)?;
        let classifier = arguments.prompting.classifier(model, Some(names), &own)?;
        let images: Vec<ImageFile> =
            chosen.iter().map(|image| dataset.images[*image].image.clone()).collect();
        let classes = classifier.names.len();
        let (mut all, mut answers, mut unreadable) = (Tally::new(classes), Vec::new(), 0);
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
                answers.extend(Answer::new(chosen[*row], label, logits));
                if let Some(domain) = image.domain {
                    by_domain[domain].add(logits, label);
                }
            }
            Ok(())
        })?;
        progress.finish_and_clear();
        ensure!(all.images() > 0, "dataset {}: none of {unreadable} images can be read", dataset.name);
        let domains = dataset.domains.iter().zip(&by_domain).filter(|(_, tally)| tally.images() > 0);
        let examination = Examination { classes: classifier.names.clone(), answers };
        let class = |number: usize| examination.classes[number].clone();
        let mistake = |answer: Answer| Mistake {
            image: dataset.images[answer.image].image.name().into_owned(),
            class: class(answer.class),
            named: class(answer.named),
            confidence: answer.confidence,
            own: answer.own,
        };
        let evaluation = Evaluation {
            dataset: dataset.name.clone(),
            model: model.identity()?,
            classes,
            images: all.images(),
            unreadable,
            score: all.score(),
            domains: domains.map(|(name, tally)| (name.clone(), tally.score().accuracy)).collect(),
            per_class: examination.by_class(),
            confusions: examination.confusions(),
            calibration: examination.calibration(),
            mistakes: examination.mistakes().into_iter().map(mistake).collect(),
        };
        Ok((evaluation, examination))
    }

    fn write_page(&self, path: &Path, evaluation: &Evaluation, examination: &Examination) -> Result<()> {
        let image = |number: usize| self.dataset.images[number].image.clone();
        let shown = ShownEvaluation {
            dataset: &evaluation.dataset,
            terms: vec![("Model", evaluation.model.name.clone()), ("Command", command_line())],
            measures: measures(evaluation)
                .into_iter()
                .map(|(name, value)| (name, format!("{value:.2} %")))
                .collect(),
            examination,
            images: &image,
        };
        Ok(whole_file::write(path, evaluation_page(&shown).as_bytes())?)
    }
}

/// Names and values, in percent.
fn measures(evaluation: &Evaluation) -> Vec<(String, f64)> {
    let Score { accuracy, top_five, mean_per_class } = evaluation.score;
    let top_five = top_five.map(|percent| ("top-5 accuracy".to_owned(), percent));
    let domains = evaluation.domains.iter().map(|(domain, accuracy)| (shown(domain), *accuracy));
    std::iter::once(("accuracy".to_owned(), accuracy))
        .chain(top_five)
        .chain([
            ("mean per-class recall".to_owned(), mean_per_class),
            ("expected calibration error".to_owned(), evaluation.calibration.expected_error),
        ])
        .chain(domains)
        .collect()
}

/// Classes and confusions that are named in lines.
const NAMED: usize = 5;

fn print(evaluation: &Evaluation, report: Option<&Path>) -> Result<(), OutputError> {
    let Evaluation { dataset, model, classes, images, unreadable, .. } = evaluation;
    output::line(format!(
        "{} with {}: {images} images, {classes} classes, {unreadable} unreadable",
        shown(dataset),
        shown(&model.name)
    ))?;
    for (name, percent) in measures(evaluation) {
        output::line(format!("{percent:8.2} %  {name}"))?;
    }
    let mut wrong: Vec<(&ClassScore, f64)> =
        evaluation.per_class.iter().filter_map(|score| Some((score, score.accuracy?))).collect();
    wrong.retain(|(_, accuracy)| *accuracy < 100.0);
    wrong.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let class = |(score, accuracy): &(&ClassScore, f64)| format!("{} {accuracy:.0} %", shown(&score.class));
    in_a_line("worst classes", wrong.iter().map(class))?;
    let confusion = |Confusion { class, named, images }: &Confusion| {
        format!("{} as {} ({images})", shown(class), shown(named))
    };
    in_a_line("named wrongly", evaluation.confusions.iter().map(confusion))?;
    match report {
        Some(path) => output::line(path.display()),
        None => {
            output::note("`--report FILE.html` shows every class and the worst mistakes");
            Ok(())
        }
    }
}

/// The first of some, if there are any.
fn in_a_line(what: &str, all: impl Iterator<Item = String>) -> Result<(), OutputError> {
    let first: Vec<String> = all.take(NAMED).collect();
    if first.is_empty() { Ok(()) } else { output::line(format!("{what}: {}", first.join(", "))) }
}
