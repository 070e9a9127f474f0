//! Topic words and class names: what each topic is about, and what it is called in tasks.
//!
//! The **topic word** is the paper's: the word of highest cluster-wise TF-IDF (eq. 3), whoever else has it.
//! Beyond the paper, which names topics by it alone: two topics of one word cannot be told apart in a task,
//! and the word may be no thing at all ("young", "hold", "two"). So the **main word** of a topic is the topic
//! word, if it names a thing and enough captions say it, else the word that does and is said most; and the
//! **class name** is the main word alone or with a word that sets the topic apart ("dog snow", "rock
//! climbing"), whichever captions, and CLIP where there are images, bear out best.
//!
//! Every name is checked: **coverage** is the share of the topic's captions that say it, **recognition** the
//! share of its images that the frozen CLIP gives to it among names of other topics. Topics whose name fails
//! are in no episode.

mod candidates;
mod captions;
mod language;
mod nouns;
mod recognition;
mod scores;
mod settings;

use std::collections::HashSet;
use std::fmt;

use gram_features::Rows;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use candidates::{Candidate, Sayings, main_term, names_of, words_of_names};
use captions::{Captions, Piece, Term, common_beginning};

pub use recognition::NameFeatures;
pub use settings::TopicWordSettings;

/// Names of a topic that CLIP is asked about at most.
const ASKED: usize = 5;

/// Why a topic is in no episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOut {
    /// No word that names a thing is said by enough of its captions.
    NoName,
    /// Too few of its captions say its name.
    Coverage,
    /// CLIP gives too few of its images to its name.
    Recognition,
    /// By hand.
    Dropped,
    /// Its pairs joined another topic, by hand.
    Merged,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoName => "no noun that enough of its captions say",
            Self::Coverage => "too few of its captions say its name",
            Self::Recognition => "CLIP does not see its name in its images",
            Self::Dropped => "dropped by hand",
            Self::Merged => "joined to another topic by hand",
        })
    }
}

/// Names topics by their captions alone: `topics[l]` holds the captions of topic l. A topic whose captions
/// have no word has no name.
pub fn topic_names(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Vec<Option<TopicName>> {
    let scored = ScoredTopics::new(topics, settings);
    let with_word: Vec<usize> = (0..topics.len()).filter(|topic| scored.word(*topic).is_some()).collect();
    // Without images nothing can fail.
    let named = scored.names(&with_word, settings, None).unwrap_or_default();
    let mut all = vec![None; topics.len()];
    with_word.into_iter().zip(named).for_each(|(topic, name)| all[topic] = Some(name));
    all
}

/// What a topic is about and called.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicName {
    /// Its word of highest score (eq. 3).
    pub word: String,
    /// Its words of highest score, best first, equal scores in alphabetical order.
    pub words: Vec<(String, f64)>,
    /// Its class name.
    pub name: String,
    /// The word of the name that says what the topic is about.
    pub main_word: String,
    /// The share of its captions that say the name.
    pub coverage: f64,
    /// The share of its images that CLIP gives to the name among those of other topics; nothing without
    /// CLIP.
    pub recognition: Option<f64>,
    /// Why it is in no episode.
    pub left_out: Option<LeftOut>,
    /// The topics that cannot be in one episode with it, ascending.
    pub overlaps: Vec<usize>,
}

/// The captions of topics, read, with the scores of their words.
pub(crate) struct ScoredTopics {
    captions: Captions,
    /// The form of every word that names a thing.
    nouns: Vec<Option<u32>>,
    scores: Vec<Vec<(Term, f64)>>,
}

/// The images of topics, and what tells CLIP's features of names.
pub(crate) struct Images<'a> {
    pub(crate) features: &'a dyn Rows,
    /// Rows of every topic.
    pub(crate) members: Vec<&'a [usize]>,
    pub(crate) names: &'a NameFeatures<'a>,
    pub(crate) seed: u64,
}

