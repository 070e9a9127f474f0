//! KgCoOp as its user meets it: a textual prompt like CoOp's, kept near the hand-written one by a weight of
//! the settings.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::Device;
use gram_prompt::{Prompt, PromptFile, PromptKind};

fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Tunes on two images of each of the demo's base classes of food.
fn adapt(folder: &Path, name: &str, method: &str, more: &[&str]) -> Output {
    let out = folder.join(name).display().to_string();
    let fixed = ["adapt", "--data", "demo:food", "--classes", "base", "--method", method, "--out", &out];
    gram(&[&fixed[..], &["--shots", "2", "--epochs", "2", "--batch-size", "8"], more].concat())
}

fn prompt(folder: &Path, name: &str, method: &str, more: &[&str]) -> Prompt {
    let output = adapt(folder, name, method, more);
    assert!(output.status.success(), "{output:?}");
    let file = PromptFile::load(&folder.join(name), &Device::flex()).unwrap();
    assert_eq!(file.header.kind, PromptKind::Textual);
    file.prompt
}

fn weighing(folder: &Path, weight: &str) -> String {
    let path = folder.join(format!("weight-{weight}.toml"));
    fs::write(&path, format!("[objective.kgcoop]\nweight = {weight}\n")).unwrap();
    path.display().to_string()
}

#[test]
fn the_weight_keeps_the_prompt_and_nothing_else_is_changed_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let coop = prompt(folder, "coop.safetensors", "coop", &[]);
    let usual = prompt(folder, "usual.safetensors", "kgcoop", &[]);
    let none = prompt(folder, "none.safetensors", "kgcoop", &["--config", &weighing(folder, "0.0")]);
    let eight = prompt(folder, "eight.safetensors", "kgcoop", &["--config", &weighing(folder, "8.0")]);
    let apart = |one: &Prompt, other: &Prompt| one.add_scaled(other, -1.0).norm();
    assert_eq!((apart(&none, &coop), apart(&eight, &usual)), (0.0, 0.0));
    assert!(apart(&usual, &coop) > 0.0);
    // CoOp knows nothing of the weight.
    let same = prompt(folder, "same.safetensors", "coop", &["--config", &weighing(folder, "8.0")]);
    assert_eq!(apart(&same, &coop), 0.0);
    let refused = adapt(folder, "x.safetensors", "kgcoop", &["--config", &weighing(folder, "-1.0")]);
    assert!(error_of(&refused).contains("objective.kgcoop.weight: -1"), "{refused:?}");
}

#[test]
fn a_prompt_of_kgcoop_goes_where_one_of_coop_goes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // CoOp's file has its sentence, with a full stop.
    let own = prompt(folder, "kgcoop.safetensors", "kgcoop", &["--template", "a picture of a {}."]);
    let (path, coop) = (folder.join("kgcoop.safetensors"), folder.join("model.pth.tar-0"));
    let (path, exported) = (path.display().to_string(), coop.display().to_string());
    let output = gram(&["export", "--prompt", &path, "--to", "coop", "--out", &exported]);
    assert!(output.status.success(), "{output:?}");
    let read = PromptFile::load(&coop, &Device::flex()).unwrap().prompt;
    assert_eq!(read.add_scaled(&own, -1.0).norm(), 0.0);
}

#[test]
fn kgcoop_with_gram_starts_at_coop_s_meta_trained_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(error_of(&adapt(folder, "x.safetensors", "kgcoop-gram", &[])).contains("--init"));
    prompt(folder, "start.safetensors", "coop", &[]);
    let start = folder.join("start.safetensors").display().to_string();
    prompt(folder, "gram.safetensors", "kgcoop-gram", &["--init", &start]);
    let (out, given) = (folder.join("bench").display().to_string(), format!("coop-gram={start}"));
    let bench = ["bench", "--data", "demo:food", "--methods", "kgcoop,kgcoop-gram", "--start", &given];
    let output =
        gram(&[&bench[..], &["--shots", "1", "--seeds", "1", "--epochs", "1", "--out", &out]].concat());
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("KgCoOp + GRAM − KgCoOp"), "{shown}");
}
