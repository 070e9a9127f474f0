//! What became of every image: which classes are mixed up, and whether probabilities can be trusted.

use serde::Serialize;

/// Intervals of confidence that [`Calibration`] has, as Guo et al. have.
const BINS: usize = 15;

/// How an image was classified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The number of the image.
    pub image: usize,
    /// Its class.
    pub class: usize,
    /// The most probable class; the first of equals.
    pub named: usize,
    /// The probability of that class.
    pub confidence: f64,
    /// The probability of its own class.
    pub own: f64,
}

impl Answer {
    /// Of an image by its logits, one for each class. None where one is not a number.
    pub fn new(image: usize, class: usize, logits: &[f32]) -> Option<Self> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return None;
        }
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let named = logits.iter().position(|logit| *logit == largest)?;
        let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        Some(Self { image, class, named, confidence: powers[named] / sum, own: powers[class] / sum })
    }

    /// Whether the image was named rightly.
    pub fn is_right(&self) -> bool {
        self.class == self.named
    }
}

/// A class, and how many of its images were named rightly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Its name.
    pub class: String,
    /// Its images.
    pub images: usize,
    /// Those that were named rightly, in percent; none where it has no image.
    pub accuracy: Option<f64>,
}

/// Images of one class that were taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Their class.
    pub class: String,
    /// What they were taken for.
    pub named: String,
    /// How many.
    pub images: usize,
}

/// Whether images that get a probability of 80 % are named rightly in 80 of 100 cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error, in percentage points: how far confidence and accuracy are apart, as a mean
    /// over all images (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3).
    pub expected_error: f64,
    /// Intervals of confidence that have images, from low to high.
    pub bins: Vec<CalibrationBin>,
}

/// Images whose confidence is in an interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Above this, in percent; the first has 0, too.
    pub above: f64,
    /// Up to this.
    pub up_to: f64,
    /// How many.
    pub images: usize,
    /// Their mean confidence, in percent.
    pub confidence: f64,
    /// Those that were named rightly, in percent.
    pub accuracy: f64,
}

/// All answers, looked at together.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// An answer for each image, in the order of the images.
    pub answers: Vec<Answer>,
}

impl Examination {
    /// By class, in their order.
    pub fn by_class(&self) -> Vec<ClassScore> {
        let mut counts = vec![[0, 0]; self.classes.len()];
        for answer in &self.answers {
            counts[answer.class][0] += 1;
            counts[answer.class][1] += usize::from(answer.is_right());
        }
        let score = |(class, [images, right]): (&String, [usize; 2])| ClassScore {
            class: class.clone(),
            images,
            accuracy: (images > 0).then(|| percent(right, images)),
        };
        self.classes.iter().zip(counts).map(score).collect()
    }

    /// How many images of each class were named as each: `[classes][classes]`.
    pub fn matrix(&self) -> Vec<Vec<usize>> {
        let mut matrix = vec![vec![0; self.classes.len()]; self.classes.len()];
        self.answers.iter().for_each(|answer| matrix[answer.class][answer.named] += 1);
        matrix
    }

    /// Classes that are taken for others, the most usual first.
    pub fn confusions(&self) -> Vec<Confusion> {
        let mut pairs = std::collections::BTreeMap::new();
        for answer in self.answers.iter().filter(|answer| !answer.is_right()) {
            *pairs.entry((answer.class, answer.named)).or_insert(0) += 1;
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|((class, named), images)| (std::cmp::Reverse(*images), *class, *named));
        let name = |class: usize| self.classes[class].clone();
        let confusion =
            |((class, named), images)| Confusion { class: name(class), named: name(named), images };
        pairs.into_iter().map(confusion).collect()
    }

