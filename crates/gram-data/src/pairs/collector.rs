//! Pairs that differ, under keys that differ.

use std::collections::{HashMap, HashSet};

use super::{Pair, Pairs, SkipCause, Skipped};
use crate::fingerprint;

/// Collects pairs that differ, under unique keys.
#[derive(Default)]
pub(super) struct Collector {
    pub(super) collected: Pairs,
    /// Fingerprints of the pairs.
    pairs: HashSet<u128>,
    /// Their keys.
    keys: UniqueKeys,
}

impl Collector {
    /// Adds `pair`, or notes under a name that it is there already. A key that the source gave names one pair
    /// alone; one that was derived, from an image's name or a member's, is made unique.
    pub(super) fn add(
        &mut self,
        mut pair: Pair,
        fingerprint: u128,
        is_given: bool,
        name: impl FnOnce(&Pair) -> String,
    ) {
        let cause = if self.pairs.contains(&fingerprint) {
            SkipCause::Duplicate
        } else if is_given && !self.keys.take(&pair.key) {
            SkipCause::DuplicateKey
        } else {
            if !is_given {
                pair.key = self.keys.unique(pair.key);
            }
            self.pairs.insert(fingerprint);
            self.collected.pairs.push(pair);
            return;
        };
        self.skip(Skipped { name: name(&pair), cause, detail: None });
    }

    pub(super) fn skip(&mut self, skipped: Skipped) {
        self.collected.skipped.push(skipped);
    }
}

/// Keys of which no two are alike.
#[derive(Default)]
pub struct UniqueKeys {
    /// Fingerprints of all keys.
    taken: HashSet<u128>,
    /// How often a key was derived that was taken already, by its fingerprint.
    repeated: HashMap<u128, usize>,
}

impl UniqueKeys {
    /// Takes a key; false if it was taken before.
    pub fn take(&mut self, key: &str) -> bool {
        self.taken.insert(fingerprint::of(key.as_bytes()))
    }

    /// The key, or where it was taken before, the first of `key#1`, `key#2`, … that was not.
    pub fn unique(&mut self, key: String) -> String {
        if self.take(&key) {
            return key;
        }
        let name = fingerprint::of(key.as_bytes());
        loop {
            let count = self.repeated.entry(name).or_default();
            *count += 1;
            let numbered = format!("{key}#{count}");
            if self.take(&numbered) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_key_is_numbered_until_it_is_free() {
        let mut keys = UniqueKeys::default();
        assert!(keys.take("a#2") && !keys.take("a#2"));
        let derived: Vec<String> = (0..4).map(|_| keys.unique("a".to_owned())).collect();
        assert_eq!(derived, ["a", "a#1", "a#3", "a#4"]);
        assert_eq!(keys.unique("a#1".to_owned()), "a#1#1");
    }
}
