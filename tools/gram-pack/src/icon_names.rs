//! Readable names for interface icons: "bell-ring-outline" is "bell ring" in line style.

use crate::sets::IconSet;

/// Endings that say how an icon is drawn, with the style word for those that deserve one.
const ENDINGS: [(&str, Option<&str>); 12] = [
    ("outline", Some("line")),
    ("filled", Some("solid")),
    ("fill", Some("solid")),
    ("bold", Some("bold")),
    ("duotone", Some("duotone")),
    ("thin", None),
    ("light", None),
    ("negative", None),
    ("24px", None),
    ("alt", None),
    ("variant", None),
    ("simple", None),
];

/// Words of icons that are crossed out: without the word the name would be wrong, and with it few pictures
/// share it.
const CROSSED_OUT: [&str; 2] = ["off", "slash"];

/// The most words that a useful name has.
const MOST_WORDS: usize = 4;

/// An icon's name in words, and its style.
#[derive(Debug, PartialEq, Eq)]
pub struct IconName {
    /// Plain lower-case words.
    pub words: String,
    /// One word for how it is drawn.
    pub style: &'static str,
}

/// The name in words, or none for icons that say nothing (logos, single letters) or repeat another one.
pub fn icon_name(set: &IconSet, name: &str) -> Option<IconName> {
    let mut words: Vec<&str> = name.split('-').collect();
    let says_nothing = ["brand", "abstract"].contains(&words[0]);
    if says_nothing || repeats(set.prefix, name) || words.iter().any(|word| CROSSED_OUT.contains(word)) {
        return None;
    }
    let mut style = None;
    while let Some(last) = words.last() {
        let ending = ENDINGS.iter().find(|(ending, _)| ending == last);
        if ending.is_none() && !last.bytes().all(|letter| letter.is_ascii_digit()) {
            break;
        }
        style = style.or(ending.and_then(|(_, style)| *style));
        words.pop();
    }
    let says_something =
        words.iter().any(|word| word.len() >= 3 && word.bytes().all(|letter| letter.is_ascii_alphabetic()));
    (says_something && words.len() <= MOST_WORDS)
        .then(|| IconName { words: words.join(" "), style: style.unwrap_or(set.style) })
}

/// Whether the set holds the same icon in a form that is as good or better at 48 pixels.
fn repeats(prefix: &str, name: &str) -> bool {
    match prefix {
        "ph" => name.ends_with("-thin") || name.ends_with("-light"),
        "healthicons" => name.ends_with("-24px") || name.ends_with("-negative"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets;

    fn named(prefix: &str, name: &str) -> Option<(String, &'static str)> {
        icon_name(sets::find(prefix).unwrap(), name).map(|name| (name.words, name.style))
    }

    #[test]
    fn style_endings_and_numbers_leave_the_name() {
        assert_eq!(named("mdi", "bell-ring-outline"), Some(("bell ring".into(), "line")));
        assert_eq!(named("ph", "airplane-in-flight-duotone"), Some(("airplane in flight".into(), "duotone")));
        assert_eq!(named("tabler", "arrow-bear-right-2"), Some(("arrow bear right".into(), "line")));
        assert_eq!(named("mdi", "flower-tulip"), Some(("flower tulip".into(), "solid")));
    }

    #[test]
    fn logos_letters_repetitions_and_crossed_out_icons_are_left_out() {
        for (prefix, name) in [
            ("tabler", "brand-hbo"),
            ("healthicons", "8"),
            ("ph", "tent-light"),
            ("mdi", "flask-off"),
            ("healthicons", "oil-24px"),
        ] {
            assert_eq!(named(prefix, name), None, "{name}");
        }
    }
}
