//! A model that cannot be read says in one line which file and which tensor is wrong.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;

use burn::tensor::Device;
use fixtures::{MODELS, folder};
use gram_clip::checkpoint::{Named, to_f32_bytes};
use gram_clip::{Clip, ClipError, ClipTokenizer, Preprocess};

/// The error of the first fixture's model with its weights changed.
fn error_with(change: impl Fn(&mut Named)) -> String {
    let mut weights = Clip::open(&folder(MODELS[0]), &Device::default()).unwrap().named_weights();
    change(&mut weights);
    error_of(&to_f32_bytes(&weights).unwrap())
}

fn error_of(weights: &[u8]) -> String {
    let config = fs::read_to_string(folder(MODELS[0]).join("config.json")).unwrap();
    let message = Clip::from_bytes(&config, weights, &Device::default()).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn a_missing_tensor_is_named() {
    let message = error_with(|weights| drop(weights.remove("text_model.encoder.layers.1.mlp.fc1.bias")));
    let expected = "model.safetensors: no tensor `text_model.encoder.layers.1.mlp.fc1.bias`: \
                    the weights do not belong to the configuration beside them";
    assert_eq!(message, expected);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let message = error_with(|weights| {
        weights.get_mut("visual_projection.weight").unwrap().0 = vec![48, 24];
    });
    let expected = "model.safetensors: tensor `visual_projection.weight` is [48, 24], \
                    the configuration says [24, 48]";
    assert_eq!(message, expected);
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    for value in [f32::NAN, f32::INFINITY] {
        let message = error_with(|weights| weights.get_mut("logit_scale").unwrap().1[0] = value);
        assert!(
            message.starts_with("model.safetensors: tensor `logit_scale` holds a value that is not finite")
        );
    }
}

#[test]
fn a_file_that_is_no_safetensors_is_named() {
    let whole = fs::read(folder(MODELS[0]).join("model.safetensors")).unwrap();
    for bytes in [&b"not a model"[..], &[], &whole[..whole.len() - 1]] {
        assert!(error_of(bytes).starts_with("model.safetensors: not a safetensors file: "));
    }
}

#[test]
fn a_tensor_of_whole_numbers_is_no_weight() {
    let whole = fs::read(folder(MODELS[0]).join("model.safetensors")).unwrap();
    let parsed = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let bytes = 3_i64.to_le_bytes();
    let count = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![1], &bytes).unwrap();
    let mut tensors = parsed.tensors();
    tensors.push(("counter".to_owned(), count));
    let message = error_of(&safetensors::serialize(tensors, None).unwrap());
    assert_eq!(
        message,
        "model.safetensors: tensor `counter` is of type I64: weights are F32, F16, BF16 or F64"
    );
}

#[test]
fn a_folder_without_a_model_says_what_is_missing() {
    let empty = folder("no-such-model");
    let errors = [
        ("config.json", Clip::open(&empty, &Device::default()).err()),
        ("tokenizer.json", ClipTokenizer::open(&empty).err()),
        ("preprocessor_config.json", Preprocess::open(&empty).err()),
    ];
    for (file, error) in errors {
        let Some(ClipError::File { path, .. }) = error else { panic!("{file}: {error:?}") };
        assert_eq!(path, empty.join(file));
    }
}

#[test]
fn a_tokenizer_of_another_kind_is_refused() {
    let file = fs::read_to_string(folder(MODELS[0]).join("tokenizer.json")).unwrap();
    let other = ClipTokenizer::from_bytes(file.replace("<|startoftext|>", "[CLS]").as_bytes()).unwrap_err();
    let expected = "tokenizer.json: no token <|startoftext|>: this is not the tokenizer of a CLIP model";
    assert_eq!(other.to_string(), expected);
    assert!(ClipTokenizer::from_bytes(b"{}").unwrap_err().to_string().starts_with("tokenizer.json: "));
}
