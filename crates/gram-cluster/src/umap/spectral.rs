//! Where the layout starts: the smoothest functions on the graph.
//!
//! Random values are averaged over neighbours again and again, `x <- (x + D^-1/2 W D^-1/2 x) / 2`, and kept orthogonal
//! to each other and to the constant: power iteration towards the normalised Laplacian's lowest eigenvectors. It stops
//! after a fixed number of rounds: the start needs their smoothness, not their last digits.

use gram_data::random::{normal, stream};
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::graph::FuzzyGraph;

const ROUNDS: usize = 120;
const ROUNDS_BETWEEN_ORTHOGONALISATIONS: usize = 10;
/// The start fills [0, 10] along every component, as umap-learn's does.
const EXTENT: f64 = 10.0;
/// Points that start together must be able to part.
const NOISE: f32 = 1e-4;

/// Start coordinates: [points, components].
pub fn start(graph: &FuzzyGraph, components: usize, seed: u64) -> Array2<f32> {
    let mut random = stream(seed, "umap start");
    let neighbourhoods = Neighbourhoods::new(graph);
    let mut functions: Vec<Vec<f64>> = (0..components)
        .map(|_| (0..graph.points).map(|_| f64::from(normal(&mut random))).collect())
        .collect();
    for round in 0..ROUNDS {
        if round % ROUNDS_BETWEEN_ORTHOGONALISATIONS == 0 {
            orthogonalise(&mut functions, &neighbourhoods.constant);
        }
        functions.par_iter_mut().for_each(|function| *function = neighbourhoods.smooth(function));
    }
    orthogonalise(&mut functions, &neighbourhoods.constant);
    let mut start = Array2::zeros((graph.points, components));
    for (mut column, function) in start.axis_iter_mut(Axis(1)).zip(&functions) {
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
        scale_to_unit(&mut constant);
        Self { starts, others, weights, constant }
    }

    fn smooth(&self, function: &[f64]) -> Vec<f64> {
        let average = |point: usize| {
            let row = self.starts[point]..self.starts[point + 1];
            let others = self.others[row.clone()].iter().zip(&self.weights[row]);
            others.map(|(other, weight)| weight * function[*other as usize]).sum::<f64>()
        };
        (0..function.len()).map(|point| (function[point] + average(point)) / 2.0).collect()
    }
}

/// Gram and Schmidt, against the constant and the functions before.
fn orthogonalise(functions: &mut [Vec<f64>], constant: &[f64]) {
    for index in 0..functions.len() {
        let (before, rest) = functions.split_at_mut(index);
        let function = &mut rest[0];
        for other in std::iter::once(constant).chain(before.iter().map(Vec::as_slice)) {
            let overlap: f64 = function.iter().zip(other).map(|(value, other)| value * other).sum();
            function.iter_mut().zip(other).for_each(|(value, other)| *value -= overlap * other);
        }
        scale_to_unit(function);
    }
}

fn scale_to_unit(function: &mut [f64]) {
    let length = function.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        function.iter_mut().for_each(|value| *value /= length);
    }
}

fn stretch(function: &[f64]) -> impl Iterator<Item = f64> {
    let low = function.iter().copied().fold(f64::INFINITY, f64::min);
    let high = function.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = if high > low { EXTENT / (high - low) } else { 0.0 };
    function.iter().map(move |value| (value - low) * scale)
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
