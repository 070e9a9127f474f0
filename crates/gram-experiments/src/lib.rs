//! What takes hours and goes on where it stopped.
//!
//! [`run_folder`] knows what is finished by what made it. [`embedding`] and [`clustering`] lead from pairs to
//! features and topics, [`meta_training`] from topics to a meta-trained initialisation, [`mod@bench`] runs
//! protocols over methods and seeds, [`study`] and [`design_study`] vary the method itself, and [`demo`] is
//! all of it in small, with the settings in [`defaults`].

pub mod bench;
pub mod clustering;
pub mod coop_config;
pub mod defaults;
pub mod demo;
pub mod design_study;
pub mod embedding;
pub mod episodes;
mod error;
pub mod meta_training;
pub mod pair_images;
pub mod protocol;
pub mod run_folder;
pub mod settings_file;
pub mod starts;
pub mod study;
pub mod tensorboard;
pub mod tuned_prompt;
pub mod tuning_settings;
pub mod whole_file;
pub mod workbench;

pub use error::{ExperimentError, Result};
