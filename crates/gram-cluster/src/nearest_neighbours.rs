//! Exact k nearest neighbours by blocked matrix products.
//!
//! `|x - y|^2 = |x|^2 + |y|^2 - 2 x.y`: the products of a block of points with all points find the candidates, and
//! every candidate's distance is computed anew from the differences, so that equal points are at distance zero and
//! ties go to the smaller id. Cosine distance is half the squared distance of the normalised points. Time is
//! quadratic in the number of points (20,000 points of 128 dimensions: seconds).

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis};
use rayon::prelude::*;

use crate::matrix::{block_rows, dot_products, normalised_rows, squared_distance, squared_norms};

/// What "near" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `1 - cos(x, y)`: directions only, usual for sentence embeddings.
    Cosine,
    /// `|x - y|`.
    Euclidean,
}

/// The nearest other points of every point, nearest first.
///
/// # Shapes
/// - ids, distances: [points, k]
#[derive(Clone, Debug, PartialEq)]
pub struct NearestNeighbours {
    /// Row numbers of the neighbours.
    pub ids: Array2<u32>,
    /// Their distances, ascending.
    pub distances: Array2<f32>,
}

/// The `k` nearest other points of every row of `points` [points, dimensions]; fewer when there are fewer points.
pub fn nearest_neighbours(points: ArrayView2<f32>, k: usize, metric: Metric) -> NearestNeighbours {
    let points = match metric {
        Metric::Cosine => normalised_rows(points),
        Metric::Euclidean => points.as_standard_layout().into_owned(),
    };
    let search = Search::new(points.view(), metric);
    let (count, k) = (points.nrows(), k.min(points.nrows().saturating_sub(1)));
    let mut found =
        NearestNeighbours { ids: Array2::zeros((count, k)), distances: Array2::zeros((count, k)) };
    let rows = block_rows(count);
    let ids = found.ids.axis_chunks_iter_mut(Axis(0), rows);
    let distances = found.distances.axis_chunks_iter_mut(Axis(0), rows);
    ids.into_iter().zip(distances).enumerate().par_bridge().for_each(|(block, (mut ids, mut distances))| {
        let products = search.products(block * rows, ids.nrows());
        for (offset, products) in products.rows().into_iter().enumerate() {
            search.nearest(block * rows + offset, products, ids.row_mut(offset), distances.row_mut(offset));
        }
    });
    found
}

struct Search<'a> {
    points: ArrayView2<'a, f32>,
    metric: Metric,
    norms: Vec<f32>,
    largest_norm: f32,
}

impl<'a> Search<'a> {
    fn new(points: ArrayView2<'a, f32>, metric: Metric) -> Self {
        let norms = squared_norms(points);
        let largest_norm = norms.iter().copied().fold(0.0, f32::max);
        Self { points, metric, norms, largest_norm }
    }

    /// The products of `rows` points from `first` on with all points: [rows, points].
    fn products(&self, first: usize, rows: usize) -> Array2<f32> {
        let mut products = Array2::zeros((rows, self.points.nrows()));
        let block = self.points.slice(ndarray::s![first..first + rows, ..]);
        dot_products(block, self.points, products.view_mut());
        products
    }

    /// Fills in the neighbours of one point.
    fn nearest(
        &self,
        point: usize,
        products: ArrayView1<f32>,
        mut ids: ArrayViewMut1<u32>,
        mut distances: ArrayViewMut1<f32>,
    ) {
        if ids.is_empty() {
            return;
        }
        let mut candidates = self.candidates(point, products, ids.len());
        candidates.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        for (rank, (squared, id)) in candidates.into_iter().take(ids.len()).enumerate() {
            ids[rank] = id;
            distances[rank] = match self.metric {
                Metric::Cosine => squared / 2.0,
                Metric::Euclidean => squared.sqrt(),
            } as f32;
        }
    }

