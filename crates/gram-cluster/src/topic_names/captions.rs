//! Captions as words: read once, and numbered.
//!
//! Words are runs of letters and digits (inner apostrophes kept, possessive endings dropped) in lower case;
//! runs of scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are divided by ICU's
//! dictionaries. Stop words, words without a letter and single ASCII letters are no words. Forms of one word
//! ("climbs", "climbing") count as one, where there is a stemmer for the language, and are shown as the form
//! that is said most.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed};
use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use rayon::prelude::*;

use super::language::Language;
use super::settings::TopicWordSettings;

/// Letters in which forms of one word may differ at their ends, after what they have in common.
const LONGEST_ENDING: usize = 4;

/// A piece of a caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A word.
    Word {
        /// Its number among the words.
        word: u32,
        /// The number of the form in which it stands here.
        form: u32,
    },
    /// A word that says nothing, by the number of its form.
    Stop(u32),
    /// A number.
    Number,
    /// A comma, a full stop, a bracket.
    Mark,
}

impl Piece {
    /// The number of its word, if it is one.
    pub(super) fn word(self) -> Option<u32> {
        match self {
            Self::Word { word, .. } => Some(word),
            _ => None,
        }
    }
}

/// The captions of topics.
pub(super) struct Captions {
    /// The pieces of every caption, one topic after the other.
    pub(super) pieces: Vec<Vec<Piece>>,
    /// The captions of every topic.
    pub(super) topics: Vec<Range<usize>>,
    /// How words are written, by number of the form.
    pub(super) forms: Vec<String>,
    /// How often each form is said.
    pub(super) counts: Vec<usize>,
    /// The word of every form that is one.
    pub(super) word_of: Vec<Option<u32>>,
    /// How words are shown, by number of the word.
    pub(super) words: Vec<String>,
    /// How terms of two words are shown.
    pub(super) phrases: HashMap<Term, String>,
    /// Of every form whether it speaks of the picture.
    about_picture: Vec<bool>,
    /// The languages of the captions, the most frequent first.
    pub(super) languages: Vec<Language>,
}

/// What divides captions into words.
pub(super) struct Divider {
    words: WordSegmenterBorrowed<'static>,
    categories: CodePointMapDataBorrowed<'static, GeneralCategory>,
}

impl Divider {
    pub(super) fn new() -> Self {
        Self {
            words: WordSegmenter::new_auto(WordBreakInvariantOptions::default()),
            categories: CodePointMapData::<GeneralCategory>::new(),
        }
    }

    /// Calls `each` with every word of a caption, in order, and with nothing for every mark between words.
    pub(super) fn divide(&self, caption: &str, mut each: impl FnMut(Option<&str>)) {
        let lower = caption.to_lowercase().replace('\u{2019}', "'");
        // Vowels and tones above and below letters are part of them.
        let is_of_word = |letter: char| {
            letter.is_alphanumeric()
                || matches!(letter, '\'' | '\u{200c}' | '\u{200d}')
                || GeneralCategoryGroup::Mark.contains(self.categories.get(letter))
        };
        let is_mark =
            |letter: char| !is_of_word(letter) && !letter.is_whitespace() && !matches!(letter, '-' | '_');
        for (number, part) in lower.split(is_mark).enumerate() {
            if number > 0 {
                each(None);
            }
            for run in part.split(|letter: char| !is_of_word(letter)) {
                let run = run.trim_matches('\'');
                let run = run.strip_suffix("'s").unwrap_or(run);
                match run.chars().any(is_unspaced) {
                    true => self.segments(run).for_each(|word| each(Some(word))),
                    false if !run.is_empty() => each(Some(run)),
                    false => {}
                }
            }
        }
    }

    /// The words of a run without spaces.
    fn segments<'a>(&self, run: &'a str) -> impl Iterator<Item = &'a str> {
        let mut begin = 0;
        self.words.segment_str(run).skip(1).map(move |end| {
            let word = &run[begin..end];
            begin = end;
            word
        })
    }
}

/// Whether a letter is of a script that writes words without spaces between them.
fn is_unspaced(letter: char) -> bool {
    matches!(letter,
        '\u{e00}'..='\u{eff}'          // Thai, Lao
        | '\u{1000}'..='\u{109f}'      // Burmese
        | '\u{1780}'..='\u{17ff}'      // Khmer
        | '\u{3040}'..='\u{30ff}'      // Hiragana, Katakana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}'    // Han
    )
}

