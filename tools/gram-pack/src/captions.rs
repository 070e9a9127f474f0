//! Captions that say what a picture shows and how it looks: "a blurry small drawing of a tiger on a green
//! background".
//!
//! A caption may leave things out, as people do, but never says what is not so.

use gram_data::random::Stream;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::attributes::{Attributes, Sharpness, Size, Turn};
use crate::colours::Colour;

/// How likely an attribute that applies is mentioned.
const MENTION: f64 = 0.75;
/// How likely the style word is mentioned.
const MENTION_STYLE: f64 = 0.35;
/// How likely a white background, which most pictures have, is mentioned.
const MENTION_WHITE: f64 = 0.12;
/// How likely only the name is said, whatever the look; with plain looks this makes about a quarter of all
/// captions.
const NAME_ONLY: f64 = 0.12;

/// What a caption calls a picture; the empty word gives "a tiger" alone.
const MEDIA: [(&str, u32); 6] =
    [("photo", 26), ("drawing", 24), ("picture", 18), ("image", 10), ("icon", 10), ("", 12)];

/// A caption for a picture of `name` drawn in `style`.
pub fn caption(name: &str, style: &str, attributes: &Attributes, stream: &mut Stream) -> String {
    let Phrases { mut before, after } = match stream.random_bool(NAME_ONLY) {
        true => Phrases::default(),
        false => Phrases::draw(style, attributes, stream),
    };
    let medium = MEDIA.choose_weighted(stream, |(_, weight)| *weight).map_or("", |(word, _)| word);
    let mut caption = if medium.is_empty() {
        before.push(name.to_owned());
        with_article(&before.join(" "))
    } else {
        before.push(medium.to_owned());
        format!("{} of {}", with_article(&before.join(" ")), with_article(name))
    };
    for phrase in after {
        caption.push(' ');
        caption.push_str(&phrase);
    }
    caption
}

/// All that can be said of a look: "tilted, faded, on a red background".
pub fn describe(attributes: &Attributes) -> String {
    let mut words: Vec<String> = adjectives(attributes).iter().map(|words| words[0].to_owned()).collect();
    words.extend(attributes.inverted.then(|| "inverted".to_owned()));
    words.extend(attributes.black_and_white.then(|| "black and white".to_owned()));
    words.extend(attributes.striped.then(|| "striped".to_owned()));
    let background = attributes.visible_background();
    words.extend(background.map(|colour| format!("on {} background", with_article(colour.word()))));
    words.join(", ")
}

/// The words that go before the picture's noun, and those at the caption's end.
#[derive(Default)]
struct Phrases {
    before: Vec<String>,
    after: Vec<String>,
}

impl Phrases {
    fn draw(style: &str, attributes: &Attributes, stream: &mut Stream) -> Self {
        let mut said = Self::default();
        for words in adjectives(attributes) {
            if stream.random_bool(MENTION) {
                said.before.extend(words.choose(stream).map(|word| (*word).to_owned()));
            }
        }
        said.before.shuffle(stream);
        if stream.random_bool(MENTION_STYLE) {
            said.before.push(style.to_owned());
        }
        said.mention_colours(attributes, stream);
        said.mention_background(attributes, stream);
        said
    }

    fn mention_colours(&mut self, attributes: &Attributes, stream: &mut Stream) {
        let changes = [
            (attributes.inverted, "inverted", "with inverted colours"),
            (attributes.black_and_white, "black and white", "in black and white"),
        ];
        for (_, adjective, ending) in changes.into_iter().filter(|(applies, ..)| *applies) {
            if !stream.random_bool(MENTION) {
                continue;
            }
            match stream.random_bool(0.65) {
                true => self.before.insert(0, adjective.to_owned()),
                false => self.after.push(ending.to_owned()),
            }
        }
    }

    fn mention_background(&mut self, attributes: &Attributes, stream: &mut Stream) {
        let stripes = attributes.striped && stream.random_bool(MENTION);
        let colour = attributes.visible_background().filter(|colour| {
            stream.random_bool(if *colour == Colour::White { MENTION_WHITE } else { MENTION })
        });
        let words: Vec<&str> =
            stripes.then_some("striped").into_iter().chain(colour.map(Colour::word)).collect();
        if !words.is_empty() {
            self.after.push(format!("on {} background", with_article(&words.join(" "))));
        }
    }
}

