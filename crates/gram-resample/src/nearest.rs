//! The nearest pixel (Pillow's `ImagingScaleAffine`).

use image::{Rgb, RgbImage};

use crate::Part;

/// See [`crate::resize_part`].
pub(crate) fn resize(image: &RgbImage, source: Part, size: (u32, u32), wanted: Part) -> Option<RgbImage> {
    let columns = positions(source.width, size.0, wanted.left, wanted.width);
    let rows = positions(source.height, size.1, wanted.top, wanted.height);
    Some(RgbImage::from_fn(wanted.width, wanted.height, |x, y| {
        match (columns[x as usize], rows[y as usize]) {
            (Some(column), Some(row)) => *image.get_pixel(source.left + column, source.top + row),
            _ => Rgb([0; 3]),
        }
    }))
}

/// Where `wanted` output positions from `first` on lie on an axis of `from` pixels that becomes one of `to`.
/// Pillow adds up steps, and so does this: the sum rounds otherwise than a product, and may end outside the
/// picture, where it is black.
fn positions(from: u32, to: u32, first: u32, wanted: u32) -> Vec<Option<u32>> {
    let step = f64::from(from) / f64::from(to);
    let sums = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
    let inside = |place: f64| Some(place as u32).filter(|place| *place < from);
    sums.skip(first as usize).take(wanted as usize).map(inside).collect()
}
