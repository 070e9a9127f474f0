//! `gram cluster` over features that were computed before, killed and gone on from, and told its cost.
#![allow(clippy::unwrap_used)]

mod clustered;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clustered::{gram, json, text};

/// What a clustering leaves.
fn outcome(folder: &Path) -> [Vec<u8>; 2] {
    ["pairs.parquet", "topics.json"].map(|name| fs::read(folder.join(name)).unwrap())
}

#[test]
fn a_clustering_that_is_killed_again_and_again_comes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let features = path("features");
    let embedded = json(&gram(&["embed", "--pairs", "demo", "--out", &features, "--json"]));
    assert_eq!(embedded["summary"]["rows"], 4000);
    let command = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
        command.args(["cluster", "--features", &features, "--min-cluster-size", "8", "--json", "--out", out]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let clock = Instant::now();
    let whole = json(&command(&path("whole")).output().unwrap());
    let took = clock.elapsed();
    assert!(whole["topics"].as_array().unwrap().len() > 20, "{whole}");

    let killed = path("killed");
    let (mut kills, mut rounds) = (0, 0);
    loop {
        let mut child = command(&killed).spawn().unwrap();
        // Later from round to round, so that each stage is the one that is hit.
        rounds += 1;
        sleep(took.mul_f64(0.15 * f64::from(rounds)).max(Duration::from_millis(10)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(rounds < 200, "it never ends");
    }
    json(&command(&killed).output().unwrap());
    assert!(kills >= 2, "killed {kills} times");
    assert!(outcome(Path::new(&path("whole"))) == outcome(Path::new(&killed)), "the bytes differ");
    assert!(!Path::new(&killed).join("finished").exists());
}

#[test]
fn cost_is_told_before_and_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("clusters");
    let arguments = ["cluster", "--pairs", "demo", "--dry-run", "--json", "--out", out.to_str().unwrap()];
    let cost = json(&gram(&arguments));
    assert_eq!(cost["pairs"], 4000);
    assert!(
        cost["seconds"].as_f64().unwrap() > 0.0 && cost["peak_megabytes"].as_f64().unwrap() > 1.0,
        "{cost}"
    );
    assert_eq!(cost["stages"].as_array().unwrap().len(), 4);
    assert!(cost["seeing"]["seconds"].as_f64().unwrap() > 0.0, "{cost}");
    assert!(!out.exists());
}

#[test]
fn wrong_settings_and_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let refused = |arguments: &[&str]| {
        let output = gram(&[&["cluster", "--out", &path("out")], arguments].concat());
        assert!(!output.status.success());
        text(&output.stderr).lines().last().unwrap().to_owned()
    };
    let error = refused(&["--features", &path("nowhere")]);
    assert!(error.contains("nowhere") && error.contains("gram embed"), "{error}");
    fs::write(path("chc.toml"), "domain = 3\n").unwrap();
    let error = refused(&["--pairs", "demo", "--config", &path("chc.toml")]);
    assert!(error.contains("chc.toml, line 1: unknown field `domain`"), "{error}");
    let error = refused(&["--pairs", "demo", "--similarity-quantile", "1.5"]);
    assert!(error.contains("similarity_quantile = 1.5: must be at least 0 and below 1"), "{error}");
}
