//! A few of the built-in pairs, clustered by the program.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// Runs the program.
pub fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one JSON value that a command that went well prints.
pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The first 40 concepts of the built-in pairs as a manifest, 640 pairs: enough to cluster, soon done.
fn few_pairs(folder: &Path) -> PathBuf {
    let pairs = gram_hub::assets::pairs().unwrap().pairs;
    let concept =
        |metadata: &Option<Value>| metadata.as_ref().unwrap()["concept"].as_str().unwrap().to_owned();
    let concepts: BTreeSet<String> = pairs.iter().map(|pair| concept(&pair.metadata)).collect();
    let chosen: Vec<String> = concepts.into_iter().take(40).collect();
    let mut lines = String::new();
    for pair in pairs.iter().filter(|pair| chosen.contains(&concept(&pair.metadata))) {
        let image = format!("{}.jpg", pair.key);
        std::fs::write(folder.join(&image), pair.image.bytes().unwrap()).unwrap();
        lines +=
            &format!("{}\n", serde_json::json!({"key": pair.key, "image": image, "caption": pair.caption}));
    }
    let manifest = folder.join("pairs.jsonl");
    std::fs::write(&manifest, lines).unwrap();
    manifest
}

/// The few pairs and their clusters, made once for all tests.
pub struct Clustered {
    folder: tempfile::TempDir,
    /// What `gram cluster --json` printed.
    pub summary: Value,
}

impl Clustered {
    /// A path in their folder: `pairs.jsonl`, `clusters`, or one of your own.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// The few pairs, clustered.
pub fn clustered() -> &'static Clustered {
    static CLUSTERED: OnceLock<Clustered> = OnceLock::new();
    CLUSTERED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let pairs = few_pairs(folder.path()).display().to_string();
        let out = folder.path().join("clusters").display().to_string();
        let output =
            gram(&["cluster", "--pairs", &pairs, "--out", &out, "--min-cluster-size", "8", "--json"]);
        Clustered { summary: json(&output), folder }
    })
}
