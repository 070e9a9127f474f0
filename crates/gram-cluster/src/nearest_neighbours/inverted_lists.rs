//! Approximate k nearest neighbours of many points, by inverted lists and neighbours of neighbours.
//!
//! 1. Centres are found by k-means on a sample, and every point goes into the list of its nearest centre; a
//!    list has about `POINTS_OF_A_LIST` points, however many there are in all.
//! 2. A point is compared with the points in the lists of the centres that are nearest to it, by products of
//!    matrices.
//! 3. What the borders of lists cut off is found among the neighbours of neighbours, in rounds.
//! 4. A thousand points are searched exactly. Unless [`RECALL`] of their neighbours were found, points are
//!    compared with those of further lists, twice as many each time.
//!
//! Blocks are fixed, every round reads what the round before left, and ties go to the smaller id: the number
//! of threads changes nothing.
//!
//! References: Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011
//! (inverted lists); Dong, Moses and Li, "Efficient K-Nearest Neighbor Graph Construction for Generic
//! Similarity Measures", WWW 2011 (neighbours of neighbours).

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use gram_data::random::{Stream, stream};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, CowArray, Ix2};
use rand::RngExt;
use rayon::prelude::*;

use super::{Metric, NearestNeighbours, exact};
use crate::matrix::{dot_products, squared_distance, squared_norms};

/// Points of a list, on average.
const POINTS_OF_A_LIST: usize = 256;
/// Points that centres are found from, for each list.
const SAMPLED_OF_A_LIST: usize = 64;
/// Iterations of k-means. Lists need not be the best: what they cut is found later.
const ITERATIONS: usize = 6;
/// Lists whose points a point is compared with at first.
const PROBES: usize = 8;
/// Points that are searched exactly.
const CHECKED: usize = 1000;
/// The part of their neighbours that has to be found.
pub const RECALL: f64 = 0.96;
/// Rounds over neighbours of neighbours: a further one finds next to nothing.
const ROUNDS: usize = 2;
/// Rows that are compared at once.
const ROWS: usize = 256;
/// Neighbours that are kept beyond those asked for: products are rounded, and exact distances may order them
/// anew.
const SPARE: usize = 2;

/// The `k` nearest other points of every row of `points` (normalised, for the cosine metric), nearest first.
pub(super) fn nearest_neighbours(points: ArrayView2<f32>, k: usize, metric: Metric) -> NearestNeighbours {
    let search = Search::new(points.into());
    let queries = Queries { rows: points, are_points: true };
    let checked = exact::of_rows(points, k, metric, &evenly(points.nrows(), CHECKED));
    let mut in_lists = vec![Nearest::new(k + SPARE); points.nrows()];
    let (mut probed, mut probes) = (0, PROBES);
    loop {
        probes = probes.min(search.lists.len());
        in_lists = search.in_lists(queries, in_lists, probed..probes);
        let mut found = in_lists.clone();
        for round in 0..=ROUNDS {
            if round > 0 {
                found = search.among_neighbours_of_neighbours(&found);
            }
            let neighbours = search.exactly(queries, &found, k, metric);
            if recall(&neighbours, &checked) >= RECALL || probes == search.lists.len() {
                return neighbours;
            }
        }
        (probed, probes) = (probes, 2 * probes);
    }
}

/// Products of two points that a search among so many takes, if the first lists are enough: of samples and
/// points with centres, and of points with those in lists.
pub(crate) fn products(points: usize) -> f64 {
    let lists = points as f64 / POINTS_OF_A_LIST as f64;
    let with_centres = lists * (lists * SAMPLED_OF_A_LIST as f64 * ITERATIONS as f64 + 3.0 * points as f64);
    with_centres + points as f64 * (PROBES * POINTS_OF_A_LIST + CHECKED) as f64
}

/// Those that a search for the neighbours of so many others among points takes: with centres, and with points
/// in lists.
pub(crate) fn products_of_others(points: usize, others: usize) -> f64 {
    let lists = points as f64 / POINTS_OF_A_LIST as f64;
    others as f64 * (lists + (PROBES * POINTS_OF_A_LIST) as f64)
}

