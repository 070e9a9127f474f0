//! Where the layout starts: the smoothest functions on the graph.
//!
//! Random values are averaged over neighbours again and again, `x <- (x + D^-1/2 W D^-1/2 x) / 2`, and kept
//! orthogonal to each other and to the constant: power iteration towards the normalised Laplacian's lowest
//! eigenvectors. It stops after a fixed number of rounds: the start needs their smoothness, not their last
//! digits.

use gram_data::random::{normal, stream};
use ndarray::{Array2, ArrayView1, ArrayViewMut1, Axis};
use rayon::prelude::*;

use super::graph::FuzzyGraph;

const ROUNDS: usize = 120;
const ROUNDS_BETWEEN_ORTHOGONALISATIONS: usize = 10;
/// The start fills [0, 10] along every component, as umap-learn's does.
const EXTENT: f64 = 10.0;
/// Points that start together must be able to part.
const NOISE: f32 = 1e-4;
/// Points that a thread smooths at once.
const POINTS: usize = 1024;

/// Start coordinates: [points, components].
pub fn start(graph: &FuzzyGraph, components: usize, seed: u64) -> Array2<f32> {
    let mut random = stream(seed, "umap start");
    let neighbourhoods = Neighbourhoods::new(graph);
    let mut functions = Array2::zeros((graph.points, components));
    for mut function in functions.columns_mut() {
        function.iter_mut().for_each(|value| *value = f64::from(normal(&mut random)));
    }
    for round in 0..ROUNDS {
        if round % ROUNDS_BETWEEN_ORTHOGONALISATIONS == 0 {
            orthogonalise(&mut functions, &neighbourhoods.constant);
        }
        functions = neighbourhoods.smooth(&functions);
    }
    orthogonalise(&mut functions, &neighbourhoods.constant);
    let mut start = Array2::zeros((graph.points, components));
    for (mut column, function) in start.columns_mut().into_iter().zip(functions.columns()) {
        let stretched = stretch(function);
        column
            .iter_mut()
            .zip(stretched)
            .for_each(|(to, from)| *to = from as f32 + NOISE * normal(&mut random));
    }
    start
}

/// The normalised graph by rows (compressed sparse rows).
struct Neighbourhoods {
    starts: Vec<usize>,
    others: Vec<u32>,
    weights: Vec<f64>,
    /// The eigenvector that says nothing: square roots of the degrees, of length one.
    constant: Vec<f64>,
}

impl Neighbourhoods {
    fn new(graph: &FuzzyGraph) -> Self {
        let mut degrees = vec![0.0_f64; graph.points];
        let mut starts = vec![0; graph.points + 1];
        for edge in &graph.edges {
            for end in [edge.left, edge.right] {
                degrees[end as usize] += f64::from(edge.weight);
                starts[end as usize + 1] += 1;
            }
        }
        for point in 0..graph.points {
            starts[point + 1] += starts[point];
        }
        let (mut next, entries) = (starts.clone(), starts[graph.points]);
        let (mut others, mut weights) = (vec![0; entries], vec![0.0; entries]);
        for edge in &graph.edges {
            let (left, right) = (edge.left as usize, edge.right as usize);
            let weight = f64::from(edge.weight) / (degrees[left] * degrees[right]).sqrt();
            for (from, to) in [(left, right), (right, left)] {
                (others[next[from]], weights[next[from]]) = (to as u32, weight);
                next[from] += 1;
            }
        }
        let mut constant: Vec<f64> = degrees.iter().map(|degree| degree.sqrt()).collect();
        scale_to_unit(ArrayViewMut1::from(&mut constant));
        Self { starts, others, weights, constant }
    }

    /// Every point's values averaged with those of its neighbours.
    fn smooth(&self, functions: &Array2<f64>) -> Array2<f64> {
        let components = functions.ncols();
        let mut smoothed = Array2::zeros(functions.dim());
        let rows = smoothed.as_slice_mut().unwrap_or_default().par_chunks_mut(components * POINTS);
        rows.enumerate().for_each(|(chunk, rows)| {
            for (point, row) in (chunk * POINTS..).zip(rows.chunks_mut(components)) {
                let entries = self.starts[point]..self.starts[point + 1];
                for (other, weight) in self.others[entries.clone()].iter().zip(&self.weights[entries]) {
                    let other = functions.row(*other as usize);
                    row.iter_mut().zip(other).for_each(|(sum, value)| *sum += weight * value);
                }
                row.iter_mut().zip(functions.row(point)).for_each(|(sum, own)| *sum = (own + *sum) / 2.0);
            }
        });
        smoothed
    }
}

/// Gram and Schmidt, against the constant and the functions before.
fn orthogonalise(functions: &mut Array2<f64>, constant: &[f64]) {
    for index in 0..functions.ncols() {
        let (before, mut rest) = functions.view_mut().split_at(Axis(1), index);
        let mut function = rest.column_mut(0);
        let mut remove = |other: ArrayView1<f64>| {
            let overlap: f64 = function.iter().zip(other).map(|(value, other)| value * other).sum();
            function.zip_mut_with(&other, |value, other| *value -= overlap * other);
        };
        remove(ArrayView1::from(constant));
        before.columns().into_iter().for_each(remove);
        scale_to_unit(function);
    }
}

fn scale_to_unit(mut function: ArrayViewMut1<f64>) {
    let length = function.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        function.mapv_inplace(|value| value / length);
    }
}

fn stretch(function: ArrayView1<f64>) -> impl Iterator<Item = f64> {
    let low = function.iter().copied().fold(f64::INFINITY, f64::min);
    let high = function.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = if high > low { EXTENT / (high - low) } else { 0.0 };
    function.to_vec().into_iter().map(move |value| (value - low) * scale)
}

#[cfg(test)]
mod tests {
    use super::super::graph::Edge;
    use super::*;

    #[test]
    fn two_loosely_joined_groups_start_at_opposite_ends() {
        let pairs = |points: std::ops::Range<u32>| {
            points.clone().flat_map(move |left| (left + 1..points.end).map(move |right| (left, right)))
        };
        let edge = |weight| move |(left, right)| Edge { left, right, weight };
        let mut edges: Vec<Edge> = pairs(0..10).chain(pairs(10..20)).map(edge(1.0)).collect();
        edges.push(edge(0.1)((9, 10)));
        let start = start(&FuzzyGraph { points: 20, edges }, 1, 5);
        let side = |point: usize| start[[point, 0]] > 5.0;
        assert!((0..10).all(|point| side(point) == side(0)), "{start}");
        assert!((10..20).all(|point| side(point) != side(0)), "{start}");
    }
}
