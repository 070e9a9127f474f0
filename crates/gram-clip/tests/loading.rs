//! A model that cannot be read says in one line which file and which tensor is wrong.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::fs;

use fixtures::{Fixture, MODELS, folder};
use gram_clip::checkpoint::{Named, to_f32_bytes};
use gram_clip::{Clip, ClipError, ClipTokenizer, Compute, Model};

/// The error of the first fixture's model with its weights changed.
fn error_with(change: impl Fn(&mut Named)) -> String {
    let mut weights = Fixture::open(MODELS[0]).clip.named_weights();
    change(&mut weights);
    error_of(&to_f32_bytes(&weights).unwrap())
}

fn error_of(weights: &[u8]) -> String {
    let config = fs::read_to_string(folder(MODELS[0]).join("config.json")).unwrap();
    let message = Clip::from_bytes(&config, weights, &Compute::tested()).unwrap_err().to_string();
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
        assert!(
            error_of(bytes).starts_with("model.safetensors: neither a safetensors file nor one of PyTorch: ")
        );
    }
}

#[test]
fn a_tensor_of_whole_numbers_is_no_weight() {
    let whole = fs::read(folder(MODELS[0]).join("model.safetensors")).unwrap();
    let parsed = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let bytes = 3_i64.to_le_bytes();
    let count = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![1], &bytes).unwrap();
    let mut tensors = parsed.tensors();
    tensors.retain(|(name, _)| name != "logit_scale");
    tensors.push(("logit_scale".to_owned(), count));
    let message = error_of(&safetensors::serialize(tensors, None).unwrap());
    assert_eq!(
        message,
        "model.safetensors: tensor `logit_scale` is of type I64: weights are F32, F16, BF16 or F64"
    );
}

#[test]
fn a_folder_without_a_model_says_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    let error = Model::open(empty.path(), &Compute::tested()).unwrap_err().to_string();
    assert!(error.contains("no weights: a model folder holds model.safetensors, "), "{error}");
    let Err(ClipError::File { path, .. }) = Model::open(&empty.path().join("model.pt"), &Compute::tested())
    else {
        panic!()
    };
    assert!(path.ends_with("model.pt"));
    fs::copy(folder(MODELS[0]).join("model.safetensors"), empty.path().join("a.safetensors")).unwrap();
    let error = Model::open(empty.path(), &Compute::tested()).unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json, nor vocab.json with merges.txt"), "{error}");
    fs::copy(folder(MODELS[0]).join("model.safetensors"), empty.path().join("b.safetensors")).unwrap();
    let error = Model::open(empty.path(), &Compute::tested()).unwrap_err().to_string();
    assert!(
        error.ends_with("several checkpoints, a.safetensors, b.safetensors: name one of them"),
        "{error}"
    );
}

#[test]
fn a_tokenizer_of_another_kind_is_refused() {
    let file = fs::read_to_string(folder(MODELS[0]).join("tokenizer.json")).unwrap();
    let other = ClipTokenizer::from_bytes(file.replace("<|startoftext|>", "[CLS]").as_bytes()).unwrap_err();
    let expected = "tokenizer.json: no token <|startoftext|>: this is not the tokenizer of a CLIP model";
    assert_eq!(other.to_string(), expected);
    assert!(ClipTokenizer::from_bytes(b"{}").unwrap_err().to_string().starts_with("tokenizer.json: "));
}
