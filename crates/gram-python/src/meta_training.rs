//! Topics to an initialisation, here or by workers on other machines.

use std::path::PathBuf;
use std::sync::Arc;

use gram::{Clip, Elsewhere, GradientWorker, MetaTrainer, PreparedMetaTraining};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use self_cell::self_cell;

use crate::clustering::{Clusters, Pairs};
use crate::features::Features;
use crate::model::{Model, value_error};
use crate::prompt::{Initialisation, settings};
use crate::work::run;

/// What a prompt sees: pairs or features of theirs.
#[derive(FromPyObject)]
pub enum Seen {
    Pairs(Py<Pairs>),
    Features(Py<Features>),
}

/// A meta-training whose data are read.
#[pyclass(frozen, module = "gram._native")]
pub struct MetaTraining {
    model: Arc<Clip>,
    prepared: Arc<PreparedMetaTraining>,
}

#[pymethods]
impl MetaTraining {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        python: Python<'_>,
        model: &Model,
        pairs: Seen,
        clusters: &Clusters,
        method: &str,
        steps: Option<usize>,
        seed: u64,
        template: Option<String>,
        settings: Option<&str>,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (model, clusters) = (Arc::clone(&model.0), Arc::clone(&clusters.0));
        let kind = method.parse().map_err(value_error)?;
        let settings = self::settings(settings)?;
        let frozen = Arc::clone(&model);
        let prepared = run(python, observe, move |watch| {
            let mut trainer = MetaTrainer::new(&frozen, kind).settings_of(&settings)?.seed(seed);
            if let Some(steps) = steps {
                trainer = trainer.steps(steps);
            }
            if let Some(template) = &template {
                trainer = trainer.template(template);
            }
            match pairs {
                Seen::Pairs(pairs) => trainer.prepare(&*pairs.get().0, &clusters, watch),
                Seen::Features(features) => trainer.prepare(&*features.get().0, &clusters, watch),
            }
        })?;
        Ok(Self { model, prepared: Arc::new(prepared) })
    }

    /// The passes of a step, which workers share.
    fn passes(&self) -> usize {
        self.prepared.passes()
    }

    /// Meta-trains. Where meta-gradients are computed elsewhere, `observe("gradients", state)` gives those of
    /// every pass.
    fn fit(
        &self,
        python: Python<'_>,
        out: Option<PathBuf>,
        elsewhere: bool,
        observe: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Initialisation> {
        let (model, prepared) = (Arc::clone(&self.model), Arc::clone(&self.prepared));
        let found = run(python, observe, move |watch| {
            let ask = |state: &[u8]| Ok(watch.ask("gradients", state.to_vec()));
            let elsewhere = elsewhere.then_some(&ask as &Elsewhere);
            prepared.fit(&model, out.as_deref(), elsewhere, watch)
        })?;
        Ok(Initialisation(Arc::new(found)))
    }

    /// What computes meta-gradients for another process that meta-trains on the same data.
    fn worker(&self, python: Python<'_>) -> PyResult<MetaWorker> {
        let owned = (Arc::clone(&self.model), Arc::clone(&self.prepared));
        let make = |_: &_| Worker::try_new(owned, |(model, prepared)| prepared.worker(model));
        Ok(MetaWorker(Arc::new(run(python, None, make)?)))
    }
}

self_cell! {
    /// A worker with what it borrows.
    struct Worker {
        owner: (Arc<Clip>, Arc<PreparedMetaTraining>),
        #[not_covariant]
        dependent: GradientWorker,
    }
}

/// Computes meta-gradients.
#[pyclass(frozen, module = "gram._native")]
pub struct MetaWorker(Arc<Worker>);

#[pymethods]
impl MetaWorker {
    /// Those of a pass of the step that follows a state.
    fn gradients<'py>(
        &self,
        python: Python<'py>,
        state: Vec<u8>,
        pass: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let worker = Arc::clone(&self.0);
        let work = move |_: &_| worker.with_dependent(|_, worker| worker.pass(&state, pass));
        Ok(PyBytes::new(python, &run(python, None, work)?))
    }
}
