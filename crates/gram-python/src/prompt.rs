//! Labelled images to prompts, and prompt files.

use std::path::PathBuf;
use std::sync::Arc;

use gram::Clip;
use gram_clip::text_tower::{Text, Token};
use gram_features::matrix::values;
use gram_prompt::{Part, PromptFile, Template};
use numpy::{PyArray1, PyArray3, PyArrayMethods};
use pyo3::prelude::*;
use serde_json::{Map, Value};

use crate::error::exception;
use crate::images::{PythonImage, named};
use crate::model::{Classifier, Model, value_error};
use crate::work::run;

/// Images with a class each.
#[pyclass(frozen, module = "gram._native")]
pub struct Dataset(pub Arc<gram::Dataset>);

#[pymethods]
impl Dataset {
    /// A dataset by its path or name, in any layout that the command line reads.
    #[staticmethod]
    fn open(python: Python<'_>, path: String) -> PyResult<Self> {
        Ok(Self(Arc::new(run(python, None, move |_| gram::Dataset::open(&path))?)))
    }

    /// Images with a label each, and what each is used for.
    #[staticmethod]
    fn of_images(
        python: Python<'_>,
        name: String,
        images: Vec<PythonImage>,
        labels: Vec<String>,
        splits: Vec<String>,
    ) -> PyResult<Self> {
        for (what, found) in [("labels", labels.len()), ("splits", splits.len())] {
            if found != images.len() {
                return Err(value_error(format!("{} images, but {found} {what}", images.len())));
            }
        }
        let split = |split: String| {
            split.parse::<gram::Split>().map_err(|error| value_error(format!("`{split}`: {error}")))
        };
        let splits = splits.into_iter().map(split).collect::<PyResult<Vec<_>>>()?;
        let images = named(images).into_iter().zip(labels).zip(splits);
        let images: Vec<_> = images.map(|((image, label), split)| (image, label, split)).collect();
        Ok(Self(Arc::new(run(python, None, move |_| gram::Dataset::of_images(&name, images))?)))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.0.classes.clone()
    }

    #[getter]
    fn domains(&self) -> Vec<String> {
        self.0.domains.clone()
    }

    fn __len__(&self) -> usize {
        self.0.images.len()
    }
}

/// A JSON object of settings.
pub fn settings(json: Option<&str>) -> PyResult<Map<String, Value>> {
    json.map_or(Ok(Map::new()), |json| serde_json::from_str(json).map_err(value_error))
}

/// Where a prompt starts and how its gradient is regulated.
#[pyclass(frozen, module = "gram._native")]
pub struct Initialisation(pub Arc<gram::Initialisation>);

#[pymethods]
impl Initialisation {
    #[staticmethod]
    fn open(python: Python<'_>, path: PathBuf, model: &Model) -> PyResult<Self> {
        let model = Arc::clone(&model.0);
        Ok(Self(Arc::new(run(python, None, move |_| gram::Initialisation::open(path, &model))?)))
    }

    fn save(&self, python: Python<'_>, path: PathBuf) -> PyResult<()> {
        let start = Arc::clone(&self.0);
        run(python, None, move |_| start.save(path))
    }

    #[getter]
    fn kind(&self) -> String {
        self.0.kind.to_string()
    }
}

/// A learned prompt.
#[pyclass(frozen, module = "gram._native")]
pub struct Prompt {
    model: Arc<Clip>,
    file: PromptFile,
    losses: Vec<f32>,
}

impl Prompt {
    /// Numbers of a part below each other, `[groups, vectors, width]`.
    fn vectors<'py>(
        &self,
        python: Python<'py>,
        part: Part,
        groups: usize,
    ) -> PyResult<Option<Bound<'py, PyArray3<f32>>>> {
        let Some(vectors) = self.file.prompt.get(part).cloned() else { return Ok(None) };
        let [rows, width] = vectors.dims();
        let values = run(python, None, move |_| Ok(values(vectors)?))?;
        Ok(Some(PyArray1::from_vec(python, values).reshape([groups, rows / groups.max(1), width])?))
    }
}

#[pymethods]
impl Prompt {
    #[staticmethod]
    fn open(python: Python<'_>, path: PathBuf, model: &Model) -> PyResult<Self> {
        let model = Arc::clone(&model.0);
        run(python, None, move |_| {
            let file = gram::Prompt::open(path, &model)?.file().clone();
            Ok(Self { model, file, losses: Vec::new() })
        })
    }

