//! Topic words: the words that set a topic's captions apart, by cluster-wise TF-IDF (eq. 3).
//!
//! `TF-IDF(w, l) = N_wl / N_l * log(L / (L_w + 1))` with `N_wl` the occurrences of word w in cluster l, `N_l`
//! the words of cluster l, `L` the number of clusters and `L_w` the number of clusters that hold w. A word in
//! all clusters scores below zero, one in all but one scores zero; with one cluster every score is negative
//! and the rarest word wins: the equation needs several clusters to mean something.
//!
//! Words are runs of letters and digits (inner apostrophes kept, possessive endings dropped) in lower case.
//! Stop words, words without a letter, and single ASCII letters are no words: neither counted nor named. A
//! plural counts as its singular where that is somewhere said, too. Where phrases are asked for, two words
//! that follow each other in several captions of a topic are a further word, in the place of its parts if
//! these are hardly ever said apart.
//!
//! Beyond the paper: a word names one topic only, for two classes of one name cannot be told apart. The
//! largest score of all takes its word first, and so on down.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ClusterError;

/// How captions become topic words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicWordSettings {
    /// How many words describe a topic. 1 or more.
    pub words: usize,
    /// Words that say nothing in English; [`STOP_WORDS`] by default.
    pub stop_words: Vec<String>,
    /// Words that speak of the picture, not of what it shows; [`CAPTION_WORDS`] by default.
    pub caption_words: Vec<String>,
    /// Whether a plural counts as its singular.
    pub merge_plurals: bool,
    /// Whether two words may be one: "ice cream".
    pub phrases: bool,
}

impl Default for TopicWordSettings {
    fn default() -> Self {
        let owned = |words: &str| words.split_whitespace().map(str::to_owned).collect();
        Self {
            words: 10,
            stop_words: owned(STOP_WORDS),
            caption_words: owned(CAPTION_WORDS),
            merge_plurals: true,
            phrases: false,
        }
    }
}

impl TopicWordSettings {
    /// Checks every field's range.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] names the first field out of range.
    pub fn validate(&self) -> Result<(), ClusterError> {
        ClusterError::check_setting(self.words >= 1, "topic_words.words", &self.words, "1 or more")
    }
}

/// English function words: articles, pronouns, auxiliaries, prepositions, conjunctions and common adverbs.
pub const STOP_WORDS: &str = "a an the this that these those it its itself he him his she her hers they them their \
    theirs we us our ours you your yours i me my mine who whom whose which what where when why how \
    am is are was were be been being do does did doing done has have had having can could may might must shall \
    should will would isn't aren't wasn't weren't don't doesn't didn't hasn't haven't can't couldn't won't wouldn't \
    of in on at by for with without from to into onto over under above below between among through during before \
    after about against around across along behind beside near off out up down upon within toward towards via per \
    and or but nor so if then than as because while although though until unless whether both either neither \
    not no yes all any some each every other another such same own few many much more most less least several one \
    there here now again also just only very too even still ever never once always often quite rather else etc";

/// Words about pictures: "a stock photo of", "vector illustration", "close up view".
pub const CAPTION_WORDS: &str = "photo photos photograph photographs photography picture pictures image images pic pics \
    stock vector illustration illustrations icon icons clipart drawing drawings sketch logo emoji symbol symbols sign \
    background backgrounds wallpaper view views close closeup shot shows showing seen using isolated";

/// What one topic is about.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicWords {
    /// The word that names it and no other topic; `None` if other topics took all its words, or it has none.
    pub label: Option<String>,
    /// Its words of highest score, best first, equal scores in alphabetical order.
    pub words: Vec<(String, f64)>,
}

