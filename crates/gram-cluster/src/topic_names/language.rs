//! What is known of languages: words that say nothing, stems, and the small words that nouns follow.
//!
//! Stop words are those of NLTK and of Stopwords ISO (crate `stop-words`), stems those of Snowball (crate
//! `rust-stemmers`). Which languages captions are in is found by trigrams (crate `whatlang`).

use std::collections::{BTreeMap, HashSet};

use rust_stemmers::{Algorithm, Stemmer};
use whatlang::Script;

use crate::error::ClusterError;

/// Captions that are looked at to find out their languages.
const SAMPLE: usize = 2000;
/// The share of captions in a language from which on it is one of theirs.
const LEAST_SHARE: f64 = 0.2;

/// English function words: articles, pronouns, auxiliaries, prepositions, conjunctions and common adverbs.
/// The published lists miss prepositions of place, which captions are full of.
const ENGLISH: &str = "a an the this that these those it its itself he him his she her hers they them their \
    theirs we us our ours you your yours i me my mine who whom whose which what where when why how \
    am is are was were be been being do does did doing done has have had having can could may might must shall \
    should will would isn't aren't wasn't weren't don't doesn't didn't hasn't haven't can't couldn't won't wouldn't \
    of in on at by for with without from to into onto over under above below between among through during before \
    after about against around across along behind beside near off out up down upon within toward towards via per \
    and or but nor so if then than as because while although though until unless whether both either neither \
    not no yes all any some each every other another such same own few many much more most less least several one \
    there here now again also just only very too even still ever never once always often quite rather else etc";

/// Chinese numbers and measure words, which stand where other languages have an article.
const CHINESE: &str = "一 二 两 三 四 五 六 七 八 九 十 几 只 个 位 名 匹 条 辆 张 座 群 对 双 件 头 艘 架 一只 一个 一位 \
    一名 一匹 一条 一辆 一张 一座 一群 一对 一双 一件 一些 一群人 一人 两只 两个 两位 两名 两人 三只 三个 三位 三名 三人 \
    四个 四人 几个 几名";

/// Two letters of every language that `whatlang` tells apart and `stop-words` has words of, after its three.
const CODES: [(&str, &str); 50] = [
    ("afr", "af"),
    ("ara", "ar"),
    ("aze", "az"),
    ("bel", "be"),
    ("ben", "bn"),
    ("bul", "bg"),
    ("cat", "ca"),
    ("ces", "cs"),
    ("cmn", "zh"),
    ("dan", "da"),
    ("deu", "de"),
    ("ell", "el"),
    ("eng", "en"),
    ("epo", "eo"),
    ("est", "et"),
    ("fin", "fi"),
    ("fra", "fr"),
    ("guj", "gu"),
    ("heb", "he"),
    ("hin", "hi"),
    ("hrv", "hr"),
    ("hun", "hu"),
    ("hye", "hy"),
    ("ind", "id"),
    ("ita", "it"),
    ("jpn", "ja"),
    ("kor", "ko"),
    ("lat", "la"),
    ("lav", "lv"),
    ("lit", "lt"),
    ("mar", "mr"),
    ("nep", "ne"),
    ("nld", "nl"),
    ("nob", "no"),
    ("pes", "fa"),
    ("pol", "pl"),
    ("por", "pt"),
    ("ron", "ro"),
    ("rus", "ru"),
    ("slk", "sk"),
    ("slv", "sl"),
    ("spa", "es"),
    ("swe", "sv"),
    ("tam", "ta"),
    ("tgl", "tl"),
    ("tha", "th"),
    ("tur", "tr"),
    ("ukr", "uk"),
    ("urd", "ur"),
    ("vie", "vi"),
];

/// A language by its two letters (ISO 639-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Language(&'static str);

/// The small words around nouns.
pub(super) struct NounFrame {
    /// Articles and other words that begin a noun phrase. They do not stand right behind a noun.
    pub(super) determiners: HashSet<&'static str>,
    /// Prepositions, which noun phrases follow.
    pub(super) prepositions: HashSet<&'static str>,
    /// "And" and "or": what stands on both of their sides says nothing.
    pub(super) joints: HashSet<&'static str>,
    /// "Of": a word before it is a measure, as the group in "a group of people".
    pub(super) measures: HashSet<&'static str>,
}

impl Language {
    pub(super) const ENGLISH: Self = Self("en");

    /// The language of a code.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] if no stop words of such a language are known.
    pub(super) fn of_code(code: &str) -> Result<Self, ClusterError> {
        let known =
            stop_words::available_languages().iter().find(|known| known.len() == 2 && **known == code);
        let range = "two letters of a language with known stop words (ISO 639-1), such as en, de, fr or zh";
        let unknown =
            || ClusterError::Setting { field: "topic_words.languages", value: code.to_owned(), range };
        known.map(|code| Self(code)).ok_or_else(unknown)
    }

