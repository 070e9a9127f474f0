//! The program as its user meets it: outputs, files and exit codes.
#![allow(clippy::unwrap_used)]

mod clustered;

use std::path::Path;

use burn::tensor::Device;
use clustered::{clustered, gram, json, text};
use gram_cluster::Clusters;
use gram_prompt::{Part, PromptFile, PromptKind};
use serde_json::Value;

#[test]
fn pairs_that_do_not_exist_are_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("clusters").display().to_string();
    let output = gram(&["cluster", "--pairs", "/nowhere/pairs", "--out", &out]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("gram: pairs /nowhere/pairs"), "{error}");
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_model_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("clusters").display().to_string();
    let output = gram(&["cluster", "--model", "nowhere", "--pairs", "demo", "--out", &out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("gram: model nowhere does not exist"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in
        [&["cluster"][..], &["meta-train", "--method", "cocoop", "--pairs", "demo", "--out", "x"], &["paint"]]
    {
        assert_eq!(gram(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_built_in_pairs_become_topics() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let summary = json(&gram(&["cluster", "--pairs", "demo", "--out", &out, "--json"]));
    let topics = summary["topics"].as_array().unwrap();
    assert_eq!(summary["pairs"], 4000);
    assert!(topics.len() > 100, "{} topics", topics.len());
    let saved = Clusters::load(folder.path()).unwrap();
    assert_eq!(serde_json::to_value(&saved.topics).unwrap(), summary["topics"]);
    let look = |name: &Value| {
        let name = name.as_str().unwrap();
        ["blurry", "green", "tilted", "background", "drawing"]
            .iter()
            .any(|look| name.split(' ').any(|word| word == *look))
    };
    assert!(!topics.iter().any(|topic| look(&topic["name"])), "a topic is named after a look");
    // The model sees the names in the images: chance gives one in twenty.
    let recognised: f64 = topics.iter().map(|topic| topic["recognition"].as_f64().unwrap()).sum();
    assert!(recognised / topics.len() as f64 > 0.4, "{recognised}");
}

#[test]
fn topics_are_corrected_by_hand_and_episodes_shown() {
    let clustered = clustered();
    let folder = tempfile::tempdir().unwrap();
    let clusters = folder.path().join("clusters");
    std::fs::create_dir(&clusters).unwrap();
    for name in Clusters::FILES {
        std::fs::copy(std::path::Path::new(&clustered.path("clusters")).join(name), clusters.join(name))
            .unwrap();
    }
    let first = clustered.summary["topics"][0]["name"].as_str().unwrap();
    std::fs::write(
        clusters.join("topics.toml"),
        format!("drop = ['#1']\n[rename]\n'{first}' = 'sea monster'\n"),
    )
    .unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let draw = |count: &str| {
        let (clusters, pairs) = (clusters.display().to_string(), clustered.path("pairs.jsonl"));
        gram(&[
            "episodes",
            "--clusters",
            &clusters,
            "--count",
            count,
            "--ways",
            "2",
            "--support-shots",
            "2",
            "--query-shots",
            "2",
            "--validation-topics",
            "0",
            "--out",
            &at("episodes.json"),
            "--html",
            &at("episodes.html"),
            "--pairs",
            &pairs,
            "--json",
        ])
    };
    let summary = json(&draw("60"));
    assert_eq!(summary["episodes"], 60);
    assert!((0.0..=1.0).contains(&summary["other_domains"].as_f64().unwrap()));
    let listed = std::fs::read_to_string(folder.path().join("episodes.json")).unwrap();
    let dropped = clustered.summary["topics"][1]["name"].as_str().unwrap();
    assert!(listed.contains("\"sea monster\"") && !listed.contains(&format!("\"{first}\"")));
    assert!(!listed.contains(&format!("\"{dropped}\"")), "{dropped}");
    let page = std::fs::read_to_string(folder.path().join("episodes.html")).unwrap();
    assert!(page.contains("Episode 30<") && page.contains("data:image/jpeg;base64,"));
    std::fs::write(clusters.join("topics.toml"), "drop = ['no such topic']").unwrap();
    let refused = draw("60");
    let problem = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(problem.contains("topics.toml: no topic is called `no such topic` in topics.json"), "{problem}");
}

#[test]
fn clustering_the_same_pairs_again_gives_the_same_topics() {
    let clustered = clustered();
    let out = clustered.path("again");
    let pairs = clustered.path("pairs.jsonl");
    let again =
        json(&gram(&["cluster", "--pairs", &pairs, "--out", &out, "--min-cluster-size", "8", "--json"]));
    assert_eq!(again["topics"], clustered.summary["topics"]);
}

/// Meta-trains a start of two steps on the few pairs.
fn meta_trained(method: &str) -> (PromptFile, Vec<Value>) {
    let clustered = clustered();
    let out = clustered.path(&format!("{method}.safetensors"));
    let (pairs, clusters) = (clustered.path("pairs.jsonl"), clustered.path("clusters"));
    let mut arguments = vec!["meta-train", "--pairs", &pairs, "--clusters", &clusters, "--method", method];
    arguments.extend(["--steps", "2", "--meta-batch", "1", "--ways", "2", "--out", &out, "--json"]);
    let printed = json(&gram(&arguments));
    assert_eq!(printed["start"], out);
    let metrics = std::fs::read_to_string(clustered.path(&format!("{method}.run/metrics.jsonl"))).unwrap();
    let steps: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed["last"], steps[1]);
    (PromptFile::load(Path::new(&out), &Device::flex()).unwrap(), steps)
}

#[test]
fn a_textual_start_is_meta_trained_and_written_with_its_regulator() {
    let (file, steps) = meta_trained("coop");
    assert_eq!((file.header.model.name.as_str(), file.header.kind), ("tiny", PromptKind::Textual));
    assert_eq!(file.header.template, "a picture of a {}");
    assert_eq!(
        (&file.header.settings["steps"], &file.header.settings["episodes"]["ways"]),
        (&2.into(), &2.into())
    );
    assert!(file.header.command.starts_with("gram meta-train --pairs "));
    assert_eq!(file.regulator.len(), 4);
    assert_eq!(steps.len(), 2);
    assert!(steps[1]["validation"]["loss"].as_f64().unwrap().is_finite());
}

#[test]
fn a_joint_start_has_both_prompts() {
    let (file, _) = meta_trained("joint");
    assert_eq!(file.prompt.get(Part::Visual).unwrap().dims()[0], 2);
    assert!(file.prompt.get(Part::Text).is_some());
    assert_eq!(file.regulator.len(), 8);
}

#[test]
fn clusters_of_other_pairs_are_refused() {
    let clustered = clustered();
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one.jsonl");
    let lines = std::fs::read_to_string(clustered.path("pairs.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let image = clustered.path(first["image"].as_str().unwrap());
    let line = serde_json::json!({"key": "another", "image": image, "caption": "a tiger"});
    std::fs::write(&one, format!("{line}\n")).unwrap();
    let (pairs, clusters) = (one.display().to_string(), clustered.path("clusters"));
    let out = clustered.path("refused.safetensors");
    let output =
        gram(&["meta-train", "--pairs", &pairs, "--clusters", &clusters, "--method", "coop", "--out", &out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("give the pairs that were clustered"), "{}", text(&output.stderr));
}
