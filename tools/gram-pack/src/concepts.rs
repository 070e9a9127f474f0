//! Which concept an icon draws: the same concept in another vendor's hand is the same class in another
//! domain.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::packages::{self, Icon, Package, PackageError};
use crate::sets::Kind;

/// The eight groups of Unicode's emoji that are used (flags are not), by Unicode's title.
const GROUPS: [(&str, &str); 9] = [
    ("Animals & Nature", "animals"),
    ("Food & Drink", "food"),
    ("Travel & Places", "travel"),
    ("Activities", "activities"),
    ("Objects", "objects"),
    ("Smileys & Emotion", "smileys"),
    ("People & Body", "people"),
    ("Symbols", "symbols"),
    ("Flags", FLAGS),
];

/// The group of country and other flags.
pub const FLAGS: &str = "flags";

/// What a picture shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Concept {
    /// The name as one word, parts joined by `-`.
    pub slug: String,
    /// The name in plain lower-case words.
    pub name: String,
    /// One of Unicode's groups in one word, `more` or `icons`.
    pub group: &'static str,
}

/// All emoji of Unicode, findable by code points and by name.
#[derive(Debug, Default)]
pub struct Concepts {
    concepts: Vec<Concept>,
    by_characters: BTreeMap<String, usize>,
    by_name: BTreeMap<String, usize>,
    by_other_name: BTreeMap<String, Option<usize>>,
}

#[derive(Deserialize)]
struct Emoji {
    name: String,
    slug: String,
    group: String,
}

impl Concepts {
    /// Reads `unicode-emoji-json` from anywhere below `folder` and learns further names from the sets'
    /// aliases.
    pub fn read(folder: &Path, icon_sets: &[Package]) -> Result<Self, PackageError> {
        let what = "unicode-emoji-json (data-by-emoji.json)";
        let found = packages::folders_with(folder, "data-by-emoji.json")?;
        let home = found.first().ok_or_else(|| PackageError::Missing { path: folder.to_owned(), what })?;
        let emoji: BTreeMap<String, Emoji> = packages::read_json(&home.join("data-by-emoji.json"))?;
        let mut concepts = Self::default();
        for (characters, emoji) in emoji {
            concepts.insert(&characters, &emoji);
        }
        concepts.learn_other_names(icon_sets);
        Ok(concepts)
    }

    /// The concept that an emoji set's icon draws, or none if no name of it is known beyond doubt.
    pub fn of(&self, icon: &Icon) -> Option<&Concept> {
        let by_characters = || self.by_characters.get(&plain_points(icon.characters.as_deref()?));
        let index = by_characters().copied().or_else(|| self.by_any_name(icon))?;
        self.concepts.get(index)
    }

    /// Whether the concept repeats a plainer one: a skin tone, a hair style, or a gender of a person's
    /// concept.
    pub fn repeats(&self, slug: &str) -> bool {
        const VARIANTS: [&str; 9] = [
            "skin-tone",
            "-tone1",
            "-tone5",
            "red-hair",
            "curly-hair",
            "white-hair",
            "bald",
            "blond",
            "facing-right",
        ];
        const COUPLES: [&str; 5] = ["kiss-man", "kiss-woman", "kiss-person", "couple-with-heart-", "family-"];
        if VARIANTS.iter().any(|part| slug.contains(part))
            || COUPLES.iter().any(|start| slug.starts_with(start))
        {
            return true;
        }
        let known = |name: String| self.by_name.contains_key(&letters(&name));
        ["man-", "woman-", "men-", "women-"].iter().filter_map(|start| slug.strip_prefix(start)).any(|rest| {
            known(rest.to_owned()) || known(format!("person-{rest}")) || known(format!("people-{rest}"))
        })
    }

    fn insert(&mut self, characters: &str, emoji: &Emoji) {
        let Some((_, group)) = GROUPS.iter().find(|(title, _)| *title == emoji.group) else { return };
        let index = self.concepts.len();
        let points: Vec<String> = characters.chars().map(|point| format!("{:x}", u32::from(point))).collect();
        self.by_characters.insert(plain_points(&points.join("-")), index);
        self.by_name.insert(letters(&emoji.slug), index);
        self.concepts.push(Concept { slug: emoji.slug.replace('_', "-"), name: words(&emoji.name), group });
    }

