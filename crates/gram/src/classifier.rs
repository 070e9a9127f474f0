//! A classifier that is ready: class names under hand-written sentences or a learned prompt, and images against them.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use gram_clip::text_tower::Batching;
use gram_clip::{Model, Signal};
use gram_prompt::{ClassStore, Modality, PromptFile, Template};

use crate::clustering::device;
use crate::matrix_file::MatrixFile;

/// Classes with their features, and what the vision tower is prompted with.
#[derive(Clone, Debug)]
pub struct Classifier<'a> {
    model: &'a Model,
    /// The classes' names.
    pub names: Vec<String>,
    /// `[classes, joint width]`, normalised.
    text: Tensor<2>,
    /// `[prompt vectors, width]`
    visual: Option<Tensor<2>>,
}

impl<'a> Classifier<'a> {
    /// Zero-shot: the features of each name in every template, averaged and normalised again.
    ///
    /// # Errors
    /// If there is no name, or one with a template is longer than the model reads.
    pub fn zero_shot(model: &'a Model, names: Vec<String>, templates: &[Template]) -> Result<Self> {
        ensure!(!names.is_empty(), "no class to choose from: name some with --classes");
        let mut sum: Option<Tensor<2>> = None;
        for template in templates {
            let features = ClassStore::hand_written(&names, template, &model.clip, &model.tokenizer)?;
            if let ClassStore::Features(features) = features {
                sum = Some(sum.map_or(features.clone(), |sum| sum + features));
            }
        }
        let text = sum.ok_or_else(|| anyhow::anyhow!("no template"))?;
        Ok(Self { text: Signal::from(text).normalize().value, model, names, visual: None })
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
        file.check_model(path, &model.name, &model.clip)?;
        let names = names.unwrap_or_else(|| file.header.classes.clone());
        ensure!(
            !names.is_empty(),
            "{}: it was tuned on no classes: name some with --classes",
            path.display()
        );
        let template: Template = file.header.template.parse()?;
        let visual = file.prompt.get(Modality::Visual).cloned();
        let Some(context) = file.prompt.get(Modality::Text).cloned() else {
            return Ok(Self { visual, ..Self::zero_shot(model, names, &[template])? });
        };
        let tokens = context.dims()[0];
        let sentences = names
            .iter()
            .map(|name| template.name(name, tokens, &model.clip, &model.tokenizer))
            .collect::<Result<Vec<_>, _>>()?;
        let start = model.tokenizer.start();
        let text = model.clip.text.forward(start, Some(context.into()), &sentences, Batching::ByLength).value;
        Ok(Self { model, names, text, visual })
    }

    /// From a matrix with a row for each class; rows are normalised.
    ///
    /// # Errors
    /// If rows and names are not as many, or the matrix has another width than the model.
    pub fn of_weights(
        model: &'a Model,
        names: Option<Vec<String>>,
        path: &Path,
        matrix: MatrixFile,
    ) -> Result<Self> {
        let [rows, width] = matrix.shape;
        let (path, joint) = (path.display(), model.clip.config.projection_dim);
        ensure!(width == joint, "{path}: {width} columns, but {} has features of {joint}", model.name);
        let Some(names) = names.or(matrix.names) else { bail!("{path}: it names no classes: use --classes") };
        ensure!(names.len() == rows, "{path}: {rows} rows, but {} classes", names.len());
        let text = Tensor::from_data(TensorData::new(matrix.values, [rows, width]), &device(model));
        Ok(Self { text: Signal::from(text).normalize().value, model, names, visual: None })
    }

    /// Normalised features of the classes, `[classes, joint width]`.
    pub fn weights(&self) -> Tensor<2> {
        self.text.clone()
    }

    /// Probabilities `[images, classes]` of images, `[images, 3, side, side]` (eq. 1).
    pub fn probabilities(&self, pixels: Tensor<4>) -> Tensor<2> {
        let image =
            self.model.clip.vision.features(pixels.to_device(&device(self.model)), self.visual.as_ref());
        softmax(self.model.clip.logits(image.into(), self.text.clone().into()).value, 1)
    }
}
