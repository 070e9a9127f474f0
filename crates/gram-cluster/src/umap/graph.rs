//! The fuzzy neighbour graph: how surely two points are neighbours, each point judging at its own scale.
//!
//! Point i sees neighbour j at strength `exp(-max(0, d_ij - rho_i) / sigma_i)`: `rho_i` is the distance of
//! its nearest neighbour (not counting copies of itself), and `sigma_i` is such that the strengths add up to
//! `log2(k)`. The strengths p and q that two points give each other join by the fuzzy union `p + q - p q`.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::nearest_neighbours::NearestNeighbours;

/// An undirected edge, `left < right`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The smaller point.
    pub left: u32,
    /// The larger point.
    pub right: u32,
    /// How surely they are neighbours, in (0, 1].
    pub weight: f32,
}

/// The weighted neighbour graph.
#[derive(Clone, Debug, PartialEq)]
pub struct FuzzyGraph {
    /// How many points there are.
    pub points: usize,
    /// Every pair of neighbours once, sorted by `(left, right)`.
    pub edges: Vec<Edge>,
}

impl FuzzyGraph {
    /// Joins every point to its nearest neighbours.
    pub fn new(neighbours: &NearestNeighbours) -> Self {
        let points = neighbours.ids.nrows();
        let scales = scales(neighbours);
        let mut edges: Vec<Edge> = (0..points)
            .into_par_iter()
            .flat_map_iter(|point| {
                let scale = scales[point];
                let seen = neighbours.ids.row(point).into_iter().zip(neighbours.distances.row(point));
                seen.map(move |(other, distance)| directed(point as u32, *other, scale.strength(*distance)))
            })
            .collect();
        edges.par_sort_by_key(|edge| (edge.left, edge.right));
        edges.dedup_by(|second, first| {
            let same = (first.left, first.right) == (second.left, second.right);
            if same {
                first.weight += second.weight - first.weight * second.weight;
            }
            same
        });
        edges.retain(|edge| edge.weight > 0.0);
        Self { points, edges }
    }
}

/// Where points lie whose `neighbours` have places in `layout` [points, components]: in the middle of them,
/// weighted by how surely each is a neighbour.
pub fn among(neighbours: &NearestNeighbours, layout: ArrayView2<f32>) -> Array2<f32> {
    let scales = scales(neighbours);
    let mut places = Array2::zeros((scales.len(), layout.ncols()));
    let rows: Vec<_> = places.rows_mut().into_iter().enumerate().collect();
    rows.into_par_iter().for_each(|(point, mut place)| {
        let seen = neighbours.ids.row(point).into_iter().zip(neighbours.distances.row(point));
        let mut total = 0.0;
        for (other, distance) in seen {
            let strength = scales[point].strength(*distance);
            place.scaled_add(strength, &layout.row(*other as usize));
            total += strength;
        }
        // The nearest has strength 1.
        place.mapv_inplace(|sum| sum / total);
    });
    places
}

fn directed(point: u32, other: u32, weight: f32) -> Edge {
    Edge { left: point.min(other), right: point.max(other), weight }
}

/// At which distances one point sees neighbours.
#[derive(Clone, Copy)]
struct Scale {
    /// Distance of the nearest neighbour that is not a copy.
    nearest: f64,
    /// Distance beyond it at which strength has fallen to 1/e.
    width: f64,
}

impl Scale {
    fn strength(self, distance: f32) -> f32 {
        let beyond = f64::from(distance) - self.nearest;
        if beyond <= 0.0 || self.width == 0.0 { 1.0 } else { (-beyond / self.width).exp() as f32 }
    }
}

/// No width below this share of the mean distance, as in umap-learn: copies of a point must not blind it.
const MINIMUM_WIDTH: f64 = 1e-3;

fn scales(neighbours: &NearestNeighbours) -> Vec<Scale> {
    let distances = &neighbours.distances;
    let mean_of = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
    // The point itself counts as a neighbour at distance zero.
    let total: f64 = distances.iter().map(|distance| f64::from(*distance)).sum();
    let overall_mean = mean_of(total, distances.nrows() * (distances.ncols() + 1));
    (0..distances.nrows())
        .into_par_iter()
        .map(|point| {
            let row: Vec<f64> = distances.row(point).iter().map(|distance| f64::from(*distance)).collect();
            let nearest = row.iter().copied().find(|distance| *distance > 0.0).unwrap_or(0.0);
            let mean = if nearest > 0.0 { mean_of(row.iter().sum(), row.len() + 1) } else { overall_mean };
            Scale { nearest, width: width(&row, nearest).max(MINIMUM_WIDTH * mean) }
        })
        .collect()
}

/// Bisects for the width at which the strengths add up to `log2(k)`, the point itself counted in k.
fn width(distances: &[f64], nearest: f64) -> f64 {
    let target = ((distances.len() + 1) as f64).log2();
    let (mut low, mut high, mut width) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        let strength = |distance: &f64| (-(distance - nearest).max(0.0) / width).exp();
        let sum: f64 = distances.iter().map(strength).sum();
        if (sum - target).abs() < 1e-5 {
            break;
        }
        if sum > target {
            high = width;
            width = (low + high) / 2.0;
        } else {
            low = width;
            width = if high.is_infinite() { width * 2.0 } else { (low + high) / 2.0 };
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn strengths_add_up_to_the_logarithm_of_k() {
        let distances = [0.3, 0.5, 0.9, 1.4, 1.5, 2.0, 2.2];
        let scale = Scale { nearest: 0.3, width: width(&distances, 0.3) };
        let sum: f32 = distances.iter().map(|distance| scale.strength(*distance as f32)).sum();
        assert!((sum - 3.0).abs() < 1e-4, "{sum}");
        assert_eq!(scale.strength(0.3), 1.0);
    }

    #[test]
    fn the_union_joins_both_judgements() {
        // Points on a line at 0, 1, 3: each sees one neighbour, whose strength is 1.
        let neighbours =
            NearestNeighbours { ids: array![[1], [0], [1]], distances: array![[1.0], [1.0], [2.0]] };
        let graph = FuzzyGraph::new(&neighbours);
        let edge = |left, right| Edge { left, right, weight: 1.0 };
        assert_eq!(graph.edges, [edge(0, 1), edge(1, 2)]);
    }
}
