//! A photograph in every format comes out as transformers and Pillow make it (`fixtures/make_images.py`,
//! `fixtures/make_jpegs.py`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use gram_clip::Preprocess;
use gram_data::ImageFile;
use safetensors::SafeTensors;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn path(name: &str) -> PathBuf {
    folder().join("photographs").join(name)
}

/// Pixels in levels of 255, `[side, side, 3]`.
fn prepared(file: &str, side: u32) -> Vec<f32> {
    let levels = Preprocess { mean: [0.0; 3], deviation: [1.0 / 255.0; 3], ..Preprocess::clip(side) };
    let image = ImageFile::Path(path(file)).decode().unwrap();
    let planes = levels.pixels(&image).unwrap();
    let plane = (side * side) as usize;
    (0..3 * plane).map(|value| planes[value % 3 * plane + value / 3]).collect()
}

#[test]
fn every_format_gives_pillow_s_pixels() {
    let bytes = std::fs::read(path("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let names = expected.names();
    assert!(names.len() > 45);
    for name in &names {
        let (file, kind) = name.split_once(':').unwrap_or((name, ""));
        // Pillow cuts greys of 16 bits off at 255, and colours to their higher byte: the first is of no use,
        // the second what is done here too. Half an image is no image.
        let grey = file == "grey-16.png" || file == "tiff-grey-16.tif";
        match kind {
            "" if grey => continue,
            "scaled" if !grey => continue,
            "lenient" => continue,
            _ => {}
        }
        let view = expected.tensor(name).unwrap();
        let found = prepared(file, view.shape()[0] as u32);
        assert_eq!(found.len(), view.data().len(), "{name}");
        // The decoders of lossy WebP smooth colours each in its own way.
        let most = if file.starts_with("webp-") { 2.0 } else { 0.0 };
        let off = found.iter().zip(view.data()).map(|(found, expected)| (found - f32::from(*expected)).abs());
        let farthest = off.fold(0.0_f32, f32::max);
        assert!(farthest <= most + 1e-3, "{name}: off by {farthest}");
    }
}

/// The JPEG files of `fixtures/make_jpegs.py`, each with width, height and checksum of what Pillow decodes;
/// nothing where it says that the file is truncated.
fn jpegs() -> BTreeMap<String, Option<[u32; 3]>> {
    serde_json::from_slice(&std::fs::read(folder().join("jpegs/pillow.json")).unwrap()).unwrap()
}

#[test]
fn every_jpeg_is_decoded_to_pillow_s_bytes_whatever_is_behind_its_end() {
    let jpegs = jpegs();
    assert!(jpegs.len() > 40 && jpegs.keys().any(|name| name == "jpegs/behind-motion-photo.jpg"));
    for (name, expected) in jpegs {
        let decoded = ImageFile::Path(folder().join(&name)).decode();
        match (expected, decoded) {
            (Some([width, height, checksum]), Ok(image)) => {
                assert_eq!(image.dimensions(), (width, height), "{name}");
                assert_eq!(crc32fast::hash(&image), checksum, "{name}");
            }
            (None, Err(error)) => {
                let error = error.to_string();
                assert!(
                    error.contains(&name) && error.contains("the file ends before the image does"),
                    "{error}"
                );
            }
            (expected, found) => panic!("{name}: {expected:?}, {:?}", found.map(|image| image.dimensions())),
        }
    }
}

#[test]
fn an_image_that_is_cut_off_is_refused_by_name() {
    let error = ImageFile::Path(path("jpeg-truncated.jpg")).decode().unwrap_err().to_string();
    assert!(
        error.contains("jpeg-truncated.jpg: ") && error.contains("ends before the image does"),
        "{error}"
    );
}