/// The part of the neighbours of some points (ids of points, and their neighbours) that was found; of points
/// at the distance of the last neighbour, any will do.
pub fn recall(found: &NearestNeighbours, exact: &[(usize, Vec<(u32, f32)>)]) -> f64 {
    let (mut right, mut all) = (0, 0);
    for (point, expected) in exact {
        let Some((_, furthest)) = expected.last() else { continue };
        let near = found.distances.row(*point).iter().filter(|distance| *distance <= furthest).count();
        right += near.min(expected.len());
        all += expected.len();
    }
    right as f64 / f64::from(all.max(1) as u32)
}

/// `count` of the numbers below `all`, evenly apart.
fn evenly(all: usize, count: usize) -> Vec<usize> {
    let count = count.min(all);
    (0..count).map(|index| index * all / count).collect()
}

/// The centres of lists, `[lists, dimensions]`.
fn centres(points: ArrayView2<f32>, random: &mut Stream) -> Array2<f32> {
    let count = points.nrows();
    let lists = count.div_ceil(POINTS_OF_A_LIST);
    let sample = points.select(Axis(0), &evenly(count, lists * SAMPLED_OF_A_LIST));
    let mut drawn: Vec<usize> = (0..sample.nrows()).collect();
    for place in 0..lists {
        let other = random.random_range(place..drawn.len());
        drawn.swap(place, other);
    }
    let mut centres = sample.select(Axis(0), &drawn[..lists]);
    for _ in 0..ITERATIONS {
        let members = members(&nearest_centres(sample.view(), centres.view(), 0..1), lists);
        let mut rows: Vec<_> = centres.rows_mut().into_iter().zip(&members).collect();
        rows.par_iter_mut().for_each(|(centre, members)| {
            // The centre of no point stays where it is.
            if let Some(mean) = mean(sample.view(), members) {
                centre.assign(&mean);
            }
        });
    }
    centres
}

/// For every point its nearest centres of some ranks, from 0 on, nearest first; ties go to the smaller.
fn nearest_centres(points: ArrayView2<f32>, centres: ArrayView2<f32>, ranks: Range<usize>) -> Vec<Vec<u32>> {
    let norms = squared_norms(centres);
    let blocks: Vec<ArrayView2<f32>> = points.axis_chunks_iter(Axis(0), ROWS).collect();
    let of_block = |block: ArrayView2<f32>| {
        let mut products = Array2::zeros((block.nrows(), centres.nrows()));
        dot_products(block, centres, products.view_mut());
        let nearest = |row: ArrayView1<f32>| {
            let mut nearest = Nearest::new(ranks.end);
            row.iter().zip(&norms).zip(0..).for_each(|((product, norm), centre)| {
                nearest.offer(norm - 2.0 * product, centre);
            });
            nearest.ids().skip(ranks.start).collect()
        };
        products.rows().into_iter().map(nearest).collect::<Vec<Vec<u32>>>()
    };
    blocks.into_par_iter().flat_map_iter(of_block).collect()
}

/// The points that chose each list, ascending.
fn members(chosen: &[Vec<u32>], lists: usize) -> Vec<Vec<u32>> {
    let mut members = vec![vec![]; lists];
    for (point, chosen) in (0..).zip(chosen) {
        chosen.iter().for_each(|list| members[*list as usize].push(point));
    }
    members
}

fn mean(points: ArrayView2<f32>, members: &[u32]) -> Option<Array1<f32>> {
    let mut sum = Array1::<f64>::zeros(points.ncols());
    for member in members {
        sum.zip_mut_with(&points.row(*member as usize), |sum, value| *sum += f64::from(*value));
    }
    (!members.is_empty()).then(|| sum.mapv(|sum| (sum / members.len() as f64) as f32))
}

/// The nearest points found so far, nearest first, with their squared distances short of the own point's
/// squared length.
#[derive(Clone, Debug)]
struct Nearest(Vec<(f32, u32)>);

impl Nearest {
    fn new(kept: usize) -> Self {
        Self(vec![(f32::INFINITY, u32::MAX); kept])
    }

    /// Takes a point that has not been offered before, if it is near enough.
    #[inline]
    fn offer(&mut self, distance: f32, id: u32) {
        let Some(last) = self.0.last() else { return };
        if distance < last.0 || (distance == last.0 && id < last.1) {
            let place = self.0.partition_point(|kept| (kept.0, kept.1) < (distance, id));
            self.0.pop();
            self.0.insert(place, (distance, id));
        }
    }

    fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(|(_, id)| *id).filter(|id| *id != u32::MAX)
    }
}

/// Whose neighbours are searched.
#[derive(Clone, Copy)]
struct Queries<'a> {
    rows: ArrayView2<'a, f32>,
    /// Whether they are the points that are searched among: no point is its own neighbour.
    are_points: bool,
}

fn rows(matrix: ArrayView2<f32>, ids: &[u32]) -> Array2<f32> {
    let mut rows = Array2::zeros((ids.len(), matrix.ncols()));
    for (mut row, id) in rows.rows_mut().into_iter().zip(ids) {
        row.assign(&matrix.row(*id as usize));
    }
    rows
}

/// Points in lists, to be searched among.
pub(super) struct Search<'a> {
    points: CowArray<'a, f32, Ix2>,
    norms: Vec<f32>,
    /// `[lists, dimensions]`.
    centres: Array2<f32>,
    /// The points of every list.
    lists: Vec<Vec<u32>>,
}

impl<'a> Search<'a> {
    /// Among `points` (normalised, for the cosine metric).
    pub(super) fn new(points: CowArray<'a, f32, Ix2>) -> Self {
        let rows = points.view();
        let centres = centres(rows, &mut stream(0, "inverted lists"));
        let lists = members(&nearest_centres(rows, centres.view(), 0..1), centres.nrows());
        let norms = squared_norms(rows);
        Self { points, norms, centres, lists }
    }

    /// The `k` points that are nearest to each row of `queries` (normalised, for the cosine metric), in the
    /// first [`PROBES`] lists.
    pub(super) fn nearest_to(&self, queries: ArrayView2<f32>, k: usize, metric: Metric) -> NearestNeighbours {
        let found = vec![Nearest::new(k + SPARE); queries.nrows()];
        let queries = Queries { rows: queries, are_points: false };
        let found = self.in_lists(queries, found, 0..PROBES.min(self.lists.len()));
        self.exactly(queries, &found, k, metric)
    }

