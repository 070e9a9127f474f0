//! The layout: neighbours attract, random points repel, along the gradient of the curve.
//!
//! With nearness `q(d) = 1 / (1 + a d^2b)` the layout minimises the cross-entropy between edge weights and
//! nearness by stochastic gradient descent. An edge is drawn in proportion to its weight: the strongest twice
//! every epoch, once from either end. Both ends of a drawn edge move towards each other by
//! `-2ab d^(2b-2) / (1 + a d^2b) (x - y)`, then the end it was drawn from moves away from a few random points
//! by `2b / ((0.001 + d^2)(1 + a d^2b)) (x - y)`.
//!
//! Many points are dealt into blocks. An edge belongs to the pair of blocks of its ends, and is drawn, with
//! its random points, within that pair alone. Pairs that share no block run side by side, in a fixed order of
//! rounds (that of a tournament), with a random stream for each pair: a seed gives one layout at any number
//! of threads.

use gram_data::random::{Stream, indexed_stream};
use ndarray::Array2;
use rand::Rng;
use rayon::prelude::*;

use super::UmapSettings;
use super::curve::Curve;
use super::graph::FuzzyGraph;

/// No coordinate moves further than this in one step of rate 1.
const STEP_LIMIT: f32 = 4.0;
/// Keeps repulsion finite where points meet.
const REPULSION_FLOOR: f32 = 0.001;
/// Points above which there are blocks.
const ONE_BLOCK: usize = 20_000;
/// Blocks, an even number: half as many pairs run side by side.
const BLOCKS: usize = 8;

/// Moves the points of `start` [points, components] into their layout.
pub fn layout(graph: &FuzzyGraph, start: Array2<f32>, settings: &UmapSettings, seed: u64) -> Array2<f32> {
    let blocks = if start.nrows() > ONE_BLOCK { BLOCKS } else { 1 };
    layout_in_blocks(graph, start, settings, seed, blocks)
}

fn layout_in_blocks(
    graph: &FuzzyGraph,
    mut start: Array2<f32>,
    settings: &UmapSettings,
    seed: u64,
    blocks: usize,
) -> Array2<f32> {
    let (points, components) = start.dim();
    let epochs = settings.epochs_for(points);
    let deal = Deal { blocks };
    let mut rounds = deal.rounds(graph, epochs, seed);
    let forces = Forces::new(settings);
    let mut positions: Vec<Vec<f32>> = (0..blocks)
        .map(|block| deal.points(block, points).flat_map(|point| start.row(point).to_vec()).collect())
        .collect();
    for epoch in 0..epochs {
        let rate = settings.learning_rate * (1.0 - epoch as f32 / epochs as f32);
        for round in &mut rounds {
            let mut waiting: Vec<Option<&mut Vec<f32>>> = positions.iter_mut().map(Some).collect();
            let mut block = |number: usize| -> &mut [f32] {
                waiting[number].take().map_or(&mut [], |positions| positions.as_mut_slice())
            };
            let together: Vec<_> = round
                .iter_mut()
                .map(|pair| {
                    let [near, far] = [block(pair.blocks[0]), block(pair.blocks[1])];
                    (pair, Field { near, far, components })
                })
                .collect();
            together.into_par_iter().for_each(|(pair, mut field)| {
                let PairOfBlocks { schedule, random, .. } = pair;
                schedule.drawn(epoch, |head, tail| {
                    field.attract(head, tail, &forces, rate);
                    for _ in 0..settings.negatives {
                        field.repel(head, random, &forces, rate);
                    }
                });
            });
        }
    }
    for (block, positions) in positions.iter().enumerate() {
        for (point, position) in deal.points(block, points).zip(positions.chunks(components)) {
            start.row_mut(point).iter_mut().zip(position).for_each(|(to, from)| *to = *from);
        }
    }
    start
}

/// Which block has which points: one point in turn for each.
#[derive(Clone, Copy)]
struct Deal {
    blocks: usize,
}

