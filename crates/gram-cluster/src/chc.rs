//! Cross-modal hierarchical clustering (CHC): image-text pairs into topics, and topics into visual domains.
//!
//! Section 3.2 of the paper, step by step as [`cluster`] takes them:
//!
//! 1. Pairs whose image and caption do not match are left out, by CLIP's own similarity.
//! 2. Caption embeddings are brought to few dimensions by UMAP, where HDBSCAN finds topics and noise.
//! 3. The word of highest cluster-wise TF-IDF says what each topic is about (eq. 3).
//! 4. k-means on CLIP's image features divides the images of each topic into domains.
//! 5. Every topic gets a class name, which captions and images must bear out
//!    ([`topic_names`](crate::topic_names)).
//!
//! Beyond the paper, which says nothing of it: topics with too few images for one domain are dropped before
//! any is named, and topics whose captions have no word after; both are counted, and their pairs have no
//! topic. Last, a two-dimensional layout of the same neighbour graph is made, to look at.
//!
//! A seed gives one result, whatever the number of threads and the order in which pairs are given.
//!
//! Reference: Li et al., "Gradient-Regulated Meta-Prompt Learning for Generalizable Vision-Language Models",
//! ICCV 2023, arXiv 2303.06571.

mod finished_stages;
mod fitted;
mod hierarchy;
mod input;
mod lost_pairs;
mod pieces;
mod settings;
mod stages;

use std::fmt;

use serde::Serialize;

pub use input::ChcInput;
pub use pieces::{MakePieces, Piece, StagesIn, make_pieces};
pub use settings::ChcSettings;

pub(crate) use pieces::PAIRS_OF_A_PIECE;

use crate::clusters::Clusters;
use crate::error::ClusterError;
use hierarchy::Hierarchy;
use stages::Stages;

/// A step of the clustering, reported as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Leaving out pairs that do not match.
    Filter,
    /// Finding the nearest captions of every caption.
    Neighbours,
    /// Laying captions out in few dimensions.
    Reduction,
    /// Finding dense groups of captions.
    Topics,
    /// Scoring their words.
    Words,
    /// Dividing them by how their images look.
    Domains,
    /// Naming them.
    Names,
    /// Laying captions out in two dimensions.
    Map,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 8] = [
        Self::Filter,
        Self::Neighbours,
        Self::Reduction,
        Self::Topics,
        Self::Words,
        Self::Domains,
        Self::Names,
        Self::Map,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Filter => "leaving out pairs that do not match",
            Self::Neighbours => "finding neighbouring captions",
            Self::Reduction => "reducing dimensions (UMAP)",
            Self::Topics => "finding topics (HDBSCAN)",
            Self::Words => "scoring words (TF-IDF)",
            Self::Domains => "dividing topics into domains (k-means)",
            Self::Names => "naming topics",
            Self::Map => "drawing the map (UMAP)",
        })
    }
}

/// Clusters pairs; `progress` hears of every stage as it begins.
///
/// # Errors
/// If a setting is out of range, the input has holes, too few pairs pass the filter or there is nothing to
/// filter by, no topic is found, or a stage cannot be written.
pub fn cluster(
    input: &ChcInput,
    settings: &ChcSettings,
    seed: u64,
    stages_in: StagesIn,
    progress: &mut dyn FnMut(Stage),
) -> Result<Clusters, ClusterError> {
    settings.validate()?;
    input.validate()?;

    progress(Stage::Filter);
    let kept = input.kept_rows(settings)?;
    let stages = Stages::new(input, settings, seed, kept, stages_in.folder());
    progress(Stage::Neighbours);
    stages_in.share(|| stages.pieces_before_topics())?;
    let graph = stages.graph()?;
    let of_others = stages.of_others()?;
    progress(Stage::Reduction);
    let reduced = stages.reduction(&graph)?;
    progress(Stage::Topics);
    let clustering = stages.topics(&reduced, of_others.as_ref())?;
    drop(reduced);
    progress(Stage::Words);
    let mut hierarchy = Hierarchy::new(input, settings, &stages.kept, &clustering);
    progress(Stage::Domains);
    stages_in.share(|| stages.pieces_after_topics(&hierarchy.members()))?;
    hierarchy.divide(&stages)?;
    if hierarchy.topics.is_empty() {
        return Err(hierarchy.lost.no_topics(stages.kept.len(), settings));
    }
    progress(Stage::Names);
    let names = hierarchy.names(input, seed)?;
    progress(Stage::Map);
    let map = stages.map(&graph, of_others.as_ref())?;

    Ok(hierarchy.into_clusters(input, seed, &stages.kept, &clustering, &map, names))
}
