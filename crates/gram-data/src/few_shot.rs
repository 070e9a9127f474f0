//! Few-shot sampling: K images of every class.

use rand::seq::SliceRandom;

use crate::random::indexed_stream;
use crate::{ClassSubset, LabelledDataset, Split};

/// Draws `shots` images of every class of a subset without replacement, of one domain if it is given: sorted indices
/// into [`LabelledDataset::images`]. A class with fewer images gives them all.
///
/// Every class draws from a stream of its own, so that one class's images do not move another's, and base classes get
/// the same images whether they are sampled alone or with all others. Fewer shots are a part of more shots.
pub fn sample(
    dataset: &LabelledDataset,
    split: Split,
    classes: ClassSubset,
    domain: Option<usize>,
    shots: usize,
    seed: u64,
) -> Vec<usize> {
    let mut candidates = vec![Vec::new(); dataset.classes.len()];
    for index in dataset.select(split, classes, domain) {
        candidates[dataset.images[index].class].push(index);
    }
    let mut chosen = Vec::new();
    for (class, mut candidates) in candidates.into_iter().enumerate() {
        candidates.shuffle(&mut indexed_stream(seed, "few-shot sample", class as u64));
        chosen.extend(candidates.into_iter().take(shots));
    }
    chosen.sort_unstable();
    chosen
}
