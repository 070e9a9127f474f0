//! Models and classifiers.

use std::sync::Arc;

use gram::{Clip, Compute, DeviceChoice, Error, Precision};
use gram_features::matrix::values;
use gram_prompt::Template;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use self_cell::self_cell;

use crate::error::exception;
use crate::images::{PythonImage, named};
use crate::work::run;

/// A frozen CLIP model.
#[pyclass(frozen, module = "gram._native")]
pub struct Model(pub Arc<Clip>);

/// Where and how to compute, as the command line's `--device` and `--precision` say it.
fn compute(device: Option<&DeviceChoice>, precision: Option<Precision>) -> Result<Compute, Error> {
    let compute = device.map_or_else(Compute::of_environment, Compute::of)?;
    Ok(match precision {
        Some(precision) => compute.in_precision(precision)?,
        None => compute,
    })
}

/// What cannot be what it stands for.
pub fn value_error(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// `[rows, width]` of numbers that lie row by row.
pub fn matrix<'py>(
    python: Python<'py>,
    values: Vec<f32>,
    width: usize,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let rows = values.len() / width.max(1);
    PyArray1::from_vec(python, values).reshape([rows, width])
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (name, url=None, device=None, precision=None, observe=None))]
    fn new(
        python: Python<'_>,
        name: String,
        url: Option<String>,
        device: Option<&str>,
        precision: Option<&str>,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let device = device.map(str::parse::<DeviceChoice>).transpose().map_err(value_error)?;
        let precision = precision.map(str::parse::<Precision>).transpose().map_err(value_error)?;
        let open = move |_: &_| {
            let model = Clip::open_on(&name, &compute(device.as_ref(), precision)?)?;
            Ok(match url {
                Some(url) => model.copied_from(&url),
                None => model,
            })
        };
        Ok(Self(Arc::new(run(python, observe, open)?)))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn device(&self) -> String {
        self.0.compute().name().to_string()
    }

    #[getter]
    fn width(&self) -> usize {
        self.0.clip.config.projection_dim
    }

    #[getter]
    fn image_size(&self) -> u32 {
        self.0.preprocess.crop
    }

    fn fingerprint(&self, python: Python<'_>) -> PyResult<String> {
        let model = Arc::clone(&self.0);
        run(python, None, move |_| Ok(model.fingerprint()?.to_string()))
    }

    fn encode_image<'py>(
        &self,
        python: Python<'py>,
        images: Vec<PythonImage>,
        observe: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (model, images) = (Arc::clone(&self.0), named(images));
        let features = run(python, observe, move |watch| model.encode_images(&images, watch))?;
        matrix(python, features, self.width())
    }

    /// A text's tokens, as the tower reads it.
    fn tokens(&self, text: &str) -> PyResult<Vec<u32>> {
        let tokenizer = &self.0.tokenizer;
        let words = tokenizer.encode(text).map_err(|error| exception(error.into()))?;
        Ok([&[tokenizer.start()], &*words, &[tokenizer.end()]].concat())
    }

    /// The features, and how many texts were cut.
    fn encode_text<'py>(
        &self,
        python: Python<'py>,
        texts: Vec<String>,
    ) -> PyResult<(Bound<'py, PyArray2<f32>>, usize)> {
        let model = Arc::clone(&self.0);
        let (features, cut) = run(python, None, move |_| model.encode_texts(&texts))?;
        Ok((matrix(python, features, self.width())?, cut))
    }

    fn classifier(
        &self,
        python: Python<'_>,
        names: Vec<String>,
        templates: Vec<String>,
    ) -> PyResult<Classifier> {
        let model = Arc::clone(&self.0);
        Classifier::new(python, model, move |model| {
            let templates = templates.iter().map(|template| Ok(template.parse::<Template>()?));
            let templates: Vec<Template> = templates.collect::<Result<_, Error>>()?;
            gram::Classifier::zero_shot(model, names, &templates)
        })
    }
}

type Prompted<'a> = gram::Classifier<'a>;

self_cell!(
    struct Cell {
        owner: Arc<Clip>,
        #[covariant]
        dependent: Prompted,
    }
);

/// Classes that are ready: under hand-written sentences or a learned prompt.
#[pyclass(frozen, module = "gram._native")]
pub struct Classifier(Arc<Cell>);

impl Classifier {
    /// What `make` makes of a model.
    pub fn new(
        python: Python<'_>,
        model: Arc<Clip>,
        make: impl for<'a> FnOnce(&'a Clip) -> Result<gram::Classifier<'a>, Error> + Send + 'static,
    ) -> PyResult<Self> {
        let made = run(python, None, move |_| Cell::try_new(model, |model| make(model)))?;
        Ok(Self(Arc::new(made)))
    }

    fn rows<'py>(
        &self,
        python: Python<'py>,
        images: Vec<PythonImage>,
        observe: Option<&Bound<'py, PyAny>>,
        work: impl FnOnce(
            &gram::Classifier<'_>,
            &[gram::ImageFile],
            &crate::work::Watch,
        ) -> Result<Vec<f32>, Error>
        + Send
        + 'static,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (cell, images) = (Arc::clone(&self.0), named(images));
        let width = cell.borrow_dependent().names.len();
        let values = run(python, observe, move |watch| work(cell.borrow_dependent(), &images, watch))?;
        matrix(python, values, width)
    }
}

#[pymethods]
impl Classifier {
    #[getter]
    fn names(&self) -> Vec<String> {
        self.0.borrow_dependent().names.clone()
    }

    /// Normalised features of the classes; none where each image has its own.
    fn weights<'py>(&self, python: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
        let cell = Arc::clone(&self.0);
        let weights = run(python, None, move |_| {
            let weights = cell.borrow_dependent().weights();
            weights.map(|weights| Ok((weights.dims()[1], values(weights)?))).transpose()
        })?;
        weights.map(|(width, values)| matrix(python, values, width)).transpose()
    }

    fn probabilities<'py>(
        &self,
        python: Python<'py>,
        images: Vec<PythonImage>,
        observe: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        self.rows(python, images, observe, |classifier, images, watch| {
            classifier.probabilities_of(images, watch)
        })
    }

    fn logits<'py>(
        &self,
        python: Python<'py>,
        images: Vec<PythonImage>,
        observe: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        self.rows(python, images, observe, |classifier, images, watch| classifier.logits_of(images, watch))
    }
}
