//! What a topic can be called, and how well its captions bear that out.
//!
//! A name is judged as a question to all captions: its **coverage** is the share of the topic's captions that
//! say it (all of its words), its **precision** the share of the captions that say it which are the topic's.
//! Both count alike, in their harmonic mean.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::captions::{Captions, Piece, Term};

/// Words of a topic that can say what it is about.
const MAIN_WORDS: usize = 10;
/// Words of a topic that can set it apart from others of the same word.
const QUALIFIERS: usize = 30;

/// A name that a topic could have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) name: String,
    /// Whether captions say its words side by side; so do they with one word.
    is_phrase: bool,
    /// The word that says what the topic is about.
    pub(super) main: u32,
    pub(super) coverage: f64,
    pub(super) precision: f64,
}

impl Candidate {
    /// How well captions bear it out: the harmonic mean of coverage and precision.
    pub(super) fn borne_out(&self) -> f64 {
        let sum = self.coverage + self.precision;
        if sum > 0.0 { 2.0 * self.coverage * self.precision / sum } else { 0.0 }
    }
}

/// The captions that say some words.
pub(super) struct Sayings<'a> {
    captions: &'a Captions,
    /// By word, the numbers of the captions, ascending.
    of_words: HashMap<u32, Vec<u32>>,
}

impl<'a> Sayings<'a> {
    /// Of these words.
    pub(super) fn new(captions: &'a Captions, words: impl Iterator<Item = u32>) -> Self {
        let mut of_words: HashMap<u32, Vec<u32>> = words.map(|word| (word, Vec::new())).collect();
        for (caption, pieces) in captions.pieces.iter().enumerate() {
            for piece in pieces {
                let Some(word) = piece.word() else { continue };
                if let Some(found) =
                    of_words.get_mut(&word).filter(|found| found.last() != Some(&(caption as u32)))
                {
                    found.push(caption as u32);
                }
            }
        }
        Self { captions, of_words }
    }

    /// The captions that say all of these words.
    fn of(&self, words: &[u32]) -> Vec<u32> {
        let of = |word: &u32| self.of_words.get(word).map_or(&[][..], Vec::as_slice);
        let mut lists: Vec<&[u32]> = words.iter().map(of).collect();
        lists.sort_by_key(|list| list.len());
        let Some((shortest, others)) = lists.split_first() else { return Vec::new() };
        let in_all = |caption: &&u32| others.iter().all(|list| list.binary_search(caption).is_ok());
        shortest.iter().filter(in_all).copied().collect()
    }

    /// A name of these words for a topic.
    pub(super) fn candidate(&self, topic: usize, main: Term, qualifier: Option<u32>) -> Candidate {
        let words: Vec<u32> = main.words().chain(qualifier).collect();
        let found = self.of(&words);
        let own = self.captions.topics[topic].clone();
        let inside = |caption: &&u32| own.contains(&(**caption as usize));
        let of_topic: Vec<u32> = found.iter().filter(inside).copied().collect();
        let share = |all: usize| if all > 0 { of_topic.len() as f64 / all as f64 } else { 0.0 };
        let (name, is_phrase) = self.written(&of_topic, main, qualifier);
        Candidate {
            name,
            is_phrase,
            main: main.second.unwrap_or(main.first),
            coverage: share(own.len()),
            precision: share(found.len()),
        }
    }

