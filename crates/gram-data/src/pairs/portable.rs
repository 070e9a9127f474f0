//! Pairs on their way to another process, which reads the same files: as JSON.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use super::{Pair, Pairs};
use crate::{DataError, ImageFile};

#[derive(Serialize, Deserialize)]
struct PortablePair {
    key: String,
    caption: String,
    image: PortableImage,
}

/// An image by its place, or what it is in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PortableImage {
    Path(PathBuf),
    Member { archive: PathBuf, name: String, offset: u64, length: u64 },
    Bytes { name: String, base64: String },
}

impl TryFrom<&ImageFile> for PortableImage {
    type Error = DataError;

    fn try_from(image: &ImageFile) -> Result<Self, DataError> {
        Ok(match image {
            ImageFile::Path(path) => Self::Path(path.clone()),
            ImageFile::Member { archive, name, offset, length } => Self::Member {
                archive: archive.to_path_buf(),
                name: name.to_string(),
                offset: *offset,
                length: *length,
            },
            ImageFile::Bytes { name, .. } | ImageFile::Pixels { name, .. } => {
                Self::Bytes { name: name.clone(), base64: BASE64_STANDARD.encode(image.bytes()?) }
            }
        })
    }
}

impl TryFrom<PortableImage> for ImageFile {
    type Error = base64::DecodeError;

    fn try_from(image: PortableImage) -> Result<Self, base64::DecodeError> {
        Ok(match image {
            PortableImage::Path(path) => Self::Path(path),
            PortableImage::Member { archive, name, offset, length } => {
                Self::Member { archive: Arc::from(archive), name: name.into(), offset, length }
            }
            PortableImage::Bytes { name, base64 } => {
                Self::Bytes { name, bytes: BASE64_STANDARD.decode(base64)?.into() }
            }
        })
    }
}

impl Pairs {
    /// Some of the pairs, without metadata, for [`Pairs::of_portable`] in another process. Images on disk are
    /// named, others are in it.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn portable(&self, numbers: Range<usize>) -> Result<String, DataError> {
        let portable = |pair: &Pair| {
            let (key, caption) = (pair.key.clone(), pair.caption.clone());
            Ok(PortablePair { key, caption, image: PortableImage::try_from(&pair.image)? })
        };
        let pairs = self.pairs[numbers].iter().map(portable).collect::<Result<Vec<_>, DataError>>()?;
        serde_json::to_string(&pairs).map_err(listing)
    }

    /// The pairs that [`Pairs::portable`] gave.
    ///
    /// # Errors
    /// If it gave something else.
    pub fn of_portable(text: &str) -> Result<Self, DataError> {
        let pairs: Vec<PortablePair> = serde_json::from_str(text).map_err(listing)?;
        let pair = |PortablePair { key, caption, image }| {
            Ok(Pair { key, caption, image: ImageFile::try_from(image).map_err(listing)?, metadata: None })
        };
        Ok(Self { pairs: pairs.into_iter().map(pair).collect::<Result<_, DataError>>()?, ..Self::default() })
    }
}

fn listing(problem: impl ToString) -> DataError {
    DataError::Listing { place: "pairs for another process".to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    #[test]
    fn pairs_arrive_in_another_process_as_they_were() {
        let archive = Arc::from(PathBuf::from("shards/0.tar"));
        let pixels =
            DynamicImage::ImageRgb8(RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 9])));
        let images = [
            ImageFile::Path("a/b.jpg".into()),
            ImageFile::Member { archive, name: "1.jpg".into(), offset: 512, length: 77 },
            ImageFile::Bytes { name: "c.tar.gz: 2.png".into(), bytes: [0, 255, 10].as_slice().into() },
            ImageFile::of_pixels("drawing", pixels),
        ];
        let pair = |(number, image): (usize, ImageFile)| Pair {
            key: number.to_string(),
            image,
            caption: "a \"cat\"\n".to_owned(),
            metadata: None,
        };
        let pairs = Pairs { pairs: images.into_iter().enumerate().map(pair).collect(), ..Pairs::default() };
        let there = Pairs::of_portable(&pairs.portable(1..4).unwrap()).unwrap();
        assert_eq!(there.pairs[..2], pairs.pairs[1..3]);
        assert_eq!(there.pairs[2].image.decode().unwrap(), pairs.pairs[3].image.decode().unwrap());
        assert!(Pairs::of_portable("{}").unwrap_err().to_string().starts_with("pairs for another process: "));
    }
}
