//! What is looked at before the work: where the result goes, topics enough, steps enough, and what a settings
//! file says.
#![allow(clippy::unwrap_used)]

mod clustered;

use std::fs;
use std::path::Path;
use std::process::Output;

use clustered::{clustered, gram, text};

/// The last line on standard error of a command that failed.
fn refused(arguments: &[&str]) -> String {
    let output = gram(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    text(&output.stderr).lines().last().unwrap().to_owned()
}

fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// A model that is not there: who looks at the output first does not get to it.
const NO_MODEL: [&str; 2] = ["--model", "no-such-model"];

#[test]
fn every_command_looks_at_its_output_before_any_model_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("file"), "").unwrap();
    fs::create_dir(path("folder")).unwrap();
    let (below, in_place) = (path("file/x"), path("file"));
    let files: [&[&str]; 5] = [
        &["adapt", "--data", "demo:food", "--method", "coop"],
        &["meta-train", "--pairs", "demo", "--clusters", "nowhere", "--method", "coop"],
        &["export", "--to", "classifier", "--classes", "a,b"],
        &["episodes", "--clusters", "nowhere", "--count", "1"],
        &["data", "few-shot", "demo:food"],
    ];
    let folders: [&[&str]; 7] = [
        &["bench", "--data", "demo:food"],
        &["study", "table-6"],
        &["study", "design", "--clusters", "nowhere"],
        &["embed", "--pairs", "demo"],
        &["cluster", "--pairs", "demo"],
        &["pretrain", "--pairs", "nowhere", "--config", "nowhere.toml"],
        &["demo"],
    ];
    let has_model = |command: &[&str]| !["episodes", "data", "demo", "pretrain"].contains(&command[0]);
    for (commands, wrong, told) in [
        (&files[..], &path("folder"), "this is a folder: name a file"),
        (&folders[..], &in_place, "this is a file: name a folder"),
    ] {
        for command in commands {
            let model = if has_model(command) { &NO_MODEL[..] } else { &[] };
            let error = refused(&[command, model, &["--out", wrong]].concat());
            assert!(error.starts_with("gram: --out ") && error.ends_with(told), "{command:?}: {error}");
            let error = refused(&[command, model, &["--out", &below]].concat());
            assert!(error.ends_with("file is no folder"), "{command:?}: {error}");
        }
    }
}

#[test]
fn folders_of_a_result_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let short = ["--epochs", "1", "--shots", "1"];
    let out = path("new/deep/prompt.safetensors");
    succeeds(&gram(
        &[&["adapt", "--data", "demo:food", "--method", "coop", "--out", &out], &short[..]].concat(),
    ));
    assert!(Path::new(&out).is_file());
    let out = path("other/weights.npy");
    succeeds(&gram(&["export", "--to", "classifier", "--classes", "a,b", "--out", &out]));
    assert!(Path::new(&out).is_file());
    let out = path("third/few.json");
    succeeds(&gram(&["data", "few-shot", "demo:food", "--shots", "1", "--out", &out]));
    assert!(Path::new(&out).is_file());
    // Nothing is made where the command fails for another reason.
    refused(&["adapt", "--data", "nowhere", "--method", "coop", "--out", &path("fourth/prompt.safetensors")]);
    assert!(!folder.path().join("fourth").exists());
}

