//! What it costs to see pairs through a model, told before it is done: a few pairs are seen, and time and
//! memory taken.
//!
//! Memory is what the system says of this process, so that the weights, the pairs' table and the towers' own
//! needs are all in it. Images are decoded a few at a time and kept at the model's side, so that more pairs
//! need no more memory than their features.

use std::time::Instant;

use gram_clip::Model;
use gram_data::{Pair, Pairs};
use gram_experiments::clustering::PairFeatures;

/// Batches of pairs that are seen, from all over the source: one in the tower, one that waits and one that is
/// decoded.
const BATCHES: usize = 3;
/// Megabytes that the allocator keeps for each thread once all pairs are seen, which a few batches do not
/// reach: blocks of every size that the thread took and gave back. Measured on the demo, with one to eight
/// threads.
const KEPT_PER_THREAD: f64 = 20.0;
const MEGABYTE: f64 = 1_048_576.0;

/// What seeing pairs costs, features aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeeingCost {
    /// How long it takes, in seconds.
    pub seconds: f64,
    /// The most memory that the process has meanwhile, in megabytes; [`None`] where the system does not say.
    pub megabytes: Option<f64>,
}

/// Sees some of `pairs` with `see`, which is [`PairFeatures::new`] of a model, and carries over what that
/// takes.
///
/// # Errors
/// As `see`.
pub fn of<E>(
    model: &Model,
    pairs: &Pairs,
    see: impl FnOnce(&Model, &Pairs) -> Result<PairFeatures, E>,
) -> Result<SeeingCost, E> {
    let some =
        Pairs { pairs: spread(&pairs.pairs, BATCHES * model.compute().images_at_once()), ..Pairs::default() };
    let clock = Instant::now();
    see(model, &some)?;
    let parts = pairs.pairs.len() as f64 / some.pairs.len().max(1) as f64;
    let kept = KEPT_PER_THREAD * rayon::current_num_threads() as f64;
    let megabytes = peak_megabytes().map(|megabytes| megabytes + kept);
    Ok(SeeingCost { seconds: parts * clock.elapsed().as_secs_f64(), megabytes })
}

/// Pairs at equal steps through all.
fn spread(pairs: &[Pair], most: usize) -> Vec<Pair> {
    let chosen = pairs.len().min(most);
    (0..chosen).map(|place| pairs[place * pairs.len() / chosen].clone()).collect()
}

/// The memory that this process has, in megabytes; [`None`] where the system does not say.
pub fn current_megabytes() -> Option<f64> {
    of_status("VmRSS:")
}

/// The most that it had.
fn peak_megabytes() -> Option<f64> {
    of_status("VmHWM:")
}

/// A line of what Linux tells of a process, in kilobytes there.
fn of_status(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / MEGABYTE)
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;
    use gram_cluster::TopicWordSettings;

    use super::*;

    #[test]
    fn some_pairs_from_all_over_stand_for_all() {
        let model = gram_hub::assets::tiny(&Compute::cpu()).unwrap();
        let pairs = gram_hub::assets::pairs().unwrap();
        let mut seen = Vec::new();
        let cost = of(&model, &pairs, |model, some| {
            seen = some.pairs.iter().map(|pair| pair.key.clone()).collect();
            PairFeatures::new(model, some, None, &TopicWordSettings::default(), &())
        });
        let expected = BATCHES * model.compute().images_at_once();
        assert_eq!(seen.len(), expected);
        assert_eq!(
            (&seen[0], &seen[1]),
            (&pairs.pairs[0].key, &pairs.pairs[pairs.pairs.len() / expected].key)
        );
        let cost = cost.unwrap();
        assert!(cost.seconds > 0.0);
        if cfg!(target_os = "linux") {
            assert!(cost.megabytes.unwrap() >= current_megabytes().unwrap());
        }
    }
}
