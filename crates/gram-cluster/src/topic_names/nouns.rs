//! Which words name things that can be seen.
//!
//! Nobody asks a picture for a "young" or a "hold". Where a language has articles, captions themselves tell
//! nouns from other words: a noun stands right behind an article or a preposition, and nothing that it
//! describes follows ("a dog in the snow"), while an adjective is followed by its noun ("a young girl") and a
//! verb follows one ("a man holding a rope"). Measures ("a group of people") name nothing by themselves.

use std::collections::{BTreeSet, HashSet};

use super::captions::{Captions, Piece};
use super::language::NounFrame;

/// The least share of what is said of a word that must look like a noun.
const LEAST_EVIDENCE: f64 = 0.1;
/// The least share of what is said of an adjective that stands where a noun phrase begins.
const DESCRIBING_FOLLOWS: f64 = 0.3;
/// The largest share of it that nothing follows.
const DESCRIBING_ENDS: f64 = 0.2;
/// Different words that must stand beside a word before anything is said against it.
const NEIGHBOURS: usize = 5;

/// The least share of what is said of a word, in all forms, that its noun must have.
const LEAST_SHARE: f64 = 0.2;

/// For every word the form that names a thing, if there is one: the one that is said most. Words of a
/// language of which nothing is known, and those of which too little is said to tell, do as they are.
pub(super) fn nouns(captions: &Captions) -> Vec<Option<u32>> {
    let frame = captions.languages.first().and_then(|language| language.noun_frame());
    let said = match &frame {
        Some(frame) => said_of_forms(captions, frame),
        None => vec![Said::default(); captions.forms.len()],
    };
    let mut nouns: Vec<Option<u32>> = vec![None; captions.words.len()];
    let mut times = vec![0; captions.words.len()];
    let is_better = |one: u32, other: u32| {
        let (one, other) = (one as usize, other as usize);
        (captions.counts[one], &captions.forms[other]) > (captions.counts[other], &captions.forms[one])
    };
    for (form, word) in captions.word_of.iter().enumerate() {
        let Some(word) = word else { continue };
        times[*word as usize] += captions.counts[form];
        let best = &mut nouns[*word as usize];
        if said[form].is_noun() && best.is_none_or(|best| is_better(form as u32, best)) {
            *best = Some(form as u32);
        }
    }
    let is_said_enough =
        |form: u32, times: usize| captions.counts[form as usize] as f64 >= LEAST_SHARE * times as f64;
    nouns
        .into_iter()
        .zip(times)
        .map(|(noun, times)| noun.filter(|form| is_said_enough(*form, times)))
        .collect()
}

/// What is said of every form.
fn said_of_forms(captions: &Captions, frame: &NounFrame) -> Vec<Said> {
    let mut said = vec![Said::default(); captions.forms.len()];
    each_place(captions, frame, |place| said[place.form as usize].note(place.follows, &place));
    // "A red shirt": what follows a word that describes is as good as behind an article.
    let describes: Vec<bool> = said.iter().map(Said::describes).collect();
    let mut again = vec![Said::default(); captions.forms.len()];
    each_place(captions, frame, |place| {
        let is_described = place.before.is_some_and(|(form, _)| describes[form as usize]);
        again[place.form as usize].note(place.follows || is_described, &place);
    });
    again
}

/// Where a word stands in a caption.
struct Place {
    form: u32,
    /// Whether it stands where a noun phrase begins.
    follows: bool,
    /// Whether no noun or other word that it could describe or act on follows.
    ends: bool,
    /// Form and word right before it, if that is a word.
    before: Option<(u32, u32)>,
    /// The same right after it.
    after: Option<(u32, u32)>,
}

fn each_place(captions: &Captions, frame: &NounFrame, mut each: impl FnMut(Place)) {
    let among = |words: &HashSet<&str>| -> Vec<bool> {
        captions.forms.iter().map(|form| words.contains(form.as_str())).collect()
    };
    let [determiners, prepositions] = [&frame.determiners, &frame.prepositions].map(among);
    let [joints, measures] = [&frame.joints, &frame.measures].map(among);
    let is = |marked: &[bool], piece: Option<Piece>| matches!(piece, Some(Piece::Stop(form)) if marked[form as usize]);
    let word = |piece: Option<Piece>| match piece {
        Some(Piece::Word { word, form }) => Some((form, word)),
        _ => None,
    };
    for pieces in &captions.pieces {
        // Words about the picture say nothing of the words beside them: "a blurry cat".
        let pieces: Vec<Piece> =
            pieces.iter().copied().filter(|piece| !captions.is_about_picture(*piece)).collect();
        for (place, piece) in pieces.iter().enumerate() {
            let Piece::Word { form, .. } = *piece else { continue };
            let before = place.checked_sub(1).and_then(|before| pieces.get(before).copied());
            let after = pieces.get(place + 1).copied();
            // "A black and white dog": that says nothing of what the word is.
            if is(&joints, after) {
                continue;
            }
            each(Place {
                form,
                follows: matches!(before, None | Some(Piece::Mark | Piece::Number))
                    || is(&determiners, before)
                    || is(&prepositions, before),
                ends: word(after).is_none() && !is(&measures, after) && !is(&determiners, after),
                before: word(before),
                after: word(after),
            });
        }
    }
}

