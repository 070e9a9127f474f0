//! A kd-tree: points in boxes within boxes, so that whole boxes can be passed over.
//!
//! Points lie in the order of the tree, so that those of a box lie side by side. A box is halved along its
//! longest side, between points in the order of `(coordinate, id)`: copies of a point are parted by their
//! ids.
//!
//! Reference: Bentley, "Multidimensional Binary Search Trees Used for Associative Searching", CACM 18(9),
//! 1975.

use ndarray::ArrayView2;
use rayon::prelude::*;

/// Points of a leaf at most: a scan of so few is faster than a further division.
const LEAF: usize = 24;

/// The tree. Node 0 is the root; children come after their parents.
pub(super) struct KdTree {
    /// Coordinates in the order of the tree, `[points, dimensions]`.
    coordinates: Vec<f64>,
    dimensions: usize,
    /// The id of every place.
    pub(super) ids: Vec<u32>,
    pub(super) nodes: Vec<Node>,
    /// The smallest and the largest coordinates of every node, `[nodes, 2, dimensions]`.
    bounds: Vec<f64>,
}

/// A box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Its first place.
    pub(super) first: u32,
    /// The place after its last.
    pub(super) end: u32,
    /// Its halves; none for a leaf.
    pub(super) halves: Option<[u32; 2]>,
    /// The smallest id in it.
    pub(super) smallest_id: u32,
}

impl Node {
    /// Its places.
    pub(super) fn places(&self) -> std::ops::Range<usize> {
        self.first as usize..self.end as usize
    }
}

impl KdTree {
    pub(super) fn new(points: ArrayView2<f32>) -> Self {
        let (count, dimensions) = points.dim();
        let mut tree = Self {
            coordinates: Vec::with_capacity(count * dimensions),
            dimensions,
            ids: (0..count as u32).collect(),
            nodes: Vec::new(),
            bounds: Vec::new(),
        };
        let mut ids = std::mem::take(&mut tree.ids);
        if count > 0 {
            tree.divide(&points, &mut ids, 0);
        }
        for id in &ids {
            tree.coordinates.extend(points.row(*id as usize).iter().map(|value| f64::from(*value)));
        }
        Self { ids, ..tree }
    }

    /// Makes the node of `ids`, which begin at place `first`, and all below it; gives its number.
    fn divide(&mut self, points: &ArrayView2<f32>, ids: &mut [u32], first: usize) -> u32 {
        let number = self.nodes.len();
        let side = self.enclose(points, ids);
        let smallest_id = ids.iter().copied().min().unwrap_or(u32::MAX);
        let (first, end) = (first as u32, (first + ids.len()) as u32);
        self.nodes.push(Node { first, end, halves: None, smallest_id });
        if ids.len() > LEAF {
            let half = ids.len() / 2;
            let key = |id: &u32| points[[*id as usize, side]];
            ids.select_nth_unstable_by(half, |one, other| {
                key(one).total_cmp(&key(other)).then(one.cmp(other))
            });
            let (near, far) = ids.split_at_mut(half);
            let near = self.divide(points, near, first as usize);
            let far = self.divide(points, far, first as usize + half);
            self.nodes[number].halves = Some([near, far]);
        }
        number as u32
    }

    /// Notes the bounds of `ids`; gives the longest side.
    fn enclose(&mut self, points: &ArrayView2<f32>, ids: &[u32]) -> usize {
        let (mut lower, mut upper) =
            (vec![f64::INFINITY; self.dimensions], vec![f64::NEG_INFINITY; self.dimensions]);
        for id in ids {
            for (side, value) in points.row(*id as usize).iter().enumerate() {
                lower[side] = lower[side].min(f64::from(*value));
                upper[side] = upper[side].max(f64::from(*value));
            }
        }
        let length = |side: &usize| upper[*side] - lower[*side];
        let longest = (0..self.dimensions).max_by(|one, other| length(one).total_cmp(&length(other)));
        self.bounds.extend(lower.iter().chain(&upper));
        longest.unwrap_or(0)
    }

    /// The coordinates at a place.
    pub(super) fn point(&self, place: usize) -> &[f64] {
        &self.coordinates[place * self.dimensions..][..self.dimensions]
    }

