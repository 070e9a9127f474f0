//! Paints one icon onto a canvas with `resvg`, whatever the icon's file holds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use resvg::tiny_skia::{Pixmap, PixmapMut, Transform};
use resvg::usvg::{Options, Tree};

use crate::colours::Rgb;
use crate::packages::Icon;

/// Pixels along each edge of the probe that finds out what an icon looks like.
const PROBE: u32 = 24;

/// Why an icon could not be painted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaintError {
    /// The icon is no SVG that can be read.
    #[error("not a readable SVG: {0}: left out")]
    Broken(String),
    /// The renderer gave up on it.
    #[error("the SVG renderer panicked: left out")]
    Panicked,
    /// Nothing can be seen of it.
    #[error("the drawing is blank: left out")]
    Blank,
    /// The picture could not be encoded.
    #[error("the picture cannot be encoded: {0}: choose another size or quality")]
    Encoding(String),
}

/// Where a drawing goes on a canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The longer edge of the drawing's box, as a part of the canvas's edge.
    pub scale: f32,
    /// Where its middle lies, away from the canvas's middle, as a part of the canvas's edge.
    pub offset: [f32; 2],
    /// Degrees clockwise.
    pub degrees: f32,
}

/// The drawing of one icon.
#[derive(Clone, Debug)]
pub struct Svg {
    body: String,
    view_box: [f32; 4],
}

impl Svg {
    /// The icon's drawing, unrendered.
    pub fn new(icon: &Icon) -> Self {
        Self { body: icon.body.clone(), view_box: icon.view_box }
    }

    /// Whether the drawing takes its colour from the ink.
    pub fn is_monochrome(&self) -> bool {
        self.body.contains("currentColor")
    }

    /// Paints the drawing over what is on the canvas.
    pub fn paint(&self, ink: Rgb, placement: Placement, canvas: &mut Pixmap) -> Result<(), PaintError> {
        let [red, green, blue] = ink;
        let [_, _, width, height] = self.view_box;
        let body = self.body.replace("currentColor", &format!("#{red:02x}{green:02x}{blue:02x}"));
        let [left, top, ..] = self.view_box;
        let document = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{body}</svg>"#
        );
        let edge = canvas.width() as f32;
        let zoom = placement.scale * edge / width.max(height);
        let [right, down] = placement.offset.map(|part| (0.5 + part) * edge);
        let transform = Transform::from_translate(-width / 2.0, -height / 2.0)
            .post_scale(zoom, zoom)
            .post_rotate(placement.degrees)
            .post_translate(right, down);
        render(&document, transform, &mut canvas.as_mut())
    }

    /// The drawing's average colour where it is opaque, in black ink.
    pub fn average_colour(&self) -> Result<Rgb, PaintError> {
        let mut canvas = Pixmap::new(PROBE, PROBE).ok_or(PaintError::Blank)?;
        let placement = Placement { scale: 1.0, offset: [0.0, 0.0], degrees: 0.0 };
        self.paint([0, 0, 0], placement, &mut canvas)?;
        let mut sums = [0_u32; 4];
        for pixel in canvas.pixels() {
            // Premultiplied: the sum of colours over the sum of alphas is the average weighted by opacity.
            for (sum, part) in sums.iter_mut().zip([pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()])
            {
                *sum += u32::from(part);
            }
        }
        let [red, green, blue, alpha] = sums;
        if alpha < 255 * 4 {
            return Err(PaintError::Blank);
        }
        Ok([red, green, blue].map(|sum| (sum * 255 / alpha).min(255) as u8))
    }
}

fn render(document: &str, transform: Transform, canvas: &mut PixmapMut<'_>) -> Result<(), PaintError> {
    catch_unwind(AssertUnwindSafe(|| {
        let tree = Tree::from_str(document, &Options::default())
            .map_err(|error| PaintError::Broken(error.to_string()))?;
        resvg::render(&tree, transform, canvas);
        Ok(())
    }))
    .unwrap_or(Err(PaintError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(body: &str) -> Svg {
        Svg { body: body.into(), view_box: [0.0, 0.0, 10.0, 10.0] }
    }

    #[test]
    fn the_average_colour_is_that_of_the_opaque_part() {
        let half_red = svg(r##"<path fill="#c80000" d="M0 0h5v10H0z"/>"##);
        assert_eq!(half_red.average_colour(), Ok([200, 0, 0]));
    }

    #[test]
    fn broken_and_blank_icons_are_errors() {
        assert!(matches!(svg("<path d='M0 0").average_colour(), Err(PaintError::Broken(_))));
        assert_eq!(svg("<g></g>").average_colour(), Err(PaintError::Blank));
    }
}
