//! Background colours and the words for them.

use gram_data::random::Stream;
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::Serialize;

/// Red, green and blue, 0 to 255.
pub type Rgb = [u8; 3];

/// How unlike two colours must be for one to be seen on the other (Euclidean distance in RGB).
const CONTRAST: f32 = 90.0;

/// A background colour that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Colour {
    White,
    Red,
    Green,
    Blue,
    Yellow,
    Orange,
    Purple,
    Pink,
    Brown,
    Black,
    Grey,
}

/// All colours but white.
const COLOURED: [Colour; 10] = [
    Colour::Red,
    Colour::Green,
    Colour::Blue,
    Colour::Yellow,
    Colour::Orange,
    Colour::Purple,
    Colour::Pink,
    Colour::Brown,
    Colour::Black,
    Colour::Grey,
];

impl Colour {
    /// The English word.
    pub fn word(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Brown => "brown",
            Self::Black => "black",
            Self::Grey => "grey",
        }
    }

    /// Whether the colour is a shade of grey.
    pub fn is_neutral(self) -> bool {
        matches!(self, Self::White | Self::Black | Self::Grey)
    }

    /// The colour in the middle of its shades.
    pub fn rgb(self) -> Rgb {
        match self {
            Self::White => [255, 255, 255],
            Self::Red => [218, 48, 44],
            Self::Green => [58, 168, 78],
            Self::Blue => [52, 104, 220],
            Self::Yellow => [246, 216, 60],
            Self::Orange => [246, 142, 38],
            Self::Purple => [134, 66, 184],
            Self::Pink => [246, 150, 192],
            Self::Brown => [128, 82, 48],
            Self::Black => [16, 16, 18],
            Self::Grey => [146, 146, 148],
        }
    }

    /// One shade of the colour; white stays white.
    pub fn shade(self, stream: &mut Stream) -> Rgb {
        let brightness = stream.random_range(0.86..1.08_f32);
        let tint = stream.random_range(0.0..0.14_f32);
        if self == Self::White {
            return self.rgb();
        }
        self.rgb().map(|channel| {
            let lit = (f32::from(channel) * brightness).min(255.0);
            (lit + tint * (255.0 - lit)).round() as u8
        })
    }

    /// A colour other than white on which a drawing of this average colour can be seen.
    pub fn random_behind(average: Option<Rgb>, stream: &mut Stream) -> Self {
        let visible: Vec<Self> = COLOURED
            .into_iter()
            .filter(|colour| average.is_none_or(|average| distance(average, colour.rgb()) > CONTRAST))
            .collect();
        visible.choose(stream).copied().unwrap_or(Self::Grey)
    }
}

/// How bright a colour appears, 0 to 255 (ITU-R BT.601).
pub fn brightness(colour: Rgb) -> f32 {
    let [red, green, blue] = colour.map(f32::from);
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// An ink that stands out from the background.
pub fn ink_on(background: Rgb, stream: &mut Stream) -> Rgb {
    let level = stream.random_range(0..48_u8);
    if brightness(background) > 100.0 { [level; 3] } else { [255 - level; 3] }
}

fn distance(one: Rgb, other: Rgb) -> f32 {
    let squares = one.iter().zip(other).map(|(a, b)| (f32::from(*a) - f32::from(b)).powi(2));
    squares.sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use gram_data::random::stream;

    use super::*;

    #[test]
    fn a_background_never_swallows_the_drawing() {
        let mut stream = stream(3, "backgrounds");
        for colour in COLOURED {
            for _ in 0..50 {
                assert_ne!(Colour::random_behind(Some(colour.rgb()), &mut stream), colour);
            }
        }
    }

    #[test]
    fn ink_stands_out_from_every_shade_of_every_background() {
        let mut stream = stream(3, "inks");
        for colour in COLOURED.into_iter().chain([Colour::White]) {
            for _ in 0..50 {
                let background = colour.shade(&mut stream);
                let ink = ink_on(background, &mut stream);
                assert!((brightness(ink) - brightness(background)).abs() > 50.0, "{ink:?} on {background:?}");
            }
        }
    }
}