#[test]
fn too_few_topics_are_told_first_with_the_largest_number_of_ways() {
    let clustered = clustered();
    let folder = tempfile::tempdir().unwrap();
    let clusters = clustered.path("clusters");
    let out = folder.path().join("start.safetensors").display().to_string();
    let meta_train =
        ["meta-train", "--pairs", "nowhere", "--clusters", &clusters, "--method", "coop", "--out", &out];
    let error = refused(&[&meta_train[..], &NO_MODEL, &["--ways", "500"]].concat());
    let (_, largest) = error.split_once("for 500-way episodes: --ways ").unwrap_or_else(|| panic!("{error}"));
    let (largest, _) = largest.split_once(" is the largest that is possible").unwrap();
    let episodes = ["episodes", "--clusters", &clusters, "--count", "1", "--out", &out, "--ways"];
    assert!(
        refused(&[&episodes[..], &["500"]].concat()).contains(&format!("--ways {largest} is the largest"))
    );
    succeeds(&gram(&[&episodes[..], &[largest]].concat()));
    let more = (largest.parse::<usize>().unwrap() + 1).to_string();
    assert!(refused(&[&episodes[..], &[more.as_str()]].concat()).contains("is the largest"));
    // One episode, where ten steps of four are asked for.
    succeeds(&gram(&[&episodes[..], &["2"]].concat()));
    let listed =
        ["meta-train", "--pairs", "nowhere", "--episodes", &out, "--method", "coop", "--steps", "10"];
    let start = folder.path().join("listed.safetensors").display().to_string();
    let error = refused(&[&listed[..], &NO_MODEL, &["--out", &start]].concat());
    assert!(error.contains("1 episodes are listed, 40 are needed"), "{error}");
}

#[test]
fn a_settings_file_says_any_part_everywhere_and_nothing_unknown() {
    let clustered = clustered();
    let (pairs, clusters) = (clustered.path("pairs.jsonl"), clustered.path("clusters"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, out) = (path("settings.toml"), path("out"));
    let start = path("start.safetensors");
    let start_with =
        ["meta-train", "--pairs", &pairs, "--clusters", &clusters, "--method", "coop", "--out", &start];
    let commands: [&[&str]; 5] = [
        &[&start_with[..], &["--config", &config]].concat(),
        &[
            "study",
            "design",
            "--pairs",
            &pairs,
            "--clusters",
            &clusters,
            "--out",
            &out,
            "--meta-config",
            &config,
        ],
        &["adapt", "--data", "demo:food", "--method", "coop", "--out", &out, "--config", &config],
        &["cluster", "--pairs", "demo", "--dry-run", "--out", &out, "--config", &config],
        &["pretrain", "--pairs", &pairs, "--out", &out, "--config", &config],
    ];
    fs::write(&config, "\u{feff}# no setting has this name\n\nstepps = 3\n").unwrap();
    for command in commands {
        let error = refused(command);
        assert!(error.contains("settings.toml, line 3: unknown field `stepps`"), "{command:?}: {error}");
    }
    fs::write(&config, "steps = 2\nmeta_batch = 1\nregulator = \"none\"\n[episodes]\nways = 2\n").unwrap();
    succeeds(&gram(commands[0]));
    let written = fs::read_to_string(path("start.run/settings.toml")).unwrap();
    let settings: toml::Table = written.parse().unwrap();
    assert_eq!(settings["episodes"]["ways"].as_integer(), Some(2));
    assert_eq!((settings["regulator"].as_str(), settings["patience"].as_str()), (Some("none"), Some("none")));
    // What a run says of itself is what the next one is told.
    let again = path("again.safetensors");
    let told = path("start.run/settings.toml");
    let arguments = [&start_with[..7], &["--out", &again, "--config", &told]].concat();
    succeeds(&gram(&arguments));
    assert_eq!(fs::read_to_string(path("again.run/settings.toml")).unwrap(), written);
    fs::write(&config, "[hdbscan]\nmin_cluster_size = 12\n").unwrap();
    succeeds(&gram(commands[3]));
    fs::write(&config, "[training]\nepochs = 0\n").unwrap();
    assert!(refused(commands[4]).ends_with("settings.toml: training.epochs must be 1 or more"));
    fs::write(&config, "[model.vision_config]\nhiden_size = 3\n").unwrap();
    assert!(refused(commands[4]).contains("line 2: unknown field `model.vision_config.hiden_size`"));
}

#[test]
fn quarters_need_four_steps() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study").display().to_string();
    let study = |steps: &str| {
        refused(&[&["study", "figure-3b", "--steps", steps, "--out", &out], &NO_MODEL[..]].concat())
    };
    assert!(study("3").contains("--steps 3: figure-3b has a mean for every quarter of the steps: 4 or more"));
    assert!(study("4").contains("no-such-model"));
}