impl Deal {
    fn points(self, block: usize, points: usize) -> impl Iterator<Item = usize> {
        (block..points).step_by(self.blocks)
    }

    /// The pairs of every round, with the edges that are drawn in them: each block with itself, then with
    /// each other.
    fn rounds(self, graph: &FuzzyGraph, epochs: usize, seed: u64) -> Vec<Vec<PairOfBlocks>> {
        let mut edges: Vec<Vec<(u32, u32, f32)>> = vec![Vec::new(); self.blocks * self.blocks];
        let strongest = graph.edges.iter().map(|edge| edge.weight).fold(0.0, f32::max);
        // Edges too weak to be drawn once are left out.
        for edge in graph.edges.iter().filter(|edge| edge.weight * epochs as f32 >= strongest) {
            let [left, right] = [edge.left, edge.right].map(|point| point as usize % self.blocks);
            let pair = left.min(right) * self.blocks + left.max(right);
            edges[pair].push((edge.left, edge.right, edge.weight));
            edges[pair].push((edge.right, edge.left, edge.weight));
        }
        let mut of_blocks = |blocks: [usize; 2]| {
            let number = blocks[0] * self.blocks + blocks[1];
            let mut drawn = std::mem::take(&mut edges[number]);
            // Point by point: a point's neighbours are drawn while it is in the cache.
            drawn.sort_by_key(|(head, tail, _)| (*head, *tail));
            let far = self.points(blocks[0], graph.points).count() as u32;
            let place = |point: u32| {
                let offset = if point as usize % self.blocks == blocks[0] { 0 } else { far };
                offset + point / self.blocks as u32
            };
            PairOfBlocks {
                blocks,
                schedule: Schedule::new(drawn, strongest, place),
                random: indexed_stream(seed, "umap layout", number as u64),
            }
        };
        let alone = (0..self.blocks).map(|block| of_blocks([block, block])).collect();
        let rounds = tournament(self.blocks)
            .into_iter()
            .map(|round| round.into_iter().map(&mut of_blocks).collect::<Vec<_>>());
        std::iter::once(alone).chain(rounds).collect()
    }
}

/// Everyone meets everyone once, in rounds in which no one plays twice (the circle method), for an even
/// number; none for one.
fn tournament(players: usize) -> Vec<Vec<[usize; 2]>> {
    let last = players - 1;
    let of_round = |round: usize| {
        let seat = |place: usize| (round + place) % last.max(1);
        let first = std::iter::once([seat(0), last]);
        let others = (1..players / 2).map(|place| [seat(place), seat(last - place)]);
        first.chain(others).map(|[one, other]| [one.min(other), one.max(other)]).collect()
    };
    (0..last).map(of_round).collect()
}

/// Two blocks that move together, or one alone.
struct PairOfBlocks {
    blocks: [usize; 2],
    schedule: Schedule,
    random: Stream,
}

/// When each edge is drawn next.
struct Schedule {
    ends: Vec<[u32; 2]>,
    period: Vec<f32>,
    next: Vec<f32>,
}

impl Schedule {
    /// Of edges (head, tail, weight), whose ends lie at a `place`.
    fn new(edges: Vec<(u32, u32, f32)>, strongest: f32, place: impl Fn(u32) -> u32) -> Self {
        let period: Vec<f32> = edges.iter().map(|(_, _, weight)| strongest / weight).collect();
        let ends = edges.into_iter().map(|(head, tail, _)| [place(head), place(tail)]).collect();
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

/// The points of a pair of blocks in motion: those of the first, then those of the second.
struct Field<'a> {
    near: &'a mut [f32],
    far: &'a mut [f32],
    components: usize,
}

impl Field<'_> {
    fn points(&self) -> u64 {
        ((self.near.len() + self.far.len()) / self.components) as u64
    }

    fn position(&self, place: usize) -> &[f32] {
        let first = place * self.components;
        match first.checked_sub(self.near.len()) {
            None => &self.near[first..][..self.components],
            Some(first) => &self.far[first..][..self.components],
        }
    }