    /// Whether probabilities can be trusted.
    pub fn calibration(&self) -> Calibration {
        let mut bins = vec![Vec::new(); BINS];
        for answer in &self.answers {
            let place = (answer.confidence * BINS as f64).ceil() as usize;
            bins[place.clamp(1, BINS) - 1].push(answer);
        }
        let bin = |(place, answers): (usize, Vec<&Answer>)| {
            let right = answers.iter().filter(|answer| answer.is_right()).count();
            let confidence: f64 = answers.iter().map(|answer| answer.confidence).sum();
            CalibrationBin {
                above: percent(place, BINS),
                up_to: percent(place + 1, BINS),
                images: answers.len(),
                confidence: 100.0 * confidence / answers.len() as f64,
                accuracy: percent(right, answers.len()),
            }
        };
        let bins: Vec<CalibrationBin> =
            bins.into_iter().enumerate().filter(|(_, answers)| !answers.is_empty()).map(bin).collect();
        let apart = |bin: &CalibrationBin| bin.images as f64 * (bin.accuracy - bin.confidence).abs();
        let expected_error = bins.iter().map(apart).sum::<f64>() / self.answers.len().max(1) as f64;
        Calibration { expected_error, bins }
    }

    /// Wrong answers, the most confident first.
    pub fn mistakes(&self) -> Vec<Answer> {
        let mut wrong: Vec<Answer> =
            self.answers.iter().filter(|answer| !answer.is_right()).copied().collect();
        wrong.sort_by(|one, other| {
            other.confidence.total_cmp(&one.confidence).then(one.image.cmp(&other.image))
        });
        wrong
    }
}

fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 images of 4 classes, by a formula that Python has, too.
    fn examination() -> Examination {
        let logits = |image: usize| -> Vec<f32> {
            (0..4)
                .map(|class| ((image * image * 7 + class * 13 + image * class * 5) % 11) as f32 / 3.0)
                .collect()
        };
        let answer = |image: usize| {
            let named = Answer::new(image, 0, &logits(image)).unwrap().named;
            Answer::new(image, if image.is_multiple_of(3) { named } else { (image * 5) % 4 }, &logits(image))
                .unwrap()
        };
        let classes = ["ant", "bee", "cat", "dog"].map(str::to_owned).to_vec();
        Examination { classes, answers: (0..60).map(answer).collect() }
    }

    #[test]
    fn the_matrix_is_that_of_scikit_learn() {
        let examination = examination();
        let expected = [[11, 1, 2, 2], [5, 3, 3, 1], [3, 0, 9, 4], [2, 1, 3, 10]];
        assert_eq!(examination.matrix(), expected);
        let by_class = examination.by_class();
        assert_eq!((by_class[1].images, by_class[1].accuracy), (12, Some(25.0)));
        let confusions = examination.confusions();
        let first = Confusion { class: "bee".into(), named: "ant".into(), images: 5 };
        let second = Confusion { class: "cat".into(), named: "dog".into(), images: 4 };
        assert_eq!(confusions[..2], [first, second]);
        assert_eq!(confusions.iter().map(|confusion| confusion.images).sum::<usize>(), 27);
    }

    #[test]
    fn the_calibration_error_is_that_of_torchmetrics() {
        // multiclass_calibration_error(softmax(logits), labels, 4, n_bins=15, norm="l1")
        let calibration = examination().calibration();
        assert!((calibration.expected_error - 11.453618854284286).abs() < 1e-5, "{calibration:?}");
        assert_eq!(calibration.bins.iter().map(|bin| bin.images).sum::<usize>(), 60);
    }

    #[test]
    fn mistakes_come_with_the_most_confident_first() {
        let examination = examination();
        let mistakes = examination.mistakes();
        assert_eq!(mistakes.len(), 27);
        assert!(mistakes.is_sorted_by(|one, other| one.confidence >= other.confidence));
        assert!(mistakes.iter().all(|answer| answer.own <= answer.confidence));
    }

    #[test]
    fn a_logit_that_is_no_number_gives_no_answer_and_the_first_of_equals_is_named() {
        assert_eq!(Answer::new(0, 0, &[1.0, f32::NAN]), None);
        let answer = Answer::new(0, 1, &[2.0, 2.0]).unwrap();
        assert_eq!((answer.named, answer.confidence, answer.own), (0, 0.5, 0.5));
    }

    #[test]
    fn of_no_images_there_is_nothing_to_say() {
        let none = Examination { classes: vec!["ant".into()], answers: Vec::new() };
        assert_eq!(none.calibration(), Calibration { expected_error: 0.0, bins: Vec::new() });
        assert_eq!(none.by_class()[0].accuracy, None);
    }
}
