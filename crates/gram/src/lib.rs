//! The front door of gram's libraries: what the command line does, for programs.
//!
//! [`assets`] holds the built-in model and data, [`model`] opens those or files by the name they have on the command
//! line, [`classifier`] and [`embedding`] use a model as it is or under a prompt, [`clustering`] and [`meta_training`]
//! lead from pairs to topics and from topics to a meta-trained start, [`bench`] and [`study`] run protocols and the
//! paper's studies, and [`defaults`] are the settings of the demo.
//!
//! ```
//! use burn::tensor::Device;
//!
//! # fn main() -> anyhow::Result<()> {
//! let model = gram::model::open_model("tiny", &Device::default())?;
//! let animals = gram::model::open_dataset("demo:animals")?;
//! assert_eq!((model.name.as_str(), animals.classes.len()), ("tiny", 40));
//! # Ok(())
//! # }
//! ```

pub mod assets;
pub mod bench;
pub mod classifier;
pub mod clustering;
pub mod defaults;
pub mod demo;
pub mod destination;
pub mod embedding;
pub mod episodes;
pub mod feature_folder;
pub mod hub;
pub mod matrix_file;
pub mod meta_training;
pub mod model;
pub mod output;
pub mod rehearsal;
pub mod run_folder;
pub mod seeing_cost;
pub mod settings_file;
pub mod starts;
pub mod study;
pub mod templates;
pub mod tensorboard;
pub mod tuning_settings;
pub mod whole_file;
