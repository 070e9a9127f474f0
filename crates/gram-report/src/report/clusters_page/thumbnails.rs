//! Small pictures of some of the drawn pairs: the first of every domain before the second of any.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gram_cluster::Clusters;
use gram_data::{ImageFile, Pair, Pairs};
use image::codecs::jpeg::JpegEncoder;
use image::imageops;
use rayon::prelude::*;

use super::sample::{Sample, equal_steps};

/// Pictures on the page at most.
const MOST: usize = 2_000;
/// Pictures of a domain at most.
const MOST_OF_DOMAIN: usize = 6;
/// Pixels of a picture's longer side at most.
const LONGER_SIDE: u32 = 64;
/// Of the JPEG files, of 100.
const QUALITY: u8 = 75;

/// Places in [`Sample::points`], ascending, each with its picture as JPEG in base64.
pub(super) fn thumbnails(clusters: &Clusters, pairs: &Pairs, sample: &Sample) -> Vec<(usize, String)> {
    let chosen = chosen(sample);
    let key = |point: &usize| clusters.pairs[sample.points[*point]].key.as_str();
    let keys: Vec<&str> = chosen.iter().map(key).collect();
    let mut pictures = of_keys(&keys, pairs);
    chosen.iter().filter_map(|point| Some((*point, pictures.remove(key(point))?))).collect()
}

/// Pictures of the pairs of these keys that can be read, as JPEG in base64.
pub(in crate::report) fn of_keys<'a>(keys: &[&'a str], pairs: &Pairs) -> HashMap<&'a str, String> {
    let wanted: HashSet<&str> = keys.iter().copied().collect();
    let by_key: HashMap<&str, &Pair> = pairs
        .pairs
        .iter()
        .map(|pair| (pair.key.as_str(), pair))
        .filter(|(key, _)| wanted.contains(key))
        .collect();
    keys.par_iter().filter_map(|key| Some((*key, of_image(&by_key.get(key)?.image, LONGER_SIDE)?))).collect()
}

/// The points that shall have a picture, at equal steps through every domain.
fn chosen(sample: &Sample) -> Vec<usize> {
    let of_domains: Vec<usize> = sample.of_domains.iter().flatten().copied().collect();
    let mut chosen = Vec::new();
    let mut first = 0;
    for (points, pictures) in of_domains.iter().zip(pictures_of_domains(&of_domains)) {
        chosen.extend(equal_steps(*points, pictures).map(|step| first + step));
        first += points;
    }
    chosen
}

/// Every domain gets one picture, larger topics first, then every domain another, until there are enough.
fn pictures_of_domains(points: &[usize]) -> Vec<usize> {
    let mut pictures = vec![0; points.len()];
    let mut left = MOST;
    for round in 0..MOST_OF_DOMAIN {
        for (pictures, points) in pictures.iter_mut().zip(points) {
            if round < *points && left > 0 {
                *pictures += 1;
                left -= 1;
            }
        }
    }
    pictures
}

/// A picture as JPEG in base64, of which the longer side has at most so many pixels; nothing if the image
/// cannot be read.
pub(in crate::report) fn of_image(image: &ImageFile, longer_side: u32) -> Option<String> {
    let decoded = image.decode().ok()?;
    let (width, height) = decoded.dimensions();
    let longer = width.max(height);
    let scaled = |side: u32| (u64::from(side) * u64::from(longer_side) / u64::from(longer)).max(1) as u32;
    let small = match longer > longer_side {
        true => imageops::thumbnail(&decoded, scaled(width), scaled(height)),
        false => decoded,
    };
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, QUALITY).encode_image(&small).ok()?;
    Some(STANDARD.encode(file))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;

    fn picture(width: u32, height: u32) -> ImageFile {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        ImageFile::Bytes { name: "picture".into(), bytes: bytes.into_inner().into() }
    }

    #[test]
    fn a_domain_has_six_pictures_or_as_many_as_points() {
        assert_eq!(pictures_of_domains(&[40, 3, 0, 6]), [6, 3, 0, 6]);
        let sample = Sample { points: (0..15).collect(), of_domains: vec![vec![12], vec![2]], placed: 15 };
        assert_eq!(chosen(&sample), [0, 2, 4, 6, 8, 10, 12, 13]);
    }

    #[test]
    fn many_domains_share_the_pictures_larger_topics_first() {
        let pictures = pictures_of_domains(&vec![9; 1_500]);
        assert_eq!(pictures.iter().sum::<usize>(), MOST);
        assert_eq!((pictures[499], pictures[500], pictures[1_499]), (2, 1, 1));
        let pictures = pictures_of_domains(&vec![9; 5_000]);
        assert_eq!((pictures[1_999], pictures[2_000]), (1, 0));
    }

    #[test]
    fn a_picture_is_a_jpeg_of_at_most_64_pixels_a_side() {
        for (size, expected) in [((300, 100), (64, 21)), ((3_000, 2), (64, 1)), ((20, 30), (20, 30))] {
            let file = of_image(&picture(size.0, size.1), LONGER_SIDE).unwrap();
            let file = STANDARD.decode(file).unwrap();
            let read = image::load_from_memory_with_format(&file, ImageFormat::Jpeg).unwrap();
            assert_eq!((read.width(), read.height()), expected);
        }
        assert_eq!(of_image(&ImageFile::Path("nowhere.png".into()), LONGER_SIDE), None);
    }
}
