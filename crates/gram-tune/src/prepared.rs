//! A labelled dataset with a model: class names ready for either tower, and features of test images computed
//! once.

use burn::tensor::{Device, Tensor};
use gram_clip::{ClipError, Model};
use gram_data::{ClassSubset, DataError, Split};
use gram_features::{Dataset, FeatureError};
use gram_prompt::{ClassSentence, ClassStore, Classes, Part, Placement, Prompt, Template};

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
    /// An image that is tuned or measured on cannot be read, or its features cannot.
    #[error(transparent)]
    Feature(#[from] FeatureError),
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
    /// A textual prompt has no vectors: it starts from words, and there are none.
    #[error("template `{template}`: write words before {{}}, which initialise a textual prompt")]
    NoWords {
        /// The template.
        template: String,
    },
    /// A prompt that has a context for each class was asked about others.
    #[error("contexts of {contexts} classes say nothing of {classes} others: tune one context for all")]
    Contexts {
        /// Classes that were tuned on.
        contexts: usize,
        /// Classes that were asked about.
        classes: usize,
    },
}

/// A dataset, ready for any method.
pub struct Prepared<'a> {
    /// The dataset.
    pub dataset: &'a Dataset,
    /// The model.
    pub model: &'a Model,
    /// The sentence of a learned prompt.
    pub template: &'a Template,
    /// Where tensors live: the model's device.
    pub device: Device,
    /// The test images, sorted, and their features through the frozen tower, `[images, joint width]`.
    pub(crate) tested: Option<(Vec<usize>, Tensor<2>)>,
    hand_written: ClassStore,
}

/// Test images of some classes.
pub struct TestSet {
    pub(crate) images: Vec<usize>,
    pub(crate) classes: Vec<usize>,
    pub(crate) labels: Vec<usize>,
}

impl<'a> Prepared<'a> {
    /// Computes the features of the classes in the sentence `hand_written`. In `template` names stand in a
    /// learned prompt.
    ///
    /// # Errors
    /// [`EvaluationError`] names the class that cannot be read; features of the dataset that were computed
    /// before may be of another model.
    pub fn new(
        dataset: &'a Dataset,
        model: &'a Model,
        template: &'a Template,
        hand_written: &Template,
    ) -> Result<Self, EvaluationError> {
        dataset.check(model)?;
        let hand_written =
            ClassStore::hand_written(&dataset.classes, hand_written, &model.clip, &model.tokenizer)?;
        Ok(Self { dataset, model, template, device: model.device(), tested: None, hand_written })
    }

    /// Asks for the classes in an ensemble of sentences, in the place of the one hand-written.
    ///
    /// # Errors
    /// [`EvaluationError`] names the class that cannot be read.
    pub fn asked_in(mut self, templates: &[Template]) -> Result<Self, EvaluationError> {
        let (clip, tokenizer) = (&self.model.clip, &self.model.tokenizer);
        self.hand_written = ClassStore::ensemble(&self.dataset.classes, templates, clip, tokenizer)?;
        Ok(self)
    }

    /// Computes the features of all test images ahead, once for all methods that do not prompt the vision
    /// tower.
    ///
    /// # Errors
    /// [`EvaluationError`] names the image that cannot be read.
    pub fn with_test_features(mut self) -> Result<Self, EvaluationError> {
        let tested = self.dataset.select(Split::Test, ClassSubset::All, None);
        let features = self.features(&tested)?;
        self.tested = Some((tested, features));
        Ok(self)
    }

    /// Features of images of the dataset through the frozen tower, `[images, joint width]`.
    ///
    /// # Errors
    /// [`EvaluationError`] names the image that cannot be read.
    pub fn features(&self, images: &[usize]) -> Result<Tensor<2>, EvaluationError> {
        Ok(self.dataset.features(images, self.model)?)
    }

    /// Features of the hand-written sentences of classes, `[classes, joint width]`.
    pub fn hand_written(&self, classes: &[usize]) -> Classes {
        self.hand_written.classes(classes, &self.device)
    }

    /// Names of classes.
    pub fn names(&self, classes: &[usize]) -> Vec<String> {
        classes.iter().map(|class| self.dataset.classes[*class].clone()).collect()
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

    /// Classes for a prompt: sentences if it speaks to the text tower, features of the hand-written ones if
    /// not.
    ///
    /// # Errors
    /// [`EvaluationError`] if a class is too long, or the prompt has a context for each of other classes.
    pub fn classes(
        &self,
        prompt: &Prompt,
        placement: Placement,
        chosen: &[usize],
    ) -> Result<Classes, EvaluationError> {
        let Some(context) = prompt.get(Part::Text) else { return Ok(self.hand_written(chosen)) };
        let (contexts, classes) = (placement.contexts, chosen.len());
        if placement.is_class_specific() && contexts != classes {
            return Err(EvaluationError::Contexts { contexts, classes });
        }
        Ok(Classes::Sentences(self.sentences(context.dims()[0] / contexts, chosen)?))
    }

    /// The sentences of classes around so many context tokens.
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the class.
    pub fn sentences(&self, tokens: usize, chosen: &[usize]) -> Result<Vec<ClassSentence>, ClipError> {
        let name = |class: &usize| {
            let name = &self.dataset.classes[*class];
            self.template.name(name, tokens, &self.model.clip, &self.model.tokenizer)
        };
        chosen.iter().map(name).collect()
    }
}
