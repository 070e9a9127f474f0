//! Image-text pairs: a drawing in a random look, and a caption that says so.

use gram_data::random::{Stream, stream};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use serde::Serialize;

use crate::archive::Member;
use crate::attributes::Attributes;
use crate::captions::caption;
use crate::drawings::Drawing;
use crate::looks::Look;
use crate::svg::PaintError;

/// One image-text pair, without its key.
#[derive(Clone, Debug)]
pub struct Pair {
    jpeg: Vec<u8>,
    caption: String,
    description: Vec<u8>,
}

/// What the pair's JSON member tells.
#[derive(Serialize)]
struct Description<'a> {
    set: &'a str,
    vendor: &'a str,
    concept: &'a str,
    group: &'a str,
    look: Attributes,
}

/// How the pictures of pairs are made.
#[derive(Clone, Copy, Debug)]
pub struct PairSettings {
    /// Pixels along each edge.
    pub edge: u32,
    /// Quality of the JPEG, 1 to 100.
    pub quality: u8,
    /// Where all random numbers come from.
    pub seed: u64,
}

impl PairSettings {
    /// The pairs numbered `variations` of one drawing; a pair depends on the seed, the drawing and its number
    /// alone.
    pub fn pairs(
        self,
        drawing: &Drawing,
        variations: impl IntoIterator<Item = usize>,
    ) -> Vec<Result<Pair, PaintError>> {
        let of_number = |number| {
            let purpose = format!("pair {number} of {}:{}", drawing.set.prefix, drawing.icon);
            self.pair(drawing, &mut stream(self.seed, &purpose))
        };
        variations.into_iter().map(of_number).collect()
    }

    fn pair(self, drawing: &Drawing, stream: &mut Stream) -> Result<Pair, PaintError> {
        let look = Look::random(drawing.average, stream);
        let caption = caption(&drawing.concept.name, drawing.style, &look.attributes, stream);
        let picture = look.picture(&drawing.svg, self.edge, stream)?;
        let description = Description {
            set: drawing.set.prefix,
            vendor: drawing.set.vendor,
            concept: &drawing.concept.slug,
            group: drawing.concept.group,
            look: look.attributes,
        };
        let description =
            serde_json::to_vec(&description).map_err(|error| PaintError::Encoding(error.to_string()))?;
        Ok(Pair { jpeg: jpeg(&picture, self.quality)?, caption, description })
    }
}

impl Pair {
    /// The pair's three members under this key.
    pub fn members(self, key: &str) -> [Member; 3] {
        [
            (format!("{key}.jpg"), self.jpeg),
            (format!("{key}.txt"), self.caption.into_bytes()),
            (format!("{key}.json"), self.description),
        ]
    }
}

/// The picture as a JPEG file.
pub fn jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, PaintError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(picture)
        .map_err(|error| PaintError::Encoding(error.to_string()))?;
    Ok(bytes)
}
