//! What `gram predict` and `gram eval` have in common: a model, and what its classes are asked with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use clap::Args;
use gram::Classifier;
use gram_clip::{Compute, Model, ModelIdentity};
use gram_data::{are_numbers, read_class_list, readable_name};
use gram_experiments::starts::{model_of, note_doubt};
use gram_features::matrix_file::MatrixFile;
use gram_hub::model::open_model_or_own;
use gram_hub::templates::ensemble;
use gram_prompt::{ClassPosition, PromptFile, Template};

use crate::output;
use crate::progress::bar;

/// The model and its prompt.
#[derive(Args, Debug)]
pub struct PromptingArguments {
    /// A checkpoint, an id on the hub, or the built-in `tiny`. Default: the model that the prompt or the
    /// classifier was made with, or `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Image size in pixels, if it is not the model's own. Position embeddings are interpolated.
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// A learned prompt: gram's own file, or CoOp's prompt_learner/model.pth.tar-N.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["template", "templates"])]
    prompt: Option<PathBuf>,
    /// Position of the class name in a prompt in CoOp's format, whose file does not say it: end, middle or
    /// front.
    #[arg(long, value_name = "WHERE", requires = "prompt")]
    class_position: Option<ClassPosition>,
    /// A classifier: a matrix with a row for each class, .npy or .safetensors.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "template", "templates"])]
    weights: Option<PathBuf>,
    /// Prompt template. Default: the dataset's own where there is one, else `a photo of a {}`. Given several
    /// times, text features are averaged.
    #[arg(long, value_name = "TEXT")]
    template: Vec<Template>,
    /// A file with one prompt template per line, or the built-in `imagenet-80` or `imagenet-7`.
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    templates: Option<String>,
}

/// The sentence where none is given.
const TEMPLATE: &str = "a photo of a {}";

impl PromptingArguments {
    /// The model.
    pub fn model(&self, compute: &Compute) -> Result<Model> {
        let model = open_model_or_own(self.model.as_deref(), self.made_with()?, compute, &bar("download"))?;
        match self.image_size {
            Some(side) => Ok(model.at_image_size(side)?),
            None => Ok(model),
        }
    }

    /// The model that the prompt or the classifier says it was made with.
    fn made_with(&self) -> Result<Option<(&Path, ModelIdentity)>> {
        Ok(match (&self.prompt, &self.weights) {
            (Some(path), _) => model_of(path)?.map(|own| (path.as_path(), own)),
            (None, Some(path)) => MatrixFile::read(path)?.model.map(|own| (path.as_path(), own)),
            (None, None) => None,
        })
    }

    /// Checks that a result does not go where it comes from.
    pub fn check_out(&self, out: &Path) -> Result<()> {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        let is_out = |path: &&PathBuf| real(path).is_some() && real(path) == real(out);
        match self.prompt.iter().chain(&self.weights).find(is_out) {
            Some(path) => {
                bail!("--out {}: it would replace what it is made from: name another file", path.display())
            }
            None => Ok(()),
        }
    }

    /// The learned prompt and its path, if one is given.
    pub fn prompt(&self, device: &Device) -> Result<Option<(&Path, PromptFile)>> {
        let Some(path) = &self.prompt else { return Ok(None) };
        Ok(Some((path, load_prompt(path, self.class_position, device)?)))
    }

    /// The classifier of these classes; without names, of those that the prompt was tuned on. Where no
    /// sentence is given, those of the dataset are `own`, if it has any.
    pub fn classifier<'a>(
        &self,
        model: &'a Model,
        names: Option<Vec<String>>,
        own: &[Template],
    ) -> Result<Classifier<'a>> {
        if let Some(path) = &self.weights {
            return Ok(Classifier::of_weights(model, names, path, MatrixFile::read(path)?)?);
        }
        if let Some((path, file)) = self.prompt(&model.device())? {
            return Ok(Classifier::prompted(model, names, path, &file)?);
        }
        let templates = match (&self.templates, self.template.as_slice()) {
            (Some(name), _) => ensemble(name)?,
            (None, []) if own.is_empty() => vec![TEMPLATE.parse()?],
            (None, []) => own.to_vec(),
            (None, given) => given.to_vec(),
        };
        Ok(Classifier::zero_shot(model, names.unwrap_or_default(), &templates)?)
    }
}

/// Reads a prompt whose class names stand where `class_position` says, and says on standard error what its
/// file does not.
pub fn load_prompt(
    path: &Path,
    class_position: Option<ClassPosition>,
    device: &Device,
) -> Result<PromptFile> {
    let file = PromptFile::load(path, device)?.with_class_position(path, class_position)?;
    note_doubt(&file, path);
    Ok(file)
}

/// Endings of files with a list: no class is called so.
const LISTS: [&str; 6] = [".txt", ".csv", ".tsv", ".json", ".jsonl", ".names"];

/// Class names: those of a file, or a list between commas.
///
/// # Errors
/// If what looks like a file is none, or a class is named twice. To CLIP's tokenizer, capitals are small
/// letters.
pub fn class_names(list_or_path: &str) -> Result<Vec<String>> {
    let path = Path::new(list_or_path);
    let names: Vec<String> = match path.is_file() {
        true => read_class_list(path).context("--classes")?,
        false => {
            ensure!(
                !looks_like_a_file(list_or_path),
                "--classes {list_or_path}: there is no such file: name one with a class on each line, or classes \
                 separated by commas"
            );
            list_or_path.split(',').map(|name| name.trim().to_owned()).collect()
        }
    };
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    ensure!(!names.is_empty(), "--classes {list_or_path}: no class is named there");
    if are_numbers(&names) {
        output::note_once(format!(
            "gram: --classes {list_or_path}: its classes are numbers, and CLIP is asked for them as names"
        ));
    }
    let mut known = BTreeMap::new();
    for name in &names {
        match known.insert(readable_name(name).to_lowercase(), name) {
            Some(first) if first == name => bail!("--classes: `{name}` is named twice: leave one out"),
            Some(first) => bail!("--classes: `{first}` and `{name}` are one class to CLIP: leave one out"),
            None => {}
        }
    }
    Ok(names)
}

/// Whether a name is a path, or ends as files with lists do. A list between commas may have a `/` in its
/// names.
fn looks_like_a_file(name: &str) -> bool {
    let lower = name.trim().to_ascii_lowercase();
    let is_path = !name.contains(',') && name.contains(['/', '\\']);
    is_path || LISTS.iter().any(|ending| lower.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_file_is_no_class() {
        for name in ["clases.txt", "lists/classes", "tiger,classes.CSV", "C:\\classes"] {
            assert!(looks_like_a_file(name), "{name}");
        }
        for name in ["tiger", "tiger,AC/DC", "St. Bernard", "text"] {
            assert!(!looks_like_a_file(name), "{name}");
        }
    }
}