    /// The languages of captions, the most frequent first; English where that cannot be found out.
    ///
    /// Captions are too short for trigrams alone: of the languages that these propose, and English, the one
    /// whose stop words captions say most is the first. Others count where they are written in other letters.
    pub(super) fn detect<'a>(captions: impl ExactSizeIterator<Item = &'a str>) -> Vec<Self> {
        let step = captions.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<&str> = captions.step_by(step).collect();
        let mut votes: BTreeMap<Self, (usize, Script)> = BTreeMap::new();
        for caption in &sample {
            let Some(found) = whatlang::detect(caption) else { continue };
            if let Some(language) = Self::of_three_letters(found.lang().code()) {
                votes.entry(language).or_insert((0, found.script())).0 += 1;
            }
        }
        let all: usize = votes.values().map(|(count, _)| count).sum();
        votes.entry(Self::ENGLISH).or_insert((0, Script::Latin));
        // Of each script the best.
        let mut by_script: BTreeMap<String, Vec<(usize, Self)>> = BTreeMap::new();
        for (language, (count, script)) in votes {
            // Chinese characters are Japanese, too.
            let script =
                format!("{script:?}").replace("Hiragana", "Mandarin").replace("Katakana", "Mandarin");
            by_script.entry(script).or_default().push((count, language));
        }
        let said = |language: Self| {
            let words: HashSet<&str> = language.stop_words().into_iter().collect();
            let is_said = |word: &str| words.contains(word.to_lowercase().as_str());
            let of_caption = |caption: &&str| {
                caption.split(|letter: char| !letter.is_alphanumeric()).filter(|word| is_said(word)).count()
            };
            sample.iter().map(of_caption).sum::<usize>()
        };
        let mut found: Vec<(usize, Self)> = by_script
            .into_values()
            .filter_map(|languages| {
                let count = languages.iter().map(|(count, _)| count).sum();
                let best =
                    languages.iter().max_by_key(|(count, language)| (said(*language), *count, *language))?;
                Some((count, best.1))
            })
            .filter(|(count, _)| *count > 0 && *count as f64 >= LEAST_SHARE * all as f64)
            .collect();
        found.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        let languages: Vec<Self> = found.into_iter().map(|(_, language)| language).collect();
        if languages.is_empty() { vec![Self::ENGLISH] } else { languages }
    }

    /// Its two letters.
    pub(super) fn code(self) -> &'static str {
        self.0
    }

    fn of_three_letters(code: &str) -> Option<Self> {
        CODES.iter().find(|(three, _)| *three == code).map(|(_, two)| Self(two))
    }

    /// Words of the language that speak of the picture, not of what it shows, besides the English ones of the
    /// settings.
    pub(super) fn caption_words(self) -> Vec<&'static str> {
        let words = match self.0 {
            "de" => "bild bilder foto fotos fotografie aufnahme zeichnung abbildung symbolbild",
            "fr" => "photo photos photographie image images dessin illustration",
            "es" => "foto fotos fotografía imagen imágenes dibujo ilustración",
            "it" => "foto fotografia immagine immagini disegno illustrazione",
            "nl" => "foto afbeelding afbeeldingen plaatje tekening illustratie",
            "pt" => "foto fotos fotografia imagem imagens desenho ilustração",
            _ => "",
        };
        words.split_whitespace().collect()
    }

    /// Its words that say nothing.
    pub(super) fn stop_words(self) -> Vec<&'static str> {
        match self {
            Self::ENGLISH => ENGLISH.split_whitespace().collect(),
            Self(code) => {
                let measures = if code == "zh" { CHINESE } else { "" };
                let listed = stop_words::lookup(code).unwrap_or_default();
                listed.iter().copied().chain(measures.split_whitespace()).collect()
            }
        }
    }

    /// What brings forms of a word to one stem, where there is such a thing.
    pub(super) fn stemmer(self) -> Option<Stemmer> {
        let algorithm = match self.0 {
            "ar" => Algorithm::Arabic,
            "da" => Algorithm::Danish,
            "de" => Algorithm::German,
            "el" => Algorithm::Greek,
            "en" => Algorithm::English,
            "es" => Algorithm::Spanish,
            "fi" => Algorithm::Finnish,
            "fr" => Algorithm::French,
            "hu" => Algorithm::Hungarian,
            "it" => Algorithm::Italian,
            "nl" => Algorithm::Dutch,
            "no" => Algorithm::Norwegian,
            "pt" => Algorithm::Portuguese,
            "ro" => Algorithm::Romanian,
            "ru" => Algorithm::Russian,
            "sv" => Algorithm::Swedish,
            "ta" => Algorithm::Tamil,
            "tr" => Algorithm::Turkish,
            _ => return None,
        };
        Some(Stemmer::create(algorithm))
    }

    /// The small words that tell its nouns from other words, where it has articles.
    pub(super) fn noun_frame(self) -> Option<NounFrame> {
        let (determiners, prepositions, joints, measures) = match self.0 {
            "en" => (
                "a an the this that these those its his her their my your our some any each every another \
                 two three four five six seven eight nine ten several many few both other",
                "of in on at by for with without from to into onto over under above below between among through near \
                 behind beside against around across along toward towards inside outside like past off",
                "and or & n",
                "of",
            ),
            "de" => (
                "der die das den dem des ein eine einen einem einer eines kein keine keinen ihr ihre ihren ihrem ihrer sein \
                 seine seinen seinem seiner dieser diese dieses diesem diesen zwei drei vier fünf sechs mehrere viele einige",
                "in im ins an am ans auf aufs bei beim mit nach aus von vom zu zum zur über unter vor hinter neben zwischen \
                 durch für gegen ohne um entlang",
                "und oder",
                "von",
            ),
            "fr" => (
                "le la les l un une des du de d au aux ce cet cette ces son sa ses leur leurs mon ma mes notre nos votre vos \
                 deux trois quatre cinq six plusieurs quelques chaque",
                "à en dans sur sous avec sans par pour vers chez entre devant derrière contre près",
                "et ou",
                "de d des",
            ),
            "es" => (
                "el la los las un una unos unas su sus este esta estos estas ese esa esos esas mi tu nuestro dos tres cuatro \
                 cinco varios varias algunos algunas cada",
                "de del a al en con sin por para sobre bajo entre hacia desde contra \
                 tras ante",
                "y e o u",
                "de",
            ),
            "it" => (
                "il lo la i gli le l un uno una dei degli delle del dello della dell al allo alla ai agli alle nel nello \
                 nella nei nelle sul sullo sulla sui sulle suo sua suoi sue loro questo questa due tre quattro cinque alcuni \
                 alcune",
                "di a da in con su per tra fra",
                "e ed o",
                "di",
            ),
            "nl" => (
                "de het een deze dit die dat zijn haar hun mijn jouw onze twee drie vier vijf enkele veel verschillende",
                "van in \
                 op aan bij met naar uit over onder voor achter naast tussen door tegen zonder om langs",
                "en of",
                "van",
            ),
            "pt" => (
                "o a os as um uma uns umas seu sua seus suas este esta esse essa dois duas três quatro cinco vários várias \
                 alguns algumas cada",
                "de do da dos das em no na nos nas ao à aos às com sem por pelo pela para sobre sob entre \
                 até contra",
                "e ou",
                "de do da",
            ),
            _ => return None,
        };
        let words = |words: &'static str| words.split_whitespace().collect();
        Some(NounFrame {
            determiners: words(determiners),
            prepositions: words(prepositions),
            joints: words(joints),
            measures: words(measures),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_languages_of_captions_are_found() {
        let found = |captions: &[&str]| -> Vec<&str> {
            Language::detect(captions.iter().copied()).into_iter().map(|language| language.0).collect()
        };
        assert_eq!(
            found(&["A little girl is climbing into a wooden playhouse, and two dogs watch her."]),
            ["en"]
        );
        assert_eq!(found(&["Ein kleines Mädchen klettert in ein Spielhaus aus Holz."]), ["de"]);
        assert_eq!(found(&["一个穿着泳装的女人躺在海水里。", "一对恋人在公园河边拥抱。"]), ["zh"]);
        assert_eq!(found(&["浜辺で犬がボールを追いかけている。"]), ["ja"]);
        assert_eq!(found(&["สุนัขวิ่งบนชายหาด"]), ["th"]);
        let both = [
            "Une petite fille en robe rose grimpe les escaliers vers l'entrée de sa maisonnette en bois.",
            "海边有两只狗在奔跑。",
        ];
        assert_eq!(found(&both), ["fr", "zh"]);
        assert_eq!(found(&[]), ["en"]);
        assert_eq!(found(&["7", "12"]), ["en"]);
    }

    #[test]
    fn a_language_without_stop_words_is_refused() {
        assert_eq!(Language::of_code("en").ok(), Some(Language::ENGLISH));
        for code in ["english", "EN", "xx", ""] {
            let refused = Language::of_code(code).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("topic_words.languages = {code}: must be two letters")));
        }
    }

    #[test]
    fn every_code_has_stop_words() {
        for (_, code) in CODES {
            assert!(
                Language::of_code(code).is_ok_and(|language| !language.stop_words().is_empty()),
                "{code}"
            );
        }
    }
}