    fn position_mut(&mut self, place: usize) -> &mut [f32] {
        let first = place * self.components;
        match first.checked_sub(self.near.len()) {
            None => &mut self.near[first..][..self.components],
            Some(first) => &mut self.far[first..][..self.components],
        }
    }

    fn squared_distance(&self, left: usize, right: usize) -> f32 {
        self.position(left).iter().zip(self.position(right)).map(|(l, r)| (l - r) * (l - r)).sum()
    }

    fn attract(&mut self, head: usize, tail: usize, forces: &Forces, rate: f32) {
        let squared = self.squared_distance(head, tail);
        if squared == 0.0 {
            return;
        }
        let force = forces.attraction(squared);
        for component in 0..self.components {
            let apart = self.position(head)[component] - self.position(tail)[component];
            let step = rate * limited(force * apart);
            self.position_mut(head)[component] += step;
            self.position_mut(tail)[component] -= step;
        }
    }

    fn repel(&mut self, head: usize, random: &mut Stream, forces: &Forces, rate: f32) {
        // The high half of a 32 by 32 bit product: uniform to 2^-32 for any number of points.
        let other = ((u64::from(random.next_u32()) * self.points()) >> 32) as usize;
        let squared = self.squared_distance(head, other);
        if squared == 0.0 {
            return;
        }
        let force = forces.repulsion(squared);
        for component in 0..self.components {
            let apart = self.position(head)[component] - self.position(other)[component];
            self.position_mut(head)[component] += rate * limited(force * apart);
        }
    }
}

fn limited(step: f32) -> f32 {
    step.clamp(-STEP_LIMIT, STEP_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::super::graph::Edge;
    use super::*;

    #[test]
    fn everyone_meets_everyone_once_and_no_one_plays_twice_in_a_round() {
        assert!(tournament(1).is_empty());
        for players in [2, 4, 8] {
            let rounds = tournament(players);
            let mut met: Vec<[usize; 2]> = rounds.concat();
            for round in rounds {
                let mut playing = round.concat();
                playing.sort_unstable();
                assert_eq!(playing, (0..players).collect::<Vec<_>>());
            }
            met.sort_unstable();
            let all = (0..players).flat_map(|one| (one + 1..players).map(move |other| [one, other]));
            assert_eq!(met, all.collect::<Vec<_>>());
        }
    }

    /// Rings of points, each joined to its next ones.
    fn rings(count: u32, points: u32) -> FuzzyGraph {
        let joined = |ring: u32, point: u32, step: u32| {
            let ends = [ring * points + point, ring * points + (point + step) % points];
            Edge { left: ends[0].min(ends[1]), right: ends[0].max(ends[1]), weight: 1.0 / step as f32 }
        };
        let edges = (0..count).flat_map(|ring| {
            (0..points).flat_map(move |point| (1..4).map(move |step| joined(ring, point, step)))
        });
        FuzzyGraph { points: (count * points) as usize, edges: edges.collect() }
    }

    #[test]
    fn blocks_give_one_layout_on_any_number_of_threads_and_keep_groups_together() {
        let graph = rings(6, 40);
        let settings = UmapSettings { components: 2, epochs: Some(200), ..UmapSettings::default() };
        let start = super::super::spectral::start(&graph, 2, 1);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| layout_in_blocks(&graph, start.clone(), &settings, 1, BLOCKS))
        };
        let found = on(1);
        assert_eq!(found, on(3));
        let distance = |one: usize, other: usize| (&found.row(one) - &found.row(other)).mapv(|x| x * x).sum();
        let nearest = |point: usize| {
            let others = (0..graph.points).filter(|other| *other != point);
            others.min_by(|one, other| distance(point, *one).total_cmp(&distance(point, *other))).unwrap()
        };
        let together = (0..graph.points).filter(|point| nearest(*point) / 40 == point / 40).count();
        assert!(together > 230, "{together} of 240");
    }

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
