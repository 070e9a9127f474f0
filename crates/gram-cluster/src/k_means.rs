//! k-means: greedy k-means++ starts, Lloyd's iterations over blocked matrix products, the best of several
//! restarts.
//!
//! Minimises the inertia `sum_i |x_i - c(x_i)|^2`. Blocks of rows are fixed and their sums joined in order: a
//! seed gives one result at any number of threads.
//!
//! References: Lloyd, "Least squares quantization in PCM", 1982; Arthur and Vassilvitskii, "k-means++: The
//! Advantages of Careful Seeding", SODA 2007 (with several trials per centre, as they propose).

use gram_data::random::Stream;
use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt;
use rayon::prelude::*;

use crate::matrix::{dot_products, squared_distance, squared_norms};

const ROWS: usize = 256;

/// How k-means runs.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeansSettings {
    /// Number of clusters. 1 or more; more than there are points are as many as there are points.
    pub clusters: usize,
    /// Starts, of which the best result is kept. 1 or more.
    pub restarts: usize,
    /// Iterations per start at most.
    pub iterations: usize,
}

impl KMeansSettings {
    /// `clusters` clusters, 10 restarts of at most 300 iterations.
    pub fn new(clusters: usize) -> Self {
        Self { clusters, restarts: 10, iterations: 300 }
    }
}

/// Centroids and the points nearest to each.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// Means: [clusters, dimensions].
    pub centroids: Array2<f32>,
    /// Nearest centroid of every point. A cluster is empty only if there are fewer distinct points than
    /// clusters.
    pub labels: Vec<usize>,
    /// Sum of squared distances of the points from their centroids.
    pub inertia: f64,
}

/// Clusters `points` [points, dimensions], at least one.
pub fn k_means(points: ArrayView2<f32>, settings: &KMeansSettings, random: &mut Stream) -> KMeans {
    let problem = Problem::new(points, settings.clusters.clamp(1, points.nrows().max(1)));
    let mut best: Option<KMeans> = None;
    for _ in 0..settings.restarts.max(1) {
        let found = problem.lloyd(problem.plus_plus(random), settings.iterations);
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
    }
    best.unwrap_or_else(|| KMeans {
        centroids: Array2::zeros((0, points.ncols())),
        labels: vec![],
        inertia: 0.0,
    })
}

struct Problem<'a> {
    points: ArrayView2<'a, f32>,
    clusters: usize,
}

impl<'a> Problem<'a> {
    fn new(points: ArrayView2<'a, f32>, clusters: usize) -> Self {
        Self { points, clusters }
    }

    /// Every next centre is drawn by squared distance from those before; of a few draws the one that helps
    /// most.
    fn plus_plus(&self, random: &mut Stream) -> Array2<f32> {
        let trials = 2 + (self.clusters as f64).ln() as usize;
        let mut centroids = Array2::zeros((self.clusters, self.points.ncols()));
        if self.points.nrows() == 0 {
            return centroids;
        }
        let first = random.random_range(0..self.points.nrows());
        centroids.row_mut(0).assign(&self.points.row(first));
        let mut nearest = self.distances_to(first);
        for cluster in 1..self.clusters {
            let mut best: Option<(f64, usize, Vec<f64>)> = None;
            for _ in 0..trials {
                let drawn = draw(&nearest, random);
                let reduced: Vec<f64> =
                    nearest.iter().zip(self.distances_to(drawn)).map(|(old, new)| old.min(new)).collect();
                let potential = reduced.iter().sum();
                if best.as_ref().is_none_or(|(least, _, _)| potential < *least) {
                    best = Some((potential, drawn, reduced));
                }
            }
            if let Some((_, drawn, reduced)) = best {
                centroids.row_mut(cluster).assign(&self.points.row(drawn));
                nearest = reduced;
            }
        }
        centroids
    }

    fn distances_to(&self, point: usize) -> Vec<f64> {
        let centre = self.points.row(point);
        let distance = |row| squared_distance(self.points.row(row), centre);
        (0..self.points.nrows()).into_par_iter().map(distance).collect()
    }

    /// Assigns and averages in turn until no point moves.
    fn lloyd(&self, mut centroids: Array2<f32>, iterations: usize) -> KMeans {
        let mut labels = self.assign(centroids.view());
        for _ in 0..iterations {
            centroids = self.means(&mut labels, centroids.view());
            let moved = self.assign(centroids.view());
            if moved == labels {
                break;
            }
            labels = moved;
        }
        let distance =
            |(row, label): (usize, &usize)| squared_distance(self.points.row(row), centroids.row(*label));
        let inertia = labels.iter().enumerate().map(distance).sum();
        KMeans { centroids, labels, inertia }
    }