/// Whether a form can be a word at all.
fn is_word(form: &str) -> bool {
    form.chars().any(char::is_alphabetic) && form.len() > 1
}

impl Captions {
    /// Reads the captions of every topic.
    pub(super) fn read(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Self {
        let all: Vec<&str> = topics.iter().flatten().copied().collect();
        let languages = settings.languages_of(all.iter().copied());
        let divider = Divider::new();
        let divided: Vec<Vec<Option<String>>> = all
            .par_iter()
            .map(|caption| {
                let mut words = Vec::new();
                divider.divide(caption, |word| words.push(word.map(str::to_owned)));
                words
            })
            .collect();
        let mut forms: Vec<String> = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let numbered: Vec<Vec<Option<u32>>> = divided
            .into_iter()
            .map(|words| {
                let mut number = |word: String| {
                    let next = forms.len() as u32;
                    let number = *numbers.entry(word).or_insert_with_key(|word| {
                        forms.push(word.clone());
                        counts.push(0);
                        next
                    });
                    counts[number as usize] += 1;
                    number
                };
                words.into_iter().map(|word| word.map(&mut number)).collect()
            })
            .collect();
        drop(numbers);
        let stop_words = settings.silent_words(&languages);
        let is_silent: Vec<bool> =
            forms.iter().map(|form| !is_word(form) || stop_words.contains(form.as_str())).collect();
        let (words, word_of) = same_words(&forms, &counts, &is_silent, settings, &languages);
        let caption_words: HashSet<&str> = settings.caption_words.iter().map(String::as_str).collect();
        let about_picture = forms.iter().map(|form| caption_words.contains(form.as_str())).collect();
        let piece = |form: Option<u32>| match form {
            None => Piece::Mark,
            Some(form) => match word_of[form as usize] {
                Some(word) => Piece::Word { word, form },
                None if forms[form as usize].chars().all(char::is_numeric) => Piece::Number,
                None => Piece::Stop(form),
            },
        };
        let pieces = numbered.into_iter().map(|caption| caption.into_iter().map(piece).collect()).collect();
        let mut end = 0;
        let range = |captions: &Vec<&str>| {
            let begin = end;
            end += captions.len();
            begin..end
        };
        Self {
            pieces,
            topics: topics.iter().map(range).collect(),
            forms,
            counts,
            word_of,
            words,
            phrases: HashMap::new(),
            about_picture,
            languages,
        }
    }

    /// Shows words in these forms, where there is one.
    pub(super) fn show_as(&mut self, forms: &[Option<u32>]) {
        for (word, form) in self.words.iter_mut().zip(forms) {
            if let Some(form) = form {
                word.clone_from(&self.forms[*form as usize]);
            }
        }
    }

    /// Shows terms of two words as captions say them most.
    pub(super) fn show_phrases(&mut self, terms: impl Iterator<Item = Term>) {
        let mut said: HashMap<Term, BTreeMap<[u32; 2], usize>> =
            terms.filter(|term| term.second.is_some()).map(|term| (term, BTreeMap::new())).collect();
        for pair in self.pieces.iter().flat_map(|pieces| pieces.windows(2)) {
            let [Piece::Word { word: first, form: one }, Piece::Word { word: second, form: other }] = *pair
            else {
                continue;
            };
            if let Some(forms) = said.get_mut(&Term { first, second: Some(second) }) {
                *forms.entry([one, other]).or_default() += 1;
            }
        }
        let shown = |(term, forms): (Term, BTreeMap<[u32; 2], usize>)| {
            let (most, _) =
                forms.into_iter().max_by(|one, other| one.1.cmp(&other.1).then(other.0.cmp(&one.0)))?;
            let [one, other] = most.map(|form| self.forms[form as usize].as_str());
            Some((term, Self::joined(one, other)))
        };
        self.phrases = said.into_iter().filter_map(shown).collect();
    }

    /// Words side by side: with a space, but for scripts that have none.
    pub(super) fn joined(one: &str, other: &str) -> String {
        let is_unspaced = one.chars().last().is_some_and(is_unspaced) && other.starts_with(is_unspaced);
        format!("{one}{}{other}", if is_unspaced { "" } else { " " })
    }

    /// Whether a piece is a word that speaks of the picture.
    pub(super) fn is_about_picture(&self, piece: Piece) -> bool {
        matches!(piece, Piece::Stop(form) if self.about_picture[form as usize])
    }
}

/// How every word is shown, and the word of every form that is not silent.
fn same_words(
    forms: &[String],
    counts: &[usize],
    is_silent: &[bool],
    settings: &TopicWordSettings,
    languages: &[Language],
) -> (Vec<String>, Vec<Option<u32>>) {
    let stemmer = languages.first().and_then(|language| language.stemmer()).filter(|_| settings.merge_forms);
    let mut by_stem: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for form in (0..forms.len()).filter(|form| !is_silent[*form]) {
        let stem = match &stemmer {
            Some(stemmer) => stemmer.stem(&forms[form]).into_owned(),
            None => forms[form].clone(),
        };
        by_stem.entry(stem).or_default().push(form);
    }
    let (mut words, mut word_of) = (Vec::new(), vec![None; forms.len()]);
    for mut same in by_stem.into_values() {
        // Stems go too far at times ("organ", "organisation"): only what differs by an ending is one word.
        same.sort_by_key(|form| (forms[*form].chars().count(), &forms[*form]));
        while let Some(shortest) = same.first().copied() {
            let (own, others): (Vec<usize>, Vec<usize>) =
                same.iter().partition(|form| differ_by_ending(&forms[shortest], &forms[**form]));
            let shown = own.iter().copied().max_by(|one, other| {
                counts[*one].cmp(&counts[*other]).then_with(|| forms[*other].cmp(&forms[*one]))
            });
            own.iter().for_each(|form| word_of[*form] = Some(words.len() as u32));
            words.push(forms[shown.unwrap_or(shortest)].clone());
            same = others;
        }
    }
    (words, word_of)
}

/// Whether two forms are alike but for endings of a few letters.
fn differ_by_ending(one: &str, other: &str) -> bool {
    common_beginning(one, other).1.iter().all(|ending| *ending <= LONGEST_ENDING)
}

/// The letters that two words begin with alike, and those that each has after them.
pub(super) fn common_beginning(one: &str, other: &str) -> (usize, [usize; 2]) {
    let common = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    (common, [one, other].map(|word| word.chars().count() - common))
}

/// A word, or two that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Term {
    pub(super) first: u32,
    pub(super) second: Option<u32>,
}