    #[staticmethod]
    #[pyo3(signature = (model, data, method, shots, seed, epochs, classes, template, start, settings, observe))]
    #[allow(clippy::too_many_arguments)]
    fn tune(
        python: Python<'_>,
        model: &Model,
        data: &Dataset,
        method: String,
        shots: usize,
        seed: u64,
        epochs: Option<usize>,
        classes: &str,
        template: Option<String>,
        start: Option<&Initialisation>,
        settings: Option<&str>,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (model, data) = (Arc::clone(&model.0), Arc::clone(&data.0));
        let start = start.map(|start| Arc::clone(&start.0));
        let classes = classes.parse().map_err(value_error)?;
        let settings = self::settings(settings)?;
        run(python, observe, move |watch| {
            let mut tuner =
                model.tuner(&method)?.settings_of(&settings)?.shots(shots).seed(seed).classes(classes);
            if let Some(epochs) = epochs {
                tuner = tuner.epochs(epochs);
            }
            if let Some(template) = &template {
                tuner = tuner.template(template);
            }
            if let Some(start) = &start {
                tuner = tuner.from(start)?;
            }
            let prompt = tuner.fit_with(&data, watch)?;
            let (file, losses) = (prompt.file().clone(), prompt.losses().to_vec());
            Ok(Self { model: Arc::clone(&model), file, losses })
        })
    }

    fn save(&self, python: Python<'_>, path: PathBuf) -> PyResult<()> {
        let file = self.file.clone();
        run(python, None, move |_| Ok(file.save(&path)?))
    }

    /// What the file says of the prompt, as JSON.
    fn header(&self) -> PyResult<String> {
        serde_json::to_string(&self.file.header).map_err(value_error)
    }

    #[getter]
    fn kind(&self) -> String {
        self.file.header.kind.to_string()
    }

    #[getter]
    fn losses(&self) -> Vec<f32> {
        self.losses.clone()
    }

    /// Context tokens, `[contexts, tokens, width]`.
    fn text_vectors<'py>(&self, python: Python<'py>) -> PyResult<Option<Bound<'py, PyArray3<f32>>>> {
        self.vectors(python, Part::Text, self.file.header.placement.contexts)
    }

    /// Prompt tokens of the vision tower, `[layers, tokens, width]`.
    fn visual_vectors<'py>(&self, python: Python<'py>) -> PyResult<Option<Bound<'py, PyArray3<f32>>>> {
        self.vectors(python, Part::Visual, self.file.header.placement.visual_depth)
    }

    /// Every class's whole sentence as this model's tokens (eq. 2): a word by its number, and the vector `i`
    /// of the context, those of all contexts below each other, as `-1 - i`. Only of a prompt of the text.
    fn sentences(&self, names: Vec<String>) -> PyResult<Vec<Vec<i64>>> {
        let Some(context) = self.file.prompt.get(Part::Text) else { return Ok(Vec::new()) };
        let (placement, rows) = (self.file.header.placement, context.dims()[0]);
        let (clip, tokenizer) = (&self.model.clip, &self.model.tokenizer);
        let template: Template = self.file.header.template.parse().map_err(value_error)?;
        let classes =
            names.iter().map(|name| template.name(name, rows / placement.contexts, clip, tokenizer));
        let classes = classes.collect::<Result<Vec<_>, _>>().map_err(|error| exception(error.into()))?;
        let sentences = placement.sentences(tokenizer.start(), &classes, rows);
        let number = |token: &Token| match token {
            Token::Word(id) => i64::from(*id),
            Token::Context(vector) => -1 - *vector as i64,
        };
        let whole =
            |text: &Text| sentences.prefixes[text.prefix].iter().chain(&text.tokens).map(number).collect();
        Ok(sentences.texts.iter().map(whole).collect())
    }

    #[pyo3(signature = (names=None))]
    fn classifier(&self, python: Python<'_>, names: Option<Vec<String>>) -> PyResult<Classifier> {
        let file = self.file.clone();
        Classifier::new(python, Arc::clone(&self.model), move |model| {
            let prompt = gram::Prompt::of_file(file, model)?;
            let names = names.unwrap_or_else(|| prompt.classes().to_vec());
            prompt.classifier(names)
        })
    }
}
