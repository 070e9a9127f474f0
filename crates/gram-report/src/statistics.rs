//! Means, harmonic means and intervals over seeds.
//!
//! A mean over `n` seeds with sample standard deviation `s` has the 95 % confidence interval `mean ± t(0.975,
//! n - 1) s / sqrt(n)` (Student's t). Two methods that ran with the same seeds are compared by the interval
//! of their per-seed differences, which leaves out what both owe to the draw of the few shots. One seed gives
//! no interval, and none is shown.

use std::collections::BTreeMap;
use std::fmt;

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Arithmetic mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// One value for each seed.
pub type BySeed = BTreeMap<u64, f64>;

/// The mean of several quantities within each seed, for the seeds that have them all: a seed that lacks a
/// dataset would average another set of datasets, and is left out.
pub fn average_within_seeds(parts: &[BySeed]) -> BySeed {
    let Some(first) = parts.first() else { return BySeed::new() };
    let average = |seed: &u64| {
        let values: Option<Vec<f64>> = parts.iter().map(|part| part.get(seed).copied()).collect();
        Some((*seed, mean(&values?)?))
    };
    first.keys().filter_map(average).collect()
}

/// Standard deviation with `n - 1` in the denominator; none of fewer than two values.
pub fn sample_standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// `2 a b / (a + b)`: the paper's H of base and new accuracy. Zero if both are.
pub fn harmonic_mean(a: f64, b: f64) -> f64 {
    if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) }
}

/// The `t` with 95 % of Student's distribution between `-t` and `t`; none without a degree of freedom.
pub fn student_t(degrees_of_freedom: usize) -> Option<f64> {
    let distribution = StudentsT::new(0.0, 1.0, degrees_of_freedom as f64).ok()?;
    Some(distribution.inverse_cdf(0.975))
}

/// A mean over seeds and how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean over seeds.
    pub mean: f64,
    /// Number of seeds.
    pub count: usize,
    /// Half the width of the 95 % confidence interval; none with one seed.
    pub half_width: Option<f64>,
}

impl Estimate {
    /// The estimate from one value per seed; none of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let half_width = sample_standard_deviation(values)
            .and_then(|deviation| Some(student_t(count - 1)? * deviation / (count as f64).sqrt()));
        Some(Estimate { mean: mean(values)?, count, half_width })
    }

    /// The estimate from a value for each seed; none of nothing.
    pub fn over_seeds(by_seed: &BySeed) -> Option<Self> {
        Estimate::of(&by_seed.values().copied().collect::<Vec<_>>())
    }

    /// The mean of `treated - baseline` over the seeds that both have; none if they share none.
    pub fn of_paired_difference(treated: &BySeed, baseline: &BySeed) -> Option<Self> {
        let differences: Vec<f64> =
            treated.iter().filter_map(|(seed, value)| Some(value - baseline.get(seed)?)).collect();
        Estimate::of(&differences)
    }

    /// Whether the whole interval lies on one side of zero; none with one seed.
    pub fn excludes_zero(&self) -> Option<bool> {
        self.half_width.map(|half_width| self.mean.abs() > half_width)
    }

    /// As the `Display` form, with the sign of the mean always written.
    pub fn signed(&self) -> String {
        format!("{:+.2}{}", self.mean, self.spread())
    }

    fn spread(&self) -> String {
        match self.half_width {
            Some(half_width) => format!(" ± {half_width:.2}"),
            None => " (n = 1)".to_owned(),
        }
    }
}

/// `75.28 ± 1.02`, or `75.28 (n = 1)` where one seed gives no interval.
impl fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{:.2}{}", self.mean, self.spread()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
    }

    #[test]
    fn student_t_agrees_with_the_printed_tables() {
        let table =
            [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (30, 2.042), (120, 1.980), (100_000, 1.960)];
        for (degrees_of_freedom, expected) in table {
            assert_close(student_t(degrees_of_freedom).unwrap(), expected, 6e-4);
        }
        assert_eq!(student_t(0), None);
    }

    #[test]
    fn the_harmonic_mean_gives_the_papers_averages() {
        assert_close(harmonic_mean(77.58, 73.11), 75.28, 0.005);
        assert_close(harmonic_mean(80.34, 75.92), 78.07, 0.005);
        assert_eq!(harmonic_mean(0.0, 0.0), 0.0);
    }

    #[test]
    fn the_interval_of_one_two_three_is_known() {
        // s = 1, t(0.975, 2) = 4.302653, 4.302653 / sqrt(3) = 2.484138.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((estimate.mean, estimate.count), (2.0, 3));
        assert_close(estimate.half_width.unwrap(), 2.484138, 1e-5);
        assert_eq!(estimate.to_string(), "2.00 ± 2.48");
        assert_eq!(estimate.excludes_zero(), Some(false));
    }

    #[test]
    fn one_seed_has_no_interval() {
        let estimate = Estimate::of(&[75.284]).unwrap();
        assert_eq!(estimate.to_string(), "75.28 (n = 1)");
        assert_eq!(estimate.excludes_zero(), None);
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn a_paired_difference_uses_the_shared_seeds_only() {
        let treated = BySeed::from([(1, 5.0), (2, 9.0), (3, 100.0)]);
        let baseline = BySeed::from([(1, 4.0), (2, 6.0), (7, 0.0)]);
        let difference = Estimate::of_paired_difference(&treated, &baseline).unwrap();
        assert_eq!((difference.mean, difference.count), (2.0, 2));
        assert!(difference.signed().starts_with("+2.00 ± "));
    }

    #[test]
    fn an_average_within_seeds_leaves_out_seeds_that_lack_a_part() {
        let parts = [BySeed::from([(1, 2.0), (2, 4.0)]), BySeed::from([(2, 8.0), (3, 1.0)])];
        assert_eq!(average_within_seeds(&parts), BySeed::from([(2, 6.0)]));
        assert_eq!(average_within_seeds(&[]), BySeed::new());
    }
}
