//! A pre-training as its user sees it: it learns, survives being stopped, and leaves a model folder.
#![allow(clippy::unwrap_used)]

mod squares;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use gram_clip::{Compute, Model};
use gram_pretrain::Metric;
use gram_pretrain::training::TEMPLATE;
use gram_pretrain::zero_shot::zero_shot;
use serde_json::Value;
use squares::{CONFIG, held_out, pairs, pretrain};
use tempfile::tempdir;

const STEPS: usize = 48;
const MODEL_FILES: [&str; 4] =
    ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"];

fn losses(metrics: &[Metric]) -> Vec<f32> {
    let loss = |metric: &Metric| match metric {
        Metric::Step { loss, .. } => Some(*loss),
        Metric::ZeroShot { .. } => None,
    };
    metrics.iter().filter_map(loss).collect()
}

/// Accuracy in percent over all images and by domain, as last reported.
fn last_accuracy(metrics: &[Metric]) -> (f64, Vec<(String, f64)>) {
    let accuracy = |metric: &Metric| match metric {
        Metric::ZeroShot { accuracy, domains, .. } => Some((*accuracy, domains.clone())),
        Metric::Step { .. } => None,
    };
    metrics.iter().rev().find_map(accuracy).unwrap()
}

/// Copies what a run has on disk: what would be left if it were killed now.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => copy_folder(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// The metrics of a run's file without what depends on the clock.
fn recorded(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut metric: Value = serde_json::from_str(line).unwrap();
        metric.as_object_mut().unwrap().remove("pairs_per_second");
        metric
    };
    text.lines().map(parse).collect()
}

fn assert_same_model(one: &Path, other: &Path) {
    for file in MODEL_FILES {
        let read = |out: &Path| fs::read(out.join("model").join(file)).unwrap();
        assert!(read(one) == read(other), "{file} differs");
    }
}

