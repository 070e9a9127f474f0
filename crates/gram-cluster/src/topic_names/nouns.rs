//! Which words name things that can be seen.
//!
//! Nobody asks a picture for a "young" or a "hold". Where a language has articles, captions themselves tell
//! nouns from other words: a noun stands right behind an article or a preposition, and nothing that it
//! describes follows ("a dog in the snow"), while an adjective is followed by its noun ("a young girl") and a
//! verb follows one ("a man holding a rope"). Measures ("a group of people") name nothing by themselves.

use super::captions::{Captions, Piece};

/// The least share of what is said of a word that must look like a noun.
const LEAST_EVIDENCE: f64 = 0.05;

/// For every word whether it names a thing; all do in languages of which nothing is known.
pub(super) fn nouns(captions: &Captions) -> Vec<bool> {
    let Some(frame) = captions.languages.first().and_then(|language| language.noun_frame()) else {
        return vec![true; captions.words.len()];
    };
    let among = |words: &std::collections::HashSet<&str>| -> Vec<bool> {
        captions.forms.iter().map(|form| words.contains(form.as_str())).collect()
    };
    let [openers, joints, measures] = [&frame.openers, &frame.joints, &frame.measures].map(among);
    let is = |marked: &[bool], piece: Option<&Piece>| matches!(piece, Some(Piece::Stop(form)) if marked[*form as usize]);
    let (mut said, mut as_noun) = (vec![0_u32; captions.words.len()], vec![0_u32; captions.words.len()]);
    for pieces in &captions.pieces {
        for (place, piece) in pieces.iter().enumerate() {
            let Piece::Word { word, .. } = *piece else { continue };
            let before = place.checked_sub(1).and_then(|before| pieces.get(before));
            let after = pieces.get(place + 1);
            // "A black and white dog", "a group of people": neither says what the word is.
            if is(&joints, after) {
                continue;
            }
            said[word as usize] += 1;
            let follows = matches!(before, None | Some(Piece::Mark | Piece::Number)) || is(&openers, before);
            let ends = !matches!(after, Some(Piece::Word { .. })) && !is(&measures, after);
            as_noun[word as usize] += u32::from(follows && ends);
        }
    }
    let is_noun = |(said, as_noun): (&u32, &u32)| f64::from(*as_noun) >= LEAST_EVIDENCE * f64::from(*said) && *as_noun > 0;
    said.iter().zip(&as_noun).map(is_noun).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_names::TopicWordSettings;

    fn named(captions: &[&str], language: &str) -> Vec<String> {
        let settings = TopicWordSettings { languages: vec![language.into()], ..TopicWordSettings::default() };
        let captions = Captions::read(&[captions.to_vec()], &settings);
        let things = captions.words.iter().zip(nouns(&captions)).filter(|(_, is_noun)| *is_noun);
        things.map(|(word, _)| word.clone()).collect()
    }

    #[test]
    fn nouns_are_told_from_adjectives_verbs_and_measures() {
        let captions = [
            "a young girl is holding a rope in the snow",
            "a group of people hold a rope",
            "young dogs, two of them black, run through the snow",
            "the girl runs with a black dog",
            "3 dogs are running in front of a girl",
        ];
        assert_eq!(named(&captions, "en"), ["dogs", "girl", "people", "rope", "snow"]);
    }

    #[test]
    fn german_and_french_captions_have_their_own_small_words() {
        let german = ["Ein junges Mädchen hält ein Seil im Schnee", "Der schwarze Hund läuft mit dem Mädchen"];
        assert_eq!(named(&german, "de"), ["mädchen", "schnee", "seil"]);
        let french = ["Une jeune fille tient une corde dans la neige", "La fille court avec un chien"];
        assert_eq!(named(&french, "fr"), ["chien", "corde", "neige"]);
    }

    #[test]
    fn every_word_is_one_where_nothing_is_known() {
        assert_eq!(named(&["黑色的狗在奔跑"], "zh").len(), 3);
    }
}
