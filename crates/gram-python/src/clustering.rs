//! Pairs to topics and domains, and these to an initialisation.

use std::path::PathBuf;
use std::sync::Arc;

use gram::{ChcInput, Clusterer, MakePieces, Piece};
use numpy::{PyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::exception;
use crate::features::Features;
use crate::images::{PythonImage, named};
use crate::model::{Model, value_error};
use crate::prompt::settings;
use crate::work::run;

/// Image-text pairs.
#[pyclass(frozen, module = "gram._native")]
pub struct Pairs(pub Arc<gram::Pairs>);

#[pymethods]
impl Pairs {
    /// Pairs by their path or name, in any layout that the command line reads; or a copy of what is at a URL.
    #[staticmethod]
    fn open(python: Python<'_>, path: String, url: Option<String>) -> PyResult<Self> {
        let open = move |_: &_| match url {
            Some(url) => gram::Pairs::open_copy(&path, &url),
            None => gram::Pairs::open(&path),
        };
        Ok(Self(Arc::new(run(python, None, open)?)))
    }

    /// Images with a caption each.
    #[staticmethod]
    fn of_images(python: Python<'_>, images: Vec<PythonImage>, captions: Vec<String>) -> PyResult<Self> {
        if images.len() != captions.len() {
            return Err(value_error(format!("{} images, but {} captions", images.len(), captions.len())));
        }
        let images = named(images);
        let make = move |_: &_| gram::Pairs::of_images("pairs", images.into_iter().zip(captions));
        Ok(Self(Arc::new(run(python, None, make)?)))
    }

    fn __len__(&self) -> usize {
        self.0.pairs.len()
    }

    /// Computes features into a folder; gives what became of the pairs, as JSON.
    fn embed(
        &self,
        python: Python<'_>,
        model: &Model,
        out: PathBuf,
        full_precision: bool,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let (model, pairs) = (Arc::clone(&model.0), Arc::clone(&self.0));
        let summary =
            run(python, observe, move |watch| embedder(&model, full_precision).run(&pairs, &out, watch))?;
        serde_json::to_string(&summary).map_err(value_error)
    }

    /// Claims a folder for features, and gives the first and the last but one number of every part that is
    /// not there.
    fn parts_left(
        &self,
        python: Python<'_>,
        model: &Model,
        out: PathBuf,
        full_precision: bool,
    ) -> PyResult<Vec<(usize, usize)>> {
        let (model, pairs) = (Arc::clone(&model.0), Arc::clone(&self.0));
        let left = run(python, None, move |_| embedder(&model, full_precision).parts_left(&pairs, &out))?;
        Ok(left.into_iter().map(|numbers| (numbers.start, numbers.end)).collect())
    }

    /// Some of the pairs for another process.
    fn portable(&self, start: usize, end: usize) -> PyResult<String> {
        if start > end || end > self.0.pairs.len() {
            return Err(value_error(format!("there are {} pairs, not {start} to {end}", self.0.pairs.len())));
        }
        self.0.portable(start..end).map_err(|error| exception(error.into()))
    }
}

fn embedder(model: &gram::Clip, full_precision: bool) -> gram::Embedder<'_> {
    let embedder = gram::Embedder::new(model);
    if full_precision { embedder.full_precision() } else { embedder }
}

/// Computes a part of the features of a folder: those of portable pairs, of which the first has a number.
#[pyfunction]
pub fn write_part(
    python: Python<'_>,
    model: &Model,
    pairs: String,
    first: usize,
    out: PathBuf,
    full_precision: bool,
) -> PyResult<()> {
    let model = Arc::clone(&model.0);
    run(python, None, move |watch| {
        let pairs = gram::Pairs::of_portable(&pairs)?;
        embedder(&model, full_precision).write_part(&pairs, first, &out, watch)
    })
}

/// Makes pieces of a clustering, as JSON, that another process has begun.
#[pyfunction]
pub fn make_pieces(
    python: Python<'_>,
    features: &Features,
    seed: u64,
    settings: Option<&str>,
    shared_stages: PathBuf,
    pieces: &str,
) -> PyResult<()> {
    let features = Arc::clone(&features.0);
    let settings = self::settings(settings)?;
    let pieces: Vec<Piece> = serde_json::from_str(pieces).map_err(value_error)?;
    run(python, None, move |_| {
        let clusterer = Clusterer::new("features").seed(seed).settings_of(&settings)?;
        clusterer.make_pieces(&features, &shared_stages, &pieces)
    })
}

