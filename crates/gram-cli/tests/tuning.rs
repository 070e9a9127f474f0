//! Tuning and protocols as their user meets them: prompts, resumed benches, and test images that nothing is
//! tuned on.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use burn::tensor::Device;
use gram_prompt::PromptFile;
use image::{Rgb, RgbImage};
use serde_json::Value;

/// Few epochs of small batches: the way is tested, not where it leads.
const SHORT: [&str; 4] = ["--epochs", "2", "--batch-size", "8"];

fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Squares of four colours, 4 to tune on, 2 to validate and 3 to test each; `test_label` names the class of a
/// test image.
fn squares(folder: &Path, test_label: impl Fn(usize) -> usize) -> PathBuf {
    let colours =
        [("red", [200, 30, 30]), ("green", [30, 180, 40]), ("blue", [40, 60, 210]), ("grey", [120; 3])];
    let mut manifest = String::from("image,label,split\n");
    for (class, (name, rgb)) in colours.iter().enumerate() {
        for number in 0..9_u32 {
            let image = format!("{name}-{number}.png");
            let shade = |x: u32, y: u32| Rgb(rgb.map(|value| value + ((x * number + 3 * y) % 17) as u8));
            RgbImage::from_fn(48, 48, shade).save(folder.join(&image)).unwrap();
            let (split, label) = match number {
                0..4 => ("train", class),
                4..6 => ("val", class),
                _ => ("test", test_label(class)),
            };
            manifest += &format!("{image},{} square,{split}\n", colours[label].0);
        }
    }
    let path = folder.join("squares.csv");
    fs::write(&path, manifest).unwrap();
    path
}

fn adapt(data: &Path, method: &str, out: &Path, more: &[&str]) -> Output {
    let data = data.display().to_string();
    let out = out.display().to_string();
    let fixed = ["adapt", "--data", &data, "--method", method, "--shots", "4", "--out", &out, "--json"];
    gram(&[&fixed[..], &SHORT, more].concat())
}

#[test]
fn every_kind_of_prompt_is_tuned_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class);
    let image = folder.path().join("red-8.png").display().to_string();
    for (number, (method, more)) in [
        ("coop", &[][..]),
        ("coop", &["--context-tokens", "3", "--class-position", "middle", "--class-specific"]),
        ("cocoop", &["--class-position", "front"]),
        ("vpt", &["--visual-tokens", "3"]),
        ("vpt-deep", &[]),
        ("joint", &["--rate", "0.02/0.002", "--weight-decay", "0"]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = folder.path().join(format!("prompt-{number}.safetensors"));
        let adapted = json(&adapt(&data, method, &out, more));
        assert_eq!(
            (adapted["classes"].as_u64(), adapted["images"].as_u64()),
            (Some(4), Some(16)),
            "{method}"
        );
        let metrics = fs::read_to_string(out.with_extension("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), 2);
        let prompt = out.display().to_string();
        let told = json(&gram(&["predict", "--prompt", &prompt, "--json", &image]));
        assert_eq!(told["predictions"].as_array().unwrap().len(), 4, "{method}");
        let file = PromptFile::load(&out, &Device::flex()).unwrap();
        assert_eq!(file.header.classes[3], "red square");
    }
}

#[test]
fn test_labels_change_no_prompt() {
    for method in ["coop", "cocoop", "vpt"] {
        let prompt = |test_label: fn(usize) -> usize| {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("prompt.safetensors");
            json(&adapt(&squares(folder.path(), test_label), method, &out, &[]));
            PromptFile::load(&out, &Device::flex()).unwrap().prompt
        };
        let (right, shuffled) = (prompt(|class| class), prompt(|class| (class + 1) % 4));
        assert!(right.norm() > 0.0);
        assert_eq!(right.add_scaled(&shuffled, -1.0).norm(), 0.0, "{method}");
    }
}

#[test]
fn shots_from_a_file_are_those_that_the_seed_draws() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class);
    let (data_name, shots) = (data.display().to_string(), folder.path().join("shots.json"));
    let shots_name = shots.display().to_string();
    let drawn = gram(&["data", "few-shot", &data_name, "--shots", "2", "--seed", "5", "--out", &shots_name]);
    assert!(drawn.status.success(), "{drawn:?}");
    let of = |name: &str, which: &[&str]| {
        let out = folder.path().join(name);
        let path = out.display().to_string();
        let fixed =
            ["adapt", "--data", &data_name, "--method", "coop", "--out", &path, "--seed", "5", "--json"];
        json(&gram(&[&fixed[..], &SHORT, which].concat()));
        PromptFile::load(&out, &Device::flex()).unwrap().prompt
    };
    let (from_file, from_seed) =
        (of("a.safetensors", &["--few-shot", &shots_name]), of("b.safetensors", &["--shots", "2"]));
    assert_eq!(from_file.add_scaled(&from_seed, -1.0).norm(), 0.0);
    let text = fs::read_to_string(&shots).unwrap();
    assert!(!text.contains(&folder.path().display().to_string()), "paths are relative");
    let broken =
        text.replacen("-0.png", "-7.png", 1).replacen("-1.png", "-7.png", 1).replacen("-2.png", "-7.png", 1);
    fs::write(&shots, broken).unwrap();
    let out = folder.path().join("c.safetensors").display().to_string();
    let refused =
        gram(&["adapt", "--data", &data_name, "--method", "coop", "--out", &out, "--few-shot", &shots_name]);
    assert!(error_of(&refused).contains("is a test image"), "{refused:?}");
}

