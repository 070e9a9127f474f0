//! Every file that people have a CLIP in gives the numbers of the library that wrote it.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use fixtures::{Numbers, assert_close, numbers, values};
use gram_clip::checkpoint::{Named, Unread, Weights, read_contents, read_tensors, to_torch_bytes};
use gram_clip::signal::Activation;
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, ClipTokenizer, Compute, Model};
use serde::Deserialize;

fn path(name: &str) -> PathBuf {
    fixture("checkpoints").join(name)
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn images(pixels: &Numbers, device: &Device) -> Tensor<4> {
    let shape: [usize; 4] = pixels.shape.clone().try_into().unwrap();
    Tensor::from_data(TensorData::new(pixels.values.clone(), shape), device)
}

#[track_caller]
fn assert_reproduces(checkpoint: &str, case: &str) {
    assert_gives(&Clip::open(&path(checkpoint), &Compute::tested()).unwrap(), &path(case), checkpoint);
}

#[track_caller]
fn assert_gives(clip: &Clip, case: &Path, checkpoint: &str) {
    let device = Compute::tested().device();
    let case = numbers(case);
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
    let device = Compute::tested().device();
    let case = numbers(&path("hugging-face/case.safetensors"));
    for folder in ["half", "bfloat"] {
        let clip = Clip::open(&path(&format!("hugging-face/{folder}")), &Compute::tested()).unwrap();
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
    let clip = Clip::open(folder.path(), &Compute::tested()).unwrap();
    assert_eq!(
        (clip.config.vision_config.image_size, clip.config.vision_config.num_attention_heads),
        (16, 2)
    );
    assert_eq!(Weights::open(&path("openai/model.pt")).unwrap().activation(), Some(Activation::QuickGelu));
}

#[test]
fn positions_are_interpolated_as_transformers_does() {
    let device = Compute::tested().device();
    let model = Model::open(&path("hugging-face/bin"), &Compute::tested()).unwrap();
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
        (
            "openai/evil.pt",
            "it holds no tensors, and it asks for posix.system, which is never run: save the weights",
        ),
        ("openai/evil-nested.pt", "names, and it asks for __builtin__.eval, which is never run"),
    ] {
        let error = Clip::open(&path(file), &Compute::tested()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(problem) && !error.contains('\n'), "{error}");
    }
}

/// The tensors of every file of `pickled-objects`.
fn pickled() -> Named {
    let weight = (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    Named::from([("weight".to_owned(), weight), ("bias".to_owned(), (vec![2], vec![0.5, -1.5]))])
}

#[test]
fn objects_beside_the_weights_are_passed_over_in_every_protocol() {
    for protocol in 2..=5 {
        for kind in ["protocol", "legacy"] {
            let file = format!("{kind}-{protocol}.pt");
            let bytes = fs::read(fixture("pickled-objects").join(&file)).unwrap();
            let contents = read_contents(&file, &bytes).unwrap();
            assert!(contents.tensors == pickled() && contents.unread.is_empty(), "{file}");
        }
    }
}

#[test]
fn a_tensor_inside_an_object_is_missing_under_the_name_of_the_object() {
    let read = |file: &str| {
        let bytes = fs::read(fixture("pickled-objects").join(file)).unwrap();
        read_contents(file, &bytes).unwrap()
    };
    let inside = read("inside.pt");
    assert_eq!(inside.tensors.keys().collect::<Vec<_>>(), ["bias"]);
    assert_eq!(inside.unread["weight"], Unread::Object("easydict.EasyDict".into()));
    let whole = read("whole-module.pt");
    assert!(whole.tensors.is_empty() && whole.unread[""] == Unread::Object("__main__.Tower".into()));
    let error =
        Weights::open(&fixture("pickled-objects/whole-module.pt")).err().map(|error| error.to_string());
    let told =
        "it holds no tensors, and it asks for __main__.Tower, which is never run: save the weights alone";
    assert!(error.as_ref().is_some_and(|error| error.contains(told)), "{error:?}");
}

#[test]
fn a_layer_inside_an_object_is_not_left_out_without_a_word() {
    let bytes = fs::read(fixture("configurations/activation/state-dict.pt")).unwrap();
    let mut bytes = to_torch_bytes("model", &read_tensors("state-dict.pt", &bytes).unwrap(), 0).unwrap();
    let find =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes());
    let key = "visual.transformer.resblocks.0.ln_1.weight";
    let after = find(&bytes, key).unwrap();
    let maker = after + find(&bytes[after..], "_rebuild_tensor_v2").unwrap();
    bytes[maker + "_rebuild_tensor_v".len()] = b'9';
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    fs::write(&path, &bytes).unwrap();
    let error = Clip::open(&path, &Compute::tested()).unwrap_err().to_string();
    assert!(
        error.contains(&format!("`{key}` asks for torch._utils._rebuild_tensor_v9, which is")),
        "{error}"
    );
}

#[test]
fn older_descriptions_of_the_towers_count_as_in_transformers() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("configurations/nested/config.json"), folder.path().join("config.json")).unwrap();
    fs::copy(path("hugging-face/half/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let clip = Clip::open(folder.path(), &Compute::tested()).unwrap();
    assert_gives(&clip, &fixture("configurations/nested/case.safetensors"), "nested");
}

#[test]
fn an_activation_that_no_file_says_is_noted_and_open_clip_s_configuration_says_the_other() {
    let (folder, activation) = (tempfile::tempdir().unwrap(), fixture("configurations/activation"));
    fs::copy(activation.join("state-dict.pt"), folder.path().join("state-dict.pt")).unwrap();
    fs::copy(path("open-clip/gelu/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let open = || {
        let Model { clip, notes, .. } = Model::open(folder.path(), &Compute::tested()).unwrap();
        (clip, notes)
    };
    let (assumed, notes) = open();
    assert_gives(&assumed, &activation.join("case-quick-gelu.safetensors"), "assumed");
    assert!(notes.len() == 1 && !notes[0].contains('\n'), "{notes:?}");
    let told = "the weights do not say their activation: quick-GELU, as in OpenAI's models, is assumed; if they were \
                trained with GELU, as LAION's, put open_clip's configuration of its model beside them as \
                open_clip_config.json";
    assert!(notes[0].ends_with(told), "{notes:?}");
    fs::copy(activation.join("ViT.json"), folder.path().join("open_clip_config.json")).unwrap();
    let (described, notes) = open();
    assert_gives(&described, &activation.join("case-gelu.safetensors"), "described");
    assert!(notes.is_empty(), "{notes:?}");
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