/// For every attribute that applies and is said before the noun, the words for it.
fn adjectives(attributes: &Attributes) -> Vec<&'static [&'static str]> {
    let mut words: Vec<&'static [&'static str]> = Vec::new();
    match attributes.size {
        Size::Normal => {}
        Size::Small => words.push(&["small", "small", "tiny"]),
        Size::Large => words.push(&["large", "close-up"]),
    }
    match attributes.turn {
        Turn::Upright => {}
        Turn::Tilted => words.push(&["tilted"]),
        Turn::UpsideDown => words.push(&["upside down"]),
    }
    match attributes.sharpness {
        Sharpness::Sharp => {}
        Sharpness::Blurry => words.push(&["blurry"]),
        Sharpness::Pixelated => words.push(&["pixelated"]),
    }
    if attributes.noisy {
        words.push(&["noisy"]);
    }
    if attributes.faded {
        words.push(&["faded"]);
    }
    words
}

/// The phrase with "a" or "an" before it, or none before a plural.
fn with_article(phrase: &str) -> String {
    if is_plural(phrase) {
        return phrase.to_owned();
    }
    let first = phrase.split(' ').next().unwrap_or_default();
    let article = if sounds_like_vowel(first) { "an" } else { "a" };
    format!("{article} {phrase}")
}

fn sounds_like_vowel(word: &str) -> bool {
    const CONSONANT: [&str; 9] = ["uni", "use", "usb", "utensil", "euro", "ewe", "one", "once", "ufo"];
    const VOWEL: [&str; 4] = ["hour", "honest", "heir", "x-ray"];
    // A letter or number by itself is spelled: "an x", "an 8".
    const SPELLED: [&str; 11] = ["f", "h", "l", "m", "n", "r", "s", "x", "8", "11", "18"];
    if SPELLED.contains(&word) || VOWEL.iter().any(|start| word.starts_with(start)) {
        return true;
    }
    !CONSONANT.iter().any(|start| word.starts_with(start))
        && word != "u"
        && word.starts_with(['a', 'e', 'i', 'o', 'u'])
}

/// Whether the noun that the phrase is about ends like a plural: "people with bunny ears" asks its first
/// word.
fn is_plural(phrase: &str) -> bool {
    const SINGULAR: [&str; 12] = [
        "lens",
        "gas",
        "bus",
        "news",
        "tennis",
        "chess",
        "compass",
        "cactus",
        "christmas",
        "canvas",
        "atlas",
        "always",
    ];
    let head = phrase
        .split(' ')
        .take_while(|word| {
            !["of", "with", "in", "on", "at", "and", "behind", "over", "without"].contains(word)
        })
        .last()
        .unwrap_or_default();
    let ends_singular = ["ss", "us", "is", "'s"].iter().any(|end| head.ends_with(end));
    head == "people" || (head.len() > 3 && head.ends_with('s') && !ends_singular && !SINGULAR.contains(&head))
}

#[cfg(test)]
mod tests {
    use gram_data::random::stream;

    use super::*;

    fn captions(attributes: Attributes) -> Vec<String> {
        let mut stream = stream(5, "captions");
        (0..500).map(|_| caption("tiger", "flat", &attributes, &mut stream)).collect()
    }

    #[test]
    fn a_caption_says_only_what_applies() {
        let plain = captions(Attributes::PLAIN);
        let look_words = [
            "blurry",
            "small",
            "tiny",
            "large",
            "close-up",
            "tilted",
            "upside",
            "pixelated",
            "noisy",
            "faded",
            "inverted",
            "black",
            "striped",
            "green",
        ];
        for caption in plain {
            assert!(caption.contains("tiger"));
            assert!(!look_words.iter().any(|word| caption.contains(word)), "{caption}");
        }
        let green = captions(Attributes { background: Colour::Green, inverted: true, ..Attributes::PLAIN });
        assert!(green.iter().all(|caption| !caption.contains("green")));
    }

    #[test]
    fn three_quarters_of_what_applies_is_mentioned() {
        let blurry = captions(Attributes { sharpness: Sharpness::Blurry, ..Attributes::PLAIN });
        let mentioned = blurry.iter().filter(|caption| caption.contains("blurry")).count();
        // 500 x 0.75 x 0.88, as some captions are names only.
        assert!((290..370).contains(&mentioned), "{mentioned}");
    }

    #[test]
    fn a_look_is_described_in_full() {
        let look =
            Attributes { turn: Turn::Tilted, noisy: true, background: Colour::Orange, ..Attributes::PLAIN };
        assert_eq!(describe(&look), "tilted, noisy, on an orange background");
    }

    #[test]
    fn articles_follow_the_sound_and_plurals_have_none() {
        let expected = [
            ("apple", "an apple"),
            ("unicorn", "a unicorn"),
            ("umbrella", "an umbrella"),
            ("hourglass", "an hourglass"),
            ("house", "a house"),
            ("chopsticks", "chopsticks"),
            ("people with bunny ears", "people with bunny ears"),
            ("face with rolling eyes", "a face with rolling eyes"),
            ("glass of milk", "a glass of milk"),
            ("octopus", "an octopus"),
        ];
        for (phrase, with) in expected {
            assert_eq!(with_article(phrase), with);
        }
    }
}
