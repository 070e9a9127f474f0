//! The hierarchy with its small splits left out, and the most stable flat clustering in it.

use std::collections::VecDeque;

use super::Clustering;
use super::spanning_tree::TreeEdge;

/// The condensed hierarchy. Cluster 0 is the root; parents come before their children.
#[derive(Clone, Debug, PartialEq)]
pub struct CondensedTree {
    clusters: Vec<Cluster>,
    /// For every point the last cluster it was in, and the lambda at which it fell out.
    leaves: Vec<(usize, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Cluster {
    parent: Option<usize>,
    /// Lambda at which it parted from its parent.
    birth: f64,
    /// The largest lambda at which anything left it.
    death: f64,
    /// Sum over its points of the lambda they stayed for.
    stability: f64,
}

impl Cluster {
    fn new(parent: Option<usize>, birth: f64) -> Self {
        Self { parent, birth, death: 0.0, stability: 0.0 }
    }

    /// `points` leave the cluster at `lambda`.
    fn leave(&mut self, points: usize, lambda: f64) {
        self.death = self.death.max(lambda);
        self.stability += (lambda - self.birth) * points as f64;
    }
}

impl CondensedTree {
    /// Condenses the hierarchy of a spanning tree, given shortest edge first.
    pub fn new(edges: &[TreeEdge], min_cluster_size: usize) -> Self {
        let hierarchy = Hierarchy::new(edges);
        let root = hierarchy.points + edges.len() - 1;
        let mut tree =
            Self { clusters: vec![Cluster::new(None, 0.0)], leaves: vec![(0, 0.0); hierarchy.points] };
        let mut queue = VecDeque::from([(root, 0)]);
        while let Some((node, cluster)) = queue.pop_front() {
            let Some(merge) = hierarchy.merge(node) else { continue };
            let lambda = 1.0 / merge.distance;
            let large = merge.parts.map(|part| hierarchy.size(part) >= min_cluster_size);
            // Points at distance zero are copies of one another: no gap parts them.
            let splits = large == [true, true] && merge.distance > 0.0;
            for (part, large) in merge.parts.into_iter().zip(large) {
                if splits {
                    tree.clusters[cluster].leave(hierarchy.size(part), lambda);
                    queue.push_back((part, tree.clusters.len()));
                    tree.clusters.push(Cluster::new(Some(cluster), lambda));
                } else if large && merge.distance > 0.0 {
                    queue.push_back((part, cluster));
                } else {
                    tree.clusters[cluster].leave(hierarchy.size(part), lambda);
                    hierarchy.points_below(part, |point| tree.leaves[point] = (cluster, lambda));
                }
            }
        }
        tree
    }

    /// The flat clustering of greatest total stability; the root is not a cluster.
    pub fn excess_of_mass(&self) -> Clustering {
        let label_of = self.labels();
        let labels: Vec<Option<usize>> =
            self.leaves.iter().map(|(cluster, _)| label_of[*cluster].map(|(label, _)| label)).collect();
        let clusters = label_of.iter().flatten().map(|(label, _)| label + 1).max().unwrap_or(0);
        let strength = |(cluster, lambda): &(usize, f64)| strength(label_of[*cluster], *lambda);
        Clustering { labels, strengths: self.leaves.iter().map(strength).collect(), clusters }
    }

    /// Label and strength of a point that reaches `neighbour` at `lambda`: those of the cluster that the
    /// neighbour was in then.
    pub(super) fn place_at(
        &self,
        labels: &[Option<(usize, f64)>],
        neighbour: usize,
        lambda: f64,
    ) -> (Option<usize>, f64) {
        let (mut cluster, left) = self.leaves[neighbour];
        if left > lambda {
            while let Some(parent) =
                self.clusters[cluster].parent.filter(|_| self.clusters[cluster].birth >= lambda)
            {
                cluster = parent;
            }
        }
        (labels[cluster].map(|(label, _)| label), strength(labels[cluster], lambda))
    }

    /// For every cluster the chosen one that it is or is part of: its label, and the largest lambda at which
    /// anything left it.
    pub(super) fn labels(&self) -> Vec<Option<(usize, f64)>> {
        let chosen = self.most_stable();
        let mut label_of = vec![None; self.clusters.len()];
        let mut clusters = 0;
        for index in 1..self.clusters.len() {
            let inherited = self.clusters[index].parent.and_then(|parent| label_of[parent]);
            label_of[index] = inherited.or_else(|| {
                chosen[index].then(|| {
                    clusters += 1;
                    (clusters - 1, self.clusters[index].death)
                })
            });
        }
        label_of
    }

    /// Which clusters are more stable than the best choice among their descendants. Those below a chosen one
    /// may be marked too.
    fn most_stable(&self) -> Vec<bool> {
        let mut chosen = vec![false; self.clusters.len()];
        let mut below = vec![0.0; self.clusters.len()];
        for (index, cluster) in self.clusters.iter().enumerate().skip(1).rev() {
            chosen[index] = cluster.stability >= below[index];
            if let Some(parent) = cluster.parent {
                below[parent] += cluster.stability.max(below[index]);
            }
        }
        chosen
    }
}

/// How strongly what leaves at `lambda` belongs to a chosen cluster, given with the largest lambda of all
/// that left it.
fn strength(chosen: Option<(usize, f64)>, lambda: f64) -> f64 {
    match chosen {
        None => 0.0,
        Some((_, death)) if death == 0.0 || lambda.is_infinite() => 1.0,
        Some((_, death)) => lambda.min(death) / death,
    }
}

/// The spanning tree's merges, shortest first: nodes below `points` are points, the others merges.
struct Hierarchy {
    points: usize,
    merges: Vec<Merge>,
}

#[derive(Clone, Copy)]
struct Merge {
    parts: [usize; 2],
    distance: f64,
    size: usize,
}

impl Hierarchy {
    fn new(edges: &[TreeEdge]) -> Self {
        let mut hierarchy = Self { points: edges.len() + 1, merges: Vec::with_capacity(edges.len()) };
        // For every node the node it was merged into, with paths shortened on the way.
        let mut above: Vec<usize> = (0..hierarchy.points + edges.len()).collect();
        for edge in edges {
            let parts = [edge.left, edge.right].map(|point| top(&mut above, point as usize));
            let merged = hierarchy.points + hierarchy.merges.len();
            parts.iter().for_each(|part| above[*part] = merged);
            let size = hierarchy.size(parts[0]) + hierarchy.size(parts[1]);
            hierarchy.merges.push(Merge { parts, distance: edge.distance, size });
        }
        hierarchy
    }

    fn merge(&self, node: usize) -> Option<Merge> {
        node.checked_sub(self.points).map(|merge| self.merges[merge])
    }

    fn size(&self, node: usize) -> usize {
        self.merge(node).map_or(1, |merge| merge.size)
    }

    fn points_below(&self, node: usize, mut visit: impl FnMut(usize)) {
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            match self.merge(node) {
                Some(merge) => stack.extend(merge.parts),
                None => visit(node),
            }
        }
    }
}

fn top(above: &mut [usize], mut node: usize) -> usize {
    while above[node] != node {
        above[node] = above[above[node]];
        node = above[node];
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stabilities_are_those_worked_out_by_hand() {
        // Points 0 1 2 at gaps of 1, points 3 4 5 at gaps of 0.5, the two groups 4 apart.
        let edge = |distance, left, right| TreeEdge { distance, left, right };
        let edges = [edge(0.5, 3, 4), edge(0.5, 4, 5), edge(1.0, 0, 1), edge(1.0, 1, 2), edge(4.0, 2, 3)];
        let tree = CondensedTree::new(&edges, 3);
        let stability: Vec<f64> = tree.clusters.iter().map(|cluster| cluster.stability).collect();
        assert_eq!(stability, [6.0 * 0.25, 3.0 * (1.0 - 0.25), 3.0 * (2.0 - 0.25)]);
        let clustering = tree.excess_of_mass();
        assert_eq!(clustering.labels, [Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)]);
        assert_eq!(clustering.strengths, [1.0; 6]);
    }
}
