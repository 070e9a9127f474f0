//! A photograph in every format comes out as transformers and Pillow make it (`fixtures/make_images.py`).
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use gram_clip::Preprocess;
use gram_data::ImageFile;
use safetensors::SafeTensors;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/photographs").join(name)
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
        // Pillow cuts greys of 16 bits off at 255, and colours to their higher byte: the first is of no use, the second
        // what is done here too. Half an image is no image.
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
        let off: Vec<f32> = found
            .iter()
            .zip(view.data())
            .map(|(found, expected)| (found - f32::from(*expected)).abs())
            .collect();
        let (most, mean) = (
            off.iter().fold(0.0_f32, |most, one| most.max(*one)),
            off.iter().sum::<f32>() / off.len() as f32,
        );
        assert!(most <= 2.0 + 1e-3 && mean <= 0.2, "{name}: off by {most} at most, {mean} on average");
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
