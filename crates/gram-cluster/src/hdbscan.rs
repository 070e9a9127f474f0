//! HDBSCAN: clusters of any shape and density, and noise, from the hierarchy of densities.
//!
//! 1. The **core distance** of a point is the distance of its `min_samples`-th neighbour; the **mutual
//!    reachability** of two points is the largest of their distance and their core distances.
//! 2. The minimum spanning tree of mutual reachability ([`spanning_tree`]), cut from its longest edge down,
//!    is a hierarchy; splits that shed fewer than `min_cluster_size` points are points falling out of a
//!    cluster, not clusters ([`condensed_tree`]).
//! 3. With `lambda = 1 / distance`, a cluster's stability is the sum over its points of how long they stay,
//!    `lambda_leave - lambda_birth`. The flat clustering of greatest total stability is chosen (excess of
//!    mass); the root is never a cluster.
//!
//! Exact, so equal to Python's `hdbscan` with `approx_min_span_tree=False` but for ties, which here go by
//! `(distance, smaller id, larger id)`.
//!
//! References: Campello, Moulavi, Zimek and Sander, "Hierarchical Density Estimates for Data Clustering,
//! Visualization, and Outlier Detection", TKDD 2015; McInnes and Healy, "Accelerated Hierarchical Density
//! Based Clustering", arXiv 1705.07321.

pub mod condensed_tree;
mod kd_tree;
pub mod spanning_tree;

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ClusterError;
use condensed_tree::CondensedTree;
use kd_tree::KdTree;

/// How HDBSCAN finds clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HdbscanSettings {
    /// The fewest points of a cluster. 2 or more.
    pub min_cluster_size: usize,
    /// Neighbours that make a point dense, the point itself not counted: larger calls more points noise. 1
    /// or more; by default `min_cluster_size`.
    pub min_samples: Option<usize>,
}

impl Default for HdbscanSettings {
    /// BERTopic's: topics of 10 and more.
    fn default() -> Self {
        Self { min_cluster_size: 10, min_samples: None }
    }
}

impl HdbscanSettings {
    /// Checks every field's range.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] names the first field out of range.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let check = ClusterError::check_setting;
        check(self.min_cluster_size >= 2, "hdbscan.min_cluster_size", &self.min_cluster_size, "2 or more")?;
        check(self.min_samples != Some(0), "hdbscan.min_samples", &0, "1 or more")
    }

    /// `min_samples`, or its default.
    pub(crate) fn samples(&self) -> usize {
        self.min_samples.unwrap_or(self.min_cluster_size)
    }
}

/// A flat clustering with noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// Cluster of every point, `None` for noise.
    pub labels: Vec<Option<usize>>,
    /// How strongly every point belongs to its cluster, in [0, 1]; 0 for noise.
    pub strengths: Vec<f64>,
    /// Number of clusters; labels are below it.
    pub clusters: usize,
}

/// Clusters `points` [points, dimensions] by Euclidean distance. Fewer points than make a neighbourhood are
/// all noise.
pub fn hdbscan(points: ArrayView2<f32>, settings: &HdbscanSettings) -> Clustering {
    let count = points.nrows();
    if count <= settings.samples() {
        return Clustering { labels: vec![None; count], strengths: vec![0.0; count], clusters: 0 };
    }
    let edges = spanning_tree::minimum_spanning_tree(points, settings.samples());
    CondensedTree::new(&edges, settings.min_cluster_size).excess_of_mass()
}

/// Clusters `points` and says where in these clusters `others` belong, without moving them: approximate
/// prediction, as Python's `hdbscan.approximate_predict`. A point goes where its nearest neighbour by mutual
/// reachability was when the hierarchy had come down to that distance.
pub fn hdbscan_with_others(
    points: ArrayView2<f32>,
    others: ArrayView2<f32>,
    settings: &HdbscanSettings,
) -> (Clustering, Clustering) {
    let noise = |count: usize, clusters| Clustering {
        labels: vec![None; count],
        strengths: vec![0.0; count],
        clusters,
    };
    if points.nrows() <= settings.samples() {
        return (hdbscan(points, settings), noise(others.nrows(), 0));
    }
    let samples = settings.samples();
    let tree = KdTree::new(points);
    let cores = tree.squared_distances_of_kth(samples + 1);
    let edges = spanning_tree::of_tree(&tree, cores.clone());
    let condensed = CondensedTree::new(&edges, settings.min_cluster_size);
    let clustering = condensed.excess_of_mass();
    let labels = condensed.labels();
    let of_other = |row: usize| {
        let other: Vec<f64> = others.row(row).iter().map(|value| f64::from(*value)).collect();
        let (neighbour, squared) = tree.nearest_reachable(&other, samples, &cores);
        condensed.place_at(&labels, neighbour as usize, 1.0 / squared.sqrt())
    };
    let placed: Vec<(Option<usize>, f64)> = (0..others.nrows()).into_par_iter().map(of_other).collect();
    let (labels, strengths) = placed.into_iter().unzip();
    let others = Clustering { labels, strengths, clusters: clustering.clusters };
    (clustering, others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn two_lumps_and_a_stray_are_two_clusters_and_noise() {
        let mut points = Array2::zeros((41, 2));
        for i in 0..20 {
            let (x, y) = ((i % 5) as f32 * 0.1, (i / 5) as f32 * 0.1);
            (points[[i, 0]], points[[i, 1]]) = (x, y);
            (points[[20 + i, 0]], points[[20 + i, 1]]) = (x + 10.0, y);
        }
        (points[[40, 0]], points[[40, 1]]) = (5.0, 30.0);
        let found = hdbscan(points.view(), &HdbscanSettings { min_cluster_size: 5, min_samples: Some(3) });
        assert_eq!(found.clusters, 2);
        assert!((0..20).all(|i| found.labels[i].is_some() && found.labels[i] == found.labels[0]));
        assert!((20..40).all(|i| found.labels[i].is_some() && found.labels[i] != found.labels[0]));
        assert_eq!((found.labels[40], found.strengths[40]), (None, 0.0));
        assert!(found.strengths.iter().all(|strength| (0.0..=1.0).contains(strength)));
    }

    #[test]
    fn copies_of_few_points_are_clusters_of_full_strength() {
        let points = Array2::from_shape_fn((30, 1), |(i, _)| (i / 10) as f32 * 3.0);
        let found = hdbscan(points.view(), &HdbscanSettings { min_cluster_size: 5, min_samples: None });
        assert_eq!(found.clusters, 3);
        assert!(found.strengths.iter().all(|strength| *strength == 1.0));
    }

    #[test]
    fn too_few_points_are_noise() {
        let points = Array2::zeros((3, 2));
        assert_eq!(hdbscan(points.view(), &HdbscanSettings::default()).labels, [None; 3]);
        assert_eq!(hdbscan(Array2::zeros((0, 2)).view(), &HdbscanSettings::default()).clusters, 0);
    }
}
