//! A classifier that is ready: class names under hand-written sentences or a learned prompt, and images
//! against them.

use std::path::Path;

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use gram_clip::{Model, Signal};
use gram_data::{ImageFile, Progress, readable_name};
use gram_experiments::starts::check_model;
use gram_features::image_batches::{batches, for_each_batch};
use gram_features::matrix::values;
use gram_features::{FeatureError, Images, MatrixFile};
use gram_prompt::{ClassStore, Classes, Part, Placement, Prompt, PromptFile, PromptedClip, Template};

use crate::Error;

/// What an image most probably shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The class.
    pub class: String,
    /// Its probability among the classes that were asked for.
    pub probability: f32,
}

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
    pub fn zero_shot(model: &'a Model, names: Vec<String>, templates: &[Template]) -> Result<Self, Error> {
        require(!names.is_empty(), || "no class to choose from: name some with --classes".to_owned())?;
        require(!templates.is_empty(), || "no template".to_owned())?;
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
    ) -> Result<Self, Error> {
        check_model(file, path, model)?;
        let names = names.unwrap_or_else(|| file.header.classes.clone());
        require(!names.is_empty(), || {
            format!("{}: it was tuned on no classes: name some with --classes", path.display())
        })?;
        let placement = file.header.placement;
        require(!placement.is_class_specific() || names.len() == placement.contexts, || {
            format!(
                "{}: it has contexts for {} classes, not for {}: name those that it was tuned on, in their order",
                path.display(),
                placement.contexts,
                names.len()
            )
        })?;
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
    ) -> Result<Self, Error> {
        match &matrix.model {
            Some(made_for) => made_for
                .check(&model.identity()?)
                .map_err(|error| Error::Refused(format!("{}: {error}", path.display())))?,
            None => log::warn!(
                "{}: it does not say which model it is for, as .npy cannot: only its width is checked",
                path.display()
            ),
        }
        let [rows, width] = matrix.shape;
        let (path, joint) = (path.display(), model.clip.config.projection_dim);
        require(width == joint, || {
            format!("{path}: {width} columns, but {} has features of {joint}", model.name)
        })?;
        let Some(names) = names.or(matrix.names) else {
            return Err(Error::Refused(format!("{path}: it names no classes: use --classes")));
        };
        require(names.len() == rows, || format!("{path}: {rows} rows, but {} classes", names.len()))?;
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

    /// The most probable class of each image file, in their order.
    ///
    /// # Errors
    /// Names the first image that cannot be read.
    pub fn predict(&self, paths: &[impl AsRef<Path>]) -> Result<Vec<Prediction>, Error> {
        let images: Vec<ImageFile> =
            paths.iter().map(|path| ImageFile::Path(path.as_ref().to_owned())).collect();
        self.classify(&images)
    }

    /// As [`Classifier::predict`], for images wherever they lie.
    ///
    /// # Errors
    /// Names the first image that cannot be read.
    pub fn classify(&self, images: &[ImageFile]) -> Result<Vec<Prediction>, Error> {
        let probabilities = self.probabilities_of(images, &())?;
        Ok(probabilities.chunks(self.names.len()).map(|row| self.best(row)).collect())
    }

    /// Probabilities of images wherever they lie, `[images, classes]`, row by row (eq. 1).
    ///
    /// # Errors
    /// Names the first image that cannot be read.
    pub fn probabilities_of(&self, images: &[ImageFile], progress: &dyn Progress) -> Result<Vec<f32>, Error> {
        for_all_images(self.model, images, progress, |pixels| self.probabilities(pixels))
    }

    /// Logits of images wherever they lie, `[images, classes]`, row by row (eq. 1).
    ///
    /// # Errors
    /// Names the first image that cannot be read.
    pub fn logits_of(&self, images: &[ImageFile], progress: &dyn Progress) -> Result<Vec<f32>, Error> {
        for_all_images(self.model, images, progress, |pixels| self.logits(pixels))
    }

    /// The first class of the highest probability.
    fn best(&self, probabilities: &[f32]) -> Prediction {
        let ordered = probabilities.iter().zip(&self.names).rev();
        let best = ordered.max_by(|(one, _), (other, _)| one.total_cmp(other));
        let (probability, class) = best.map_or((f32::NAN, String::new()), |(one, name)| (*one, name.clone()));
        Prediction { class, probability }
    }

    /// Probabilities `[images, classes]` of images, `[images, 3, side, side]` (eq. 1).
    pub fn probabilities(&self, pixels: Tensor<4>) -> Tensor<2> {
        softmax(self.logits(pixels), 1)
    }

    /// Logits `[images, classes]` of images, `[images, 3, side, side]` (eq. 1).
    pub fn logits(&self, pixels: Tensor<4>) -> Tensor<2> {
        let visual = self.clip.visual_prompt(self.prompt.get(Part::Visual));
        let pixels = pixels.to_device(&self.model.device());
        let images = Images::Features(self.model.clip.image_features(pixels, visual.as_ref()));
        self.clip.logits(&self.prompt, &self.classes, &images)
    }
}

