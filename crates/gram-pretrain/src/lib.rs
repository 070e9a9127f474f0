//! Contrastive training of a small CLIP from image-text pairs: how the built-in model is made.
//!
//! ```no_run
//! use gram_pretrain::{PretrainConfig, Pretraining};
//!
//! # fn main() -> Result<(), gram_pretrain::PretrainError> {
//! let config = PretrainConfig::parse("pretrain.toml", &std::fs::read_to_string("pretrain.toml").unwrap())?;
//! let source = gram_data::read_pairs("shards".as_ref())?;
//! let run = Pretraining { config, pairs: &source.pairs, held_out: &[], out: "runs/small".as_ref() };
//! run.run(&gram_clip::Compute::cpu(), &mut |metric| eprintln!("{metric:?}"))?;
//! # Ok(())
//! # }
//! ```

pub mod batches;
pub mod byte_pairs;
pub mod checkpoint;
pub mod config;
pub mod contrastive_loss;
pub mod error;
pub mod gradients;
pub mod random_start;
pub mod training;
pub mod zero_shot;

pub use config::PretrainConfig;
pub use error::PretrainError;
pub use training::{MAKES, Metric, Pretraining};