    /// The squared distance of two places' points, summed dimension by dimension.
    pub(super) fn squared_distance(&self, point: &[f64], place: usize) -> f64 {
        point.iter().zip(self.point(place)).map(|(one, other)| (one - other) * (one - other)).sum()
    }

    /// The squared distance of a point from a box: no point in it is nearer, in floating-point numbers too,
    /// for rounding never turns an order round.
    pub(super) fn squared_distance_of_box(&self, point: &[f64], node: u32) -> f64 {
        let bounds = &self.bounds[node as usize * 2 * self.dimensions..][..2 * self.dimensions];
        let (lower, upper) = bounds.split_at(self.dimensions);
        let gap = |((value, lower), upper): ((&f64, &f64), &f64)| {
            let gap = (lower - value).max(value - upper).max(0.0);
            gap * gap
        };
        point.iter().zip(lower).zip(upper).map(gap).sum()
    }

    /// For every place the squared distance of its `k`-th nearest point, itself counted. `k` is at most the
    /// number of points.
    pub(super) fn squared_distances_of_kth(&self, k: usize) -> Vec<f64> {
        let places = 0..self.ids.len();
        places
            .into_par_iter()
            .with_min_len(LEAF)
            .map_init(
                || (Vec::with_capacity(k + 1), Vec::new()),
                |(nearest, pending), place| {
                    self.kth_nearest(self.point(place), k, nearest, pending);
                    nearest[k - 1]
                },
            )
            .collect()
    }

    /// Of the `2 samples` points around another that is not among them the nearest by mutual reachability:
    /// its id and the squared reachability. `cores` are the squared core distances of the places, of the
    /// `samples`-th neighbour; the other's own is that of its next neighbour, as Python's prediction has it.
    pub(super) fn nearest_reachable(&self, point: &[f64], samples: usize, cores: &[f64]) -> (u32, f64) {
        let (mut nearest, mut pending) = (Vec::new(), Vec::new());
        self.kth_nearest(point, (2 * samples).min(self.ids.len()), &mut nearest, &mut pending);
        let (core, furthest) = (nearest[samples], nearest[nearest.len() - 1]);
        let mut best = (f64::INFINITY, f64::INFINITY, u32::MAX);
        pending.push((0.0, 0));
        while let Some((distance, node)) = pending.pop() {
            if distance > best.0.min(furthest) {
                continue;
            }
            let Node { halves, .. } = self.nodes[node as usize];
            match halves {
                Some(halves) => {
                    let mut halves = halves.map(|half| (self.squared_distance_of_box(point, half), half));
                    halves.sort_by(|one, other| other.0.total_cmp(&one.0));
                    pending.extend(halves);
                }
                None => {
                    for place in self.nodes[node as usize].places() {
                        let apart = self.squared_distance(point, place);
                        // Of equal reachability the nearer, then the smaller id.
                        let found = (apart.max(core).max(cores[place]), apart, self.ids[place]);
                        if apart <= furthest && found < best {
                            best = found;
                        }
                    }
                }
            }
        }
        (best.2, best.0)
    }

    /// Fills `nearest` with the `k` smallest squared distances from `point`, ascending.
    fn kth_nearest(&self, point: &[f64], k: usize, nearest: &mut Vec<f64>, pending: &mut Vec<(f64, u32)>) {
        nearest.clear();
        nearest.resize(k, f64::INFINITY);
        pending.clear();
        pending.push((0.0, 0));
        while let Some((distance, node)) = pending.pop() {
            if distance >= nearest[k - 1] {
                continue;
            }
            let Node { halves, .. } = self.nodes[node as usize];
            let Some(halves) = halves else {
                for place in self.nodes[node as usize].places() {
                    let distance = self.squared_distance(point, place);
                    if distance < nearest[k - 1] {
                        let rank = nearest.partition_point(|kept| *kept <= distance);
                        nearest.copy_within(rank..k - 1, rank + 1);
                        nearest[rank] = distance;
                    }
                }
                continue;
            };
            let mut halves = halves.map(|half| (self.squared_distance_of_box(point, half), half));
            // The nearer half is looked into first: it is last on the stack.
            halves.sort_by(|one, other| other.0.total_cmp(&one.0));
            pending.extend(halves);
        }
    }
}
