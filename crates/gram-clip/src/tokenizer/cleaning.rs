//! The cleaning of texts that OpenAI's and open_clip's tokenizers do before anything else: `ftfy.fix_text`,
//! and HTML entities twice over.
//!
//! Of ftfy 6.3's repairs all are made here; but text that was read in a wrong encoding is repaired only if
//! the whole of it is UTF-8 that was read as Windows-1252 or Latin-1, by far the commonest case. (Lone
//! surrogates cannot occur, and letters are composed by the tokenizer's normaliser.)

use std::borrow::Cow;

use tokenizers::NormalizedString;

/// What Windows-1252 has at 0x80 to 0x9f, for control characters that were meant to be that.
const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// Letters that are drawn as one and meant as two. Source: Unicode's compatibility decompositions of them.
const LIGATURES: [(char, &str); 22] = [
    ('Ĳ', "IJ"),
    ('ĳ', "ij"),
    ('ŉ', "'n"),
    ('Ǳ', "DZ"),
    ('ǲ', "Dz"),
    ('ǳ', "dz"),
    ('Ǆ', "DŽ"),
    ('ǅ', "Dž"),
    ('ǆ', "dž"),
    ('Ǉ', "LJ"),
    ('ǈ', "Lj"),
    ('ǉ', "lj"),
    ('Ǌ', "NJ"),
    ('ǋ', "Nj"),
    ('ǌ', "nj"),
    ('ﬀ', "ff"),
    ('ﬁ', "fi"),
    ('ﬂ', "fl"),
    ('ﬃ', "ffi"),
    ('ﬄ', "ffl"),
    ('ﬅ', "ſt"),
    ('ﬆ', "st"),
];

/// The text as CLIP's code cleans it.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains(|letter: char| letter == '&' || is_unwanted(letter)) {
        return Cow::Borrowed(text);
    }
    // Where there are tags, ftfy leaves entities to whoever reads tags; the letters that they stand for stay
    // as they are.
    let text = if text.contains('<') { text.to_owned() } else { entities(text) };
    let text = well_read(without_terminal_colours(&text));
    let repaired: String = text.chars().flat_map(repaired).collect();
    Cow::Owned(entities(&entities(&repaired)))
}

fn entities(text: &str) -> String {
    html_escape::decode_html_entities(text).into_owned()
}

/// Without the sequences that colour a terminal: escape, bracket, numbers, a letter.
fn without_terminal_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';');
        match rest.strip_prefix(|letter: char| letter.is_ascii_alphabetic()) {
            Some(rest) => kept.push_str(rest),
            None => kept.extend(["[", part]),
        }
    }
    kept
}

/// UTF-8 that was read as Windows-1252 or Latin-1, perhaps more than once, read as what it is; any other text
/// as it is.
fn well_read(mut text: String) -> String {
    while let Some(better) = read_again(&text) {
        text = better;
    }
    text
}

fn read_again(text: &str) -> Option<String> {
    let byte = |letter: char| match letter {
        '\0'..='\u{ff}' => Some(letter as u8),
        _ => WINDOWS_1252.chars().position(|known| known == letter).map(|place| 0x80 + place as u8),
    };
    if text.is_ascii() {
        return None;
    }
    let bytes: Vec<u8> = text.chars().map(byte).collect::<Option<_>>()?;
    // Two letters may by chance be the bytes of a third; of a rare one, they are more likely meant as they
    // stand.
    let usual = |letter: char| {
        letter.is_ascii()
            || letter >= '\u{800}'
            || matches!(letter, '\u{80}'..='\u{17f}' | '\u{370}'..='\u{45f}' | '\u{5d0}'..='\u{6ff}')
    };
    String::from_utf8(bytes).ok().filter(|better| better.chars().all(usual))
}

/// What is meant by a letter: its usual form, its parts, or nothing.
fn repaired(letter: char) -> Vec<char> {
    let meant = match letter {
        '\u{80}'..='\u{9f}' => WINDOWS_1252.chars().nth(letter as usize - 0x80).unwrap_or(letter),
        _ => letter,
    };
    match meant {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => vec!['\''],
        '\u{201c}'..='\u{201f}' => vec!['"'],
        '\u{3000}' => vec![' '],
        '\u{ff01}'..='\u{ffef}' => usual_width(meant),
        _ if is_unwanted(meant) => Vec::new(),
        _ => match LIGATURES.iter().find(|(ligature, _)| *ligature == meant) {
            Some((_, letters)) => letters.chars().collect(),
            None => vec![meant],
        },
    }
}

/// Letters as wide or narrow as a Chinese or Latin one would be, in their usual width.
fn usual_width(letter: char) -> Vec<char> {
    let mut text = NormalizedString::from(letter.to_string());
    text.nfkc();
    text.get().chars().collect()
}

/// Control characters that no text is meant to have.
fn is_unwanted(letter: char) -> bool {
    matches!(
        letter,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_as_ftfy_and_openai_s_code_clean_them() {
        // From ftfy 6.3.1 and html.unescape, twice. Line breaks of any kind are spaces to the tokenizer.
        for (text, expected) in [
            ("caf&eacute; &amp;amp; the dog\u{2019}s", "caf\u{e9} & the dog's"),
            ("the \u{fb01}rst \u{fb02}ower", "the first flower"),
            ("\u{ff2c}\u{ff2f}\u{ff35}\u{ff24}\u{3000}\u{ff35}\u{ff30}", "LOUD UP"),
            ("\u{ff76}\u{ff9e}", "\u{30ab}\u{3099}"),
            ("a\0b\u{1f}c\u{feff}\u{fffc}", "abc"),
            ("\u{1b}[36;44mblue\u{1b}[0m sky", "blue sky"),
            ("wait\u{85} what", "wait\u{2026} what"),
            ("\u{1c4}ep \u{133}s", "D\u{17d}ep ijs"),
            ("one&lt;b&gt; <i>&amp;</i>", "one<b> <i>&</i>"),
            ("\u{ffe5}\u{ff15} \u{ffe0}", "\u{a5}5 \u{a2}"),
            ("caf\u{c3}\u{a9}", "caf\u{e9}"),
            ("don\u{e2}\u{20ac}\u{2122}t", "don't"),
            ("don\u{e2}\u{80}\u{99}t", "don't"),
            ("\u{e2}\u{153}\u{201d} No problems", "\u{2714} No problems"),
            ("\u{d0}\u{178}\u{d1}\u{20ac}", "\u{41f}\u{440}"),
            ("S\u{e3}o Paulo", "S\u{e3}o Paulo"),
            ("MEN\u{dc}\u{201c}", "MEN\u{dc}\""),
            ("\u{c9}\u{bb}", "\u{c9}\u{bb}"),
        ] {
            assert_eq!(clean(text), expected);
        }
        assert!(matches!(clean("a cat"), Cow::Borrowed(_)));
    }
}
