//! How topics are named, in one record.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::language::Language;
use crate::error::ClusterError;

/// Words about pictures: "a stock photo of", "vector illustration", "close up view".
const CAPTION_WORDS: &str = "photo photos photograph photographs photography picture pictures image images pic pics \
    stock vector illustration illustrations icon icons clipart drawing drawings sketch logo emoji symbol symbols sign \
    background backgrounds wallpaper view views close closeup shot shows showing seen using isolated \
    contain contains depict depicts depicting featuring";

/// How captions become words and names of topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicWordSettings {
    /// How many words describe a topic. 1 or more.
    pub words: usize,
    /// The languages of the captions, by two letters (ISO 639-1), the most frequent first. They are found
    /// out where none is given.
    pub languages: Vec<String>,
    /// Words that say nothing, besides those of the languages.
    pub stop_words: Vec<String>,
    /// Words that speak of the picture, not of what it shows, besides those of German, French, Spanish,
    /// Italian, Dutch and Portuguese.
    pub caption_words: Vec<String>,
    /// Whether forms of a word count as one: "dog" and "dogs", "climbs" and "climbing".
    pub merge_forms: bool,
    /// Whether a topic word may be two words: "ice cream".
    pub phrases: bool,
    /// The least share of a topic's captions that must say its name, in [0, 1]: topics with less are in no
    /// episode.
    pub minimum_coverage: f64,
    /// The least share of a topic's captions that must say what it is about, the main word of its name, in
    /// [0, 1]: a topic without such a word is too wide for one name.
    pub minimum_main_coverage: f64,
    /// The least share of a topic's images that CLIP must give to its name among nineteen others, in [0, 1].
    /// Among fewer it is larger in proportion, as chance is.
    pub minimum_recognition: f64,
    /// The largest cosine of the text features of two names in one episode, in [-1, 1].
    pub maximum_similarity: f64,
}

impl Default for TopicWordSettings {
    fn default() -> Self {
        Self {
            words: 10,
            languages: Vec::new(),
            stop_words: Vec::new(),
            caption_words: CAPTION_WORDS.split_whitespace().map(str::to_owned).collect(),
            merge_forms: true,
            phrases: false,
            minimum_coverage: 0.3,
            minimum_main_coverage: 0.4,
            // What chance would give.
            minimum_recognition: 0.05,
            maximum_similarity: 0.98,
        }
    }
}

impl TopicWordSettings {
    /// Checks every field's range.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] names the first field out of range.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let check = ClusterError::check_setting;
        check(self.words >= 1, "topic_words.words", &self.words, "1 or more")?;
        self.languages.iter().try_for_each(|code| Language::of_code(code).map(|_| ()))?;
        let shares = [
            ("topic_words.minimum_coverage", self.minimum_coverage),
            ("topic_words.minimum_main_coverage", self.minimum_main_coverage),
            ("topic_words.minimum_recognition", self.minimum_recognition),
        ];
        for (field, share) in shares {
            check((0.0..=1.0).contains(&share), field, &share, "in [0, 1]")?;
        }
        let largest = self.maximum_similarity;
        check((-1.0..=1.0).contains(&largest), "topic_words.maximum_similarity", &largest, "in [-1, 1]")
    }

    /// The languages that are given, or those of the captions.
    pub(super) fn languages_of<'a>(&self, captions: impl ExactSizeIterator<Item = &'a str>) -> Vec<Language> {
        let given: Vec<Language> =
            self.languages.iter().filter_map(|code| Language::of_code(code).ok()).collect();
        if given.is_empty() { Language::detect(captions) } else { given }
    }

    /// Words of these languages that are neither counted nor named.
    pub(super) fn silent_words(&self, languages: &[Language]) -> HashSet<&str> {
        let mut words: HashSet<&str> =
            self.stop_words.iter().chain(&self.caption_words).map(String::as_str).collect();
        for language in languages {
            words.extend(language.stop_words());
            words.extend(language.caption_words());
        }
        words
    }

    /// Captions without words that say nothing or speak of the picture; whole where nothing else is said.
    pub fn things_shown(&self, captions: &[&str]) -> Vec<String> {
        let silent = self.silent_words(&self.languages_of(captions.iter().copied()));
        let shown = |caption: &&str| {
            let words = caption.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
            let kept: Vec<&str> = words
                .filter(|word| !word.is_empty() && !silent.contains(word.to_lowercase().as_str()))
                .collect();
            if kept.is_empty() { (*caption).to_owned() } else { kept.join(" ") }
        };
        captions.iter().map(shown).collect()
    }
}
