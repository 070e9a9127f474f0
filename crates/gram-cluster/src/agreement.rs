//! How alike two partitions are.

use std::collections::HashMap;
use std::hash::Hash;

/// The adjusted Rand index of two labellings of the same points: 1 if they divide them alike, 0 on average if
/// by chance (Hubert and Arabie, "Comparing Partitions", Journal of Classification 2, 1985). Noise, where it
/// has a label, is one more part.
pub fn adjusted_rand_index<T: Copy + Eq + Hash>(one: &[T], other: &[T]) -> f64 {
    let pairs = |count: usize| (count * count.saturating_sub(1)) as f64 / 2.0;
    let mut cells: HashMap<(T, T), usize> = HashMap::new();
    let (mut rows, mut columns) = (HashMap::<T, usize>::new(), HashMap::<T, usize>::new());
    for (row, column) in one.iter().zip(other) {
        *cells.entry((*row, *column)).or_default() += 1;
        *rows.entry(*row).or_default() += 1;
        *columns.entry(*column).or_default() += 1;
    }
    let sum = |counts: &mut dyn Iterator<Item = &usize>| counts.map(|count| pairs(*count)).sum::<f64>();
    let (together, left, right) =
        (sum(&mut cells.values()), sum(&mut rows.values()), sum(&mut columns.values()));
    let chance = left * right / pairs(one.len());
    (together - chance) / ((left + right) / 2.0 - chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_matter_and_the_index_is_scikit_learns() {
        assert_eq!(adjusted_rand_index(&[0, 0, 1, 1], &[7, 7, 3, 3]), 1.0);
        // sklearn.metrics.adjusted_rand_score([0, 0, 1, 1, 2], [0, 0, 1, 2, 2])
        let index = adjusted_rand_index(&[0, 0, 1, 1, 2], &[0, 0, 1, 2, 2]);
        assert!((index - 0.375).abs() < 1e-12, "{index}");
    }
}
