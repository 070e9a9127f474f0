//! The filters that Pillow knows.

use std::f64::consts::PI;

/// How values of a picture at another size are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels under the new one.
    Box,
    /// A triangle.
    Bilinear,
    /// A triangle's width, sharper.
    Hamming,
    /// Bicubic with a = -1/2.
    Bicubic,
    /// A sinc, cut off by a wider one.
    Lanczos,
}

impl Filter {
    /// The filter of a number of Pillow's `Image.Resampling`, as settings name it.
    pub fn of_number(number: u64) -> Option<Self> {
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming]
            .get(usize::try_from(number).ok()?)
            .copied()
    }

    /// How far it reaches to either side, in pixels of the coarser picture.
    pub(crate) fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// Its value at `x`, written as Pillow writes it, so that it rounds alike.
    pub(crate) fn at(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => hamming(x.abs()),
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn hamming(x: f64) -> f64 {
    // Pillow's two constants have single precision.
    let (base, wave) = (f64::from(0.54_f32), f64::from(0.46_f32));
    match x {
        0.0 => 1.0,
        x if x >= 1.0 => 0.0,
        x => (x * PI).sin() / (x * PI) * (base + wave * (x * PI).cos()),
    }
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    match x {
        0.0 => 1.0,
        x => (x * PI).sin() / (x * PI),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_pillow_s() {
        let filters: Vec<_> = (0..7).map(Filter::of_number).collect();
        let expected = [
            Filter::Nearest,
            Filter::Lanczos,
            Filter::Bilinear,
            Filter::Bicubic,
            Filter::Box,
            Filter::Hamming,
        ];
        assert_eq!(filters[..6], expected.map(Some));
        assert_eq!(filters[6], None);
    }
}
