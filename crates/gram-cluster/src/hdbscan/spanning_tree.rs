//! The minimum spanning tree of mutual reachability, by Prim's algorithm over all pairs.
//!
//! Edges are ordered by `(distance, smaller id, larger id)`, so that the tree is unique whatever finds it. Time is
//! quadratic in the number of points, memory linear.

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::nearest_neighbours::kth_smallest;

/// An edge of the tree, `left < right`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeEdge {
    /// Mutual reachability of the two points.
    pub distance: f64,
    /// The smaller point.
    pub left: u32,
    /// The larger point.
    pub right: u32,
}

impl TreeEdge {
    fn new(distance: f64, one: u32, other: u32) -> Self {
        Self { distance, left: one.min(other), right: one.max(other) }
    }

    fn precedes(&self, other: &Self) -> bool {
        self.distance < other.distance
            || (self.distance == other.distance && (self.left, self.right) < (other.left, other.right))
    }
}

/// The tree's edges, shortest first, for core distances to the `samples`-th neighbour (`samples` below the number of
/// points).
pub fn minimum_spanning_tree(points: ArrayView2<f32>, samples: usize) -> Vec<TreeEdge> {
    let columns = Columns::new(points);
    let squared_cores = squared_core_distances(&columns, samples);
    let mut edges = prim(&columns, &squared_cores);
    edges.iter_mut().for_each(|edge| edge.distance = edge.distance.sqrt());
    edges.sort_by(|one, other| {
        one.distance.total_cmp(&other.distance).then((one.left, one.right).cmp(&(other.left, other.right)))
    });
    edges
}

/// Coordinates by dimension: distances from one point to all run through memory in order.
struct Columns(Vec<Vec<f64>>);

impl Columns {
    fn new(points: ArrayView2<f32>) -> Self {
        Self(points.columns().into_iter().map(|column| column.mapv(f64::from).to_vec()).collect())
    }

    fn points(&self) -> usize {
        self.0.first().map_or(0, Vec::len)
    }

    /// Squared distances from `point` to the first `distances.len()` points.
    fn squared_distances(&self, point: &[f64], distances: &mut [f64]) {
        distances.fill(0.0);
        for (column, from) in self.0.iter().zip(point) {
            for (distance, to) in distances.iter_mut().zip(column) {
                *distance += (to - from) * (to - from);
            }
        }
    }

    fn point(&self, index: usize) -> Vec<f64> {
        self.0.iter().map(|column| column[index]).collect()
    }

    fn swap_remove(&mut self, index: usize) {
        for column in &mut self.0 {
            column.swap_remove(index);
        }
    }
}

/// Squared distance of every point's `samples`-th neighbour.
fn squared_core_distances(columns: &Columns, samples: usize) -> Vec<f64> {
    let count = columns.points();
    (0..count)
        .into_par_iter()
        .map_init(
            || vec![0.0; count],
            |distances, point| {
                columns.squared_distances(&columns.point(point), distances);
                // The point itself, at distance zero, is the smallest.
                kth_smallest(distances, samples + 1)
            },
        )
        .collect()
}

/// Grows the tree from point 0; distances stay squared. Points not yet in the tree are kept side by side.
fn prim(columns: &Columns, squared_cores: &[f64]) -> Vec<TreeEdge> {
    let count = columns.points();
    let mut outside = Columns(columns.0.clone());
    let mut ids: Vec<u32> = (0..count as u32).collect();
    let mut best = vec![TreeEdge { distance: f64::INFINITY, left: u32::MAX, right: u32::MAX }; count];
    let (mut distances, mut edges) = (vec![0.0; count], Vec::with_capacity(count.saturating_sub(1)));
    let mut place = 0;
    while edges.len() + 1 < count {
        let added = ids.swap_remove(place);
        best.swap_remove(place);
        outside.swap_remove(place);
        distances.truncate(ids.len());
        outside.squared_distances(&columns.point(added as usize), &mut distances);
        let added_core = squared_cores[added as usize];
        place = 0;
        for (index, (id, distance)) in ids.iter().zip(&distances).enumerate() {
            let reach = distance.max(added_core).max(squared_cores[*id as usize]);
            if reach <= best[index].distance {
                let edge = TreeEdge::new(reach, added, *id);
                if edge.precedes(&best[index]) {
                    best[index] = edge;
                }
            }
            if best[index].precedes(&best[place]) {
                place = index;
            }
        }
        edges.push(best[place]);
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::{normal, stream};
    use ndarray::{Array2, array};

    /// Kruskal's algorithm over all pairs, straight from the definition.
    fn kruskal(points: ArrayView2<f32>, samples: usize) -> Vec<TreeEdge> {
        let count = points.nrows();
        let squared = |i: usize, j: usize| -> f64 {
            points
                .row(i)
                .iter()
                .zip(points.row(j))
                .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
                .sum()
        };
        let core = |i: usize| {
            let mut row: Vec<f64> = (0..count).filter(|j| *j != i).map(|j| squared(i, j)).collect();
            row.sort_by(f64::total_cmp);
            row[samples - 1]
        };
        let reach = |i: usize, j: usize| squared(i, j).max(core(i)).max(core(j)).sqrt();
        let pairs = (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
        let mut all: Vec<TreeEdge> =
            pairs.map(|(i, j)| TreeEdge::new(reach(i, j), i as u32, j as u32)).collect();
        all.sort_by(|one, other| one.distance.total_cmp(&other.distance));
        let mut component: Vec<usize> = (0..count).collect();
        all.retain(|edge| {
            let (keep, gone) = (component[edge.left as usize], component[edge.right as usize]);
            component.iter_mut().filter(|other| **other == gone).for_each(|other| *other = keep);
            keep != gone
        });
        all
    }

    #[test]
    fn the_tree_is_that_of_all_pairs_in_order() {
        let mut stream = stream(1, "tree");
        // Half of the coordinates on a grid, so that many distances tie.
        let random = Array2::from_shape_simple_fn((80, 2), || normal(&mut stream));
        let grid =
            Array2::from_shape_fn((80, 2), |(i, j)| if j == 0 { (i % 9) as f32 } else { (i / 9) as f32 });
        for points in [random, grid] {
            for samples in [1, 4] {
                assert_eq!(minimum_spanning_tree(points.view(), samples), kruskal(points.view(), samples));
            }
        }
    }

    #[test]
    fn points_on_a_line_are_joined_in_turn() {
        let tree = minimum_spanning_tree(array![[0.0], [4.0], [1.0]].view(), 1);
        let edge = |distance, left, right| TreeEdge { distance, left, right };
        assert_eq!(tree, [edge(1.0, 0, 2), edge(3.0, 1, 2)]);
    }
}
