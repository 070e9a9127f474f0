//! The minimum spanning tree of mutual reachability, by Borůvka's algorithm over a kd-tree.
//!
//! Every point begins as a tree of its own; in each round every tree takes the shortest edge that leaves it,
//! until there is one. Edges are ordered by `(distance, smaller id, larger id)`, so the tree is unique,
//! whatever finds it and in whichever order. A search passes over what cannot matter: boxes whose points are
//! all in the same tree, boxes that are further than the best edge found by the point or by any other point
//! of its tree, and points that were further than that in a round before (edges out of a growing tree only
//! become longer).
//!
//! Reference: McInnes and Healy, "Accelerated Hierarchical Density Based Clustering", arXiv 1705.07321,
//! section 3.

use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::kd_tree::KdTree;

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

/// The tree's edges, shortest first, for core distances to the `samples`-th neighbour (`samples` below the
/// number of points).
pub fn minimum_spanning_tree(points: ArrayView2<f32>, samples: usize) -> Vec<TreeEdge> {
    let tree = KdTree::new(points);
    // The point itself, at distance zero, is the nearest.
    let squared_cores = tree.squared_distances_of_kth(samples + 1);
    of_tree(&tree, squared_cores)
}

/// The tree's edges, shortest first, for squared core distances of the places of a kd-tree.
pub(super) fn of_tree(tree: &KdTree, squared_cores: Vec<f64>) -> Vec<TreeEdge> {
    let mut edges = Forest::new(tree, squared_cores).join();
    edges.iter_mut().for_each(|edge| edge.distance = edge.distance.sqrt());
    edges.sort_by(|one, other| {
        one.distance.total_cmp(&other.distance).then((one.left, one.right).cmp(&(other.left, other.right)))
    });
    edges
}

/// Places of the kd-tree in trees that grow together. Distances are squared.
struct Forest<'a> {
    tree: &'a KdTree,
    /// The core distance of every place.
    cores: Vec<f64>,
    /// The smallest core distance of every node.
    smallest_cores: Vec<f64>,
    /// Which tree every place is in.
    trees: Vec<u32>,
    /// Which tree all places of a node are in, if they are in one.
    tree_of_node: Vec<Option<u32>>,
    /// No edge of the place that leaves its tree is shorter.
    floors: Vec<f64>,
}

impl<'a> Forest<'a> {
    fn new(tree: &'a KdTree, cores: Vec<f64>) -> Self {
        let mut smallest_cores = vec![f64::INFINITY; tree.nodes.len()];
        for (number, node) in tree.nodes.iter().enumerate().rev() {
            smallest_cores[number] = match node.halves {
                Some(halves) => {
                    halves.iter().fold(f64::INFINITY, |core, half| core.min(smallest_cores[*half as usize]))
                }
                None => cores[node.places()].iter().copied().fold(f64::INFINITY, f64::min),
            };
        }
        Self {
            smallest_cores,
            trees: (0..cores.len() as u32).collect(),
            tree_of_node: vec![None; tree.nodes.len()],
            floors: cores.clone(),
            cores,
            tree,
        }
    }

    /// Joins all trees; gives the edges that do.
    fn join(mut self) -> Vec<TreeEdge> {
        let mut edges = Vec::with_capacity(self.cores.len().saturating_sub(1));
        while edges.len() + 1 < self.cores.len() {
            self.mark_nodes();
            let leaving = self.shortest_leaving();
            self.merge(&leaving, &mut edges);
        }
        edges
    }

    fn mark_nodes(&mut self) {
        for (number, node) in self.tree.nodes.iter().enumerate().rev() {
            self.tree_of_node[number] = match node.halves {
                Some([near, far]) => {
                    let [near, far] = [near, far].map(|half| self.tree_of_node[half as usize]);
                    near.filter(|_| near == far)
                }
                None => {
                    let trees = &self.trees[node.places()];
                    trees.first().copied().filter(|first| trees.iter().all(|tree| tree == first))
                }
            };
        }
    }

