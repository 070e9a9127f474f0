//! A labelled dataset with a model: decoded images, features computed once, and class names ready for either tower.

use burn::tensor::{Device, Tensor};
use gram_clip::{ClipError, Model};
use gram_data::random::indexed_stream;
use gram_data::{Augmentation, ClassSubset, DataError, LabelledDataset, Split};
use gram_prompt::image_store::{indices, pixels};
use gram_prompt::prompted_clip::accuracy;
use gram_prompt::{
    ClassStore, Classes, ImageStore, Images, Part, PixelStore, Placement, Prompt, PromptedClip, Template,
};
use image::RgbImage;
use rayon::prelude::*;

use crate::adaptation::TuningSet;
use crate::results::Method;

/// Images that pass through a prompted tower at once.
const BATCH: usize = 60;

/// Why a dataset could not be prepared or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// An image or manifest cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot read a class or image.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// There are no images to tune on or to test.
    #[error(
        "dataset {dataset}: no {split} images of the {classes} classes: check the split and domain columns"
    )]
    Empty {
        /// The dataset.
        dataset: String,
        /// Which images.
        split: Split,
        /// Of which classes.
        classes: String,
    },
}

/// A dataset, ready for any method.
pub struct Prepared<'a> {
    /// The dataset.
    pub dataset: &'a LabelledDataset,
    model: &'a Model,
    template: &'a Template,
    images: Vec<RgbImage>,
    /// Through the frozen tower, `[images, joint width]`.
    features: Tensor<2>,
    hand_written: ClassStore,
    device: &'a Device,
}

/// Test images of some classes.
pub struct TestSet {
    images: Vec<usize>,
    classes: Vec<usize>,
    labels: Vec<usize>,
}

impl<'a> Prepared<'a> {
    /// Decodes all images and computes their features.
    ///
    /// # Errors
    /// [`EvaluationError`] names the image or class that cannot be read.
    pub fn new(
        dataset: &'a LabelledDataset,
        model: &'a Model,
        template: &'a Template,
        device: &'a Device,
    ) -> Result<Self, EvaluationError> {
        let images =
            dataset.images.par_iter().map(|image| image.image.decode()).collect::<Result<Vec<_>, _>>()?;
        let store = PixelStore::new(images.clone(), model.preprocess.clone());
        let features = store.features(&model.clip, device)?;
        let hand_written =
            ClassStore::hand_written(&dataset.classes, template, &model.clip, &model.tokenizer)?;
        Ok(Self { dataset, model, template, images, features, hand_written, device })
    }

    /// The frozen model, ready for prompts.
    pub fn clip(&self) -> PromptedClip<'a> {
        PromptedClip::new(self.model, Placement::default())
    }

    /// The few shots that `chosen` names, as `epochs` augmented views, for a method.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn tuning_set(
        &self,
        method: Method,
        prompt: &Prompt,
        chosen: &[usize],
        classes: ClassSubset,
        views: &Views,
    ) -> Result<TuningSet, EvaluationError> {
        let first = classes.indices(self.dataset.classes.len()).start;
        let labels = chosen.iter().map(|image| self.dataset.images[*image].class - first).collect();
        let views = match method.prompts(Part::Visual) {
            true => views.pixels.iter().map(|view| ImageStore::Pixels(view.clone())).collect(),
            false => views.features.iter().map(|view| ImageStore::Features(view.clone())).collect(),
        };
        let classes: Vec<usize> = classes.indices(self.dataset.classes.len()).collect();
        Ok(TuningSet { classes: self.classes(prompt, &classes)?, views, labels })
    }

    /// Augmented views of the chosen images, one per epoch, the same for every method.
    ///
    /// # Errors
    /// [`EvaluationError::Clip`].
    pub fn views(
        &self,
        chosen: &[usize],
        augmentation: &Augmentation,
        epochs: usize,
        seed: u64,
    ) -> Result<Views, EvaluationError> {
        let view = |epoch: usize| {
            let varied = chosen.par_iter().map(|image| {
                let draw = (epoch * self.images.len() + image) as u64;
                augmentation.apply(&self.images[*image], &mut indexed_stream(seed, "adaptation views", draw))
            });
            PixelStore::new(varied.collect(), self.model.preprocess.clone())
        };
        let pixels: Vec<PixelStore> = (0..epochs).map(view).collect();
        let features = pixels.iter().map(|view| view.features(&self.model.clip, self.device));
        Ok(Views { features: features.collect::<Result<_, _>>()?, pixels })
    }

    /// Test images of some classes and, if one is named, of one domain.
    ///
    /// # Errors
    /// [`EvaluationError::Empty`].
    pub fn test_set(&self, classes: ClassSubset, domain: Option<usize>) -> Result<TestSet, EvaluationError> {
        let images = self.dataset.select(Split::Test, classes, domain);
        if images.is_empty() {
            let (dataset, classes) = (self.dataset.name.clone(), format!("{classes:?}").to_lowercase());
            return Err(EvaluationError::Empty { dataset, split: Split::Test, classes });
        }
        let range = classes.indices(self.dataset.classes.len());
        let labels = images.iter().map(|image| self.dataset.images[*image].class - range.start).collect();
        Ok(TestSet { images, classes: range.collect(), labels })
    }

    /// Accuracy in percent on test images under a prompt.
    ///
    /// # Errors
    /// [`EvaluationError::Clip`].
    pub fn accuracy(&self, prompt: &Prompt, set: &TestSet) -> Result<f64, EvaluationError> {
        let classes = self.classes(prompt, &set.classes)?;
        let classes = self.clip().fixed(prompt, classes);
        let visual = prompt.get(Part::Visual).is_some();
        let mut right = 0.0;
        for (images, labels) in set.images.chunks(BATCH).zip(set.labels.chunks(BATCH)) {
            let store = match visual {
                true => {
                    let chosen = images.iter().map(|image| &self.images[*image]);
                    Images::Pixels(pixels(chosen, &self.model.preprocess, self.device)?)
                }
                false => Images::Features(self.features.clone().select(0, indices(images, self.device))),
            };
            let logits = self.clip().logits(prompt, None, &classes, &store).value;
            right += f64::from(accuracy(logits, indices(labels, self.device))) * labels.len() as f64;
        }
        Ok(right / set.labels.len() as f64)
    }

    /// Classes for a prompt: tokens if it speaks to the text tower, features of the hand-written sentences if not.
    fn classes(&self, prompt: &Prompt, chosen: &[usize]) -> Result<Classes, ClipError> {
        let Some(context) = prompt.get(Part::Text) else {
            return Ok(self.hand_written.classes(chosen, self.device));
        };
        let names: Vec<String> = chosen.iter().map(|class| self.dataset.classes[*class].clone()).collect();
        let (clip, tokenizer) = (&self.model.clip, &self.model.tokenizer);
        let store = ClassStore::prompted(&names, self.template, context.dims()[0], clip, tokenizer)?;
        Ok(store.classes(&(0..names.len()).collect::<Vec<_>>(), self.device))
    }
}

/// The tuning images as every epoch sees them.
pub struct Views {
    pixels: Vec<PixelStore>,
    features: Vec<Tensor<2>>,
}
