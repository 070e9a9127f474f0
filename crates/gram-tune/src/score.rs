//! How well images were classified: counts, and the measures that CLIP_benchmark reports.

use burn::tensor::Tensor;
use gram_clip::layers::indices;
use gram_features::image_batches::{batches, with_batches};
use gram_features::{FeatureError, Images};
use gram_prompt::{Classes, Placement, Prompt, PromptedClip};
use serde::{Deserialize, Serialize};

use crate::prepared::{EvaluationError, Prepared, TestSet};
use crate::tuned::Tuned;

/// Images whose features are classified at once.
const CLASSIFIED: usize = 60;

/// From images to logits `[images, classes]`.
type Classifier<'a> = Box<dyn Fn(&Images) -> Tensor<2> + 'a>;

/// A class among the five most probable counts for [`Score::top_five`].
const FIVE: usize = 5;

/// What was named rightly, image by image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// By class: images named rightly, of how many.
    by_class: Vec<(usize, usize)>,
    among_five: usize,
}

/// Measures of a classification, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Images whose own class is the most probable (CLIP_benchmark's `acc1`).
    pub accuracy: f64,
    /// Images whose own class is among the five most probable (`acc5`); none where there are fewer than five
    /// classes.
    pub top_five: Option<f64>,
    /// The mean over the classes that have images of the part that is named rightly
    /// (`mean_per_class_recall`).
    pub mean_per_class: f64,
}

impl Tally {
    /// Of no images yet.
    pub fn new(classes: usize) -> Self {
        Self { by_class: vec![(0, 0); classes], among_five: 0 }
    }

    /// Counts an image by its logits or probabilities, one for each class, and the class that it is of. The
    /// first of equals is the most probable.
    pub fn add(&mut self, logits: &[f32], class: usize) {
        let own = logits[class];
        let before = |(other, logit): &(usize, &f32)| **logit > own || (**logit == own && *other < class);
        let place = logits.iter().enumerate().filter(before).count();
        // What is not a number has no place.
        let known = !own.is_nan();
        self.by_class[class].0 += usize::from(known && place == 0);
        self.by_class[class].1 += 1;
        self.among_five += usize::from(known && place < FIVE);
    }

    /// Images that were counted.
    pub fn images(&self) -> usize {
        self.by_class.iter().map(|(_, of)| of).sum()
    }

    /// The measures; zero where nothing was counted.
    pub fn score(&self) -> Score {
        let percent = |right: usize, of: usize| 100.0 * right as f64 / of.max(1) as f64;
        let images = self.images();
        let recalls: Vec<f64> =
            self.by_class.iter().filter(|(_, of)| *of > 0).map(|(right, of)| percent(*right, *of)).collect();
        Score {
            accuracy: percent(self.by_class.iter().map(|(right, _)| right).sum(), images),
            top_five: (self.by_class.len() >= FIVE).then(|| percent(self.among_five, images)),
            mean_per_class: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
        }
    }
}

impl Prepared<'_> {
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
                let (batches, preprocess) = (
                    batches(set.images.len(), self.model.compute().images_at_once()),
                    &self.model.preprocess,
                );
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
                        let features = self.model.clip.image_features(pixels.clone(), None);
                        cache.logits(&self.model.clip, features, text.clone())
                    }
                }),
                // Classes that the cache knows nothing of.
                (classes, _) => Box::new(move |images| zero_shot.logits(&none, &classes, images)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_weigh_as_much_as_others_in_the_mean_over_classes() {
        let mut tally = Tally::new(6);
        for _ in 0..3 {
            tally.add(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 0);
        }
        tally.add(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 4);
        tally.add(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 5);
        let score = tally.score();
        assert_eq!((score.accuracy, score.top_five), (60.0, Some(80.0)));
        assert!((score.mean_per_class - 100.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_first_of_equals_is_chosen_and_what_is_not_a_number_is_wrong() {
        let mut tally = Tally::new(2);
        tally.add(&[1.0, 1.0], 0);
        tally.add(&[1.0, 1.0], 1);
        tally.add(&[f32::NAN, 1.0], 0);
        assert_eq!(tally.score(), Score { accuracy: 100.0 / 3.0, top_five: None, mean_per_class: 25.0 });
    }
}
