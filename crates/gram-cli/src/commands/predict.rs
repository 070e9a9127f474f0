//! `gram predict`: what is in images, with probabilities.

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use gram_clip::Model;
use gram_data::ImageFile;
use gram_features::image_batches::{for_each_batch, growing_batches};
use gram_features::matrix::values;
use gram_hub::model::note_what_tiny_knows;
use serde_json::json;

use crate::arguments::Common;
use crate::commands::Outcome;
use crate::commands::prompting::{PromptingArguments, class_names};
use crate::output::{self, shown};

/// Arguments of `gram predict`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram predict --model ViT-B/16 --classes tiger,cat,dog photos/ holiday.jpg\n  \
                        find . -name '*.jpg' | gram predict --prompt prompt.safetensors --json -"
)]
pub struct PredictArguments {
    /// The model and its prompt.
    #[command(flatten)]
    prompting: PromptingArguments,
    /// Candidate classes, separated by commas, or a file with one per line. Default: the prompt's own.
    #[arg(long, value_name = "NAMES")]
    classes: Option<String>,
    /// Most probable classes to print for each image.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Images, folders of images, or `-` for paths on standard input, one per line.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &PredictArguments, common: &Common) -> Result<Outcome> {
    arguments.resolve(common)?.run(common.json)
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a PredictArguments,
    images: Vec<ImageFile>,
    /// The candidate classes; the prompt's own where none is named.
    classes: Option<Vec<String>>,
    model: Model,
}

impl PredictArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        let compute = common.compute()?;
        let images = images(&self.images)?;
        let classes = self.classes.as_deref().map(class_names).transpose()?;
        let model = self.prompting.model(&compute)?;
        note_what_tiny_knows(&model, true);
        Ok(Resolved { arguments: self, images, classes, model })
    }
}

impl Resolved<'_> {
    /// Classifies the images, and prints as it goes.
    fn run(&self, for_machines: bool) -> Result<Outcome> {
        let Self { arguments, images, classes, model } = self;
        let classifier = arguments.prompting.classifier(model, classes.clone(), &[])?;
        if let [only] = classifier.names.as_slice() {
            output::note(format!("there is one class only: every image is said to show `{}`", shown(only)));
        }
        let top = usize::from(arguments.top).min(classifier.names.len());
        let mut readable = 0;
        let batches = growing_batches(images.len(), model.compute().images_at_once());
        for_each_batch(images, batches, &model.preprocess, &model.device(), |batch| {
            for (row, problem) in &batch.unreadable {
                output::note(format!("gram: {problem}"));
                if for_machines {
                    output::json(&json!({"image": images[*row].name(), "error": problem}))?;
                }
            }
            readable += batch.rows.len();
            let Some(pixels) = batch.pixels else { return anyhow::Ok(()) };
            let probabilities = values(classifier.probabilities(pixels))?;
            for (row, probabilities) in batch.rows.iter().zip(probabilities.chunks(classifier.names.len())) {
                let name = images[*row].name();
                let best = best(probabilities, top);
                let named = best.iter().map(|class| (&classifier.names[*class], probabilities[*class]));
                match for_machines {
                    true => {
                        let told: Vec<_> = named
                            .map(|(class, probability)| json!({"class": class, "probability": probability}))
                            .collect();
                        output::json(&json!({"image": name, "predictions": told}))?;
                    }
                    false => {
                        let told: Vec<String> = named
                            .map(|(class, probability)| {
                                format!("{} {:.1} %", shown(class), 100.0 * probability)
                            })
                            .collect();
                        output::line(format!("{}\t{}", shown(name), told.join("\t")))?;
                    }
                }
            }
            Ok(())
        })?;
        if readable == 0 {
            bail!("none of {} images can be read", images.len());
        }
        Ok(Outcome::without(images.len() - readable))
    }
}

/// The `top` most probable classes, the first of equals first.
fn best(probabilities: &[f32], top: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|one, other| probabilities[*other].total_cmp(&probabilities[*one]));
    order.truncate(top);
    order
}

/// The images that the arguments name.
fn images(named: &[PathBuf]) -> Result<Vec<ImageFile>> {
    let mut images = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line.context("standard input")?;
                if !line.trim_ascii().is_empty() {
                    images.push(ImageFile::Path(path_of(line.strip_suffix(b"\r").unwrap_or(&line))));
                }
            }
        } else if path.is_dir() {
            let found = ImageFile::in_folder(path)?;
            if found.is_empty() {
                bail!("{}: no images in this folder", path.display());
            }
            images.extend(found);
        } else {
            images.push(ImageFile::Path(path.clone()));
        }
    }
    Ok(images)
}

/// A path as the system has it: bytes, in no encoding.
#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

/// A path, which is text on this system.
#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}