/// Names topics by their captions: `topics[l]` holds the captions of topic l.
pub fn topic_words(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Vec<TopicWords> {
    let scores = scores(topics, settings);
    let labels = labels(&scores);
    let describe = |(mut scores, label): (Vec<(String, f64)>, Option<String>)| {
        scores.truncate(settings.words);
        TopicWords { label, words: scores }
    };
    scores.into_iter().zip(labels).map(describe).collect()
}

/// Equation 3: the scored words of every topic, best first.
fn scores(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Vec<Vec<(String, f64)>> {
    let counts = word_counts(topics, settings);
    let mut topics_with: HashMap<&str, usize> = HashMap::new();
    counts.iter().flat_map(BTreeMap::keys).for_each(|word| *topics_with.entry(word).or_default() += 1);
    let score_topic = |counts: &BTreeMap<String, usize>| {
        let total: usize = counts.values().sum();
        let score = |(word, count): (&String, &usize)| {
            let rarity = (topics.len() as f64 / (topics_with[word.as_str()] + 1) as f64).ln();
            (word.clone(), *count as f64 / total as f64 * rarity)
        };
        let mut scored: Vec<(String, f64)> = counts.iter().map(score).collect();
        scored.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        scored
    };
    counts.iter().map(score_topic).collect()
}

/// Captions of a topic that say a phrase at least.
const CAPTIONS_OF_A_PHRASE: usize = 3;

/// How often every word stands in each topic. Ordered maps: the same scores in the same order every time.
fn word_counts(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Vec<BTreeMap<String, usize>> {
    let skipped: HashSet<&str> =
        settings.stop_words.iter().chain(&settings.caption_words).map(String::as_str).collect();
    let said: HashSet<String> = match settings.merge_plurals {
        true => topics.iter().flatten().flat_map(|caption| words(caption)).collect(),
        false => HashSet::new(),
    };
    let count = |captions: &Vec<&str>| {
        let (mut counts, mut phrases) = (BTreeMap::new(), BTreeMap::new());
        for caption in captions {
            let mut before: Option<String> = None;
            for word in words(caption) {
                if skipped.contains(word.as_str()) {
                    before = None;
                    continue;
                }
                let word = singular(&word, &said).unwrap_or(word);
                *counts.entry(word.clone()).or_default() += 1;
                if let Some(before) = before.replace(word.clone()).filter(|_| settings.phrases) {
                    *phrases.entry([before, word]).or_default() += 1;
                }
            }
        }
        add_phrases(counts, phrases)
    };
    topics.par_iter().map(count).collect()
}

/// The singular of a word, if it looks like a plural and its singular is among the words that are `said`.
fn singular(word: &str, said: &HashSet<String>) -> Option<String> {
    let stem = word.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']))?;
    let shorter = stem.strip_suffix('e');
    let candidates = [
        Some(stem.to_owned()),
        shorter.map(str::to_owned),
        shorter.and_then(|stem| stem.strip_suffix('i')).map(|stem| format!("{stem}y")),
    ];
    candidates.into_iter().flatten().find(|candidate| said.contains(candidate))
}

/// Words and the phrases that are said often enough. A phrase's words are no words of their own where it is
/// most of what both are said in.
fn add_phrases(
    mut words: BTreeMap<String, usize>,
    phrases: BTreeMap<[String; 2], usize>,
) -> BTreeMap<String, usize> {
    let frequent = phrases.into_iter().filter(|(_, count)| *count >= CAPTIONS_OF_A_PHRASE);
    let frequent: Vec<([String; 2], usize)> = frequent.collect();
    let total = |word: &String, words: &BTreeMap<String, usize>| words.get(word).copied().unwrap_or(0);
    let most =
        |(parts, count): &&([String; 2], usize)| parts.iter().all(|part| 2 * count > total(part, &words));
    let instead: Vec<String> = frequent.iter().filter(most).flat_map(|(parts, _)| parts.clone()).collect();
    words.retain(|word, _| !instead.contains(word));
    words.extend(frequent.into_iter().map(|(parts, count)| (parts.join(" "), count)));
    words
}

/// Gives every topic a word of its own, highest scores first.
fn labels(scores: &[Vec<(String, f64)>]) -> Vec<Option<String>> {
    let mut offers: Vec<(f64, &str, usize)> = scores
        .iter()
        .enumerate()
        .flat_map(|(topic, words)| words.iter().map(move |(word, score)| (*score, word.as_str(), topic)))
        .collect();
    offers.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)).then(one.2.cmp(&other.2)));
    let mut labels = vec![None; scores.len()];
    let mut taken = HashSet::new();
    for (_, word, topic) in offers {
        if labels[topic].is_none() && taken.insert(word) {
            labels[topic] = Some(word.to_owned());
        }
    }
    labels
}