#[test]
fn the_loss_falls_and_the_written_model_does_what_the_trained_one_did() {
    let out = tempdir().unwrap();
    let metrics = pretrain(CONFIG, &pairs(), out.path(), |_| {}).unwrap();
    let losses = losses(&metrics);
    assert_eq!(losses.len(), STEPS);
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    let (first, last) = (mean(&losses[..4]), mean(&losses[STEPS - 4..]));
    // 2.77 is the logarithm of the batch, about 0.5 the entropy of equal captions in it.
    assert!((2.0..3.5).contains(&first) && last < 1.2, "from {first} to {last}");

    let (folder, device) = (out.path().join("model"), Device::flex());
    let Model { clip, tokenizer, preprocess, .. } = Model::open(&folder, &Compute::cpu()).unwrap();
    assert_eq!(clip.config.text_config.eos_token_id, tokenizer.end());
    let found = zero_shot(&clip, &tokenizer, &preprocess, &held_out(), TEMPLATE, &device).unwrap();
    assert!(found.0 > 80.0, "{found:?}");
    assert_eq!(found, last_accuracy(&metrics));
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_model() {
    let (whole, killed) = (tempdir().unwrap(), tempdir().unwrap());
    // Step 24 ends an epoch, so that the checkpoint of step 21 lies in the middle of one.
    let kill = |metric: &Metric| {
        if matches!(metric, Metric::Step { step: 24, .. }) {
            copy_folder(whole.path(), killed.path());
        }
    };
    let metrics = pretrain(CONFIG, &pairs(), whole.path(), kill).unwrap();
    assert!(killed.path().join("checkpoint").exists());
    assert!(!killed.path().join("model").exists());
    let rest = pretrain(CONFIG, &pairs(), killed.path(), |_| {}).unwrap();
    assert_eq!(losses(&rest), losses(&metrics)[21..]);
    assert_same_model(whole.path(), killed.path());
    assert_eq!(recorded(killed.path()), recorded(whole.path()));
}

#[test]
fn a_run_that_was_killed_while_it_replaced_its_checkpoint_goes_on_from_the_old_one() {
    let (whole, killed) = (tempdir().unwrap(), tempdir().unwrap());
    let kill = |metric: &Metric| {
        if matches!(metric, Metric::Step { step: 16, .. }) {
            copy_folder(whole.path(), killed.path());
        }
    };
    pretrain(CONFIG, &pairs(), whole.path(), kill).unwrap();
    fs::rename(killed.path().join("checkpoint"), killed.path().join("checkpoint.old")).unwrap();
    fs::create_dir(killed.path().join("checkpoint.next")).unwrap();
    let rest = pretrain(CONFIG, &pairs(), killed.path(), |_| {}).unwrap();
    assert_eq!(losses(&rest).len(), STEPS - 14);
    assert_same_model(whole.path(), killed.path());
}

#[test]
fn a_finished_run_started_again_trains_nothing_and_writes_its_model_again() {
    let out = tempdir().unwrap();
    let config = CONFIG.replace("epochs = 12", "epochs = 1");
    pretrain(&config, &pairs(), out.path(), |_| {}).unwrap();
    let copy = tempdir().unwrap();
    copy_folder(out.path(), copy.path());
    fs::remove_dir_all(out.path().join("model")).unwrap();
    assert!(pretrain(&config, &pairs(), out.path(), |_| {}).unwrap().is_empty());
    assert_same_model(out.path(), copy.path());
}

#[test]
fn another_configuration_in_the_folder_of_a_run_is_refused() {
    let out = tempdir().unwrap();
    let config = CONFIG.replace("epochs = 12", "epochs = 1");
    pretrain(&config, &pairs(), out.path(), |_| {}).unwrap();
    for (this, that) in [("seed = 3", "seed = 4"), ("1e-2", "2e-2"), ("hidden_size = 16", "hidden_size = 32")]
    {
        let error = pretrain(&config.replace(this, that), &pairs(), out.path(), |_| {}).unwrap_err();
        let expected = format!(
            "{}: made under another configuration than this run's: pass another --out, or remove the folder to start anew",
            out.path().join("checkpoint/state.json").display()
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let out = tempdir().unwrap();
    let config = CONFIG.replace("epochs = 12", "epochs = 1");
    pretrain(&config, &pairs(), out.path(), |_| {}).unwrap();
    for file in ["optimizer.bpk", "weights.safetensors", "tokenizer.json", "state.json"] {
        let path = out.path().join("checkpoint").join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = pretrain(&config, &pairs(), out.path(), |_| {}).unwrap_err().to_string();
        assert!(error.contains(file) && !error.contains('\n'), "{file}: {error}");
        fs::write(&path, whole).unwrap();
    }
    pretrain(&config, &pairs(), out.path(), |_| {}).unwrap();
}

#[test]
fn fewer_pairs_than_a_batch_are_refused() {
    let out = tempdir().unwrap();
    let error = pretrain(CONFIG, &pairs()[..15], out.path(), |_| {}).unwrap_err();
    let expected = "15 pairs make no batch of 16: give more pairs or lower training.batch_size";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_setting_out_of_range_is_named_with_its_file() {
    let out = tempdir().unwrap();
    let error = |this: &str, that: &str| {
        pretrain(&CONFIG.replace(this, that), &pairs(), out.path(), |_| {}).unwrap_err().to_string()
    };
    assert_eq!(
        error("batch_size = 16", "batch_size = 1"),
        "squares.toml: training.batch_size must be 2 or more"
    );
    assert!(
        error("longest_caption = 10", "longest_caption = 17")
            .contains("training.longest_caption must be 3 to")
    );
    assert!(error("warmup_steps", "warm_up_steps").contains("unknown field `warm_up_steps`"));
    assert!(error("patch_size = 8", "patch_size = 7").contains("vision_config.patch_size = 7"));
    assert!(fs::read_dir(out.path()).unwrap().next().is_none(), "nothing was written");
}