#[test]
fn what_cannot_be_tuned_is_said_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class);
    let out = folder.path().join("prompt.safetensors");
    let error = |method: &str, more: &[&str]| error_of(&adapt(&data, method, &out, more));
    assert!(error("tip-adapter", &[]).contains("`gram bench`"));
    assert!(error("coop-gram", &[]).contains("--init"));
    let path = folder.path().join("tuning.toml").display().to_string();
    fs::write(&path, "[baseline]\nmomentun = 0.5\n").unwrap();
    let unknown = error("coop", &["--config", &path]);
    assert!(unknown.contains("tuning.toml") && unknown.contains("momentun"), "{unknown}");
    assert!(error("coop", &["--rate", "1e30"]).contains("lower --rate"));
    assert!(!out.exists());
}

#[test]
fn a_dataset_is_described_and_what_is_broken_in_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class);
    fs::write(folder.path().join("red-0.png"), "no image").unwrap();
    fs::copy(folder.path().join("blue-1.png"), folder.path().join("blue-8.png")).unwrap();
    let output = gram(&["data", "validate", &data.display().to_string(), "--json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"], serde_json::json!({"train": 16, "validation": 8, "test": 12}));
    assert_eq!(report["unreadable"][0][0], "red-0.png");
    assert_eq!(report["in_several_splits"], serde_json::json!([["blue-1.png", "blue-8.png"]]));
}

/// A bench in `out` over two datasets, three protocols and four methods of every sort.
fn bench(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
    let config = out.with_extension("toml");
    fs::write(&config, "[tip_adapter]\nepochs = 1\n").unwrap();
    command
        .args(["bench", "--data", "demo:food", "--data", "demo:animals", "--protocol", "all", "--shots", "1"])
        .args(["--methods", "zero-shot,tip-adapter-f,coop,vpt", "--seeds", "2", "--epochs", "1", "--config"])
        .arg(config)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()))
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_bench_that_is_killed_and_started_again_gives_what_an_unbroken_one_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    assert!(bench(&whole).status().unwrap().success());
    let runs = |folder: &Path| files(folder).iter().filter(|(path, _)| path.starts_with("runs")).count();
    let mut child = bench(&broken).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && (!broken.exists() || runs(&broken) < 9) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let finished = files(&broken);
    assert!(finished.len() < files(&whole).len(), "it was killed in the middle");
    assert!(bench(&broken).status().unwrap().success());
    assert!(files(&broken) == files(&whole));
    for table in ["tables.md", "tables.tex", "runs.csv", "summary.csv", "clip_benchmark.jsonl"] {
        assert!(whole.join("1-shot").join(table).is_file(), "{table}");
    }
    let lines = fs::read_to_string(whole.join("1-shot/clip_benchmark.jsonl")).unwrap();
    for line in lines.lines() {
        let metrics = &serde_json::from_str::<serde_json::Value>(line).unwrap()["metrics"];
        let of = |name: &str| metrics[name].as_f64().unwrap();
        assert!(of("acc5") >= of("acc1") && (0.0..=1.0).contains(&of("mean_per_class_recall")), "{line}");
    }
    let other = gram(&[
        "bench",
        "--data",
        "demo:food",
        "--methods",
        "coop",
        "--epochs",
        "2",
        "--out",
        &whole.display().to_string(),
    ]);
    assert!(error_of(&other).contains("settings.baseline.epochs was 1, now 2"), "{other:?}");
}

