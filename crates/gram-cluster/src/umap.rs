//! UMAP: a low-dimensional layout that keeps neighbourhoods, so that density means something again.
//!
//! High-dimensional distances differ little from one another; HDBSCAN needs a space where they do not. UMAP
//! joins every point to its nearest neighbours with weights that fall off at each point's own scale
//! ([`graph`]), starts from the graph's smoothest functions ([`spectral`]), and moves points so that joined
//! ones attract and random ones repel ([`layout`]) along a curve of a chosen tightness ([`curve`]).
//!
//! Reference: McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension
//! Reduction", arXiv 1802.03426; defaults as umap-learn's, but `components`, `minimum_distance` and `metric`
//! as BERTopic sets them for clustering.

pub mod curve;
pub mod graph;
pub mod layout;
pub mod spectral;

use ndarray::{Array2, CowArray, Ix2};
use serde::{Deserialize, Serialize};

use crate::error::ClusterError;
use crate::nearest_neighbours::{Metric, NearestNeighbours, SearchAmong, nearest_neighbours};
use graph::FuzzyGraph;

/// How UMAP reduces dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UmapSettings {
    /// Neighbours per point, the point itself counted: larger sees more of the whole, less detail. 2 or
    /// more.
    pub neighbours: usize,
    /// Dimensions of the layout. 1 or more.
    pub components: usize,
    /// How close points may lie: 0 packs clusters tightly. At least 0, below `spread`.
    pub minimum_distance: f64,
    /// The scale of the layout. Above 0.
    pub spread: f64,
    /// Which neighbours are near.
    pub metric: Metric,
    /// Passes over the graph; by default 500 up to 10,000 points, 200 above.
    pub epochs: Option<usize>,
    /// First step of the layout, falling to zero over the epochs. Above 0.
    pub learning_rate: f32,
    /// Random points that repel, per attracting edge.
    pub negatives: usize,
}

impl Default for UmapSettings {
    fn default() -> Self {
        Self {
            neighbours: 15,
            components: 5,
            minimum_distance: 0.0,
            spread: 1.0,
            metric: Metric::Cosine,
            epochs: None,
            learning_rate: 1.0,
            negatives: 5,
        }
    }
}

impl UmapSettings {
    /// Checks every field's range.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] names the first field out of range.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let check = ClusterError::check_setting;
        check(self.neighbours >= 2, "umap.neighbours", &self.neighbours, "2 or more")?;
        check(self.components >= 1, "umap.components", &self.components, "1 or more")?;
        check(self.spread > 0.0 && self.spread.is_finite(), "umap.spread", &self.spread, "above 0")?;
        let range = "at least 0 and below umap.spread";
        let tight = (0.0..self.spread).contains(&self.minimum_distance);
        check(tight, "umap.minimum_distance", &self.minimum_distance, range)?;
        check(self.epochs != Some(0), "umap.epochs", &0, "1 or more")?;
        let rate = self.learning_rate;
        check(rate > 0.0 && rate.is_finite(), "umap.learning_rate", &rate, "above 0")
    }

    /// Passes over the graph for so many points.
    pub fn epochs_for(&self, points: usize) -> usize {
        self.epochs.unwrap_or(if points <= 10_000 { 500 } else { 200 })
    }
}

/// The neighbours that the graph of `points` [points, dimensions] joins.
pub fn neighbours<'a>(
    points: impl Into<CowArray<'a, f32, Ix2>>,
    settings: &UmapSettings,
) -> NearestNeighbours {
    // The point itself is one of umap-learn's neighbours.
    nearest_neighbours(points, settings.neighbours - 1, settings.metric)
}

/// A search among `points` [points, dimensions] for the neighbours of others, to be put [`graph::among`]
/// them.
pub fn neighbours_of_others<'a>(
    points: impl Into<CowArray<'a, f32, Ix2>>,
    settings: &UmapSettings,
) -> SearchAmong<'a> {
    SearchAmong::new(points, settings.neighbours - 1, settings.metric)
}

/// The neighbour graph of `points` [points, dimensions].
pub fn neighbour_graph<'a>(points: impl Into<CowArray<'a, f32, Ix2>>, settings: &UmapSettings) -> FuzzyGraph {
    FuzzyGraph::new(&neighbours(points, settings))
}

/// The layout of a graph: [points, `settings.components`]. The same for a seed at any number of threads.
pub fn embed(graph: &FuzzyGraph, settings: &UmapSettings, seed: u64) -> Array2<f32> {
    let start = spectral::start(graph, settings.components, seed);
    layout::layout(graph, start, settings, seed)
}
