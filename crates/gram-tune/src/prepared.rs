//! A labelled dataset with a model: class names ready for either tower, and features of test images computed
//! once.

use burn::tensor::{Device, Tensor};
use gram_clip::layers::indices;
use gram_clip::{ClipError, Model};
use gram_data::{ClassSubset, DataError, Split};
use gram_features::image_batches::{BATCH, batches, with_batches};
use gram_features::{Dataset, FeatureError, Images};
use gram_prompt::{ClassSentence, ClassStore, Classes, Part, Placement, Prompt, PromptedClip, Template};

use crate::score::{Score, Tally};
use crate::tuned::Tuned;

/// Images whose features are classified at once.
const CLASSIFIED: usize = 60;

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
    /// A prompt that has a context for each class was asked about others.
    #[error("contexts of {contexts} classes say nothing of {classes} others: tune one context for all")]
    Contexts {
        /// Classes that were tuned on.
        contexts: usize,
        /// Classes that were asked about.
        classes: usize,
    },
}

/// From images to logits `[images, classes]`.
type Classifier<'a> = Box<dyn Fn(&Images) -> Tensor<2> + 'a>;

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
    tested: Option<(Vec<usize>, Tensor<2>)>,
    hand_written: ClassStore,
}

/// Test images of some classes.
pub struct TestSet {
    images: Vec<usize>,
    classes: Vec<usize>,
    labels: Vec<usize>,
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

    /// How well test images are classified.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn score(&self, tuned: &Tuned, set: &TestSet) -> Result<Score, EvaluationError> {
        let logits = self.classifier(tuned, &set.classes)?;
        let mut tally = Tally::new(set.classes.len());
        let mut count = |images: &Images, labels: &[usize]| {
            let values: Vec<f32> = logits(images).into_data().try_to_vec().unwrap_or_default();
            for (logits, label) in values.chunks_exact(set.classes.len()).zip(labels) {
                tally.add(logits, *label);
            }
        };
        match &self.tested {
            Some((tested, features)) if tuned.visual().is_none() => {
                for (images, labels) in set.images.chunks(CLASSIFIED).zip(set.labels.chunks(CLASSIFIED)) {
                    let row = |image: &usize| tested.partition_point(|tested| tested < image);
                    let rows = indices(&images.iter().map(row).collect::<Vec<_>>(), &self.device);
                    count(&Images::Features(features.clone().select(0, rows)), labels);
                }
            }
            _ => {
                let decode = |place: usize| self.dataset.at_model_side(set.images[place], self.model);
                let (batches, preprocess) = (batches(set.images.len(), BATCH), &self.model.preprocess);
                with_batches(batches, &decode, preprocess, &self.device, |batches| {
                    for batch in batches {
                        let batch = batch.complete()?;
                        let labels: Vec<usize> = batch.rows.iter().map(|row| set.labels[*row]).collect();
                        batch.pixels.into_iter().for_each(|pixels| count(&Images::Pixels(pixels), &labels));
                    }
                    Ok::<_, FeatureError>(())
                })?;
            }
        }
        Ok(tally.score())
    }

    /// Logits `[images, classes]` of classes by their numbers, whose features are computed once if they can
    /// be.
    fn classifier<'b>(
        &'b self,
        tuned: &'b Tuned,
        chosen: &[usize],
    ) -> Result<Classifier<'b>, EvaluationError> {
        let zero_shot = PromptedClip::new(self.model, Placement::default());
        let none = Prompt::none();
        Ok(match tuned {
            Tuned::Prompt(prompt, placement) => {
                let clip = PromptedClip::new(self.model, *placement);
                let classes = clip.fixed(prompt, self.classes(prompt, *placement, chosen)?);
                Box::new(move |images| clip.logits(prompt, &classes, images))
            }
            Tuned::Collection(collection) => {
                let sentences = self.sentences(collection.tokens(), chosen)?;
                let start = self.model.tokenizer.start();
                let classes = Classes::Features(collection.mean(&self.model.clip, start, &sentences));
                Box::new(move |images| zero_shot.logits(&none, &classes, images))
            }
            Tuned::Cache(cache, classes) => match (self.hand_written(chosen), *classes == self.names(chosen))
            {
                (Classes::Features(text), true) => Box::new(move |images| match images {
                    Images::Features(features) => {
                        cache.logits(&self.model.clip, features.clone(), text.clone())
                    }
                    Images::Pixels(pixels) => {
                        let features = self.model.clip.vision.features(pixels.clone(), None);
                        cache.logits(&self.model.clip, features, text.clone())
                    }
                }),
                // Classes that the cache knows nothing of.
                (classes, _) => Box::new(move |images| zero_shot.logits(&none, &classes, images)),
            },
        })
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
