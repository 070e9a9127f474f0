//! `gram inspect` knows what gram writes, and what it reads.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

fn made(arguments: &[&str]) {
    let output = gram(arguments);
    assert!(output.status.success(), "{output:?}");
}

fn inspected(path: impl AsRef<Path>) -> Value {
    let output = gram(&["inspect", "--json", path.as_ref().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn built_in_things_are_known_by_their_names() {
    assert_eq!(inspected("demo")["pairs"], 4000);
    let food = inspected("demo:food");
    assert_eq!((food["kind"].as_str(), food["class_count"].as_u64()), (Some("dataset"), Some(40)));
    assert_eq!(food["images"]["train"], 480);
    let tiny = inspected("tiny");
    assert_eq!((tiny["kind"].as_str(), tiny["joint_width"].as_u64()), (Some("model"), Some(128)));
    let printed = String::from_utf8(gram(&["inspect", "demo:food"]).stdout).unwrap();
    assert!(
        printed.contains("train 480; validation 120; test 360") || printed.contains("test 360; train 480")
    );
    assert!(printed.contains("and 30 more"));
}

#[test]
fn what_gram_writes_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (prompt, weights, features) = (at("food.safetensors"), at("weights.npy"), at("features"));
    made(&[
        "adapt",
        "--data",
        "demo:food",
        "--method",
        "coop",
        "--shots",
        "1",
        "--epochs",
        "1",
        "--out",
        &prompt,
    ]);
    let found = inspected(&prompt);
    assert_eq!((found["kind"].as_str(), found["model"].as_str()), (Some("prompt"), Some("tiny")));
    assert_eq!(found["classes"].as_array().unwrap().len(), 40);
    assert_eq!(found["vectors"].as_object().unwrap().len(), 1);
    assert!(found["settings"].is_object() && found["made_by"].as_str().unwrap().starts_with("gram adapt"));

    made(&["export", "--prompt", &prompt, "--to", "classifier", "--out", &weights]);
    assert_eq!(inspected(&weights)["kind"], "classifier");

    made(&["embed", "--pairs", "demo", "--out", &features]);
    let found = inspected(&features);
    assert_eq!((found["kind"].as_str(), found["pairs"].as_u64()), (Some("features of pairs"), Some(4000)));
    assert_eq!(found["made_by"], "gram embed");

    let clusters = at("clusters");
    made(&["cluster", "--features", &features, "--out", &clusters]);
    let found = inspected(&clusters);
    assert_eq!((found["kind"].as_str(), found["made_by"].as_str()), (Some("clusters"), Some("gram cluster")));
    assert!(found["topics"].as_u64().unwrap() > 10);
}

#[test]
fn what_is_nothing_of_that_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["notes.md", "broken.safetensors"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "nothing").unwrap();
        let output = gram(&["inspect", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.lines().count() == 1 && said.contains(name) && said.contains("it is no "), "{said}");
    }
}