    /// For every tree the shortest edge that leaves it, with the places of its ends; trees are named by a
    /// place of theirs.
    fn shortest_leaving(&mut self) -> Vec<Option<Leaving>> {
        let count = self.cores.len();
        // Squared distances are not negative: their bits are in the same order.
        let limits: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(f64::INFINITY.to_bits())).collect();
        let mut floors = std::mem::take(&mut self.floors);
        let found: Vec<Option<Leaving>> = floors
            .par_iter_mut()
            .with_min_len(64)
            .enumerate()
            .map_init(Vec::new, |pending, (place, floor)| {
                self.search(place, floor, &limits[self.trees[place] as usize], pending)
            })
            .collect();
        self.floors = floors;
        let mut shortest: Vec<Option<Leaving>> = vec![None; count];
        for leaving in found.into_iter().flatten() {
            let best = &mut shortest[self.trees[leaving.from as usize] as usize];
            if best.as_ref().is_none_or(|best| leaving.edge.precedes(&best.edge)) {
                *best = Some(leaving);
            }
        }
        shortest
    }

    /// The shortest edge from `place` out of its tree, if it is no longer than the shortest that other places
    /// of the tree have found so far, the `limit`. Which others have searched before differs from run to run:
    /// it decides what is passed over, never what is shortest.
    fn search(
        &self,
        place: usize,
        floor: &mut f64,
        limit: &AtomicU64,
        pending: &mut Vec<(f64, u32)>,
    ) -> Option<Leaving> {
        let now = || f64::from_bits(limit.load(Ordering::Relaxed));
        if *floor > now() {
            return None;
        }
        let (point, own, core, id) =
            (self.tree.point(place), self.trees[place], self.cores[place], self.tree.ids[place]);
        let mut best: Option<Leaving> = None;
        let matters = |distance: f64, smallest_id: u32, best: &Option<Leaving>| match best {
            Some(best) => TreeEdge::new(distance, id, smallest_id).precedes(&best.edge),
            None => true,
        };
        pending.clear();
        pending.push((core, 0));
        while let Some((distance, number)) = pending.pop() {
            let node = &self.tree.nodes[number as usize];
            if distance > now() || !matters(distance, node.smallest_id, &best) {
                continue;
            }
            let Some(halves) = node.halves else {
                for other in node.places().filter(|other| self.trees[*other] != own) {
                    let apart = self.tree.squared_distance(point, other);
                    let edge =
                        TreeEdge::new(apart.max(core).max(self.cores[other]), id, self.tree.ids[other]);
                    if best.as_ref().is_none_or(|best| edge.precedes(&best.edge)) {
                        best = Some(Leaving { edge, from: place as u32, to: other as u32 });
                        limit.fetch_min(edge.distance.to_bits(), Ordering::Relaxed);
                    }
                }
                continue;
            };
            let mut halves = halves.map(|half| {
                let apart = self.tree.squared_distance_of_box(point, half);
                (apart.max(core).max(self.smallest_cores[half as usize]), half)
            });
            // The nearer half is looked into first: it is last on the stack.
            halves.sort_by(|one, other| {
                let smallest_id = |half: u32| self.tree.nodes[half as usize].smallest_id;
                other.0.total_cmp(&one.0).then(smallest_id(other.1).cmp(&smallest_id(one.1)))
            });
            pending.extend(
                halves.into_iter().filter(|(_, half)| self.tree_of_node[*half as usize] != Some(own)),
            );
        }
        *floor = now().min(best.map_or(f64::INFINITY, |best| best.edge.distance));
        best.filter(|best| best.edge.distance <= now())
    }

    /// Takes the edges, each once, and names the trees anew.
    fn merge(&mut self, leaving: &[Option<Leaving>], edges: &mut Vec<TreeEdge>) {
        let mut above: Vec<u32> = (0..self.cores.len() as u32).collect();
        for Leaving { edge, from, to } in leaving.iter().flatten() {
            let [one, other] = [*from, *to].map(|place| top(&mut above, self.trees[place as usize]));
            // Two trees may have chosen one edge.
            if one != other {
                above[one.max(other) as usize] = one.min(other);
                edges.push(*edge);
            }
        }
        self.trees.iter_mut().for_each(|tree| *tree = top(&mut above, *tree));
    }
}

/// An edge that leaves a tree.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    edge: TreeEdge,
    /// The place in the tree.
    from: u32,
    /// The place outside.
    to: u32,
}

/// The name of the tree that `tree` has been merged into, with paths shortened on the way.
fn top(above: &mut [u32], mut tree: u32) -> u32 {
    while above[tree as usize] != tree {
        above[tree as usize] = above[above[tree as usize] as usize];
        tree = above[tree as usize];
    }
    tree
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
    fn copies_of_points_are_joined_in_the_order_of_their_ids() {
        let points = Array2::from_shape_fn((200, 3), |(i, _)| (i % 4) as f32);
        assert_eq!(minimum_spanning_tree(points.view(), 3), kruskal(points.view(), 3));
    }

    #[test]
    fn the_tree_is_the_same_on_any_number_of_threads() {
        let mut stream = stream(2, "tree");
        let points = Array2::from_shape_simple_fn((3000, 4), || normal(&mut stream));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| minimum_spanning_tree(points.view(), 5))
        };
        assert_eq!(on(1), on(4));
    }

    #[test]
    fn points_on_a_line_are_joined_in_turn() {
        let tree = minimum_spanning_tree(array![[0.0], [4.0], [1.0]].view(), 1);
        let edge = |distance, left, right| TreeEdge { distance, left, right };
        assert_eq!(tree, [edge(1.0, 0, 2), edge(3.0, 1, 2)]);
    }
}
