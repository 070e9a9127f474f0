//! Features of pairs that were computed before.

use std::path::PathBuf;
use std::sync::Arc;

use gram::FeatureFolder;
use pyo3::prelude::*;

use crate::work::run;

/// A features folder.
#[pyclass(frozen, module = "gram._native")]
pub struct Features(pub Arc<FeatureFolder>);

#[pymethods]
impl Features {
    #[staticmethod]
    fn open(python: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        Ok(Self(Arc::new(run(python, None, move |_| Ok(FeatureFolder::open(&folder)?))?)))
    }

    fn __len__(&self) -> usize {
        self.0.keys.len()
    }
}
