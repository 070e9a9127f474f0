//! Every file that people have a CLIP in gives the numbers of the library that wrote it.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use fixtures::{Numbers, assert_close, numbers, values};
use gram_clip::checkpoint::Weights;
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, ClipTokenizer, Model};
use serde::Deserialize;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

fn images(pixels: &Numbers, device: &Device) -> Tensor<4> {
    let shape: [usize; 4] = pixels.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(pixels.values.clone(), shape), device)
}

#[track_caller]
fn assert_reproduces(checkpoint: &str, case: &str) {
    let device = Device::default();
    let clip = Clip::open(&path(checkpoint), &device).unwrap();
    let case = numbers(&path(case));
    let image = clip.vision.forward(images(&case["pixel_values"], &device), None);
    assert_close(&values(image.value.clone()), &case["image_features"].values, 1e-5, checkpoint);
    let ids = &case["input_ids"];
    let rows: Vec<Vec<u32>> =
        ids.values.chunks(ids.shape[1]).map(|row| row.iter().map(|id| *id as u32).collect()).collect();
    let texts: Vec<Vec<u32>> = rows.iter().map(|row| row[1..].to_vec()).collect();
    let text = clip.text.forward(rows[0][0], None, &texts, Batching::ByLength);
    assert_close(&values(text.value.clone()), &case["text_features"].values, 1e-5, checkpoint);
    let logits = clip.logits(image, text).value;
    assert_close(&values(logits), &case["logits_per_image"].values, 1e-4, checkpoint);
}

#[test]
fn hugging_face_s_folders_give_what_transformers_gives() {
    for folder in ["sharded", "bin", "legacy-bin"] {
        assert_reproduces(&format!("hugging-face/{folder}"), "hugging-face/case.safetensors");
    }
    assert_reproduces("hugging-face/half", "hugging-face/case-half.safetensors");
    assert_reproduces("hugging-face/slow-tokenizer", "hugging-face/case-half.safetensors");
    assert_reproduces("hugging-face/bfloat", "hugging-face/case-bfloat.safetensors");
}

#[test]
fn half_precision_stays_within_a_hundredth_of_the_whole() {
    let device = Device::default();
    let case = numbers(&path("hugging-face/case.safetensors"));
    for folder in ["half", "bfloat"] {
        let clip = Clip::open(&path(&format!("hugging-face/{folder}")), &device).unwrap();
        let found = clip.vision.forward(images(&case["pixel_values"], &device), None).value;
        assert_close(&values(found), &case["image_features"].values, 1e-2, folder);
    }
}

#[test]
fn open_clip_s_folders_give_what_open_clip_gives() {
    for folder in ["quick-gelu", "gelu", "custom-text"] {
        assert_reproduces(&format!("open-clip/{folder}"), &format!("open-clip/{folder}/case.safetensors"));
    }
}

#[test]
fn a_file_of_open_clip_is_enough_when_its_configuration_lies_beside_it() {
    assert_reproduces("open-clip/training/epoch_3.pt", "open-clip/training/case.safetensors");
}

#[test]
fn openai_s_archive_and_its_state_dictionary_give_what_openai_s_code_gives() {
    for file in ["model.pt", "state-dict.pt"] {
        assert_reproduces(&format!("openai/{file}"), "openai/case.safetensors");
    }
}

#[test]
fn a_checkpoint_is_known_by_what_is_in_it_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(path("openai/model.pt"), folder.path().join("anything.bin")).unwrap();
    let clip = Clip::open(folder.path(), &Device::default()).unwrap();
    assert_eq!(
        (clip.config.vision_config.image_size, clip.config.vision_config.num_attention_heads),
        (16, 2)
    );
    assert!(Weights::open(&path("openai/model.pt")).unwrap().is_torch_script());
}

#[test]
fn positions_are_interpolated_as_transformers_does() {
    let device = Device::default();
    let model = Model::open(&path("hugging-face/bin"), &device).unwrap();
    let case = numbers(&path("hugging-face/case-interpolated.safetensors"));
    let larger = model.clone().at_image_size(48).unwrap();
    let found = larger.clip.vision.forward(images(&case["pixel_values"], &device), None).value;
    assert_close(&values(found), &case["image_features"].values, 1e-5, "48 pixels");
    assert_eq!((larger.preprocess.crop, larger.clip.config.vision_config.patches()), (48, 36));
    let error = model.at_image_size(50).unwrap_err().to_string();
    assert!(error.contains("image_size = 50: must be a multiple of patch_size"), "{error}");
}

#[derive(Deserialize)]
struct Tokens {
    text: String,
    ids: Vec<u32>,
}

fn assert_tokens(tokenizer: &ClipTokenizer, file: &str) {
    let expected: Vec<Tokens> = serde_json::from_slice(&fs::read(path(file)).unwrap()).unwrap();
    assert!(expected.len() > 10);
    for Tokens { text, ids } in expected {
        let found =
            [vec![tokenizer.start()], tokenizer.encode(&text).unwrap(), vec![tokenizer.end()]].concat();
        assert_eq!(found, ids, "{text:?}");
    }
}

#[test]
fn a_vocabulary_and_its_merges_give_transformers_tokens() {
    let folder = "hugging-face/slow-tokenizer";
    let tokenizer = ClipTokenizer::open(&path(folder), 0).unwrap();
    assert_tokens(&tokenizer, &format!("{folder}/tokens.json"));
}

#[test]
fn the_built_in_vocabulary_gives_openai_s_tokens() {
    assert_tokens(&ClipTokenizer::openai().unwrap(), "openai/tokens.json");
}

#[test]
fn files_that_are_no_clip_of_two_transformers_are_refused_by_name() {
    for (file, problem) in [
        ("openai/visual-resnet.pt", "a ResNet in the vision tower: gram reads"),
        ("openai/numbers.pt", "tensors (`"),
        ("openai/evil.pt", "it asks for posix.system, which no weights need"),
        ("openai/evil-nested.pt", "it asks for __builtin__.eval, which no weights need"),
    ] {
        let error = Clip::open(&path(file), &Device::default()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(problem) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn damaged_files_are_one_error_each_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "openai/model.pt",
        "hugging-face/legacy-bin/pytorch_model.bin",
        "hugging-face/half/model.safetensors",
    ] {
        let whole = fs::read(path(file)).unwrap();
        let damaged = folder.path().join("damaged");
        for length in (0..whole.len()).step_by(whole.len() / 97) {
            fs::write(&damaged, &whole[..length]).unwrap();
            let error = Weights::open(&damaged).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| !error.contains('\n')), "{file} cut to {length}");
        }
        for at in (0..whole.len().min(20_000)).step_by(61) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            gram_clip::checkpoint::read_anything(&changed);
        }
    }
}