impl ScoredTopics {
    /// Scores words: `topics[l]` holds the captions of topic l.
    pub(crate) fn new(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Self {
        let mut captions = Captions::read(topics, settings);
        let nouns = nouns::nouns(&captions);
        captions.show_as(&nouns);
        let scores = scores::scores(&captions, settings.phrases);
        captions.show_phrases(scores.iter().flatten().map(|(term, _)| *term));
        Self { captions, nouns, scores }
    }

    /// The languages of the captions, by two letters.
    pub(crate) fn languages(&self) -> Vec<String> {
        self.captions.languages.iter().map(|language| language.code().to_owned()).collect()
    }

    /// The topic word; nothing if its captions say none.
    pub(crate) fn word(&self, topic: usize) -> Option<String> {
        self.scores[topic].first().map(|(term, _)| term.shown(&self.captions))
    }

    /// Names of `topics`, which all have a word.
    ///
    /// # Errors
    /// If there are no features of names.
    pub(crate) fn names(
        &self,
        topics: &[usize],
        settings: &TopicWordSettings,
        images: Option<&Images>,
    ) -> Result<Vec<TopicName>, Box<dyn std::error::Error + Send + Sync>> {
        let Self { captions, nouns, scores } = self;
        let of_topics: Vec<&[(Term, f64)]> = topics.iter().map(|topic| scores[*topic].as_slice()).collect();
        let sayings = Sayings::new(captions, words_of_names(&of_topics));
        let least = settings.minimum_coverage;
        let mains: Vec<Option<Term>> = topics
            .iter()
            .map(|topic| main_term(*topic, &scores[*topic], &sayings, nouns, settings.minimum_main_coverage))
            .collect();
        let candidates: Vec<Vec<Candidate>> = topics
            .par_iter()
            .zip(&mains)
            .map(|(topic, main)| {
                let main = main.unwrap_or(scores[*topic][0].0);
                names_of(*topic, main, &scores[*topic], &sayings, nouns)
            })
            .collect();
        let mut named: Vec<TopicName> = topics
            .iter()
            .zip(&candidates)
            .map(|(topic, candidates)| {
                let best = scores[*topic].iter().take(settings.words);
                TopicName {
                    word: scores[*topic][0].0.shown(captions),
                    words: best.map(|(term, score)| (term.shown(captions), *score)).collect(),
                    name: candidates[0].name.clone(),
                    main_word: captions.words[candidates[0].main as usize].clone(),
                    coverage: candidates[0].coverage,
                    recognition: None,
                    left_out: None,
                    overlaps: Vec::new(),
                }
            })
            .collect();
        settle(&mut named, &candidates, None, least);
        set_overlaps_by_words(&mut named, settings.merge_forms);
        if let Some(images) = images {
            let asked: Vec<&[Candidate]> =
                candidates.iter().map(|of_topic| &of_topic[..of_topic.len().min(ASKED)]).collect();
            let recognised = recognition::of(&named, &asked, images)?;
            settle(&mut named, &candidates, Some(&recognised), least);
            set_overlaps_by_words(&mut named, settings.merge_forms);
            recognition::set_overlaps(&mut named, images.names, settings.maximum_similarity)?;
        }
        let least_recognised = recognition::least_share(settings.minimum_recognition, named.len());
        for (topic, main) in named.iter_mut().zip(&mains) {
            topic.left_out = match topic.recognition {
                _ if main.is_none() => Some(LeftOut::NoName),
                _ if topic.coverage < settings.minimum_coverage => Some(LeftOut::Coverage),
                Some(share) if share < least_recognised => Some(LeftOut::Recognition),
                _ => None,
            };
        }
        Ok(named)
    }
}

/// Gives every topic the best of its names that no other topic has and enough captions say; of topics that
/// want one name, the one that bears it out best has it. A topic for which none is left shares its best name.
fn settle(
    named: &mut [TopicName],
    candidates: &[Vec<Candidate>],
    recognised: Option<&[Vec<f64>]>,
    minimum_coverage: f64,
) {
    let share = |topic: usize, place: usize| recognised.and_then(|shares| shares[topic].get(place)).copied();
    let value = |topic: usize, place: usize| {
        let borne_out = candidates[topic][place].borne_out();
        // Names that CLIP was not asked about were far from the best.
        recognised.map_or(borne_out, |_| (borne_out + share(topic, place).unwrap_or(0.0)) / 2.0)
    };
    let places = |topic: usize| (0..candidates[topic].len()).map(move |place| (topic, place));
    let mut offers: Vec<(usize, usize)> = (0..named.len()).flat_map(places).collect();
    offers.sort_by(|one, other| {
        value(other.0, other.1).total_cmp(&value(one.0, one.1)).then_with(|| one.cmp(other))
    });
    let is_said = |topic: usize, place: usize| candidates[topic][place].coverage >= minimum_coverage;
    let mut taken = HashSet::new();
    let mut settled = vec![None; named.len()];
    for (topic, place) in offers.iter().copied().filter(|(topic, place)| is_said(*topic, *place)) {
        if settled[topic].is_none() && taken.insert(candidates[topic][place].name.as_str()) {
            settled[topic] = Some(place);
        }
    }
    // Names that are shared, and last those that too few captions say.
    for said in [true, false] {
        for (topic, place) in offers.iter().copied().filter(|(topic, place)| is_said(*topic, *place) == said)
        {
            settled[topic].get_or_insert(place);
        }
    }
    for (topic, place) in settled.into_iter().flatten().enumerate() {
        let candidate = &candidates[topic][place];
        named[topic].name.clone_from(&candidate.name);
        named[topic].coverage = candidate.coverage;
        named[topic].recognition = share(topic, place);
    }
}

/// The words of class names, as CLIP reads them: in lower case, an underscore being a space.
pub(crate) fn words_of(names: &[&str]) -> Vec<String> {
    names
        .iter()
        .flat_map(|name| {
            name.to_lowercase().replace('_', " ").split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether two lists of words have one in common, in whatever form if that is asked.
pub(crate) fn share_a_word(one: &[String], other: &[String], in_any_form: bool) -> bool {
    let alike = |one: &str, other: &str| one == other || in_any_form && of_one_family(one, other);
    one.iter().any(|word| other.iter().any(|other| alike(word, other)))
}

/// Says which topics have a word in common, in whatever form: their topic words, or words of their names.
fn set_overlaps_by_words(named: &mut [TopicName], in_any_form: bool) {
    let words: Vec<Vec<String>> = named.iter().map(|topic| words_of(&[&topic.word, &topic.name])).collect();
    let overlaps: Vec<Vec<usize>> = (0..named.len())
        .into_par_iter()
        .map(|topic| {
            let others = (0..named.len()).filter(|other| *other != topic);
            others.filter(|other| share_a_word(&words[topic], &words[*other], in_any_form)).collect()
        })
        .collect();
    named.iter_mut().zip(overlaps).for_each(|(topic, overlaps)| topic.overlaps = overlaps);
}

/// Whether two words come from one: "dog" and "dogs", "climb" and "climber", "ski" and "skiing".
pub(crate) fn of_one_family(one: &str, other: &str) -> bool {
    const LEAST_COMMON: usize = 4;
    const LONGEST_ENDING: usize = 3;
    let (common, endings) = common_beginning(one, other);
    let [shorter, longer] = [endings[0].min(endings[1]), endings[0].max(endings[1])];
    let does = |word: &str| ["s", "es", "er", "ers", "ing"].iter().any(|end| word.ends_with(end));
    let is_doer =
        shorter == 0 && longer <= LONGEST_ENDING && common + 1 >= LEAST_COMMON && (does(one) || does(other));
    common >= LEAST_COMMON && longer <= LONGEST_ENDING || is_doer
}

/// The share of captions that say a name: all of its words, in whatever form.
pub(crate) fn coverage<'a>(
    name: &'a str,
    captions: impl Iterator<Item = &'a str>,
    settings: &TopicWordSettings,
) -> f64 {
    let mut all = vec![name];
    all.extend(captions);
    let read = Captions::read(&[all], settings);
    let words =
        |pieces: &[Piece]| -> HashSet<u32> { pieces.iter().filter_map(|piece| piece.word()).collect() };
    let Some((name, captions)) = read.pieces.split_first() else { return 0.0 };
    let name = words(name);
    let said = captions.iter().filter(|caption| !name.is_empty() && name.is_subset(&words(caption))).count();
    if captions.is_empty() { 0.0 } else { said as f64 / captions.len() as f64 }
}

#[cfg(test)]
mod tests;
