//! Exact k nearest neighbours by blocked matrix products.
//!
//! `|x - y|^2 = |x|^2 + |y|^2 - 2 x.y`: the products of a block of points with all points find the
//! candidates, and every candidate's distance is computed anew from the differences, so that equal points are
//! at distance zero and ties go to the smaller id. Time is quadratic in the number of points.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use super::{Metric, NearestNeighbours};
use crate::matrix::{block_rows, dot_products, squared_distance, squared_norms};

/// The `k` nearest other points of every row of `points` (normalised, for the cosine metric); `k` below their
/// number.
pub(super) fn nearest_neighbours(points: ArrayView2<f32>, k: usize, metric: Metric) -> NearestNeighbours {
    let all: Vec<usize> = (0..points.nrows()).collect();
    let rows = of_rows(points, k, metric, &all).into_iter().map(|(_, neighbours)| neighbours);
    NearestNeighbours::from_rows(rows.collect(), k)
}

/// The neighbours of some rows, nearest first, with their distances.
pub(super) fn of_rows(
    points: ArrayView2<f32>,
    k: usize,
    metric: Metric,
    rows: &[usize],
) -> Vec<(usize, Vec<(u32, f32)>)> {
    let search = Search::new(points, metric);
    let blocks = rows.par_chunks(block_rows(points.nrows()));
    blocks.flat_map_iter(|block| block.iter().copied().zip(search.of_block(block, k))).collect()
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

    /// The neighbours of some points.
    fn of_block(&self, block: &[usize], k: usize) -> Vec<Vec<(u32, f32)>> {
        let mut products = Array2::zeros((block.len(), self.points.nrows()));
        dot_products(self.points.select(Axis(0), block).view(), self.points, products.view_mut());
        let rows = block.iter().zip(products.rows());
        rows.map(|(point, products)| self.nearest(*point, products, k)).collect()
    }

    /// The neighbours of one point, with their distances.
    fn nearest(&self, point: usize, products: ArrayView1<f32>, k: usize) -> Vec<(u32, f32)> {
        if k == 0 {
            return Vec::new();
        }
        let mut candidates = self.candidates(point, products, k);
        candidates.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        let found = candidates.into_iter().take(k);
        found.map(|(squared, id)| (id, self.metric.of_squared(squared))).collect()
    }

    /// All points that may be among the k nearest, given the rounding of the products, with exact squared
    /// distances.
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

    /// How far rounding may move an approximate distance: both ends of a comparison, a random walk over the
    /// sum.
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

    #[test]
    fn the_kth_smallest_counts_repeated_values() {
        assert_eq!(kth_smallest(&[3, 1, 2, 1, 5], 2), 1);
        assert_eq!(kth_smallest(&[3, 1, 2, 1, 5], 4), 3);
    }
}
