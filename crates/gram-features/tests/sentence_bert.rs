//! Sentence-BERT against embeddings that transformers computed in float64
//! (tests/fixtures/make_sentence_bert.py).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use gram_features::sentence_bert::{SentenceBert, SentenceBertError};
use ndarray::Array2;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentence_bert")
}

fn open(folder: &Path) -> Result<SentenceBert, SentenceBertError> {
    SentenceBert::open(folder, &Device::flex())
}

fn sentences() -> Vec<String> {
    serde_json::from_slice(&fs::read(fixture().join("sentences.json")).unwrap()).unwrap()
}

fn embed(model: &SentenceBert, sentences: &[String]) -> Array2<f32> {
    model.embed(&sentences.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn expected() -> Array2<f32> {
    let bytes = fs::read(fixture().join("case.safetensors")).unwrap();
    let case = SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = case.tensor("embeddings").unwrap();
    let values =
        embeddings.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()) as f32);
    Array2::from_shape_vec((embeddings.shape()[0], embeddings.shape()[1]), values.collect()).unwrap()
}

fn deviation(one: &Array2<f32>, other: &Array2<f32>) -> f32 {
    assert_eq!(one.dim(), other.dim());
    (one - other).iter().fold(0.0, |largest, difference| largest.max(difference.abs()))
}

/// A copy of the fixture to break.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let names =
        ["modules.json", "config.json", "sentence_bert_config.json", "model.safetensors", "tokenizer.json"];
    for name in names.into_iter().chain(["1_Pooling/config.json"]) {
        fs::copy(fixture().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// Changes one key of a JSON file and says what opening the folder says.
fn message_after(file: &str, key: &str, value: serde_json::Value) -> String {
    let folder = copy();
    let path = folder.path().join(file);
    let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    content[key] = value;
    fs::write(&path, content.to_string()).unwrap();
    open(folder.path()).unwrap_err().to_string()
}

/// Renames the tensors of a copy, leaving out those without a new name.
fn rename(folder: &Path, rename: impl Fn(&str) -> Option<String>) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let renamed = tensors.into_iter().filter_map(|(name, view)| Some((rename(&name)?, view)));
    fs::write(&path, safetensors::serialize(renamed.collect::<Vec<_>>(), None).unwrap()).unwrap();
}

#[test]
fn embeddings_are_those_of_transformers() {
    let found = embed(&open(&fixture()).unwrap(), &sentences());
    let off = deviation(&found, &expected());
    assert!(off < 1e-5, "{off}");
}

#[test]
fn a_sentence_is_embedded_alike_alone_and_among_many() {
    let model = open(&fixture()).unwrap();
    let sentences = sentences();
    let many: Vec<String> = (0..10).flat_map(|_| sentences.clone()).collect();
    let together = embed(&model, &many);
    for (row, sentence) in many.iter().enumerate().take(2 * sentences.len()) {
        let alone = embed(&model, std::slice::from_ref(sentence));
        let off = deviation(&alone, &together.slice(ndarray::s![row..=row, ..]).to_owned());
        assert!(off < 1e-6, "{sentence}: {off}");
    }
}

#[test]
fn no_sentences_give_no_rows() {
    let model = open(&fixture()).unwrap();
    assert_eq!(model.embed(&[]).unwrap().dim(), (0, model.width()));
}

#[test]
fn weights_saved_under_a_larger_model_are_found() {
    let folder = copy();
    rename(folder.path(), |name| Some(format!("bert.{name}")));
    let off = deviation(&embed(&open(folder.path()).unwrap(), &sentences()), &expected());
    assert!(off < 1e-5, "{off}");
}

#[test]
fn folders_of_newer_versions_of_the_library_are_read() {
    let folder = copy();
    let write = |name: &str, content: serde_json::Value| {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    };
    write("1_Pooling/config.json", json!({"embedding_dimension": 32, "pooling_mode": "mean"}));
    write("sentence_bert_config.json", json!({"transformer_task": "feature-extraction"}));
    write("tokenizer_config.json", json!({"model_max_length": 24}));
    let off = deviation(&embed(&open(folder.path()).unwrap(), &sentences()), &expected());
    assert!(off < 1e-5, "{off}");

    // No limit of the tokenizer's own: the model's counts.
    write("tokenizer_config.json", json!({"model_max_length": 1e30}));
    assert!(open(folder.path()).is_ok());
    write("tokenizer_config.json", json!({"model_max_length": 2}));
    let message = open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("tokenizer_config.json: model_max_length is 2, must be between 3"), "{message}");
    let message = message_after("1_Pooling/config.json", "pooling_mode", json!("cls"));
    assert!(message.contains("pooling_mode is \"cls\", must be \"mean\""), "{message}");
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = copy();
    let name = "encoder.layer.1.output.LayerNorm.bias";
    rename(folder.path(), |tensor| (tensor != name).then(|| tensor.to_owned()));
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(&error, SentenceBertError::MissingTensor { tensor, .. } if tensor == name), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let message = message_after("config.json", "intermediate_size", json!(65));
    let tensor = "`encoder.layer.0.intermediate.dense.weight` is [64, 32], config.json says [65, 32]";
    assert!(message.contains(tensor), "{message}");
}