impl Term {
    /// Its words.
    pub(super) fn words(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.first).chain(self.second)
    }

    /// How it is shown.
    pub(super) fn shown(self, captions: &Captions) -> String {
        captions.phrases.get(&self).unwrap_or(&captions.words[self.first as usize]).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(caption: &str) -> Vec<String> {
        let mut words = Vec::new();
        Divider::new().divide(caption, |word| words.push(word.unwrap_or("|").to_owned()));
        words
    }

    #[test]
    fn words_are_lower_case_runs_and_marks_part_them() {
        assert_eq!(
            divided("The Dog\u{2019}s T-shirt, 42 of 4x4s: l'été don't! x"),
            ["the", "dog", "t", "shirt", "|", "42", "of", "4x4s", "|", "l'été", "don't", "|", "x"]
        );
    }

    #[test]
    fn scripts_without_spaces_are_divided_into_words() {
        assert_eq!(divided("一个女孩走进木屋。"), ["一个", "女孩", "走进", "木屋", "|"]);
        assert!(divided("浜辺で犬がボールを追いかけている").contains(&"ボール".to_owned()));
        let thai = divided("ผู้หญิงเดินเล่นกับสุนัขที่ชายหาด");
        assert!(thai.len() > 3 && thai.contains(&"สุนัข".to_owned()), "{thai:?}");
    }

    #[test]
    fn forms_of_a_word_are_one_word_and_shown_as_the_one_that_is_said_most() {
        let topics = [vec!["a dog climbs", "dogs climbing", "climbing dog", "an organ", "organisations"]];
        let settings = TopicWordSettings { languages: vec!["en".into()], ..TopicWordSettings::default() };
        let captions = Captions::read(&topics, &settings);
        assert_eq!(captions.words, ["climbing", "dog", "organ", "organisations"]);
        let apart = TopicWordSettings { merge_forms: false, ..settings };
        assert!(Captions::read(&topics, &apart).words.contains(&"dogs".to_owned()));
    }
}
