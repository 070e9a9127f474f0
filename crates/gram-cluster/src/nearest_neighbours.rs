//! k nearest neighbours: exact up to [`EXACTLY`] points, by inverted lists above.
//!
//! Cosine distance is half the squared distance of the normalised points, so both metrics are one search.

mod exact;
pub mod inverted_lists;

use ndarray::{Array2, ArrayView2, CowArray, Ix2};

use crate::matrix::normalised;
use gram_features::Rows;

/// So many points are searched exactly, in time that is quadratic in their number: seconds.
pub const EXACTLY: usize = 20_000;
/// What "near" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// `1 - cos(x, y)`: directions only, usual for sentence embeddings.
    Cosine,
    /// `|x - y|`.
    Euclidean,
}

impl Metric {
    /// Points whose Euclidean distances are in the order of this metric.
    fn comparable<'a>(self, points: CowArray<'a, f32, Ix2>) -> CowArray<'a, f32, Ix2> {
        match self {
            Self::Cosine => normalised(points.into_owned()).into(),
            Self::Euclidean if points.is_standard_layout() => points,
            Self::Euclidean => points.as_standard_layout().into_owned().into(),
        }
    }

    /// The distance of two points, normalised for the cosine, from their squared distance.
    fn of_squared(self, squared: f64) -> f32 {
        match self {
            Self::Cosine => (squared / 2.0) as f32,
            Self::Euclidean => squared.sqrt() as f32,
        }
    }
}

/// The nearest other points of every point, nearest first.
///
/// # Shapes
/// - ids, distances: [points, k]
#[derive(Clone, Debug, PartialEq)]
pub struct NearestNeighbours {
    /// Row numbers of the neighbours.
    pub ids: Array2<u32>,
    /// Their distances, ascending.
    pub distances: Array2<f32>,
}

/// A search among points, by inverted lists, for those that are nearest to others.
pub struct SearchAmong<'a> {
    search: inverted_lists::Search<'a>,
    k: usize,
    metric: Metric,
}

impl<'a> SearchAmong<'a> {
    /// For the nearest `k` of `points` [points, dimensions], of which there are so many.
    pub fn new(points: impl Into<CowArray<'a, f32, Ix2>>, k: usize, metric: Metric) -> Self {
        Self { search: inverted_lists::Search::new(metric.comparable(points.into())), k, metric }
    }

    /// The points that are nearest to each of some rows of `others`, whoever else is asked for.
    pub fn nearest_to(&self, others: &dyn Rows, rows: &[usize]) -> NearestNeighbours {
        let others = self.metric.comparable(others.select(rows).into());
        self.search.nearest_to(others.view(), self.k, self.metric)
    }
}

/// The `k` nearest other points of some rows, exactly: (row, ids and distances, nearest first).
pub fn of_rows(
    points: ArrayView2<f32>,
    k: usize,
    metric: Metric,
    rows: &[usize],
) -> Vec<(usize, Vec<(u32, f32)>)> {
    exact::of_rows(metric.comparable(points.into()).view(), k, metric, rows)
}

impl NearestNeighbours {
    /// Room for the `k` neighbours of so many points.
    pub(crate) fn room_for(points: usize, k: usize) -> Self {
        Self { ids: Array2::zeros((points, k)), distances: Array2::zeros((points, k)) }
    }

    /// From every point's `k` neighbours and their distances.
    fn from_rows(rows: Vec<Vec<(u32, f32)>>, k: usize) -> Self {
        let mut neighbours = Self::room_for(rows.len(), k);
        for (point, row) in rows.into_iter().enumerate() {
            for (rank, (id, distance)) in row.into_iter().enumerate() {
                (neighbours.ids[[point, rank]], neighbours.distances[[point, rank]]) = (id, distance);
            }
        }
        neighbours
    }
}

/// The `k` nearest other points of every row of `points` [points, dimensions]; fewer when there are fewer
/// points. Points that are given away are not copied.
pub fn nearest_neighbours<'a>(
    points: impl Into<CowArray<'a, f32, Ix2>>,
    k: usize,
    metric: Metric,
) -> NearestNeighbours {
    let points = metric.comparable(points.into());
    let k = k.min(points.nrows().saturating_sub(1));
    match points.nrows() <= EXACTLY {
        true => exact::nearest_neighbours(points.view(), k, metric),
        false => inverted_lists::nearest_neighbours(points.view(), k, metric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::{normal, stream};
    use ndarray::{array, s};

    fn random_points(count: usize, dimensions: usize) -> Array2<f32> {
        let mut stream = stream(3, "points");
        Array2::from_shape_simple_fn((count, dimensions), || normal(&mut stream))
    }

    /// The definition, point by point.
    fn naive(points: ArrayView2<f32>, k: usize, metric: Metric) -> Vec<Vec<u32>> {
        let distance = |i: usize, j: usize| {
            let (x, y) = (points.row(i).mapv(f64::from), points.row(j).mapv(f64::from));
            match metric {
                Metric::Cosine => 1.0 - x.dot(&y) / (x.dot(&x) * y.dot(&y)).sqrt(),
                Metric::Euclidean => (&x - &y).mapv(|difference| difference * difference).sum(),
            }
        };
        let row = |i: usize| {
            let mut others: Vec<usize> = (0..points.nrows()).filter(|j| *j != i).collect();
            others.sort_by(|a, b| distance(i, *a).total_cmp(&distance(i, *b)).then(a.cmp(b)));
            others.into_iter().take(k).map(|id| id as u32).collect()
        };
        (0..points.nrows()).map(row).collect()
    }

    #[test]
    fn neighbours_are_those_of_the_definition() {
        let points = random_points(300, 24);
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let found = nearest_neighbours(points.view(), 10, metric);
            for (ids, expected) in found.ids.rows().into_iter().zip(naive(points.view(), 10, metric)) {
                assert_eq!(ids.to_vec(), expected);
            }
            assert!(found.distances.rows().into_iter().all(|row| row.to_vec().is_sorted()));
        }
    }

    #[test]
    fn equal_points_are_at_distance_zero_and_the_smaller_id_comes_first() {
        let mut points = random_points(60, 100);
        let first = points.row(0).to_owned();
        (20..60).for_each(|row| points.row_mut(row).assign(&first));
        let found = nearest_neighbours(points.view(), 3, Metric::Cosine);
        assert_eq!(found.ids.row(59).to_vec(), [0, 20, 21]);
        assert_eq!(found.distances.row(59).to_vec(), [0.0; 3]);
    }

    #[test]
    fn neighbours_of_others_are_the_same_whoever_else_is_asked_for() {
        let (points, others) = (random_points(600, 3), random_points(900, 3));
        let search = SearchAmong::new(points.view(), 4, Metric::Cosine);
        let of = |rows: Vec<usize>| search.nearest_to(&others, &rows);
        let all = of((0..900).collect());
        let some = of((700..900).collect());
        assert_eq!(all.ids.slice(s![700.., ..]), some.ids);
        assert_eq!(all.distances.slice(s![700.., ..]), some.distances);
    }

    #[test]
    fn few_points_give_few_neighbours() {
        let found = nearest_neighbours(array![[0.0, 1.0], [1.0, 0.0]].view(), 5, Metric::Euclidean);
        assert_eq!(found.ids, array![[1], [0]]);
        assert_eq!(nearest_neighbours(array![[0.0]].view(), 5, Metric::Cosine).ids.dim(), (1, 0));
    }
}