    /// The nearest centroid of every point; ties to the smaller.
    fn assign(&self, centroids: ArrayView2<f32>) -> Vec<usize> {
        let centroid_norms = squared_norms(centroids);
        let blocks: Vec<ArrayView2<f32>> = self.points.axis_chunks_iter(Axis(0), ROWS).collect();
        blocks
            .into_par_iter()
            .flat_map_iter(|block| {
                let mut products = Array2::zeros((block.nrows(), centroids.nrows()));
                dot_products(block, centroids, products.view_mut());
                let nearest = |row: ndarray::ArrayView1<f32>| {
                    let distances =
                        row.iter().zip(&centroid_norms).map(|(product, norm)| norm - 2.0 * product);
                    let least =
                        |best: (usize, f32), next: (usize, f32)| if next.1 < best.1 { next } else { best };
                    distances.enumerate().fold((0, f32::INFINITY), least).0
                };
                products.rows().into_iter().map(nearest).collect::<Vec<usize>>()
            })
            .collect()
    }

    /// The mean of every cluster; an empty one takes the point that lies worst, and its label with it.
    fn means(&self, labels: &mut [usize], centroids: ArrayView2<f32>) -> Array2<f32> {
        self.reseed_empty(labels, centroids);
        let dimensions = self.points.ncols();
        let blocks: Vec<(ArrayView2<f32>, &[usize])> =
            self.points.axis_chunks_iter(Axis(0), ROWS).zip(labels.chunks(ROWS)).collect();
        let partial: Vec<Array2<f64>> = blocks
            .into_par_iter()
            .map(|(block, labels)| {
                let mut sums = Array2::zeros((self.clusters, dimensions));
                for (row, label) in block.rows().into_iter().zip(labels) {
                    sums.row_mut(*label).zip_mut_with(&row, |sum, value| *sum += f64::from(*value));
                }
                sums
            })
            .collect();
        let sums: Array2<f64> =
            partial.into_iter().fold(Array2::zeros((self.clusters, dimensions)), |all, part| all + part);
        let mut means = centroids.to_owned();
        for ((mut mean, sum), size) in means.rows_mut().into_iter().zip(sums.rows()).zip(self.sizes(labels)) {
            if size > 0 {
                mean.zip_mut_with(&sum, |mean, sum| *mean = (sum / size as f64) as f32);
            }
        }
        means
    }

    fn reseed_empty(&self, labels: &mut [usize], centroids: ArrayView2<f32>) {
        let mut sizes = self.sizes(labels);
        if sizes.iter().all(|size| *size > 0) {
            return;
        }
        let distance = |row: usize| squared_distance(self.points.row(row), centroids.row(labels[row]));
        let mut worst: Vec<(f64, usize)> = (0..labels.len()).map(|row| (distance(row), row)).collect();
        worst.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut worst = worst.into_iter();
        for empty in 0..self.clusters {
            if sizes[empty] > 0 {
                continue;
            }
            let donor = worst.find(|(distance, row)| *distance > 0.0 && sizes[labels[*row]] > 1);
            if let Some((_, row)) = donor {
                sizes[labels[row]] -= 1;
                sizes[empty] += 1;
                labels[row] = empty;
            }
        }
    }

    fn sizes(&self, labels: &[usize]) -> Vec<usize> {
        let mut sizes = vec![0; self.clusters];
        labels.iter().for_each(|label| sizes[*label] += 1);
        sizes
    }
}

/// Draws an index in proportion to the weights; any index if all are zero.
fn draw(weights: &[f64], random: &mut Stream) -> usize {
    let mut left = random.random::<f64>() * weights.iter().sum::<f64>();
    let mut last = 0;
    for (index, weight) in weights.iter().enumerate() {
        if *weight > 0.0 {
            last = index;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::stream;
    use ndarray::array;

    #[test]
    fn two_pairs_have_their_middles_as_centroids() {
        let points = array![[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0]];
        let found = k_means(points.view(), &KMeansSettings::new(2), &mut stream(1, "k-means"));
        assert_eq!(found.inertia, 4.0);
        assert_eq!(found.labels[0], found.labels[1]);
        assert_ne!(found.labels[0], found.labels[2]);
        assert_eq!(found.centroids.row(found.labels[2]).to_vec(), [10.0, 1.0]);
    }

    #[test]
    fn an_empty_cluster_takes_the_point_that_lies_worst() {
        let points = array![[0.0], [1.0], [2.0], [9.0]];
        let problem = Problem::new(points.view(), 3);
        let mut labels = vec![0, 0, 0, 0];
        problem.reseed_empty(&mut labels, array![[1.0], [50.0], [60.0]].view());
        assert_eq!(labels, [2, 0, 0, 1]);
    }

    #[test]
    fn fewer_distinct_points_than_clusters_leave_clusters_empty() {
        let points = Array2::<f32>::ones((6, 2));
        let found = k_means(points.view(), &KMeansSettings::new(3), &mut stream(1, "k-means"));
        assert_eq!((found.inertia, found.labels), (0.0, vec![0; 6]));
    }

    #[test]
    fn more_clusters_than_points_are_as_many_as_points() {
        let found = k_means(array![[0.0], [1.0]].view(), &KMeansSettings::new(5), &mut stream(1, "k-means"));
        assert_eq!((found.centroids.nrows(), found.inertia), (2, 0.0));
    }
}