/// Topics and domains of pairs.
#[pyclass(frozen, module = "gram._native")]
pub struct Clusters(pub Arc<gram::Clusters>);

#[pymethods]
impl Clusters {
    #[staticmethod]
    fn open(python: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        Ok(Self(Arc::new(run(python, None, move |_| Ok(gram::Clusters::load(&folder)?))?)))
    }

    fn save(&self, folder: PathBuf) -> PyResult<()> {
        self.0.save(&folder).map_err(|error| exception(error.into()))
    }

    /// Clusters pairs that a model sees.
    #[staticmethod]
    fn of_pairs(
        python: Python<'_>,
        model: &Model,
        pairs: &Pairs,
        seed: u64,
        settings: Option<&str>,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (model, pairs) = (Arc::clone(&model.0), Arc::clone(&pairs.0));
        let settings = self::settings(settings)?;
        let found = run(python, observe, move |watch| {
            Clusterer::new(pairs.name()).seed(seed).settings_of(&settings)?.pairs(&model, &pairs, watch)
        })?;
        Ok(Self(Arc::new(found)))
    }

    /// Clusters pairs of a features folder. Where other processes share a folder of stages,
    /// `observe("pieces", pieces)` sees to it that they make those, as JSON.
    #[staticmethod]
    fn of_folder(
        python: Python<'_>,
        features: &Features,
        model: Option<&Model>,
        seed: u64,
        settings: Option<&str>,
        shared_stages: Option<PathBuf>,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (features, model) = (Arc::clone(&features.0), model.map(|model| Arc::clone(&model.0)));
        let settings = self::settings(settings)?;
        let found = run(python, observe, move |watch| {
            let clusterer = Clusterer::new("features").seed(seed).settings_of(&settings)?;
            let Some(stages) = shared_stages else {
                return clusterer.folder(&features, model.as_deref(), watch);
            };
            let make = |pieces: &[Piece]| {
                watch.ask("pieces", serde_json::to_vec(pieces)?);
                Ok(())
            };
            clusterer.folder_shared(&features, model.as_deref(), &stages, &make as &MakePieces, watch)
        })?;
        Ok(Self(Arc::new(found)))
    }

    /// Clusters pairs whose features are there.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn of_features(
        python: Python<'_>,
        keys: Vec<String>,
        captions: Vec<String>,
        image_features: PyReadonlyArray2<'_, f32>,
        caption_embeddings: PyReadonlyArray2<'_, f32>,
        similarities: Option<Vec<f32>>,
        model: Option<&Model>,
        seed: u64,
        settings: Option<&str>,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (images, embeddings) =
            (image_features.as_array().to_owned(), caption_embeddings.as_array().to_owned());
        let model = model.map(|model| Arc::clone(&model.0));
        let settings = self::settings(settings)?;
        let found = run(python, observe, move |watch| {
            let input = ChcInput {
                keys: &keys,
                captions: &captions,
                image_features: &images,
                similarities: similarities.as_deref(),
                caption_embeddings: &embeddings,
                name_features: None,
            };
            let clusterer = Clusterer::new("features").seed(seed).settings_of(&settings)?;
            clusterer.features(input, model.as_deref(), watch)
        })?;
        Ok(Self(Arc::new(found)))
    }

    /// Columns of the pairs: a pair without a topic or a domain has -1 there.
    fn pair_columns<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pairs = &self.0.pairs;
        let number = |place: Option<usize>| place.and_then(|place| i32::try_from(place).ok()).unwrap_or(-1);
        let columns = PyDict::new(python);
        columns.set_item("key", pairs.iter().map(|pair| &*pair.key).collect::<Vec<_>>())?;
        columns.set_item("caption", pairs.iter().map(|pair| &*pair.caption).collect::<Vec<_>>())?;
        columns
            .set_item("topic", PyArray1::from_iter(python, pairs.iter().map(|pair| number(pair.topic))))?;
        columns
            .set_item("domain", PyArray1::from_iter(python, pairs.iter().map(|pair| number(pair.domain))))?;
        columns.set_item("strength", PyArray1::from_iter(python, pairs.iter().map(|pair| pair.strength)))?;
        columns
            .set_item("similarity", PyArray1::from_iter(python, pairs.iter().map(|pair| pair.similarity)))?;
        columns.set_item("kept", PyArray1::from_iter(python, pairs.iter().map(|pair| pair.kept)))?;
        Ok(columns)
    }

    /// Everything about the topics, as JSON.
    fn topics(&self) -> PyResult<String> {
        serde_json::to_string(&self.0.topics).map_err(value_error)
    }
}
