//! `gram export`: a prompt in the formats of other programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use gram_experiments::whole_file;
use gram_features::matrix::values;
use gram_features::matrix_file::MatrixFile;
use gram_prompt::{Part, PromptFile, Source, coop_file};
use serde_json::json;

use crate::arguments::Common;
use crate::commands::prompting::{PromptingArguments, class_names};
use crate::{destination, output};

/// Arguments of `gram export`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram export --prompt prompt.safetensors --to coop --out model.pth.tar-0\n  \
                        gram export --templates imagenet-7 --classes cat,dog --to classifier --out weights.npy"
)]
pub struct ExportArguments {
    /// The model and its prompt.
    #[command(flatten)]
    prompting: PromptingArguments,
    /// coop: CoOp's own file. classifier: a row of features for each class, .npy or .safetensors.
    #[arg(long)]
    to: Format,
    /// The classes of a classifier, separated by commas, or a file with one per line. Default: the prompt's
    /// own.
    #[arg(long, value_name = "NAMES")]
    classes: Option<String>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Coop,
    Classifier,
}

/// Runs the command.
pub fn run(arguments: &ExportArguments, common: &Common) -> Result<()> {
    destination::file(&arguments.out)?;
    arguments.prompting.check_out(&arguments.out)?;
    match arguments.to {
        Format::Coop => {
            let is_one = |path: &Path| {
                PromptFile::load(path, &Device::flex()).is_ok_and(|file| file.source != Source::Gram)
            };
            destination::file_of_kind("--out", &arguments.out, "prompt of CoOp's", is_one)?;
            coop(arguments)?;
        }
        Format::Classifier => {
            // NumPy's format keeps no names; beside features it is one of theirs.
            let is_one = |path: &Path| {
                let beside = path.with_file_name("embedding.json");
                let is_numpy = path.extension().is_some_and(|ending| ending == "npy");
                MatrixFile::read(path)
                    .is_ok_and(|matrix| matrix.names.is_some() || is_numpy && !beside.is_file())
            };
            destination::file_of_kind("--out", &arguments.out, "classifier", is_one)?;
            classifier(arguments, common)?;
        }
    }
    match common.json {
        true => output::json(&json!({"file": arguments.out.to_string_lossy()}))?,
        false => output::line(arguments.out.display())?,
    }
    Ok(())
}

fn coop(arguments: &ExportArguments) -> Result<()> {
    let prompt = arguments.prompting.prompt(&Device::flex())?;
    let (path, file) = prompt.context("name the prompt with --prompt")?;
    let bytes = coop_file::write(path, &file)?;
    whole_file::write(&arguments.out, &bytes)?;
    let settings = coop_file::settings(&file.header, &file.prompt);
    let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
    output::note(format!(
        "gram: CoOp's file does not say this, its configuration must: {}",
        settings.join(" ")
    ));
    Ok(())
}

fn classifier(arguments: &ExportArguments, common: &Common) -> Result<()> {
    let names = arguments.classes.as_deref().map(class_names).transpose()?;
    if let Some((path, file)) = arguments.prompting.prompt(&Device::flex())? {
        ensure!(
            !file.header.kind.has(Part::Visual),
            "{}: its prompt tokens enter the image tower too, and whoever reads the matrix has a plain image tower, \
             which gives other answers: predict with the prompt itself, or export a textual one",
            path.display()
        );
    }
    let model = arguments.prompting.model(&common.compute()?)?;
    let classifier = arguments.prompting.classifier(&model, names, &[])?;
    let weights = classifier
        .weights()
        .context("a prompt of CoCoOp gives every image other class weights: there is no one matrix")?;
    let shape = weights.dims();
    let values = values(weights)?;
    let (names, model) = (Some(classifier.names), Some(model.identity()?));
    Ok(MatrixFile { shape, values, names, model }.write(&arguments.out)?)
}
