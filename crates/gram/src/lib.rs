//! The front door of gram: prompts for frozen CLIP models, from a program.
//!
//! ```
//! use gram::{Clip, Dataset, Tuner};
//!
//! # fn main() -> Result<(), gram::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("food.safetensors");
//! let model = Clip::open("tiny")?;
//! let food = Dataset::open("demo:food")?;
//! let prompt = Tuner::coop(&model).shots(1).epochs(1).fit(&food)?;
//! prompt.save(&path)?;
//! let classifier = prompt.classifier(["banana", "bread"])?;
//! let found = classifier.classify(&[food.images[0].image.clone()])?;
//! assert!(["banana", "bread"].contains(&found[0].class.as_str()));
//! # Ok(())
//! # }
//! ```
//!
//! [`Clip`] is the frozen model, [`Dataset`] and [`Pairs`] are what it sees. A [`Tuner`] learns a [`Prompt`]
//! from a few labelled images, a [`Classifier`] asks for classes under it. [`Clip::cluster`] and
//! [`MetaTrainer`] learn where prompts should start from pairs without labels, and a [`Comparison`] measures
//! what that is worth. Each of the four examples in `examples/` is a whole program.

mod classifier;
mod clip;
mod clustering;
mod comparison;
mod data;
mod embedder;
mod meta_trainer;
mod tuner;

pub use classifier::{Classifier, Prediction};
pub use clip::Clip;
pub use clustering::Clusterer;
pub use comparison::Comparison;
pub use data::{Dataset, Pairs};
pub use embedder::Embedder;
pub use gram_clip::{Compute, ComputeError, DeviceChoice, DeviceName, Precision};
pub use gram_cluster::{ChcInput, Clusters, MakePieces, Piece};
pub use gram_data::{ClassSubset, ImageFile, Progress, Split};
pub use gram_experiments::ExperimentError as Error;
pub use gram_experiments::meta_training::{Elsewhere, GradientWorker};
pub use gram_experiments::pair_images::PairSource;
pub use gram_features::FeatureFolder;
pub use gram_hub::OpenError;
pub use gram_prompt::PromptKind;
pub use gram_report::results::{Method, Results};
pub use gram_report::tables;
pub use meta_trainer::{Initialisation, MetaTrainer, PreparedMetaTraining};
pub use tuner::{Prompt, Tuner};
