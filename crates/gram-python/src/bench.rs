//! Methods side by side.

use std::path::PathBuf;
use std::sync::Arc;

use gram::Comparison;
use pyo3::prelude::*;

use crate::model::{Model, value_error};
use crate::prompt::{Dataset, Initialisation, settings};
use crate::work::run;

/// Tunes and measures methods on datasets; gives all results as JSON. A method with an initialisation starts
/// from it.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn bench(
    python: Python<'_>,
    model: &Model,
    datasets: Vec<Bound<'_, Dataset>>,
    methods: Vec<(String, Option<Bound<'_, Initialisation>>)>,
    out: PathBuf,
    seeds: Vec<u64>,
    shots: usize,
    every_epoch: bool,
    settings: Option<&str>,
    observe: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let model = Arc::clone(&model.0);
    let datasets: Vec<gram::Dataset> = datasets.iter().map(|dataset| (*dataset.get().0).clone()).collect();
    let methods: Vec<_> = methods
        .into_iter()
        .map(|(name, start)| (name, start.map(|start| Arc::clone(&start.get().0))))
        .collect();
    let settings = self::settings(settings)?;
    let results = run(python, observe, move |watch| {
        let mut comparison = Comparison::new(&model, out).settings_of(&settings)?.seeds(seeds).shots(shots);
        if every_epoch {
            comparison = comparison.every_epoch();
        }
        for (name, start) in &methods {
            comparison = match start {
                Some(start) => comparison.method_from(name, start)?,
                None => comparison.method(name)?,
            };
        }
        comparison.run_with(&datasets, watch)
    })?;
    serde_json::to_string(&results).map_err(value_error)
}
