//! Drawings that can be used: icons whose concept is known and that the renderer can paint.

use std::collections::BTreeSet;
use std::fmt;

use rayon::prelude::*;

use crate::colours::Rgb;
use crate::concepts::{self, Concept, Concepts, FLAGS};
use crate::icon_names::icon_name;
use crate::packages::{Icon, Package};
use crate::sets::{IconSet, Kind, Role};
use crate::svg::{PaintError, Svg};

/// The group of drawings that an emoji set has beyond Unicode's emoji.
const MORE: &str = "more";
/// The group of interface icons.
const ICONS: &str = "icons";

/// One vendor's drawing of one concept.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The set it comes from.
    pub set: &'static IconSet,
    /// Its name in that set.
    pub icon: String,
    /// What it shows.
    pub concept: Concept,
    /// One word for how it is drawn.
    pub style: &'static str,
    /// The drawing itself.
    pub svg: Svg,
    /// Its average colour; none if it takes its colour from the ink.
    pub average: Option<Rgb>,
}

/// What became of one set's icons.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// The set.
    pub prefix: &'static str,
    /// Icons in the package.
    pub icons: usize,
    /// Left out: variants of a plainer concept, flags, or nothing to name.
    pub left_out: usize,
    /// Names that match no concept.
    pub unmatched: Vec<String>,
    /// Icons that are no readable SVG.
    pub broken: usize,
    /// Icons that made the renderer panic.
    pub panicked: usize,
    /// Icons of which nothing can be seen.
    pub blank: usize,
    /// Drawings that can be used.
    pub drawings: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:27}{:5} icons,{:5} drawings,{:5} left out,{:5} unmatched, {} broken, {} panicked, {} blank",
            self.prefix,
            self.icons,
            self.drawings,
            self.left_out,
            self.unmatched.len(),
            self.broken,
            self.panicked,
            self.blank
        )
    }
}

/// Words of a name at most, where names should be short.
const NAME_WORDS: usize = 3;

/// Whether the name is short and not one of a series that only details tell apart.
pub fn has_telling_name(concept: &Concept) -> bool {
    const SERIES: [&str; 7] = ["oclock", "thirty", "keycap", "button", "arrow", "moon", "square"];
    let words: Vec<&str> = concept.name.split(' ').collect();
    words.len() <= NAME_WORDS && !words.iter().any(|word| SERIES.contains(word))
}

/// Whether the drawing shows one of Unicode's emoji, and its set knows that it does.
pub fn is_unicode_emoji(drawing: &Drawing) -> bool {
    ![MORE, ICONS].contains(&drawing.concept.group)
}

/// What the name of an icon says about its use.
enum Reading {
    Named(Concept, &'static str),
    LeftOut,
    Unmatched,
}

/// The drawings of all sets in this role, in the order of sets and names, and what became of the rest.
pub fn collect(packages: &[Package], concepts: &Concepts, role: Role) -> (Vec<Drawing>, Vec<Count>) {
    packages
        .iter()
        .filter(|package| package.set.role == role)
        .map(|package| of_package(package, concepts))
        .fold((Vec::new(), Vec::new()), |(mut drawings, mut counts), (more, count)| {
            drawings.extend(more);
            counts.push(count);
            (drawings, counts)
        })
}

fn of_package(package: &Package, concepts: &Concepts) -> (Vec<Drawing>, Count) {
    let mut count = Count { prefix: package.set.prefix, icons: package.icons.len(), ..Count::default() };
    let mut named = Vec::new();
    let mut bodies = BTreeSet::new();
    for icon in &package.icons {
        match read(package.set, icon, concepts) {
            Reading::Named(concept, style) if bodies.insert(&icon.body) => named.push((icon, concept, style)),
            Reading::Unmatched => count.unmatched.push(icon.name.clone()),
            Reading::Named(..) | Reading::LeftOut => count.left_out += 1,
        }
    }
    let probed: Vec<_> = named.into_par_iter().map(|named| probe(package.set, named)).collect();
    let mut drawings = Vec::new();
    for drawing in probed {
        match drawing {
            Ok(drawing) => drawings.push(drawing),
            Err(PaintError::Broken(_) | PaintError::Encoding(_)) => count.broken += 1,
            Err(PaintError::Panicked) => count.panicked += 1,
            Err(PaintError::Blank) => count.blank += 1,
        }
    }
    count.drawings = drawings.len();
    (drawings, count)
}

fn probe(
    set: &'static IconSet,
    (icon, concept, style): (&Icon, Concept, &'static str),
) -> Result<Drawing, PaintError> {
    let svg = Svg::new(icon);
    let average = svg.average_colour()?;
    let average = (!svg.is_monochrome()).then_some(average);
    Ok(Drawing { set, icon: icon.name.clone(), concept, style, svg, average })
}

fn read(set: &'static IconSet, icon: &Icon, concepts: &Concepts) -> Reading {
    match set.kind {
        Kind::Icons if set.role == Role::Unseen => read_known_icon(set, icon, concepts),
        Kind::Icons => read_icon(set, icon),
        Kind::Emoji | Kind::EmojiAndMore => read_emoji(set, icon, concepts),
    }
}

fn read_icon(set: &'static IconSet, icon: &Icon) -> Reading {
    let Some(name) = icon_name(set, &icon.name) else { return Reading::LeftOut };
    let slug = name.words.replace(' ', "-");
    Reading::Named(Concept { slug, name: name.words, group: ICONS }, name.style)
}

/// An interface icon that shows one of Unicode's emoji: a thing to see, not an action or a sign.
fn read_known_icon(set: &'static IconSet, icon: &Icon, concepts: &Concepts) -> Reading {
    let Reading::Named(own, style) = read_icon(set, icon) else { return Reading::LeftOut };
    match concepts.of(&Icon { name: own.slug, ..Icon::default() }) {
        None => Reading::Unmatched,
        Some(concept) if concept.group == FLAGS || concepts.repeats(&concept.slug) => Reading::LeftOut,
        Some(concept) => Reading::Named(concept.clone(), style),
    }
}

fn read_emoji(set: &'static IconSet, icon: &Icon, concepts: &Concepts) -> Reading {
    if concepts.repeats(&icon.name) {
        return Reading::LeftOut;
    }
    if let Some(concept) = concepts.of(icon) {
        return match concept.group == FLAGS || concepts.repeats(&concept.slug) {
            true => Reading::LeftOut,
            false => Reading::Named(concept.clone(), set.style),
        };
    }
    if set.kind != Kind::EmojiAndMore {
        return Reading::Unmatched;
    }
    match icon_name(set, &icon.name).filter(|name| !name.words.contains("flag")) {
        Some(name) => {
            let name = concepts::words(&name.words);
            Reading::Named(Concept { slug: name.replace(' ', "-"), name, group: MORE }, set.style)
        }
        None => Reading::LeftOut,
    }
}
