//! Pictures at another size, byte for byte as Pillow's `Image.resize` makes them.
//!
//! CLIP models were trained on what Pillow makes of pictures (torchvision's `Resize` on a PIL image,
//! transformers' `CLIPImageProcessor`), and a level of difference in the pixels shows in their features. With
//! `w` the filter's weights, each output value is `round(sum_k w_k * value_k)`, across first and down after,
//! with 8 bits a value in between; weights have 22 binary places, so that every sum is exact in 32 bits. As
//! in Pillow 13, a picture that loses more than twice as many rows as columns goes down first; earlier
//! versions go across first always.
//!
//! Source: Pillow's `src/libImaging/Resample.c`, and `ImagingScaleAffine` in `Geometry.c` for
//! [`Filter::Nearest`].

mod filter;
mod nearest;
mod passes;
pub mod vectors;
mod weights;

use image::RgbImage;

pub use filter::Filter;

use crate::passes::Pixels;
use crate::weights::Weights;

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first column.
    pub left: u32,
    /// The first row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Part {
    /// A whole picture of this size.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { left: 0, top: 0, width, height }
    }

    /// Whether it lies inside a picture of this size, and is not empty.
    fn is_in(&self, (width, height): (u32, u32)) -> bool {
        let fits = |first: u32, length: u32, of: u32| {
            length > 0 && first.checked_add(length).is_some_and(|end| end <= of)
        };
        fits(self.left, self.width, width) && fits(self.top, self.height, height)
    }
}

/// `image` at another size, `(width, height)`. [`None`] if either size has no pixels.
pub fn resize(image: &RgbImage, size: (u32, u32), filter: Filter) -> Option<RgbImage> {
    resize_part(image, Part::whole(image.dimensions()), size, Part::whole(size), filter)
}

/// The part `source` of `image` at another size, `(width, height)`, and of that the part `wanted`. What lies
/// beside `source` has no influence, and what lies beside `wanted` is not computed. [`None`] if a part is
/// empty or sticks out.
pub fn resize_part(
    image: &RgbImage,
    source: Part,
    size: (u32, u32),
    wanted: Part,
    filter: Filter,
) -> Option<RgbImage> {
    if !source.is_in(image.dimensions()) || !wanted.is_in(size) {
        return None;
    }
    if filter == Filter::Nearest {
        return nearest::resize(image, source, size, wanted);
    }
    let Part { left, top, width, height } = wanted;
    let across = Weights::new(source.width, size.0, left..left + width, filter);
    let down = Weights::new(source.height, size.1, top..top + height, filter);
    // Rows and columns that nothing wanted is made of are left alone.
    let (columns, rows) = (across.reach(), down.reach());
    let stride = 3 * image.width() as usize;
    let first = source.top as usize * stride + 3 * source.left as usize;
    let picture = Pixels { values: &image.as_raw()[first..], stride, origin: (0, 0) };
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (lost_columns, lost_rows) = (lost(source.width, size.0), lost(source.height, size.1));
    let bytes = if lost_rows > 0 && lost_rows > 2 * lost_columns {
        let half = passes::down(picture, columns.clone(), &down);
        let half = Pixels { values: &half, stride: 3 * columns.len(), origin: (columns.start, 0) };
        passes::across(half, 0..height as usize, &across)
    } else {
        let half = passes::across(picture, rows.clone(), &across);
        let half = Pixels { values: &half, stride: 3 * width as usize, origin: (0, rows.start) };
        passes::down(half, 0..width as usize, &down)
    };
    RgbImage::from_raw(width, height, bytes)
}