    /// All points that may be among the k nearest, given the rounding of the products, with exact squared distances.
    fn candidates(&self, point: usize, products: ArrayView1<f32>, k: usize) -> Vec<(f64, u32)> {
        // Short of |point|^2, which is the same for all.
        let mut approximate: Vec<f32> =
            products.iter().zip(&self.norms).map(|(product, norm)| norm - 2.0 * product).collect();
        approximate[point] = f32::INFINITY;
        let limit = kth_smallest(&approximate, k) + self.tolerance(point);
        let near = approximate.iter().enumerate().filter(|(_, distance)| **distance <= limit);
        near.filter(|(id, _)| *id != point)
            .map(|(id, _)| (squared_distance(self.points.row(point), self.points.row(id)), id as u32))
            .collect()
    }

    /// How far rounding may move an approximate distance: both ends of a comparison, a random walk over the sum.
    fn tolerance(&self, point: usize) -> f32 {
        let terms = (self.points.ncols() as f32).sqrt();
        4.0 * f32::EPSILON * terms * (self.norms[point] + self.largest_norm)
    }
}

/// The k-th smallest value (k >= 1), by a short sorted list: most values fail one comparison.
fn kth_smallest<T: PartialOrd + Copy>(values: &[T], k: usize) -> T {
    let mut smallest: Vec<T> = values[..k].to_vec();
    smallest.sort_by(|left, right| left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal));
    for value in &values[k..] {
        if *value < smallest[k - 1] {
            let place = smallest.partition_point(|kept| kept <= value);
            smallest.copy_within(place..k - 1, place + 1);
            smallest[place] = *value;
        }
    }
    smallest[k - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::{normal, stream};
    use ndarray::array;

    fn random_points(count: usize, dimensions: usize) -> Array2<f32> {
        let mut stream = stream(3, "points");
        Array2::from_shape_simple_fn((count, dimensions), || normal(&mut stream))
    }

    /// The definition, point by point.
    fn naive(points: ArrayView2<f32>, k: usize, metric: Metric) -> Vec<Vec<u32>> {
        let distance = |i: usize, j: usize| {
            let (x, y) = (points.row(i).mapv(f64::from), points.row(j).mapv(f64::from));
            match metric {
                Metric::Cosine => 1.0 - x.dot(&y) / (x.dot(&x) * y.dot(&y)).sqrt(),
                Metric::Euclidean => (&x - &y).mapv(|difference| difference * difference).sum(),
            }
        };
        let row = |i: usize| {
            let mut others: Vec<usize> = (0..points.nrows()).filter(|j| *j != i).collect();
            others.sort_by(|a, b| distance(i, *a).total_cmp(&distance(i, *b)).then(a.cmp(b)));
            others.into_iter().take(k).map(|id| id as u32).collect()
        };
        (0..points.nrows()).map(row).collect()
    }

    #[test]
    fn neighbours_are_those_of_the_definition() {
        let points = random_points(300, 24);
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let found = nearest_neighbours(points.view(), 10, metric);
            for (ids, expected) in found.ids.rows().into_iter().zip(naive(points.view(), 10, metric)) {
                assert_eq!(ids.to_vec(), expected);
            }
            assert!(found.distances.rows().into_iter().all(|row| row.to_vec().is_sorted()));
        }
    }

    #[test]
    fn equal_points_are_at_distance_zero_and_the_smaller_id_comes_first() {
        let mut points = random_points(60, 100);
        let first = points.row(0).to_owned();
        (20..60).for_each(|row| points.row_mut(row).assign(&first));
        let found = nearest_neighbours(points.view(), 3, Metric::Cosine);
        assert_eq!(found.ids.row(59).to_vec(), [0, 20, 21]);
        assert_eq!(found.distances.row(59).to_vec(), [0.0; 3]);
    }

    #[test]
    fn few_points_give_few_neighbours() {
        let found = nearest_neighbours(array![[0.0, 1.0], [1.0, 0.0]].view(), 5, Metric::Euclidean);
        assert_eq!(found.ids, array![[1], [0]]);
        assert_eq!(nearest_neighbours(array![[0.0]].view(), 5, Metric::Cosine).ids.dim(), (1, 0));
    }

    #[test]
    fn the_kth_smallest_counts_repeated_values() {
        assert_eq!(kth_smallest(&[3, 1, 2, 1, 5], 2), 1);
        assert_eq!(kth_smallest(&[3, 1, 2, 1, 5], 4), 3);
    }
}
