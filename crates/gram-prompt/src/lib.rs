//! What is learned and where it enters: textual, image-conditioned, visual and joint prompts, and the prompt
//! file.
//!
//! A [`Prompt`] holds the vectors, [`PromptedClip`] gives the frozen model's logits, losses and derivatives
//! under it, [`ClassStore`] and [`ImageStore`](gram_features::ImageStore) feed it, and a [`PromptFile`] keeps
//! it.
//!
//! ```
//! use burn::tensor::Device;
//! use gram_prompt::{Part, Prompt};
//!
//! let device = Device::flex();
//! let vectors = Prompt::random(Part::Text, [4, 128], 0.02, 1, &device);
//! let prompt: Prompt = [(Part::Text, vectors)].into_iter().collect();
//! assert!(prompt.norm() > 0.0 && prompt.get(Part::Visual).is_none());
//! ```

pub mod class_store;
pub mod coop_file;
pub mod meta_net;
pub mod objective;
pub mod placement;
pub mod prompt;
pub mod prompt_file;
pub mod prompted_clip;
pub mod rates;
pub mod template;

pub use class_store::ClassStore;
pub use objective::{Answer, CrossEntropy, Objective};
pub use placement::{ClassPosition, ClassSentence, Placement};
pub use prompt::{Part, Prompt, PromptKind};
pub use prompt_file::{Header, PromptFile, PromptFileError, RegulatorForm, Source};
pub use prompted_clip::{Classes, Classification, Gradient, LabelledImages, PromptedClip};
pub use rates::Rates;
pub use template::{Template, TemplateError};
