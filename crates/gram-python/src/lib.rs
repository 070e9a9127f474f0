//! The part of the Python package `gram` that is Rust: it translates what Python gives and takes, and does
//! long work beside the interpreter. What people see is in `python/gram`.

mod bench;
mod clustering;
mod error;
mod features;
mod images;
mod meta_training;
mod model;
mod prompt;
mod work;

use pyo3::prelude::*;

/// The system's allocator would hand each tensor back to the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The module `gram._native`.
#[pymodule(name = "_native", gil_used = true)]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Another library of this process may have set a logger.
    _ = pyo3_log::try_init();
    work::note_process();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    error::add_to(module)?;
    module.add_class::<model::Model>()?;
    module.add_class::<model::Classifier>()?;
    module.add_class::<prompt::Dataset>()?;
    module.add_class::<prompt::Prompt>()?;
    module.add_class::<prompt::Initialisation>()?;
    module.add_class::<clustering::Pairs>()?;
    module.add_class::<clustering::Clusters>()?;
    module.add_class::<features::Features>()?;
    module.add_class::<meta_training::MetaTraining>()?;
    module.add_class::<meta_training::MetaWorker>()?;
    module.add_class::<bench::Bench>()?;
    module.add_function(wrap_pyfunction!(clustering::make_pieces, module)?)?;
    module.add_function(wrap_pyfunction!(clustering::write_part, module)?)
}
