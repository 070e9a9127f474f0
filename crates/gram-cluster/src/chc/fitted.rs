//! The pairs that are laid out, and those that join the topics of their neighbours.

use ndarray::{Array1, Array2};

use super::ChcSettings;
use super::pieces::PAIRS_OF_A_PIECE;
use crate::hdbscan::{Clustering, hdbscan, hdbscan_with_others};
use crate::nearest_neighbours::NearestNeighbours;
use crate::umap::graph::among;

/// Which of the kept pairs are laid out.
pub(super) struct Fitted {
    /// Rows of the input of those that are.
    pub(super) rows: Vec<usize>,
    /// Rows of the input of those that are not.
    pub(super) others: Vec<usize>,
    /// For every kept pair whether it is.
    is_fitted: Vec<bool>,
}

impl Fitted {
    pub(super) fn new(kept: &[usize], settings: &ChcSettings) -> Self {
        let sample = settings.fit_sample.unwrap_or(kept.len()).min(kept.len());
        let mut is_fitted = vec![false; kept.len()];
        (0..sample).for_each(|index| is_fitted[index * kept.len() / sample] = true);
        let of = |fitted: bool| {
            let pairs = kept.iter().zip(&is_fitted).filter(|(_, is_fitted)| **is_fitted == fitted);
            pairs.map(|(row, _)| *row).collect()
        };
        Self { rows: of(true), others: of(false), is_fitted }
    }

    /// Rows of those that are laid out, and of each piece of the others.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[usize]> {
        std::iter::once(self.rows.as_slice()).chain(self.others.chunks(PAIRS_OF_A_PIECE))
    }

    /// Clusters what is laid out, and says of the others where they belong.
    pub(super) fn cluster(
        &self,
        settings: &ChcSettings,
        reduced: &Array2<f32>,
        of_others: Option<&NearestNeighbours>,
    ) -> Clustering {
        let Some(of_others) = of_others else { return hdbscan(reduced.view(), &settings.hdbscan) };
        let others = among(of_others, reduced.view());
        let (fitted, others) = hdbscan_with_others(reduced.view(), others.view(), &settings.hdbscan);
        Clustering {
            labels: self.merged(fitted.labels, others.labels),
            strengths: self.merged(fitted.strengths, others.strengths),
            clusters: fitted.clusters,
        }
    }

    /// The layout of all kept pairs.
    pub(super) fn with_others(
        &self,
        fitted: Array2<f32>,
        of_others: Option<&NearestNeighbours>,
    ) -> Array2<f32> {
        let Some(of_others) = of_others else { return fitted };
        let others = among(of_others, fitted.view());
        let rows = |layout: &Array2<f32>| layout.rows().into_iter().map(|row| row.to_owned()).collect();
        let rows: Vec<Array1<f32>> = self.merged(rows(&fitted), rows(&others));
        let mut all = Array2::zeros((rows.len(), fitted.ncols()));
        all.rows_mut().into_iter().zip(rows).for_each(|(mut to, from)| to.assign(&from));
        all
    }

    /// What is known of both, in the order of the kept pairs.
    fn merged<T>(&self, fitted: Vec<T>, others: Vec<T>) -> Vec<T> {
        let (mut fitted, mut others) = (fitted.into_iter(), others.into_iter());
        let next = |is_fitted: &bool| if *is_fitted { fitted.next() } else { others.next() };
        self.is_fitted.iter().filter_map(next).collect()
    }
}