#[test]
fn an_export_does_not_replace_what_it_is_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (prompt, weights) = (path("prompt.safetensors"), path("weights.npy"));
    let short = ["--epochs", "1", "--shots", "1", "--out", &prompt];
    succeeds(&gram(&[&["adapt", "--data", "demo:food", "--method", "coop"][..], &short].concat()));
    let export = ["export", "--classes", "a,b", "--to", "classifier"];
    succeeds(&gram(&[&export[..], &["--out", &weights]].concat()));
    fs::create_dir(path("below")).unwrap();
    for (made_from, flag, export) in [
        (&prompt, "--prompt", &export[..]),
        (&prompt, "--prompt", &["export", "--to", "coop"]),
        (&weights, "--weights", &export),
    ] {
        let before = fs::read(made_from).unwrap();
        let name = Path::new(made_from).file_name().unwrap().to_str().unwrap();
        for out in [made_from, &path(&format!("below/../{name}"))] {
            let error = refused(&[export, &[flag, made_from, "--out", out]].concat());
            let told =
                format!("gram: --out {made_from}: it would replace what it is made from: name another file");
            assert_eq!(error, told, "{export:?}");
            assert!(fs::read(made_from).unwrap() == before, "{export:?}");
        }
    }
}

#[test]
fn what_is_of_another_kind_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // Weights of a model are no classifier, a manifest is no split, notes are neither prompt nor episodes.
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tiny/model.safetensors");
    fs::copy(weights, path("model.safetensors")).unwrap();
    fs::write(path("labels.csv"), "image,label\na.png,cat\nb.png,dog\n").unwrap();
    let prompt = path("prompt.safetensors");
    let adapt = ["adapt", "--data", "demo:food", "--method", "coop", "--epochs", "1", "--shots", "1"];
    let template = ["--template", "a photo of a {}."];
    succeeds(&gram(&[&adapt[..], &template, &["--out", &prompt]].concat()));
    let (features, other) = (path("features"), path("other.safetensors"));
    succeeds(&gram(&["embed", "--data", "demo:food", "--out", &features]));
    fs::copy(&prompt, &other).unwrap();
    for (arguments, out, what) in [
        (&["export", "--classes", "a,b", "--to", "classifier"][..], "model.safetensors", "classifier"),
        (&["export", "--classes", "a,b", "--to", "classifier"], "other.safetensors", "classifier"),
        (
            &["export", "--classes", "a,b", "--to", "classifier"],
            "features/features.safetensors",
            "classifier",
        ),
        (&["export", "--classes", "a,b", "--to", "classifier"], "features/image_features.npy", "classifier"),
        (&["export", "--prompt", &prompt, "--to", "coop"], "other.safetensors", "prompt of CoOp's"),
        (&["export", "--prompt", &prompt, "--to", "coop"], "labels.csv", "prompt of CoOp's"),
        (&["data", "few-shot", "demo:food", "--shots", "1"], "labels.csv", "few-shot split"),
    ] {
        let before = fs::read(path(out)).unwrap();
        let error = refused(&[arguments, &["--out", &path(out)]].concat());
        let told = format!(
            "gram: --out {}: this is no {what}, and is not replaced by one: name another file",
            path(out)
        );
        assert_eq!(error, told);
        assert!(fs::read(path(out)).unwrap() == before, "{out}");
    }
    // What is of the same kind is.
    for _ in 0..2 {
        let split = path("split.json");
        succeeds(&gram(&["data", "few-shot", "demo:food", "--shots", "1", "--out", &split]));
        let matrix = path("weights.safetensors");
        succeeds(&gram(&["export", "--classes", "a,b", "--to", "classifier", "--out", &matrix]));
        let coop = path("coop.pth");
        succeeds(&gram(&["export", "--prompt", &prompt, "--to", "coop", "--out", &coop]));
    }
}