    /// `found`, and what is in the lists of each query's nearest centres of some ranks.
    fn in_lists(&self, queries: Queries, found: Vec<Nearest>, ranks: Range<usize>) -> Vec<Nearest> {
        let askers = nearest_centres(queries.rows, self.centres.view(), ranks);
        let askers = members(&askers, self.lists.len());
        // The nearest of all that is offered are the same in whichever order it is offered.
        let found: Vec<Mutex<Nearest>> = found.into_iter().map(Mutex::new).collect();
        self.lists.par_iter().zip(&askers).for_each(|(list, askers)| {
            for members in list.chunks(ROWS) {
                let rows = rows(self.points.view(), members);
                askers
                    .chunks(ROWS)
                    .for_each(|askers| self.offer(queries, askers, members, rows.view(), &found));
            }
        });
        found
            .into_iter()
            .map(|nearest| nearest.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Offers `members` of a list to all who ask.
    fn offer(
        &self,
        queries: Queries,
        askers: &[u32],
        members: &[u32],
        of_members: ArrayView2<f32>,
        found: &[Mutex<Nearest>],
    ) {
        let mut products = Array2::zeros((askers.len(), members.len()));
        dot_products(rows(queries.rows, askers).view(), of_members, products.view_mut());
        for (asker, products) in askers.iter().zip(products.rows()) {
            let mut nearest = found[*asker as usize].lock().unwrap_or_else(PoisonError::into_inner);
            for (member, product) in members.iter().zip(products) {
                if member != asker || !queries.are_points {
                    nearest.offer(self.norms[*member as usize] - 2.0 * product, *member);
                }
            }
        }
    }

    /// One round: every point is compared with the neighbours of its neighbours.
    fn among_neighbours_of_neighbours(&self, found: &[Nearest]) -> Vec<Nearest> {
        let of_point = |candidates: &mut Vec<u32>, point: usize| {
            let mut nearest = found[point].clone();
            candidates.clear();
            candidates.extend(nearest.ids().flat_map(|neighbour| found[neighbour as usize].ids()));
            candidates.sort_unstable();
            candidates.dedup();
            let known: Vec<u32> = nearest.ids().collect();
            for other in candidates.iter().filter(|other| **other != point as u32 && !known.contains(other)) {
                let product = self.points.row(point).dot(&self.points.row(*other as usize));
                nearest.offer(self.norms[*other as usize] - 2.0 * product, *other);
            }
            nearest
        };
        (0..found.len()).into_par_iter().with_min_len(64).map_init(Vec::new, of_point).collect()
    }

    /// The `k` nearest of what was found, by exact distances.
    fn exactly(&self, queries: Queries, found: &[Nearest], k: usize, metric: Metric) -> NearestNeighbours {
        let of_point = |(query, nearest): (usize, &Nearest)| {
            let own = queries.rows.row(query);
            let exact = |id: u32| (squared_distance(own, self.points.row(id as usize)), id);
            let mut exact: Vec<(f64, u32)> = nearest.ids().map(exact).collect();
            exact.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            let nearest = exact.into_iter().take(k);
            nearest.map(|(squared, id)| (id, metric.of_squared(squared))).collect()
        };
        NearestNeighbours::from_rows(found.par_iter().enumerate().map(of_point).collect(), k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::normalised_rows;
    use gram_data::random::normal;

    /// Lumps of different width, with points between them.
    fn points(count: usize) -> Array2<f32> {
        let mut random = stream(4, "points");
        let lumps = Array2::from_shape_simple_fn((30, 48), || normal(&mut random));
        let mut points = Array2::from_shape_simple_fn((count, 48), || normal(&mut random));
        for (index, mut row) in points.rows_mut().into_iter().enumerate() {
            let width = 0.2 + (index % 7) as f32 * 0.2;
            row.zip_mut_with(&lumps.row(index % 30), |value, lump| *value = *value * width + lump);
        }
        normalised_rows(points.view())
    }

    #[test]
    fn nearly_all_neighbours_are_found_and_their_distances_are_exact() {
        let points = points(6000);
        let exact = exact::nearest_neighbours(points.view(), 14, Metric::Cosine);
        let found = nearest_neighbours(points.view(), 14, Metric::Cosine);
        let rows = exact.ids.rows().into_iter().zip(found.ids.rows());
        let shared = |(exact, found): (ArrayView1<u32>, ArrayView1<u32>)| {
            exact.iter().filter(|id| found.iter().any(|other| other == *id)).count()
        };
        let recall = rows.map(shared).sum::<usize>() as f64 / (14.0 * 6000.0);
        assert!(recall > 0.955, "recall {recall}");
        for (point, (ids, distances)) in found.ids.rows().into_iter().zip(found.distances.rows()).enumerate()
        {
            assert!(distances.to_vec().is_sorted());
            assert!(ids.iter().all(|id| *id as usize != point));
            let squared = squared_distance(points.row(point), points.row(ids[3] as usize));
            assert_eq!(distances[3], (squared / 2.0) as f32);
        }
    }

    #[test]
    fn neighbours_of_others_are_found_among_the_points() {
        let all = points(4000);
        let (fitted, others) = all.view().split_at(Axis(0), 3000);
        let found = Search::new(fitted.into()).nearest_to(others, 5, Metric::Cosine);
        let distance = |query: usize, id: usize| squared_distance(others.row(query), fitted.row(id));
        let right = (0..1000).filter(|query| {
            let nearest = (0..3000).min_by(|a, b| distance(*query, *a).total_cmp(&distance(*query, *b)));
            nearest == Some(found.ids[[*query, 0]] as usize)
        });
        let right = right.count();
        assert!(right > 930, "{right} of 1000");
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let points = points(3000);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| nearest_neighbours(points.view(), 10, Metric::Cosine))
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn many_copies_of_a_point_are_neighbours_of_each_other() {
        let mut points = points(2000);
        let first = points.row(0).to_owned();
        (1000..1700).for_each(|row| points.row_mut(row).assign(&first));
        let found = nearest_neighbours(points.view(), 5, Metric::Euclidean);
        assert!((1000..1700).all(|row| found.distances.row(row).iter().all(|distance| *distance == 0.0)));
    }
}
