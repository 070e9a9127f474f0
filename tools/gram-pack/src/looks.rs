//! A look: how one picture is made, down to the pixel.

use gram_data::random::{Stream, normal};
use image::imageops::{FilterType, blur, resize};
use image::{Rgb as Pixel, RgbImage};
use rand::RngExt;
use resvg::tiny_skia::{Color, Paint, Pixmap, Rect, Transform};

use crate::attributes::{Attributes, Sharpness, Size, Turn};
use crate::colours::{self, Rgb};
use crate::svg::{PaintError, Placement, Svg};

/// The canvas is this many times the picture, so that edges are smooth.
const OVERSAMPLING: u32 = 2;
/// Edge in pixels for which blur is given; other sizes scale it.
const BLUR_EDGE: f32 = 48.0;
/// The grey towards which a faded picture goes.
const FADED_GREY: f32 = 178.0;

/// One way to make a picture: what words can say, and the numbers drawn for it.
#[derive(Clone, Debug)]
pub struct Look {
    /// What a caption can name.
    pub attributes: Attributes,
    background: Rgb,
    ink: Rgb,
    placement: Placement,
    /// Standard deviation in pixels of a 48-pixel picture.
    blur: f32,
    /// Squares along an edge of a pixelated picture.
    squares: u32,
    /// Part of the contrast that a faded picture keeps.
    kept_contrast: f32,
    /// Standard deviation, of 255.
    noise: f32,
    /// Width of a stripe as a part of the edge, and whether stripes stand upright.
    stripes: (f32, bool),
}

impl Look {
    /// A look with random attributes, for a drawing of this average colour (none: its ink follows the
    /// background).
    pub fn random(average: Option<Rgb>, stream: &mut Stream) -> Self {
        let attributes = Attributes::random(average, stream);
        Self::vary(attributes, stream)
    }

    /// Draws all numbers that the attributes leave open.
    pub fn vary(attributes: Attributes, stream: &mut Stream) -> Self {
        let background = attributes.background.shade(stream);
        Self {
            attributes,
            background,
            ink: colours::ink_on(background, stream),
            placement: placement(&attributes, stream),
            blur: stream.random_range(1.1..1.8),
            squares: stream.random_range(13..=16),
            kept_contrast: stream.random_range(0.25..0.4),
            noise: stream.random_range(26.0..44.0),
            stripes: (stream.random_range(0.08..0.16), stream.random()),
        }
    }

    /// The picture of a drawing in this look, `edge` pixels square.
    pub fn picture(&self, svg: &Svg, edge: u32, stream: &mut Stream) -> Result<RgbImage, PaintError> {
        let mut canvas = self.canvas(edge * OVERSAMPLING)?;
        svg.paint(self.ink, self.placement, &mut canvas)?;
        let mut picture = resize(&opaque(&canvas), edge, edge, FilterType::Triangle);
        self.change_colours(&mut picture);
        let mut picture = self.soften(picture);
        if self.attributes.noisy {
            add_noise(&mut picture, self.noise, stream);
        }
        Ok(picture)
    }

    fn canvas(&self, edge: u32) -> Result<Pixmap, PaintError> {
        let mut canvas = Pixmap::new(edge, edge).ok_or(PaintError::Blank)?;
        let [red, green, blue] = self.background;
        canvas.fill(Color::from_rgba8(red, green, blue, 255));
        if self.attributes.striped {
            self.paint_stripes(&mut canvas);
        }
        Ok(canvas)
    }

    fn paint_stripes(&self, canvas: &mut Pixmap) {
        let towards = if colours::brightness(self.background) > 128.0 { 0.0 } else { 255.0 };
        let [red, green, blue] =
            self.background.map(|channel| (0.7 * f32::from(channel) + 0.3 * towards) as u8);
        let mut paint = Paint::default();
        paint.set_color_rgba8(red, green, blue, 255);
        let edge = canvas.width() as f32;
        let (part, upright) = self.stripes;
        let width = part * edge;
        for stripe in (0..).map(|index| 2.0 * width * index as f32).take_while(|start| *start < edge) {
            let stripe = match upright {
                true => Rect::from_xywh(stripe, 0.0, width, edge),
                false => Rect::from_xywh(0.0, stripe, edge, width),
            };
            if let Some(stripe) = stripe {
                canvas.fill_rect(stripe, &paint, Transform::identity(), None);
            }
        }
    }

    fn change_colours(&self, picture: &mut RgbImage) {
        if self.attributes.black_and_white {
            map_pixels(picture, |pixel| [colours::brightness(pixel) as u8; 3]);
        }
        if self.attributes.inverted {
            map_pixels(picture, invert);
        }
        if self.attributes.faded {
            let keep = self.kept_contrast;
            map_pixels(picture, |pixel| {
                pixel.map(|channel| (FADED_GREY + keep * (f32::from(channel) - FADED_GREY)) as u8)
            });
        }
    }

