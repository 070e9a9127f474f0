//! A labelled dataset, and where the features of its images come from: the images themselves, or a file.

mod matching;

use std::ops::Deref;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use gram_clip::{Model, ModelIdentity};
use gram_data::fingerprint::Fingerprinting;
use gram_data::{Benchmark, EmbeddingsFolder, ImageFile, LabelledDataset, LabelledImage, Split, read_text};
use image::RgbImage;
use matching::matched;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::feature_folder::{DATASET, check_written, matrix_of, model_of};
use crate::image_batches::frozen_features;
use crate::matrix::tensor;
use crate::pixel_cache::at_model_side;
use crate::rows::{Rows, check_model, directions};
use crate::{FeatureError, MatrixFile};

/// The file of a feature folder that lists the images of a labelled dataset, a line of JSON for each row.
pub const IMAGES: &str = "images.jsonl";

/// Images with a class each, and the source of their features.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    labelled: LabelledDataset,
    known: Option<Known>,
}

/// Features that were computed before, a row for each image.
#[derive(Clone, Debug)]
struct Known {
    /// The file or folder that they come from.
    place: PathBuf,
    /// Normalised, `[images, width]`.
    rows: Array2<f32>,
    /// The model that they are of, where the source says it.
    model: Option<ModelIdentity>,
}

/// Bytes of a dataset's name, at most: it is part of paths.
const LONGEST_NAME: usize = 200;

/// What [`DATASET`] says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetDescription {
    /// The dataset's name.
    pub name: String,
    /// Class names, in the order of their numbers.
    pub classes: Vec<String>,
    /// Domain names.
    pub domains: Vec<String>,
    /// The standard benchmark that it is, by its key.
    pub benchmark: Option<String>,
    /// Its own prompt templates.
    pub templates: Vec<String>,
}

/// A line of [`IMAGES`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageRow {
    /// Its path in the dataset.
    pub key: String,
    /// The image, for people.
    pub image: String,
    /// The number of its class.
    pub class: usize,
    /// The name of its class, for people.
    pub label: String,
    /// The number of its domain, if it has one.
    pub domain: Option<usize>,
    /// What it is used for.
    pub split: String,
}

impl DatasetDescription {
    /// Of a dataset.
    pub fn of(dataset: &LabelledDataset) -> Self {
        Self {
            name: dataset.name.clone(),
            classes: dataset.classes.clone(),
            domains: dataset.domains.clone(),
            benchmark: dataset.benchmark.map(|benchmark| benchmark.key().to_owned()),
            templates: dataset.templates.clone(),
        }
    }
}

impl ImageRow {
    /// Of an image of a dataset.
    pub fn of(dataset: &LabelledDataset, image: &LabelledImage) -> Self {
        Self {
            key: image.key.clone(),
            image: image.image.name().into_owned(),
            class: image.class,
            label: dataset.classes[image.class].clone(),
            domain: image.domain,
            split: image.split.to_string(),
        }
    }
}

impl From<LabelledDataset> for Dataset {
    fn from(labelled: LabelledDataset) -> Self {
        Self { labelled, known: None }
    }
}

impl Deref for Dataset {
    type Target = LabelledDataset;

    fn deref(&self) -> &LabelledDataset {
        &self.labelled
    }
}

impl Dataset {
    /// A dataset in a folder that `gram embed --data` wrote: labels and features, and no image.
    ///
    /// # Errors
    /// [`FeatureError::File`] if it is no such folder, or a file of it is damaged.
    pub fn of_features(folder: &Path) -> Result<Self, FeatureError> {
        let missing = [DATASET, IMAGES, "features.safetensors"].map(|name| !folder.join(name).is_file());
        let problem = match missing {
            _ if !folder.is_dir() => "no such folder: give one that `gram embed --data` wrote",
            [true, ..] => {
                "holds no dataset.json: give a folder that `gram embed --data` wrote, or the labels with --data beside it"
            }
            [false, false, false] => "",
            [false, ..] => "`gram embed --data` did not finish here: give that command again",
        };
        if !problem.is_empty() {
            return Err(FeatureError::file(folder, problem));
        }
        Self::from(described(folder)?).with(folder, &Source::of_folder(folder)?)
    }

