//! The part of a look that words can say.

use gram_data::random::Stream;
use rand::RngExt;
use serde::Serialize;

use crate::colours::{Colour, Rgb};

/// How much of the picture the drawing fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Most of it: nothing worth saying.
    Normal,
    /// Less than half of its width.
    Small,
    /// More than all of it: the edges are cut off.
    Large,
}

/// How the drawing is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// As drawn, or nearly.
    Upright,
    /// By 20 to 45 degrees to either side.
    Tilted,
    /// By 180 degrees.
    UpsideDown,
}

/// How sharp the picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharpness {
    /// As rendered.
    Sharp,
    /// Smoothed by a Gaussian.
    Blurry,
    /// Made of few large squares.
    Pixelated,
}

/// Everything about how a picture is made that a caption can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// The colour behind the drawing, before any change of colours.
    pub background: Colour,
    /// Whether the background has stripes in two shades.
    pub striped: bool,
    /// How large the drawing is.
    pub size: Size,
    /// How it is turned.
    pub turn: Turn,
    /// How sharp it is.
    pub sharpness: Sharpness,
    /// Whether there is noise on every pixel.
    pub noisy: bool,
    /// Whether all colours are replaced by their complements.
    pub inverted: bool,
    /// Whether colours are taken away.
    pub black_and_white: bool,
    /// Whether contrast is low.
    pub faded: bool,
}

impl Attributes {
    /// Nothing to say: upright, sharp, of normal size, on white.
    pub const PLAIN: Self = Self {
        background: Colour::White,
        striped: false,
        size: Size::Normal,
        turn: Turn::Upright,
        sharpness: Sharpness::Sharp,
        noisy: false,
        inverted: false,
        black_and_white: false,
        faded: false,
    };

    /// Draws each attribute by itself; about a quarter of the results are plain, most others have one to
    /// three.
    pub fn random(average: Option<Rgb>, stream: &mut Stream) -> Self {
        let background = match stream.random_bool(0.4) {
            true => Colour::random_behind(average, stream),
            false => Colour::White,
        };
        let size = match stream.random::<f32>() {
            0.0..0.14 => Size::Small,
            0.14..0.20 => Size::Large,
            _ => Size::Normal,
        };
        let turn = match stream.random::<f32>() {
            0.0..0.11 => Turn::Tilted,
            0.11..0.15 => Turn::UpsideDown,
            _ => Turn::Upright,
        };
        let sharpness = match stream.random::<f32>() {
            0.0..0.11 => Sharpness::Blurry,
            0.11..0.18 => Sharpness::Pixelated,
            _ => Sharpness::Sharp,
        };
        Self {
            background,
            striped: stream.random_bool(0.04),
            size,
            turn,
            sharpness,
            noisy: stream.random_bool(0.11),
            inverted: stream.random_bool(0.08),
            black_and_white: stream.random_bool(0.07),
            faded: stream.random_bool(0.07),
        }
    }

    /// The background's colour as it can be seen after all changes of colours, if a word fits it.
    pub fn visible_background(&self) -> Option<Colour> {
        if !self.background.is_neutral() {
            // A complement or a grey of these has no one name.
            return (!self.inverted && !self.black_and_white).then_some(self.background);
        }
        if self.faded || self.striped {
            return None;
        }
        match (self.background, self.inverted) {
            (Colour::White, true) => Some(Colour::Black),
            (Colour::Black, true) => Some(Colour::White),
            (background, _) => Some(background),
        }
    }
}

#[cfg(test)]
impl Attributes {
    /// How many attributes differ from the plain picture.
    pub fn count(&self) -> usize {
        [
            self.background != Colour::White,
            self.striped,
            self.size != Size::Normal,
            self.turn != Turn::Upright,
            self.sharpness != Sharpness::Sharp,
            self.noisy,
            self.inverted,
            self.black_and_white,
            self.faded,
        ]
        .into_iter()
        .filter(|applies| *applies)
        .count()
    }
}

#[cfg(test)]
mod tests {
    use gram_data::random::stream;

    use super::*;

    #[test]
    fn a_quarter_is_plain_and_most_others_have_one_to_three_attributes() {
        let mut stream = stream(1, "attributes");
        let mut counts = [0_usize; 10];
        for _ in 0..4000 {
            counts[Attributes::random(None, &mut stream).count()] += 1;
        }
        assert!((800..1200).contains(&counts[0]), "{counts:?}");
        assert!(counts[1..=3].iter().sum::<usize>() > 2600, "{counts:?}");
    }

    #[test]
    fn an_inverted_white_background_is_seen_as_black_and_an_inverted_green_one_has_no_word() {
        let inverted = Attributes { inverted: true, ..Attributes::PLAIN };
        assert_eq!(inverted.visible_background(), Some(Colour::Black));
        let green = Attributes { background: Colour::Green, ..inverted };
        assert_eq!(green.visible_background(), None);
    }
}