/// What is said of a form.
#[derive(Clone, Default)]
struct Said {
    times: u32,
    /// Where a noun phrase begins.
    follows: u32,
    /// Where it ends.
    ends: u32,
    /// Where both is so.
    as_noun: u32,
    /// Some of the words right before and right after it.
    beside: [BTreeSet<u32>; 2],
}

impl Said {
    fn note(&mut self, follows: bool, place: &Place) {
        self.times += 1;
        self.follows += u32::from(follows);
        self.ends += u32::from(place.ends);
        self.as_noun += u32::from(follows && place.ends);
        for (beside, piece) in self.beside.iter_mut().zip([place.before, place.after]) {
            if let Some((_, word)) = piece.filter(|_| beside.len() < NEIGHBOURS) {
                beside.insert(word);
            }
        }
    }

    fn share(&self, part: u32) -> f64 {
        f64::from(part) / f64::from(self.times.max(1))
    }

    /// Whether it describes the word behind it, as adjectives and the first parts of compounds do.
    fn describes(&self) -> bool {
        self.beside[1].len() >= NEIGHBOURS
            && self.share(self.follows) >= DESCRIBING_FOLLOWS
            && self.share(self.ends) <= DESCRIBING_ENDS
    }

    fn is_noun(&self) -> bool {
        let is_known = self.beside.iter().any(|beside| beside.len() >= NEIGHBOURS);
        !is_known || self.share(self.as_noun) >= LEAST_EVIDENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_names::TopicWordSettings;

    fn named(captions: &[&str], language: &str) -> Vec<String> {
        let settings = TopicWordSettings { languages: vec![language.into()], ..TopicWordSettings::default() };
        let captions = Captions::read(&[captions.to_vec()], &settings);
        nouns(&captions).into_iter().flatten().map(|form| captions.forms[form as usize].clone()).collect()
    }

    #[test]
    fn nouns_are_told_from_adjectives_verbs_and_measures() {
        let things = ["girl", "boy", "dog", "man", "woman", "horse"];
        let captions: Vec<String> = things
            .iter()
            .flat_map(|thing| {
                [
                    format!("a young {thing} is holding a rope"),
                    format!("the blurry {thing} in the snow"),
                    format!("a {thing} holding two ropes"),
                    format!("a group of {thing}s in snow, group {thing}"),
                    format!("{thing} group of 3 ropes"),
                ]
            })
            .collect();
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let settings = TopicWordSettings {
            languages: vec!["en".into()],
            caption_words: vec!["blurry".into()],
            ..TopicWordSettings::default()
        };
        let read = Captions::read(&[captions], &settings);
        let others: Vec<&String> = read
            .words
            .iter()
            .zip(nouns(&read))
            .filter(|(_, noun)| noun.is_none())
            .map(|(word, _)| word)
            .collect();
        assert_eq!(others, ["group", "holding", "young"]);
    }

    #[test]
    fn a_word_of_which_little_is_said_is_taken_for_a_noun() {
        assert_eq!(named(&["clockwise vertical arrows", "a right anger bubble"], "en").len(), 6);
    }

    #[test]
    fn german_and_french_captions_have_their_own_small_words() {
        let of = |language: &str, sentence: fn(&str) -> String, things: [&str; 5]| {
            let captions: Vec<String> = things.iter().map(|thing| sentence(thing)).collect();
            named(&captions.iter().map(String::as_str).collect::<Vec<_>>(), language)
        };
        let things = ["hund", "mann", "junge", "vogel", "ball"];
        let german = of("de", |thing| format!("Ein roter {thing} und ein roter {thing} im Schnee"), things);
        assert_eq!(german, ["ball", "hund", "junge", "mann", "schnee", "vogel"]);
        let things = ["chien", "garçon", "oiseau", "cheval", "ballon"];
        let french = of("fr", |thing| format!("Le petit {thing} dans la neige"), things);
        assert_eq!(french, ["ballon", "cheval", "chien", "garçon", "neige", "oiseau"]);
    }

    #[test]
    fn every_word_is_one_where_nothing_is_known() {
        assert_eq!(named(&["黑色的狗在奔跑"], "zh").len(), 3);
    }
}