    /// The dataset with features of its images that were computed before: a folder by `gram embed`, one by
    /// `clip-retrieval inference`, whose keys name the images, or a matrix (`.npy` or `.safetensors`) with a
    /// row for each image in the order of the dataset, which only a `table` of labels tells.
    ///
    /// # Errors
    /// [`FeatureError::File`] if the source cannot be read, or an image has no row there, or one that is no
    /// direction; names it and the way out.
    pub fn with_features(self, path: &Path, table: bool) -> Result<Self, FeatureError> {
        if path.is_dir() {
            return self.with(path, &Source::of_folder(path)?);
        }
        if !path.exists() {
            return Err(FeatureError::file(path, "no such file or folder"));
        }
        let matrix = MatrixFile::read(path)?;
        if !table {
            let problem = "a matrix does not say which row is which image: give the labels as a table (.csv, .tsv, \
                           .jsonl, .parquet) in its order";
            return Err(FeatureError::file(path, problem));
        }
        let [rows, columns] = matrix.shape;
        if rows != self.images.len() {
            let problem =
                format!("{rows} rows, but the labels are of {} images: one row each", self.images.len());
            return Err(FeatureError::file(path, problem));
        }
        let keys = self.images.iter().map(|image| image.key.clone()).collect();
        let values = Array2::from_shape_vec((rows, columns), matrix.values)
            .map_err(|error| FeatureError::file(path, error))?;
        self.with(path, &Source { keys, rows: Box::new(values), model: matrix.model, is_ours: true })
    }

    /// With the rows of a source.
    fn with(mut self, place: &Path, source: &Source) -> Result<Self, FeatureError> {
        let found = matched(&self.labelled, &source.keys, source.is_ours)
            .map_err(|problem| FeatureError::file(place, problem))?;
        let rows = directions(source.rows.as_ref(), &found, &|place| self.labelled.images[place].key.clone())
            .map_err(|problem| FeatureError::file(place, problem))?;
        self.known = Some(Known { place: place.to_owned(), rows, model: source.model.clone() });
        Ok(self)
    }

    /// Gives the dataset another name.
    pub fn rename(&mut self, name: String) {
        self.labelled.name = name;
    }

    /// Whether features were computed before, so that no image is looked at.
    pub fn has_features(&self) -> bool {
        self.known.is_some()
    }

    /// Checks that features that were computed before are of `model`.
    ///
    /// # Errors
    /// [`FeatureError::File`] if they are of another, or of another width.
    pub fn check(&self, model: &Model) -> Result<(), FeatureError> {
        match &self.known {
            Some(known) => check_model(known.model.as_ref(), known.rows.ncols(), model, &known.place),
            None => Ok(()),
        }
    }

    /// The model of the features that were computed before, where it is known.
    pub fn model(&self) -> Option<(&Path, &ModelIdentity)> {
        let known = self.known.as_ref()?;
        Some((known.place.as_path(), known.model.as_ref()?))
    }

    /// What tells these images of this dataset from any others, as [`LabelledDataset::fingerprint_of`]. Where
    /// features were computed before, they stand for the images.
    pub fn fingerprint_of(&self, images: &[usize]) -> String {
        let Some(known) = &self.known else { return self.labelled.fingerprint_of(images) };
        let content = |image: &usize| {
            let mut content = Fingerprinting::default();
            content.values(&(vec![known.rows.ncols()], known.rows.row(*image).to_vec()));
            Some(content.finish())
        };
        self.labelled.fingerprint_with(images, images.iter().map(content))
    }

    /// Normalised features of images through the frozen tower, `[images, joint width]`: computed now, or
    /// before.
    ///
    /// # Errors
    /// [`FeatureError`] names the image that cannot be read.
    pub fn features(&self, images: &[usize], model: &Model) -> Result<Tensor<2>, FeatureError> {
        if let Some(known) = &self.known {
            return Ok(tensor(&known.rows.select(images), &model.device()));
        }
        frozen_features(model, images.len(), &|place: usize| self.at_model_side(images[place], model))
    }

    /// An image at the model's side.
    ///
    /// # Errors
    /// [`FeatureError`] names the image that cannot be read; [`FeatureError::File`] if there are features
    /// only.
    pub fn at_model_side(&self, image: usize, model: &Model) -> Result<RgbImage, FeatureError> {
        at_model_side(self.image(image)?, &model.preprocess)
    }