/// What `work` makes of images, `[images, 3, side, side]`, row by row: batch by batch, while the next is
/// decoded.
pub(crate) fn for_all_images(
    model: &Model,
    images: &[ImageFile],
    progress: &dyn Progress,
    work: impl Fn(Tensor<4>) -> Tensor<2>,
) -> Result<Vec<f32>, Error> {
    let (mut found, mut done) = (Vec::new(), 0);
    let batches = batches(images.len(), model.compute().images_at_once());
    progress.begin("images", images.len());
    for_each_batch(images, batches, &model.preprocess, &model.device(), |batch| {
        if let Some((_, problem)) = batch.unreadable.into_iter().next() {
            return Err(FeatureError::Image(problem).into());
        }
        done += batch.rows.len();
        found.extend(batch.pixels.map(|pixels| values(work(pixels))).transpose()?.unwrap_or_default());
        progress.reach(done, "");
        Ok::<(), Error>(())
    })?;
    Ok(found)
}

/// Refuses what does not hold, in the words of `problem`.
fn require(holds: bool, problem: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Refused(problem())) }
}

fn readable(names: &[String]) -> Vec<String> {
    names.iter().map(|name| readable_name(name)).collect()
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;
    use gram_hub::assets;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn zero_shot<'a>(model: &'a Model, of: &[&str]) -> Classifier<'a> {
        Classifier::zero_shot(model, names(of), &["a picture of a {}".parse().unwrap()]).unwrap()
    }

    /// Logits of two pictures of noise.
    fn logits(classifier: &Classifier, model: &Model) -> Vec<Vec<f32>> {
        let side = model.preprocess.crop as usize;
        let count = 2 * 3 * side * side;
        let noise: Vec<f32> = (0..count).map(|at| ((at * 7919 % 101) as f32 - 50.0) / 25.0).collect();
        let data = TensorData::new(noise, [2, 3, side, side]);
        let all = values(classifier.logits(Tensor::from_data(data, &model.device()))).unwrap();
        all.chunks(classifier.names.len()).map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn other_orders_of_the_classes_and_further_ones_change_no_logit() {
        let model = assets::tiny(&Compute::cpu()).unwrap();
        let expected = logits(&zero_shot(&model, &["cat", "tiger", "fire_engine"]), &model);
        let turned = logits(&zero_shot(&model, &["fire engine", "cat", "dog", "tiger"]), &model);
        for (expected, turned) in expected.iter().zip(turned) {
            for (place, of_turned) in [(0, 1), (1, 3), (2, 0)] {
                assert!((expected[place] - turned[of_turned]).abs() < 1e-3, "{expected:?} {turned:?}");
            }
        }
    }

    #[test]
    fn the_first_of_equally_probable_classes_is_named() {
        let model = assets::tiny(&Compute::cpu()).unwrap();
        let classifier = zero_shot(&model, &["cat", "tiger", "dog"]);
        let best = classifier.best(&[0.2, 0.4, 0.4]);
        assert_eq!((best.class.as_str(), best.probability), ("tiger", 0.4));
    }

    #[test]
    fn a_matrix_of_the_classes_features_classifies_as_they_do_whatever_its_length() {
        let model = assets::tiny(&Compute::cpu()).unwrap();
        let classifier = zero_shot(&model, &["cat", "tiger"]);
        let weights = classifier.weights().unwrap();
        let shape = weights.dims();
        let values = values(weights).unwrap().iter().map(|value| 3.0 * value).collect();
        let matrix = MatrixFile { shape, values, names: None, model: None };
        let path = Path::new("weights.npy");
        let own = Some(names(&["cat", "tiger"]));
        let read = Classifier::of_weights(&model, own, path, matrix.clone()).unwrap();
        for (one, other) in logits(&classifier, &model).concat().iter().zip(logits(&read, &model).concat()) {
            assert!((one - other).abs() < 1e-3, "{one} {other}");
        }
        let refused =
            |names, matrix| Classifier::of_weights(&model, names, path, matrix).unwrap_err().to_string();
        assert_eq!(refused(None, matrix.clone()), "weights.npy: it names no classes: use --classes");
        let three = Some(names(&["a", "b", "c"]));
        assert_eq!(refused(three, matrix.clone()), "weights.npy: 2 rows, but 3 classes");
        let narrow = MatrixFile { shape: [2, 1], values: vec![1.0, 2.0], ..matrix };
        assert!(refused(None, narrow).starts_with("weights.npy: 1 columns, but"));
    }

    #[test]
    fn no_class_is_refused() {
        let model = assets::tiny(&Compute::cpu()).unwrap();
        let problem = Classifier::zero_shot(&model, Vec::new(), &["{}".parse().unwrap()]).unwrap_err();
        assert_eq!(problem.to_string(), "no class to choose from: name some with --classes");
    }
}
