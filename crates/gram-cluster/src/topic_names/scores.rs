//! Equation 3: cluster-wise TF-IDF.
//!
//! `TF-IDF(w, l) = N_wl / N_l * log(L / (L_w + 1))` with `N_wl` the occurrences of word w in cluster l, `N_l`
//! the words of cluster l, `L` the number of clusters and `L_w` the number of clusters that hold w. A word in
//! all clusters scores below zero, one in all but one scores zero; with one cluster every score is negative
//! and the rarest word wins: the equation needs several clusters to mean something.
//!
//! Where phrases are asked for, two words that follow each other in several captions of a topic are a further
//! word, in the place of its parts if these are hardly ever said apart.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::captions::{Captions, Piece, Term};

/// Captions of a topic that say a phrase at least.
const CAPTIONS_OF_A_PHRASE: usize = 3;

/// The terms of every topic with their scores, best first, equal scores in alphabetical order.
pub(super) fn scores(captions: &Captions, phrases: bool) -> Vec<Vec<(Term, f64)>> {
    let counts: Vec<BTreeMap<Term, usize>> =
        (0..captions.topics.len()).into_par_iter().map(|topic| counts(captions, topic, phrases)).collect();
    let mut topics_with: HashMap<Term, usize> = HashMap::new();
    counts.iter().flat_map(BTreeMap::keys).for_each(|term| *topics_with.entry(*term).or_default() += 1);
    let score_topic = |of_topic: &BTreeMap<Term, usize>| {
        let total: usize = of_topic.values().sum();
        let score = |(term, count): (&Term, &usize)| {
            let rarity = (counts.len() as f64 / (topics_with[term] + 1) as f64).ln();
            (*term, *count as f64 / total as f64 * rarity)
        };
        let mut scored: Vec<(Term, f64)> = of_topic.iter().map(score).collect();
        scored.sort_by(|one, other| {
            let text = |term: Term| term.words().map(|word| &captions.words[word as usize]);
            other.1.total_cmp(&one.1).then_with(|| text(one.0).cmp(text(other.0)))
        });
        scored
    };
    counts.par_iter().map(score_topic).collect()
}

/// How often every term stands in a topic. Ordered: the same scores in the same order every time.
fn counts(captions: &Captions, topic: usize, with_phrases: bool) -> BTreeMap<Term, usize> {
    let (mut words, mut phrases) = (BTreeMap::new(), BTreeMap::new());
    for pieces in &captions.pieces[captions.topics[topic].clone()] {
        let mut before = None;
        for piece in pieces {
            let Piece::Word { word, .. } = *piece else {
                before = None;
                continue;
            };
            *words.entry(Term { first: word, second: None }).or_default() += 1;
            if let Some(first) = before.replace(word).filter(|_| with_phrases) {
                *phrases.entry(Term { first, second: Some(word) }).or_default() += 1;
            }
        }
    }
    phrases.retain(|_, count| *count >= CAPTIONS_OF_A_PHRASE);
    let single = |word: u32| Term { first: word, second: None };
    let is_most = |(phrase, count): &(&Term, &usize)| {
        phrase.words().all(|word| 2 * **count > words.get(&single(word)).copied().unwrap_or(0))
    };
    let instead: Vec<u32> = phrases.iter().filter(is_most).flat_map(|(phrase, _)| phrase.words()).collect();
    instead.into_iter().for_each(|word| _ = words.remove(&single(word)));
    words.extend(phrases);
    words
}
