//! Images are prepared as transformers and open_clip prepare them with the same files
//! (`fixtures/make_preprocessing.py`).
#![allow(clippy::unwrap_used)]

use std::fs;

use gram_clip::preprocess::{Centre, of_open_clip};
use gram_clip::{Compute, Model, Preprocess};
use image::{Rgb, RgbImage};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    transformers: Vec<Case>,
    open_clip: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    text: String,
    side: u32,
    /// Width, height and checksum of what becomes of the picture.
    pixels: Vec<[u32; 3]>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("fixtures/preprocessing.json")).unwrap()
}

/// The script's `picture`.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(2_246_822_519)) >> 24;
        Rgb([noise as u8, ((x / 7 + y / 5) % 2 * 255) as u8, (x * 3 + y * 2) as u8])
    })
}

fn check(case: &Case, preprocess: &Preprocess) {
    assert_eq!(preprocess.crop, case.side, "{}", case.text);
    for [width, height, checksum] in &case.pixels {
        let pixels = preprocess.pixels(&picture(*width, *height)).unwrap();
        let bytes: Vec<u8> = pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(crc32fast::hash(&bytes), *checksum, "{width} x {height}: {}", case.text);
    }
}

#[test]
fn every_setting_of_transformers_is_followed_to_the_bit() {
    let cases = cases().transformers;
    assert!(cases.len() > 25);
    for case in cases {
        let preprocess = match case.file.as_str() {
            "processor_config.json" => Preprocess::parse_processor(&case.text).unwrap().unwrap(),
            _ => Preprocess::parse(&case.text).unwrap(),
        };
        check(&case, &preprocess);
    }
}

#[test]
fn every_setting_of_open_clip_is_followed_to_the_bit() {
    for case in cases().open_clip {
        check(
            &case,
            &of_open_clip("open_clip_config.json", &serde_json::from_str(&case.text).unwrap(), case.side)
                .unwrap(),
        );
    }
}

#[test]
fn a_model_takes_the_processor_s_file_before_the_older_one() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-new-eos");
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let open = || Model::open(folder.path(), &Compute::tested());
    let plain = open().unwrap().preprocess;
    // What earlier versions write says nothing of images.
    let file = folder.path().join("processor_config.json");
    fs::write(&file, r#"{"processor_class": "CLIPProcessor"}"#).unwrap();
    assert_eq!(open().unwrap().preprocess, plain);
    let side = plain.crop;
    let nested = |side| {
        serde_json::json!({"image_processor": {"do_normalize": false, "size": side, "crop_size": side}})
            .to_string()
    };
    fs::write(&file, nested(side)).unwrap();
    assert_eq!(open().unwrap().preprocess, Preprocess { mean: [0.0; 3], deviation: [1.0; 3], ..plain });
    fs::write(&file, nested(side + 1)).unwrap();
    let error = open().unwrap_err().to_string();
    let told =
        format!("processor_config.json: crop_size = {}: must be the image_size of the model", side + 1);
    assert!(error.starts_with(&told), "{error}");
}

#[test]
fn without_a_file_the_crop_is_that_of_the_library_whose_names_the_tensors_have() {
    let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints/openai/model.pt");
    let bare = tempfile::tempdir().unwrap();
    fs::copy(checkpoint, bare.path().join("model.pt")).unwrap();
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-new-eos/tokenizer.json");
    fs::copy(tokenizer, bare.path().join("tokenizer.json")).unwrap();
    let found = Model::open(&bare.path().join("model.pt"), &Compute::tested()).unwrap().preprocess;
    assert_eq!(found, Preprocess { centre: Centre::Even, ..Preprocess::clip(found.crop) });
}
