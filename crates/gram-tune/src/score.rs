//! How well images were classified: counts, and the measures that CLIP_benchmark reports.

use serde::{Deserialize, Serialize};

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
