//! Why a meta-training stops.

use gram_clip::ClipError;
use gram_features::FeatureError;

use crate::episode::TooFewTopics;

/// Why meta-training stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaTrainingError {
    /// Too few topics for the episodes.
    #[error(transparent)]
    TooFewTopics(#[from] TooFewTopics),
    /// A class cannot be read.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// An image cannot be read any more.
    #[error(transparent)]
    Image(#[from] FeatureError),
    /// An image is named that is not there.
    #[error("episode {episode} names pair {pair}, topic {topic}: of {pairs} pairs and {topics} topics")]
    Episode {
        /// Its number.
        episode: usize,
        /// The largest number of a pair in it.
        pair: usize,
        /// The largest number of a topic in it.
        topic: usize,
        /// Pairs that there are.
        pairs: usize,
        /// Topics that there are.
        topics: usize,
    },
    /// Fewer episodes are listed than the steps take.
    #[error("{listed} episodes are listed, {needed} are needed: lower steps or meta_batch")]
    TooFewEpisodes {
        /// Episodes that are listed.
        listed: usize,
        /// Steps times episodes of a step.
        needed: usize,
    },
    /// A checkpoint cannot be gone on from.
    #[error("the checkpoint {0}: delete it to begin anew")]
    Checkpoint(String),
    /// A number is not finite any more.
    #[error(
        "step {step}: the meta-gradient of episode {episode} is not finite: lower inner.rates or prompt_rate"
    )]
    Diverged {
        /// Outer step.
        step: usize,
        /// Episode of the step.
        episode: usize,
    },
    /// A setting is out of range.
    #[error("{field} must be {range}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// What it must be.
        range: &'static str,
    },
}
