//! Which values an output value is made of, and with what weights (Pillow's `precompute_coeffs`).

use std::ops::Range;

use crate::filter::Filter;

/// Binary places of a weight.
pub(crate) const PLACES: u32 = 32 - 8 - 2;

/// Weights along one axis.
pub(crate) struct Weights {
    /// The first input position of each output position.
    firsts: Vec<usize>,
    /// Where the weights of each output position begin, and where the last one's end.
    bounds: Vec<usize>,
    weights: Vec<i32>,
}

impl Weights {
    /// Weights of the output positions `wanted`, where an axis of `from` pixels becomes one of `to`.
    pub(crate) fn new(from: u32, to: u32, wanted: Range<u32>, filter: Filter) -> Self {
        let mut all = Self { firsts: Vec::new(), bounds: vec![0], weights: Vec::new() };
        if from == to {
            // Pillow takes no pass along an axis that keeps its length.
            wanted.for_each(|position| all.push(position as usize, [1.0].into_iter(), 1.0));
            return all;
        }
        let scale = f64::from(from) / f64::from(to);
        let coarser = scale.max(1.0);
        let (support, finer) = (filter.support() * coarser, 1.0 / coarser);
        for position in wanted {
            let centre = (f64::from(position) + 0.5) * scale;
            // Conversions cut off toward zero, as C's do.
            let first = ((centre - support + 0.5).max(0.0)) as u32;
            let end = ((centre + support + 0.5) as u32).min(from);
            let weight = |input: u32| filter.at((f64::from(input) - centre + 0.5) * finer);
            let sum: f64 = (first..end).map(weight).sum();
            all.push(first as usize, (first..end).map(weight), sum);
        }
        all
    }

    /// Adds an output position.
    fn push(&mut self, first: usize, weights: impl Iterator<Item = f64>, sum: f64) {
        let whole = f64::from(1 << PLACES);
        self.firsts.push(first);
        self.weights.extend(weights.map(|weight| {
            let share = if sum == 0.0 { weight } else { weight / sum };
            (share * whole + 0.5_f64.copysign(share)) as i32
        }));
        self.bounds.push(self.weights.len());
    }

    /// The first input position of each output position, and the weights from there on.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.bounds.windows(2).map(|bounds| &self.weights[bounds[0]..bounds[1]]);
        self.firsts.iter().copied().zip(weights)
    }

    /// The input positions that have a weight anywhere.
    pub(crate) fn reach(&self) -> Range<usize> {
        let end = self.positions().map(|(first, weights)| first + weights.len()).max();
        self.firsts.iter().copied().min().unwrap_or(0)..end.unwrap_or(0)
    }
}