    /// The words in the order in which these captions say them: as they stand there, if they stand side by
    /// side more often than not; and whether they do.
    fn written(&self, captions: &[u32], main: Term, qualifier: Option<u32>) -> (String, bool) {
        let Some(qualifier) = qualifier else { return (main.shown(self.captions), true) };
        let (mut before, mut side_by_side) = (0, 0);
        let mut phrases: BTreeMap<[u32; 2], usize> = BTreeMap::new();
        for caption in captions {
            let pieces = &self.captions.pieces[*caption as usize];
            let place = |wanted: u32| pieces.iter().position(|piece| piece.word() == Some(wanted));
            before += usize::from(place(qualifier) < place(main.first));
            let mut pairs = pieces.windows(2).filter_map(|pair| match pair {
                [Piece::Word { word: one, form }, Piece::Word { word: other, form: next }]
                    if [*one, *other] == [qualifier, main.first]
                        || [*one, *other] == [main.first, qualifier] =>
                {
                    Some([*form, *next])
                }
                _ => None,
            });
            if let Some(phrase) = pairs.next() {
                side_by_side += 1;
                *phrases.entry(phrase).or_default() += 1;
            }
        }
        let most = phrases.iter().max_by_key(|(_, count)| **count).map(|(phrase, _)| phrase);
        if let (true, Some(phrase)) = (main.second.is_none() && 2 * side_by_side > captions.len(), most) {
            let [one, other] = phrase.map(|form| self.captions.forms[form as usize].as_str());
            return (Captions::joined(one, other), true);
        }
        let (main, other) = (main.shown(self.captions), &self.captions.words[qualifier as usize]);
        let written =
            if 2 * before > captions.len() { format!("{other} {main}") } else { format!("{main} {other}") };
        (written, false)
    }
}

/// What a topic is about: its topic word where that names a thing and enough captions say it, else of its
/// words that do the one that most captions say; nothing where there is none.
pub(super) fn main_term(
    topic: usize,
    scored: &[(Term, f64)],
    sayings: &Sayings,
    nouns: &[Option<u32>],
    least: f64,
) -> Option<Term> {
    let names_a_thing = |term: &Term| nouns[term.second.unwrap_or(term.first) as usize].is_some();
    let of_terms = scored.iter().take(MAIN_WORDS).map(|(term, _)| *term).filter(names_a_thing);
    let judged: Vec<(Term, Candidate)> =
        of_terms.map(|term| (term, sayings.candidate(topic, term, None))).collect();
    let is_topic_word = |term: Term| scored.first().is_some_and(|(first, _)| *first == term);
    let said = judged.iter().filter(|(_, candidate)| candidate.coverage >= least);
    let own = said.clone().find(|(term, _)| is_topic_word(*term));
    // Of equals the first, whose score is higher.
    let most = said.rev().max_by(|one, other| one.1.coverage.total_cmp(&other.1.coverage));
    own.or(most).map(|(term, _)| *term)
}

/// Names for a topic: its main term alone, and with each word that may set the topic apart. Best first by
/// what captions say, short ones before long ones. A word that is no thing ("two", "holding") stands beside
/// the term or nowhere.
pub(super) fn names_of(
    topic: usize,
    main: Term,
    scored: &[(Term, f64)],
    sayings: &Sayings,
    nouns: &[Option<u32>],
) -> Vec<Candidate> {
    let qualifiers: BTreeSet<u32> =
        scored.iter().take(QUALIFIERS).flat_map(|(term, _)| term.words()).collect();
    let other = qualifiers.into_iter().filter(|word| !main.words().any(|own| own == *word)).map(Some);
    let candidate = |qualifier: Option<u32>| {
        let candidate = sayings.candidate(topic, main, qualifier);
        let stands = candidate.is_phrase || qualifier.is_some_and(|word| nouns[word as usize].is_some());
        stands.then_some(candidate)
    };
    let mut candidates: Vec<Candidate> = std::iter::once(None).chain(other).filter_map(candidate).collect();
    candidates.sort_by(|one, other| {
        let length = |candidate: &Candidate| candidate.name.split(' ').count();
        let borne_out = other.borne_out().total_cmp(&one.borne_out());
        borne_out.then(length(one).cmp(&length(other))).then_with(|| one.name.cmp(&other.name))
    });
    candidates
}

/// The words that candidates can be made of.
pub(super) fn words_of_names<'a>(scores: &'a [&'a [(Term, f64)]]) -> impl Iterator<Item = u32> + 'a {
    scores.iter().flat_map(|scored| scored.iter().take(QUALIFIERS).flat_map(|(term, _)| term.words()))
}
