//! A classifier that is ready: class names under hand-written sentences or a learned prompt, and images against them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use gram_clip::{Model, Signal};
use gram_data::readable_name;
use gram_features::Images;
use gram_prompt::{ClassStore, Classes, Part, Placement, Prompt, PromptFile, PromptedClip, Template};

use gram_experiments::starts::check_model;
use gram_features::matrix_file::MatrixFile;

/// Classes under a prompt that does not move any more.
#[derive(Clone, Debug)]
pub struct Classifier<'a> {
    clip: PromptedClip<'a>,
    model: &'a Model,
    /// The classes' names.
    pub names: Vec<String>,
    classes: Classes,
    prompt: Prompt,
}

impl<'a> Classifier<'a> {
    /// Zero-shot: the features of each name in every template, averaged and normalised again.
    ///
    /// # Errors
    /// If there is no name, or one with a template is longer than the model reads.
    pub fn zero_shot(model: &'a Model, names: Vec<String>, templates: &[Template]) -> Result<Self> {
        ensure!(!names.is_empty(), "no class to choose from: name some with --classes");
        ensure!(!templates.is_empty(), "no template");
        let store = ClassStore::ensemble(&names, templates, &model.clip, &model.tokenizer)?;
        let all: Vec<usize> = (0..names.len()).collect();
        Ok(Self::of_classes(model, names, store.classes(&all, &model.device())))
    }

    /// Under the prompt of a file. Without names, the classes are those that it was tuned on.
    ///
    /// # Errors
    /// If the prompt is for another model, there is no name, or one is too long.
    pub fn prompted(
        model: &'a Model,
        names: Option<Vec<String>>,
        path: &Path,
        file: &PromptFile,
    ) -> Result<Self> {
        check_model(file, path, model)?;
        let names = names.unwrap_or_else(|| file.header.classes.clone());
        ensure!(
            !names.is_empty(),
            "{}: it was tuned on no classes: name some with --classes",
            path.display()
        );
        let placement = file.header.placement;
        ensure!(
            !placement.is_class_specific() || names.len() == placement.contexts,
            "{}: it has contexts for {} classes, not for {}: name those that it was tuned on, in their order",
            path.display(),
            placement.contexts,
            names.len()
        );
        let template: Template = file.header.template.parse()?;
        let (clip, prompt) = (PromptedClip::new(model, placement), file.prompt.clone());
        let Some(context) = prompt.get(Part::Text) else {
            return Ok(Self { clip, prompt, ..Self::zero_shot(model, names, &[template])? });
        };
        let tokens = context.dims()[0] / placement.contexts;
        let sentences = names
            .iter()
            .map(|name| template.name(name, tokens, &model.clip, &model.tokenizer))
            .collect::<Result<Vec<_>, _>>()?;
        let classes = clip.fixed(&prompt, Classes::Sentences(sentences));
        let names = readable(&names);
        Ok(Self { clip, model, names, classes, prompt })
    }

    /// From a matrix with a row for each class; rows are normalised.
    ///
    /// # Errors
    /// If rows and names are not as many, or the matrix is for another model.
    pub fn of_weights(
        model: &'a Model,
        names: Option<Vec<String>>,
        path: &Path,
        matrix: MatrixFile,
    ) -> Result<Self> {
        match &matrix.model {
            Some(made_for) => {
                made_for.check(&model.identity()?).with_context(|| path.display().to_string())?
            }
            None => log::warn!(
                "{}: it does not say which model it is for, as .npy cannot: only its width is checked",
                path.display()
            ),
        }
        let [rows, width] = matrix.shape;
        let (path, joint) = (path.display(), model.clip.config.projection_dim);
        ensure!(width == joint, "{path}: {width} columns, but {} has features of {joint}", model.name);
        let Some(names) = names.or(matrix.names) else { bail!("{path}: it names no classes: use --classes") };
        ensure!(names.len() == rows, "{path}: {rows} rows, but {} classes", names.len());
        let text: Tensor<2> =
            Tensor::from_data(TensorData::new(matrix.values, [rows, width]), &model.device());
        Ok(Self::of_classes(model, names, Classes::Features(Signal::from(text).normalize().value)))
    }

    /// Without a prompt.
    fn of_classes(model: &'a Model, names: Vec<String>, classes: Classes) -> Self {
        let clip = PromptedClip::new(model, Placement::default());
        let names = readable(&names);
        Self { clip, model, names, classes, prompt: Prompt::none() }
    }

    /// Normalised features of the classes, `[classes, joint width]`; none where each image has its own.
    pub fn weights(&self) -> Option<Tensor<2>> {
        if let Classes::Features(features) = &self.classes { Some(features.clone()) } else { None }
    }

    /// Probabilities `[images, classes]` of images, `[images, 3, side, side]` (eq. 1).
    pub fn probabilities(&self, pixels: Tensor<4>) -> Tensor<2> {
        softmax(self.logits(pixels), 1)
    }

    /// Logits `[images, classes]` of images, `[images, 3, side, side]` (eq. 1).
    pub fn logits(&self, pixels: Tensor<4>) -> Tensor<2> {
        let visual = self.clip.visual_prompt(self.prompt.get(Part::Visual));
        let pixels = pixels.to_device(&self.model.device());
        let images = Images::Features(self.model.clip.vision.features(pixels, visual.as_ref()));
        self.clip.logits(&self.prompt, &self.classes, &images)
    }
}

fn readable(names: &[String]) -> Vec<String> {
    names.iter().map(|name| readable_name(name)).collect()
}
