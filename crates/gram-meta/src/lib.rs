//! Episodes, the gradient regulating function, the exact meta-gradient and meta-training.
//!
//! [`episode`] draws tasks from clustered pairs, [`regulator`] regulates gradients (eqs. 5, 6),
//! [`meta_gradient`] is the inner loop (eq. 7) and the derivative through it (eqs. 8 to 10),
//! [`meta_training`] the outer loop.
//!
//! ```
//! use burn::tensor::Device;
//! use gram_meta::{Regulator, RegulatorStart};
//! use gram_prompt::{Part, Prompt, RegulatorForm};
//!
//! let device = Device::flex();
//! let vectors = Prompt::random(Part::Text, [4, 8], 1.0, 1, &device);
//! let gradient: Prompt = [(Part::Text, vectors)].into_iter().collect();
//! let start = RegulatorStart { deviation: 0.0, gamma_bias: 9.0, form: RegulatorForm::Paper };
//! let regulator = Regulator::near_identity(&gradient, start, 1, &device);
//! assert!(regulator.regulate(&gradient).add_scaled(&gradient, -1.0).norm() < 1e-4);
//! ```

pub mod checkpoint;
pub mod episode;
pub mod meta_gradient;
pub mod meta_training;
pub mod outer_optimizer;
pub mod regulator;

pub use episode::{Episode, EpisodeSettings, TopicPool};
pub use meta_gradient::{InnerLoop, MetaGradient, NewClasses, Regulated, Task};
pub use meta_training::{
    EpisodeData, EpisodeSource, LearnedEpisodes, MetaState, MetaStep, MetaTraining, MetaTrainingError,
    MetaTrainingSettings, StepGradients, held_out_topics, learned_topics, sampled_episode,
};
pub use outer_optimizer::OuterOptimizer;
pub use regulator::{Regulator, RegulatorStart};