#[test]
fn each_seed_of_a_bench_begins_at_its_own_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = |seed: u64| folder.path().join(format!("start-{seed}.safetensors"));
    let demo = PathBuf::from("demo:animals");
    let tuned = |seed: u64| adapt(&demo, "coop", &start(seed), &["--seed", &seed.to_string()]);
    (1..=2).for_each(|seed| assert!(tuned(seed).status.success()));
    let bench = |name: &str, seeds: &[&str], start: &str| {
        let out = folder.path().join(name);
        let start = format!("coop-gram={}", folder.path().join(start).display());
        let fixed =
            ["bench", "--data", "demo:food", "--methods", "coop-gram", "--shots", "1", "--epochs", "1"];
        let output =
            gram(&[&fixed[..], seeds, &["--start", &start, "--out", &out.display().to_string()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let run = |seed: u64| out.join(format!("runs/1-shot/base-to-new/food/seed-{seed}/coop-gram.json"));
        [1, 2].map(|seed| fs::read_to_string(run(seed)).ok())
    };
    let both = bench("both", &["--seeds", "2"], "start-{seed}.safetensors");
    let [first, _] = bench("first", &["--seeds", "1"], "start-1.safetensors");
    let [_, second] = bench("second", &["--seeds", "1", "--seed", "2"], "start-2.safetensors");
    let [_, other] = bench("other", &["--seeds", "1", "--seed", "2"], "start-1.safetensors");
    assert_eq!(both, [first, second.clone()]);
    assert_ne!(second, other, "another start gives something else");
}

#[test]
fn studies_leave_parts_of_gram_out_and_go_on_from_their_starts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let study = |which: &str| {
        let fixed =
            ["study", which, "--method", "coop-gram", "--data", "demo:food", "--shots", "1", "--seeds", "1"];
        let output = gram(&[&fixed[..], &["--steps", "4", "--epochs", "1", "--out", &out]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(folder.path().join("study.md")).unwrap()
    };
    let table = study("table-6");
    for row in ["GRAM", "domain shift", "regulating", "pre-training", "supervised", "no meta-training"] {
        assert!(table.lines().any(|line| line.starts_with('|') && line.contains(row)), "{row}: {table}");
    }
    let kept = files(&folder.path().join("starts"));
    let starts = kept.iter().filter(|(path, _)| path.components().count() == 1);
    assert_eq!(starts.count(), 5);
    let starts = |condition: &str| {
        PromptFile::load(
            &folder.path().join(format!("starts/{condition}-4-steps.safetensors")),
            &Device::flex(),
        )
        .unwrap()
    };
    assert!(starts("gram").regulator.len() == 4 && starts("without-regulator").regulator.is_empty());
    // Both use the starts that are there. Epoch 0 and 1, and a row for each condition.
    assert_eq!(
        study("figure-3a")
            .lines()
            .filter(|line| line.starts_with("| 0 |") || line.starts_with("| 1 |"))
            .count(),
        2
    );
    assert!(study("figure-3b").contains("gradient regulating"));
    assert!(files(&folder.path().join("starts")) == kept);
}

#[test]
fn a_file_that_gram_did_not_make_is_not_overwritten_by_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class);
    let (out, image) = (folder.path().join("prompt.safetensors"), folder.path().join("red-0.png"));
    fs::write(&out, "mine").unwrap();
    let before = fs::read(&image).unwrap();
    for path in [&out, &image] {
        let error = error_of(&adapt(&data, "coop", path, &[]));
        assert!(error.contains("it is there already") && error.contains("--restart"), "{error}");
    }
    assert!(fs::read(&out).unwrap() == b"mine" && fs::read(&image).unwrap() == before);
    json(&adapt(&data, "coop", &out, &["--restart"]));
    PromptFile::load(&out, &Device::flex()).unwrap();
}

#[test]
fn what_was_put_in_the_place_of_a_prompt_or_beside_it_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class);
    let at = |name: &str| folder.path().join(name);
    let (out, metrics) = (at("prompt.safetensors"), at("prompt.metrics.jsonl"));
    let refused = |named: &Path, problem: &str| {
        let kept = fs::read(named).unwrap();
        let error = error_of(&adapt(&data, "coop", &out, &[]));
        assert!(error.starts_with(&format!("gram: {}: {problem}", named.display())), "{error}");
        assert!(error.contains("name another --out") && fs::read(named).unwrap() == kept, "{error}");
    };
    fs::write(&metrics, "mine").unwrap();
    refused(&metrics, "it is there already");
    assert!(!out.exists());
    fs::remove_file(&metrics).unwrap();
    json(&adapt(&data, "coop", &out, &[]));
    let own = fs::read(&out).unwrap();
    fs::write(&out, "mine").unwrap();
    refused(&out, "this is not the prompt that was tuned there");
    // Nor is another prompt of gram's.
    let other = at("other.safetensors");
    json(&adapt(&data, "coop", &other, &["--seed", "2"]));
    fs::copy(&other, &out).unwrap();
    refused(&out, "this is not the prompt that was tuned there");
    // Its own is taken as it is, and made again where it is gone.
    fs::write(&out, &own).unwrap();
    json(&adapt(&data, "coop", &out, &[]));
    assert!(fs::read(&out).unwrap() == own);
    fs::remove_file(&out).unwrap();
    json(&adapt(&data, "coop", &out, &[]));
    assert!(fs::read(&out).unwrap() == own);
}