    /// An image, which is not decoded yet.
    ///
    /// # Errors
    /// [`FeatureError::File`] if there are features only.
    pub fn image(&self, image: usize) -> Result<&ImageFile, FeatureError> {
        match &self.known {
            None => Ok(&self.labelled.images[image].image),
            Some(known) => {
                let problem = "a visual prompt needs images, not features: give them with --data";
                Err(FeatureError::file(&known.place, problem))
            }
        }
    }
}

/// Features as a source holds them.
struct Source {
    /// What the rows are of.
    keys: Vec<String>,
    rows: Box<dyn Rows>,
    model: Option<ModelIdentity>,
    /// Whether `gram embed` wrote it, so that keys are whole.
    is_ours: bool,
}

impl Source {
    /// The features of a folder.
    fn of_folder(folder: &Path) -> Result<Self, FeatureError> {
        if folder.join("img_emb").is_dir() {
            let parts = EmbeddingsFolder::open(folder)?;
            let (mut values, mut keys) = (Vec::new(), Vec::new());
            for part in parts.parts() {
                values.extend(part.image_features()?);
                keys.extend(part.keys()?);
            }
            let rows = Array2::from_shape_vec((parts.rows(), parts.width()), values)
                .map_err(|error| FeatureError::file(folder, error))?;
            return Ok(Self { keys, rows: Box::new(rows), model: None, is_ours: false });
        }
        let rows = matrix_of(folder, "image_features")?;
        check_written(folder)?;
        let name = if folder.join(IMAGES).is_file() { IMAGES } else { "pairs.jsonl" };
        let keys: Vec<String> =
            lines::<Keyed>(&folder.join(name))?.into_iter().map(|line| line.key).collect();
        if keys.len() != rows.shape().0 {
            return Err(FeatureError::file(folder, format!("{name} has other rows than its features")));
        }
        let model = model_of(&folder.join("embedding.json"))?;
        Ok(Self { keys, rows: Box::new(rows), model, is_ours: true })
    }
}

#[derive(Deserialize)]
struct Keyed {
    key: String,
}

/// The lines of a file, each a value in JSON.
fn lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>, FeatureError> {
    let line = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            FeatureError::file(path, format!("line {}: embed the images again: {error}", index + 1))
        })
    };
    read_text(path)?.lines().enumerate().map(line).collect()
}

/// The dataset that a folder describes.
fn described(folder: &Path) -> Result<LabelledDataset, FeatureError> {
    let path = folder.join(DATASET);
    let wrong = |problem: String| FeatureError::file(&path, format!("embed the images again: {problem}"));
    let description: DatasetDescription =
        serde_json::from_str(&read_text(&path)?).map_err(|error| wrong(error.to_string()))?;
    let DatasetDescription { name, classes, domains, benchmark, templates } = description;
    if name.trim().is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
        return Err(wrong(format!("`{}` is not the name of a dataset", name.escape_debug())));
    }
    let image = |row: ImageRow| {
        let split: Split =
            row.split.parse().map_err(|_| wrong(format!("{}: no split is called {}", row.key, row.split)))?;
        if row.class >= classes.len() || row.domain.is_some_and(|domain| domain >= domains.len()) {
            return Err(wrong(format!("{}: its class or domain is not in it", row.key)));
        }
        if classes[row.class] != row.label {
            let (number, name) = (row.class, &classes[row.class]);
            return Err(wrong(format!(
                "{}: its class {number} is `{name}`, and its label `{}`",
                row.key, row.label
            )));
        }
        let (class, domain, image) = (row.class, row.domain, ImageFile::Path(row.image.into()));
        Ok(LabelledImage { key: row.key, image, class, domain, split })
    };
    let images = lines(&folder.join(IMAGES))?.into_iter().map(image).collect::<Result<_, _>>()?;
    let benchmark = benchmark.and_then(|key| Benchmark::ALL.into_iter().find(|known| known.key() == key));
    Ok(LabelledDataset { name, classes, domains, images, benchmark, templates, left_out: Vec::new() })
}

#[cfg(test)]
mod tests;
