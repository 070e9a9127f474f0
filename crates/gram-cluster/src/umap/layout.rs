//! The layout: neighbours attract, random points repel, along the gradient of the curve.
//!
//! With nearness `q(d) = 1 / (1 + a d^2b)` the layout minimises the cross-entropy between edge weights and nearness by
//! stochastic gradient descent. An edge is drawn in proportion to its weight: the strongest twice every epoch, once
//! from either end. Both ends of a drawn edge move towards each other by
//! `-2ab d^(2b-2) / (1 + a d^2b) (x - y)`, then the end it was drawn from moves away from a few random points by
//! `2b / ((0.001 + d^2)(1 + a d^2b)) (x - y)`. One thread, so that a seed gives one layout.

use gram_data::random::{Stream, stream};
use ndarray::Array2;
use rand::Rng;

use super::UmapSettings;
use super::curve::Curve;
use super::graph::FuzzyGraph;

/// No coordinate moves further than this in one step of rate 1.
const STEP_LIMIT: f32 = 4.0;
/// Keeps repulsion finite where points meet.
const REPULSION_FLOOR: f32 = 0.001;

/// Moves the points of `start` [points, components] into their layout.
pub fn layout(graph: &FuzzyGraph, start: Array2<f32>, settings: &UmapSettings, seed: u64) -> Array2<f32> {
    let (points, components) = start.dim();
    let epochs = settings.epochs_for(points);
    let mut schedule = Schedule::new(graph, epochs);
    let forces = Forces::new(settings);
    let mut random = stream(seed, "umap layout");
    let mut positions = start.into_raw_vec_and_offset().0;
    let mut field = Field { positions: &mut positions, components, points: points as u64 };
    for epoch in 0..epochs {
        let rate = settings.learning_rate * (1.0 - epoch as f32 / epochs as f32);
        schedule.drawn(epoch, |head, tail| {
            field.attract(head, tail, &forces, rate);
            for _ in 0..settings.negatives {
                field.repel(head, &mut random, &forces, rate);
            }
        });
    }
    // The vector holds points * components values: it was taken out of such an array.
    Array2::from_shape_vec((points, components), positions).unwrap_or_default()
}

/// When each edge is drawn next.
struct Schedule {
    ends: Vec<[u32; 2]>,
    period: Vec<f32>,
    next: Vec<f32>,
}

impl Schedule {
    /// Edges too weak to be drawn once are left out.
    fn new(graph: &FuzzyGraph, epochs: usize) -> Self {
        let strongest = graph.edges.iter().map(|edge| edge.weight).fold(0.0, f32::max);
        let mut drawn: Vec<(u32, u32, f32)> = graph
            .edges
            .iter()
            .filter(|edge| edge.weight * epochs as f32 >= strongest)
            .flat_map(|edge| [(edge.left, edge.right, edge.weight), (edge.right, edge.left, edge.weight)])
            .collect();
        // Point by point: a point's neighbours are drawn while it is in the cache.
        drawn.sort_by_key(|(head, tail, _)| (*head, *tail));
        let period: Vec<f32> = drawn.iter().map(|(_, _, weight)| strongest / weight).collect();
        let ends = drawn.into_iter().map(|(head, tail, _)| [head, tail]).collect();
        Self { ends, next: period.clone(), period }
    }

    fn drawn(&mut self, epoch: usize, mut draw: impl FnMut(usize, usize)) {
        let now = (epoch + 1) as f32;
        for ((ends, next), period) in self.ends.iter().zip(&mut self.next).zip(&self.period) {
            if *next <= now {
                *next += period;
                draw(ends[0] as usize, ends[1] as usize);
            }
        }
    }
}

/// The curve's gradients.
struct Forces {
    a: f32,
    b: f32,
}

impl Forces {
    fn new(settings: &UmapSettings) -> Self {
        let curve = Curve::fit(settings.minimum_distance, settings.spread);
        Self { a: curve.a as f32, b: curve.b as f32 }
    }

    fn attraction(&self, squared: f32) -> f32 {
        let power = squared.powf(self.b);
        -2.0 * self.a * self.b * (power / squared) / (1.0 + self.a * power)
    }

    fn repulsion(&self, squared: f32) -> f32 {
        2.0 * self.b / ((REPULSION_FLOOR + squared) * (1.0 + self.a * squared.powf(self.b)))
    }
}

/// The points in motion.
struct Field<'a> {
    positions: &'a mut [f32],
    components: usize,
    points: u64,
}

impl Field<'_> {
    fn squared_distance(&self, left: usize, right: usize) -> f32 {
        let left = &self.positions[left * self.components..][..self.components];
        let right = &self.positions[right * self.components..][..self.components];
        left.iter().zip(right).map(|(l, r)| (l - r) * (l - r)).sum()
    }

    fn attract(&mut self, head: usize, tail: usize, forces: &Forces, rate: f32) {
        let squared = self.squared_distance(head, tail);
        if squared == 0.0 {
            return;
        }
        let force = forces.attraction(squared);
        for component in 0..self.components {
            let (head, tail) = (head * self.components + component, tail * self.components + component);
            let step = rate * limited(force * (self.positions[head] - self.positions[tail]));
            self.positions[head] += step;
            self.positions[tail] -= step;
        }
    }

    fn repel(&mut self, head: usize, random: &mut Stream, forces: &Forces, rate: f32) {
        // The high half of a 32 by 32 bit product: uniform to 2^-32 for any number of points.
        let other = ((u64::from(random.next_u32()) * self.points) >> 32) as usize;
        let squared = self.squared_distance(head, other);
        if squared == 0.0 {
            return;
        }
        let force = forces.repulsion(squared);
        for component in 0..self.components {
            let (head, other) = (head * self.components + component, other * self.components + component);
            self.positions[head] += rate * limited(force * (self.positions[head] - self.positions[other]));
        }
    }
}

fn limited(step: f32) -> f32 {
    step.clamp(-STEP_LIMIT, STEP_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forces_are_the_gradients_of_the_cross_entropy() {
        let forces = Forces { a: 1.9, b: 0.8 };
        let curve = Curve { a: 1.9, b: 0.8 };
        let step = 1e-5;
        for distance in [0.3_f64, 1.0, 2.5] {
            let slope = |f: &dyn Fn(f64) -> f64| (f(distance + step) - f(distance - step)) / (2.0 * step);
            // d/dx of log q and log(1 - q), per unit of (x - y).
            let attraction = slope(&|d| curve.nearness(d).ln()) / distance;
            let repulsion = slope(&|d| (1.0 - curve.nearness(d)).ln()) / distance;
            let squared = (distance * distance) as f32;
            assert!((f64::from(forces.attraction(squared)) / attraction - 1.0).abs() < 1e-3);
            let floor = distance * distance / (distance * distance + 0.001);
            assert!((f64::from(forces.repulsion(squared)) / (repulsion * floor) - 1.0).abs() < 1e-3);
        }
    }
}
