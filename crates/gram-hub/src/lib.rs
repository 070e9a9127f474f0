//! Models, pairs, datasets and prompt templates by name: on disk, on the hub, or built in.
//!
//! ```
//! use gram_clip::Compute;
//!
//! # fn main() -> Result<(), gram_hub::OpenError> {
//! let model = gram_hub::model::open_model("tiny", &Compute::cpu(), &())?;
//! let animals = gram_hub::model::open_dataset("demo:animals")?;
//! assert_eq!((model.name.as_str(), animals.classes.len()), ("tiny", 40));
//! # Ok(())
//! # }
//! ```

pub mod assets;
mod error;
pub mod hub;
pub mod model;
pub mod templates;

pub use error::OpenError;