    fn soften(&self, picture: RgbImage) -> RgbImage {
        let (width, height) = picture.dimensions();
        match self.attributes.sharpness {
            Sharpness::Sharp => picture,
            Sharpness::Blurry => blur(&picture, self.blur * width as f32 / BLUR_EDGE),
            Sharpness::Pixelated => {
                let squares = resize(&picture, self.squares, self.squares, FilterType::Triangle);
                resize(&squares, width, height, FilterType::Nearest)
            }
        }
    }
}

fn placement(attributes: &Attributes, stream: &mut Stream) -> Placement {
    let (scale, jitter): (f32, f32) = match attributes.size {
        Size::Normal => (stream.random_range(0.74..0.94), 0.06),
        Size::Small => (stream.random_range(0.40..0.50), 0.22),
        Size::Large => (stream.random_range(1.3..1.6), 0.12),
    };
    let side = if stream.random() { 1.0 } else { -1.0 };
    let degrees = match attributes.turn {
        Turn::Upright => stream.random_range(-6.0..6.0),
        Turn::Tilted => side * stream.random_range(20.0..45.0),
        Turn::UpsideDown => 180.0 + stream.random_range(-6.0..6.0),
    };
    let offset = [stream.random_range(-jitter..jitter), stream.random_range(-jitter..jitter)];
    Placement { scale, offset, degrees }
}

fn opaque(canvas: &Pixmap) -> RgbImage {
    RgbImage::from_fn(canvas.width(), canvas.height(), |x, y| {
        let pixel = canvas.pixel(x, y).map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]);
        Pixel(pixel.unwrap_or_default())
    })
}

fn map_pixels(picture: &mut RgbImage, change: impl Fn(Rgb) -> Rgb) {
    for pixel in picture.pixels_mut() {
        pixel.0 = change(pixel.0);
    }
}

fn invert(pixel: Rgb) -> Rgb {
    pixel.map(|channel| 255 - channel)
}

fn add_noise(picture: &mut RgbImage, deviation: f32, stream: &mut Stream) {
    for pixel in picture.pixels_mut() {
        for channel in &mut pixel.0 {
            *channel = (f32::from(*channel) + deviation * normal(stream)).clamp(0.0, 255.0) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use gram_data::random::stream;

    use super::*;
    use crate::colours::Colour;
    use crate::packages::Icon;

    fn red_square() -> Svg {
        Svg::new(&Icon {
            body: r##"<path fill="#c80000" d="M0 0h10v10H0z"/>"##.into(),
            view_box: [0.0, 0.0, 10.0, 10.0],
            ..Icon::default()
        })
    }

    fn picture(attributes: Attributes) -> RgbImage {
        let mut stream = stream(2, "a picture");
        let look = Look::vary(attributes, &mut stream);
        look.picture(&red_square(), 48, &mut stream).unwrap()
    }

    #[test]
    fn an_inverted_picture_inverted_again_is_the_plain_one() {
        let plain = picture(Attributes::PLAIN);
        let mut inverted = picture(Attributes { inverted: true, ..Attributes::PLAIN });
        assert_ne!(plain, inverted);
        map_pixels(&mut inverted, invert);
        assert_eq!(plain, inverted);
    }

    #[test]
    fn a_plain_picture_has_the_drawing_in_the_middle_and_white_in_the_corners() {
        let plain = picture(Attributes::PLAIN);
        assert_eq!(plain.get_pixel(24, 24).0, [200, 0, 0]);
        assert_eq!(plain.get_pixel(0, 0).0, [255, 255, 255]);
    }

    #[test]
    fn black_and_white_leaves_no_colour() {
        let grey =
            picture(Attributes { black_and_white: true, background: Colour::Green, ..Attributes::PLAIN });
        assert!(grey.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]));
    }

    #[test]
    fn a_small_drawing_covers_less_and_a_large_one_more() {
        let covered = |size| {
            let picture = picture(Attributes { size, ..Attributes::PLAIN });
            picture.pixels().filter(|pixel| pixel.0[1] < 128).count()
        };
        assert!(covered(Size::Small) < covered(Size::Normal) / 2);
        assert!(covered(Size::Large) > covered(Size::Normal));
    }

    #[test]
    fn a_faded_picture_has_low_contrast_and_a_noisy_one_no_even_background() {
        let faded = picture(Attributes { faded: true, ..Attributes::PLAIN });
        let brightest = faded.pixels().map(|pixel| pixel.0[0]).max();
        assert!(brightest.is_some_and(|brightest| brightest < 215));
        let noisy = picture(Attributes { noisy: true, ..Attributes::PLAIN });
        assert_ne!(noisy.get_pixel(1, 1), noisy.get_pixel(2, 1));
    }
}
