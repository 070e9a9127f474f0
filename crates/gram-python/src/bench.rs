//! Methods side by side.

use std::path::PathBuf;
use std::sync::Arc;

use gram::{Clip, Comparison, Error};
use pyo3::prelude::*;
use serde_json::{Map, Value};

use crate::model::{Model, value_error};
use crate::prompt::{Dataset, Initialisation, settings};
use crate::work::run;

/// A comparison of methods on datasets, in a folder. A method with an initialisation starts from it.
#[pyclass(frozen, module = "gram._native")]
pub struct Bench {
    model: Arc<Clip>,
    datasets: Arc<Vec<gram::Dataset>>,
    plan: Arc<Plan>,
}

struct Plan {
    methods: Vec<(String, Option<Arc<gram::Initialisation>>)>,
    out: PathBuf,
    seeds: Vec<u64>,
    shots: usize,
    every_epoch: bool,
    settings: Map<String, Value>,
}

impl Plan {
    /// The comparison; with `zero-shot` only if that is one of the methods.
    fn comparison<'a>(&self, model: &'a Clip) -> Result<Comparison<'a>, Error> {
        let mut comparison = Comparison::new(model, &self.out)
            .without_zero_shot()
            .settings_of(&self.settings)?
            .seeds(self.seeds.iter().copied())
            .shots(self.shots);
        if self.every_epoch {
            comparison = comparison.every_epoch();
        }
        for (name, start) in &self.methods {
            comparison = match start {
                Some(start) => comparison.method_from(name, start)?,
                None => comparison.method(name)?,
            };
        }
        Ok(comparison)
    }
}

#[pymethods]
impl Bench {
    #[new]
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (model, datasets, methods, out, seeds, shots, every_epoch, settings))]
    fn new(
        model: &Model,
        datasets: Vec<Bound<'_, Dataset>>,
        methods: Vec<(String, Option<Bound<'_, Initialisation>>)>,
        out: PathBuf,
        seeds: Vec<u64>,
        shots: usize,
        every_epoch: bool,
        settings: Option<&str>,
    ) -> PyResult<Self> {
        let datasets = datasets.iter().map(|dataset| (*dataset.get().0).clone()).collect();
        let start = |start: Bound<'_, Initialisation>| Arc::clone(&start.get().0);
        let methods = methods.into_iter().map(|(name, given)| (name, given.map(start))).collect();
        let plan = Plan { methods, out, seeds, shots, every_epoch, settings: self::settings(settings)? };
        Ok(Self { model: Arc::clone(&model.0), datasets: Arc::new(datasets), plan: Arc::new(plan) })
    }

    /// Makes what is not there; gives all results as JSON.
    fn run(&self, python: Python<'_>, observe: Option<&Bound<'_, PyAny>>) -> PyResult<String> {
        let (model, datasets, plan) =
            (Arc::clone(&self.model), Arc::clone(&self.datasets), Arc::clone(&self.plan));
        let results = run(python, observe, move |watch| plan.comparison(&model)?.run_with(&datasets, watch))?;
        serde_json::to_string(&results).map_err(value_error)
    }

    /// Claims the folder, and gives the number of the dataset, the seed and the method of every run that is
    /// not there.
    fn runs_left(&self, python: Python<'_>) -> PyResult<Vec<(usize, u64, String)>> {
        let (model, datasets, plan) =
            (Arc::clone(&self.model), Arc::clone(&self.datasets), Arc::clone(&self.plan));
        let left = run(python, None, move |_| plan.comparison(&model)?.runs_left(&datasets))?;
        Ok(left.into_iter().map(|(dataset, seed, method)| (dataset, seed, method.key().to_owned())).collect())
    }
}