#[test]
fn a_tensor_that_is_not_finite_or_no_number_is_named() {
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors: BTreeMap<String, TensorView> =
        SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().collect();
    let name = "embeddings.LayerNorm.weight";
    let infinite = f32::INFINITY.to_le_bytes().repeat(32);
    let error_with = |dtype| {
        let mut tensors = tensors.clone();
        tensors.insert(name.to_owned(), TensorView::new(dtype, vec![32], &infinite).unwrap());
        fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        open(folder.path()).unwrap_err()
    };
    let error = error_with(Dtype::F32);
    assert!(matches!(&error, SentenceBertError::NotFinite { tensor, .. } if tensor == name), "{error}");
    let error = error_with(Dtype::I32);
    assert!(matches!(&error, SentenceBertError::Type { tensor, .. } if tensor == name), "{error}");
}

#[test]
fn models_of_another_kind_are_refused_by_name() {
    let message = message_after("config.json", "model_type", json!("mpnet"));
    assert!(message.contains("config.json: model_type is mpnet, must be bert"), "{message}");
    let message = message_after("config.json", "hidden_act", json!("gelu_new"));
    assert!(message.contains("hidden_act is gelu_new, must be gelu"), "{message}");
    let message = message_after("1_Pooling/config.json", "pooling_mode_cls_token", json!(true));
    assert!(message.contains("pooling_mode_cls_token is true"), "{message}");
    let message = message_after("1_Pooling/config.json", "pooling_mode_mean_tokens", json!(false));
    assert!(message.contains("pooling_mode_mean_tokens is false"), "{message}");
}

#[test]
fn settings_that_would_overrun_the_model_are_refused() {
    let message = message_after("sentence_bert_config.json", "max_seq_length", json!(65));
    assert!(message.contains("max_seq_length is 65, must be between 3 and 64"), "{message}");
    let message = message_after("sentence_bert_config.json", "max_seq_length", json!(1));
    assert!(message.contains("max_seq_length is 1"), "{message}");
    let message = message_after("config.json", "vocab_size", json!(95));
    assert!(message.contains("tokenizer.json: token 95 is none of the 95"), "{message}");
    let message = message_after("config.json", "num_attention_heads", json!(5));
    assert!(message.contains("num_attention_heads is 5, must be a divisor of 32"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    for name in
        ["modules.json", "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"]
    {
        let folder = copy();
        fs::remove_file(folder.path().join(name)).unwrap();
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(name), "{name}: {message}");
    }
}

#[test]
fn a_cut_weights_file_is_refused() {
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, SentenceBertError::Safetensors { .. }), "{error}");
}