    fn learn_other_names(&mut self, icon_sets: &[Package]) {
        let mut learned: BTreeMap<String, Option<usize>> = BTreeMap::new();
        for package in icon_sets.iter().filter(|package| package.set.kind != Kind::Icons) {
            for icon in &package.icons {
                let by_characters = || self.by_characters.get(&plain_points(icon.characters.as_deref()?));
                let Some(index) = by_characters().copied().or_else(|| self.by_any_name(icon)) else {
                    continue;
                };
                for name in icon.other_names.iter().chain([&icon.name]) {
                    // A name that two concepts claim settles nothing.
                    let entry = learned.entry(letters(name)).or_insert(Some(index));
                    *entry = entry.filter(|known| *known == index);
                }
            }
        }
        self.by_other_name = learned;
    }

    fn by_any_name(&self, icon: &Icon) -> Option<usize> {
        let exact = |name: &String| self.by_name.get(&letters(name)).copied();
        let learned = |name: &String| self.by_other_name.get(&letters(name)).copied().flatten();
        let names = || std::iter::once(&icon.name).chain(&icon.other_names);
        names()
            .find_map(exact)
            .or_else(|| names().find_map(|name| lenient(name).iter().find_map(exact)))
            .or_else(|| names().find_map(learned))
            .or_else(|| names().find_map(|name| lenient(name).iter().find_map(learned)))
    }
}

/// Spellings of one name that sets use: numbered drawings, "bear face" for "bear", "panda" for "panda face".
fn lenient(name: &str) -> Vec<String> {
    let bare = name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '-').to_owned();
    let mut spellings = vec![bare.clone(), format!("{bare}-face")];
    spellings.extend(bare.strip_suffix("-face").map(str::to_owned));
    spellings.extend(bare.strip_prefix("flag-for-").map(|land| format!("flag-{land}")));
    spellings.extend(bare.strip_suffix("face").filter(|_| !bare.contains('-')).map(str::to_owned));
    spellings.retain(|spelling| !spelling.is_empty());
    spellings
}

/// A name's letters and digits alone, so that "admission-tickets" meets "admissiontickets".
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Code points without variation selectors and leading zeros.
fn plain_points(points: &str) -> String {
    let kept: Vec<&str> = points
        .split('-')
        .map(|point| point.trim_start_matches('0'))
        .filter(|point| *point != "fe0f")
        .collect();
    kept.join("-")
}

/// A name as plain lower-case words: "Japanese “bargain” button" becomes "japanese bargain button".
pub fn words(name: &str) -> String {
    let plain: String = name
        .to_lowercase()
        .replace(['’', '\''], "")
        .chars()
        .map(|letter| if letter.is_alphanumeric() { letter } else { ' ' })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concepts() -> Concepts {
        let mut concepts = Concepts::default();
        let known = [
            ("🐻", "bear"),
            ("🐼", "panda"),
            ("🎟️", "admission_tickets"),
            ("🧑‍🎨", "artist"),
            ("👨‍🎨", "man_artist"),
            ("🐯", "tiger_face"),
        ];
        for (characters, slug) in known {
            let emoji = Emoji { name: slug.replace('_', " "), slug: slug.into(), group: "Objects".into() };
            concepts.insert(characters, &emoji);
        }
        concepts
    }

    fn found(name: &str) -> Option<String> {
        let icon = Icon { name: name.into(), ..Icon::default() };
        concepts().of(&icon).map(|concept| concept.slug.clone())
    }

    #[test]
    fn names_match_without_separators_numbers_and_face() {
        assert_eq!(found("admission-tickets").as_deref(), Some("admission-tickets"));
        assert_eq!(found("admissiontickets").as_deref(), Some("admission-tickets"));
        assert_eq!(found("bear-face-2").as_deref(), Some("bear"));
        assert_eq!(found("tiger").as_deref(), Some("tiger-face"));
        assert_eq!(found("tigers"), None);
    }

    #[test]
    fn code_points_win_over_names_and_ignore_variation_selectors() {
        let icon = Icon { name: "panda".into(), characters: Some("1f39f".into()), ..Icon::default() };
        assert_eq!(concepts().of(&icon).map(|concept| concept.slug.as_str()), Some("admission-tickets"));
    }

    #[test]
    fn a_gender_of_a_known_person_repeats_it_and_a_plain_concept_does_not() {
        assert!(concepts().repeats("man-artist"));
        assert!(concepts().repeats("artist-dark-skin-tone"));
        assert!(!concepts().repeats("artist"));
        assert!(!concepts().repeats("man-dancing"));
    }

    #[test]
    fn words_are_plain_and_lower_case() {
        assert_eq!(words("Japanese “bargain” button"), "japanese bargain button");
        assert_eq!(words("woman’s hat"), "womans hat");
    }
}