#[test]
fn a_bench_that_begins_anew_deletes_what_gram_made_and_nothing_of_its_user_s() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), |class| class).display().to_string();
    let bench = |out: &Path, more: &[&str]| {
        let out = out.display().to_string();
        let fixed = ["bench", "--data", &data, "--protocol", "base-to-new", "--methods", "zero-shot"];
        json(&gram(&[&fixed[..], &["--seeds", "1", "--out", &out, "--json"], more].concat()))
    };
    let own = ["mine-shot/a.txt", "anything-shot/below/a.txt", "-shot/a.txt", "1-shots/a.txt", "1-shot.md"];
    let write_own = |out: &Path| {
        for name in own {
            fs::create_dir_all(out.join(name).parent().unwrap()).unwrap();
            fs::write(out.join(name), name).unwrap();
        }
    };
    let is_there = |out: &Path| {
        own.iter().all(|name| fs::read(out.join(name)).is_ok_and(|text| text == name.as_bytes()))
    };
    let out = folder.path().join("bench");
    bench(&out, &["--shots", "1,2"]);
    assert!(out.join("2-shot").is_dir() && out.join("runs/2-shot").is_dir());
    write_own(&out);
    bench(&out, &["--shots", "1", "--restart"]);
    assert!(is_there(&out));
    assert!(out.join("1-shot").is_dir() && out.join("runs/1-shot").is_dir());
    assert!(!out.join("2-shot").exists() && !out.join("runs/2-shot").exists());
    // They are in nobody's way where a bench begins, either.
    let other = folder.path().join("other");
    write_own(&other);
    bench(&other, &["--shots", "1"]);
    assert!(is_there(&other) && other.join("1-shot").is_dir());
}