/// The words of a caption, in order.
fn words(caption: &str) -> impl Iterator<Item = String> {
    let lower = caption.to_lowercase().replace('\u{2019}', "'");
    let runs: Vec<String> = lower
        .split(|character: char| !character.is_alphanumeric() && character != '\'')
        .map(|run| run.trim_matches('\''))
        .map(|run| run.strip_suffix("'s").unwrap_or(run).to_owned())
        .collect();
    runs.into_iter().filter(|word| word.chars().any(char::is_alphabetic) && word.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(topics: &[Vec<&str>]) -> Vec<TopicWords> {
        topic_words(topics, &TopicWordSettings::default())
    }

    #[test]
    fn scores_are_equation_3_by_hand() {
        let found =
            named(&[vec!["a red cat", "the cat sleeps"], vec!["red dog"], vec!["green bird", "bird"]]);
        // Topic 0: cat 2, red 1, sleeps 1 of 4 words; cat is in 1 topic of 3, red in 2.
        let expected = [("cat", 0.5 * 1.5_f64.ln()), ("sleeps", 0.25 * 1.5_f64.ln()), ("red", 0.0)];
        assert_eq!(found[0].words.len(), 3);
        for ((word, score), (expected_word, expected_score)) in found[0].words.iter().zip(expected) {
            assert_eq!(word, expected_word);
            assert!((score - expected_score).abs() < 1e-15);
        }
        let labels: Vec<_> = found.iter().map(|topic| topic.label.as_deref()).collect();
        assert_eq!(labels, [Some("cat"), Some("dog"), Some("bird")]);
    }

    #[test]
    fn a_word_in_every_topic_scores_below_zero() {
        let found = named(&[vec!["blue sky"], vec!["blue sea"]]);
        assert_eq!(found[0].words[0], ("sky".to_owned(), 0.0));
        assert!((found[0].words[1].1 - 0.5 * (2.0_f64 / 3.0).ln()).abs() < 1e-15);
    }

    #[test]
    fn two_topics_never_share_a_label() {
        let found =
            named(&[vec!["cat cat cat nap"], vec!["cat cat toy"], vec!["sea"], vec!["sun"], vec!["fog"]]);
        let labels: Vec<_> = found.iter().map(|topic| topic.label.as_deref()).collect();
        assert_eq!(labels, [Some("cat"), Some("toy"), Some("sea"), Some("sun"), Some("fog")]);
        // A topic with nothing of its own stays without a label.
        let found = named(&[vec!["cat cat nap"], vec!["nap cat"], vec!["cat"], vec!["of the 12"]]);
        assert_eq!(found.iter().filter(|topic| topic.label.is_none()).count(), 2);
    }

    #[test]
    fn a_plural_is_its_singular_where_that_is_said() {
        let captions =
            ["two cats", "a cat", "berries", "a berry", "boxes", "box", "scissors", "bus", "glasses"];
        let found = named(&[captions.to_vec(), vec!["glass"], vec!["dog"], vec!["sea"]]);
        let words: BTreeMap<&str, f64> =
            found[0].words.iter().map(|(word, score)| (word.as_str(), *score)).collect();
        let expected = ["berry", "box", "bus", "cat", "glass", "scissors", "two"];
        assert_eq!(words.keys().copied().collect::<Vec<_>>(), expected);
        assert!(words["cat"] > words["scissors"] && words["cat"] == words["berry"]);
        let apart = TopicWordSettings { merge_plurals: false, ..TopicWordSettings::default() };
        let found = topic_words(&[captions.to_vec(), vec!["glass"]], &apart);
        assert!(found[0].words.iter().any(|(word, _)| word == "cats"));
    }

    #[test]
    fn a_phrase_takes_the_place_of_words_that_are_hardly_said_apart() {
        let topic = vec!["ice cream", "a cone of ice cream", "melting ice cream", "red cone", "cream"];
        let settings = TopicWordSettings { phrases: true, ..TopicWordSettings::default() };
        let found = topic_words(&[topic.clone(), vec!["dog"], vec!["sea"]], &settings);
        assert_eq!(found[0].label.as_deref(), Some("ice cream"));
        let words: Vec<&str> = found[0].words.iter().map(|(word, _)| word.as_str()).collect();
        assert!(!words.contains(&"ice") && words.contains(&"cone"), "{words:?}");
        // "red cone" is said once: no phrase.
        assert!(!words.contains(&"red cone"));
        let found = named(&[topic, vec!["dog"], vec!["sea"]]);
        assert_eq!(found[0].label.as_deref(), Some("cream"));
    }

    #[test]
    fn the_order_of_captions_changes_nothing() {
        let captions = ["red cat nap", "a cat on a mat", "mat and nap", "cat's toy"];
        let others = vec!["dog", "red dog"];
        let mut turned = captions.to_vec();
        turned.reverse();
        assert_eq!(named(&[captions.to_vec(), others.clone()]), named(&[turned, others]));
    }

    #[test]
    fn words_are_lower_case_runs_without_bare_numbers() {
        let found: Vec<String> = words("The Dog\u{2019}s T-shirt, 42 of 4x4s: l'été don't! x 猫").collect();
        assert_eq!(found, ["the", "dog", "shirt", "of", "4x4s", "l'été", "don't", "猫"]);
    }
}
