//! The frozen CLIP model: configuration, tokenizer, preprocessing, signals and towers.
//!
//! [`Clip`] classifies images by comparing them with sentences (eq. 1 of GRAM, arXiv 2303.06571). Its towers
//! are written once, over [`signal::Signal`]s, so that they carry values or dual numbers. [`Model::open`]
//! reads the files of Hugging Face, open_clip and OpenAI.
//!
//! ```no_run
//! use gram_clip::{Compute, Model, text_tower::Batching};
//!
//! # fn main() -> Result<(), gram_clip::ClipError> {
//! let model = Model::open("clip-vit-base-patch16".as_ref(), &Compute::cpu())?;
//! let (clip, tokenizer) = (&model.clip, &model.tokenizer);
//! let sentence = |text: &str| tokenizer.sentence(text, 1, 77);
//! let texts = [sentence("a photo of a tiger.")?, sentence("a photo of a cat.")?];
//! let features = clip.text.forward(tokenizer.start(), None, &texts, Batching::ByLength);
//! assert_eq!(features.value.dims()[0], 2);
//! # Ok(())
//! # }
//! ```

pub mod block;
pub mod checkpoint;
pub mod clip;
pub mod compute;
pub mod config;
pub mod contents;
pub mod error;
pub mod fingerprint;
pub mod identity;
mod kernels;
pub mod layers;
pub mod model;
mod names;
pub mod open_clip;
pub mod preprocess;
mod product;
pub mod products;
mod rounded_product;
pub mod scalars;
mod sentences;
pub mod signal;
mod sizes;
pub mod text_tower;
pub mod tokenizer;
pub mod vision_tower;

pub use block::attention_of as attention;
pub use clip::Clip;
pub use compute::{Compute, ComputeError, DeviceChoice, DeviceName, Precision};
pub use config::ClipConfig;
pub use contents::Contents;
pub use error::ClipError;
pub use fingerprint::Fingerprint;
pub use identity::{ModelIdentity, OtherModel};
pub use model::Model;
pub use preprocess::Preprocess;
pub use product::{linear, product};
pub use products::Products;
pub use signal::Signal;
pub use tokenizer::ClipTokenizer;
