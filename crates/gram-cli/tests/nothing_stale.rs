//! No command brings back a number that was computed under another setting, from other data, or with another
//! model: every setting of every command with a run folder is changed, one at a time, and so is all that it
//! reads.
#![allow(clippy::unwrap_used)]

mod changes;
mod clustered;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use burn::tensor::Device;
use changes::{Base, CommandLine, copy_folder};
use clustered::clustered;
use gram_clip::{Compute, Model};
use gram_experiments::run_folder::model_identity;
use gram_prompt::PromptFile;
use image::{Rgb, RgbImage};
use serde_json::Value;

/// Squares of four colours by two hands: 2 to tune on, 1 to validate and 2 to test of each colour and hand,
/// in two datasets of one name, `x/squares.csv` and `y/squares.csv`.
fn squares(folder: &Path) {
    for place in ["x", "y"] {
        let folder = folder.join(place);
        fs::create_dir(&folder).unwrap();
        let mut manifest = String::from("image,label,split,domain\n");
        for (class, name) in ["red", "green", "blue", "grey"].iter().enumerate() {
            for number in 0..10_usize {
                let image = format!("{name}-{number}.png");
                let shade = |x: u32, y: u32| {
                    let noise = ((7 * x + 3 * y + 11 * number as u32) % 90) as u8;
                    let channel = |channel: usize| if channel == class { 160 + noise } else { 30 + noise };
                    Rgb([channel(0), channel(1), channel(2)])
                };
                RgbImage::from_fn(48, 48, shade).save(folder.join(&image)).unwrap();
                let split = ["train", "train", "val", "test", "test"][number / 2];
                manifest += &format!("{image},{name} square,{split},{}\n", ["pen", "brush"][number % 2]);
            }
        }
        fs::write(folder.join("squares.csv"), manifest).unwrap();
    }
}

/// The built-in model as a folder, in which one weight of the last layer of a tower may have been moved.
fn model(folder: &Path, moved: Option<&str>) -> PathBuf {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/tiny");
    fs::create_dir_all(folder).unwrap();
    for name in ["config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"] {
        fs::copy(assets.join(name), folder.join(name)).unwrap();
    }
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    if let Some(name) = moved {
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
        let offset = tensors[name]["data_offsets"][0].as_u64().unwrap() as usize;
        // The first value, a 16-bit number, becomes 2.
        bytes[8 + header + offset..][..2].copy_from_slice(&0x4000_u16.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    }
    folder.to_owned()
}

/// A weight of the vision tower that no projection knows of.
const VISION_WEIGHT: &str = "vision_model.encoder.layers.3.mlp.fc2.bias";

/// A meta-trained start: a prompt that was tuned elsewhere does as well.
fn start(path: &Path, seed: &str) -> String {
    let (clusters, pairs) = (clustered().path("clusters"), clustered().path("pairs.jsonl"));
    let path = path.display().to_string();
    let line = format!(
        "meta-train --pairs {pairs} --clusters {clusters} --method coop --ways 2 --meta-batch 1 --steps 1 --seed {seed} \
         --context-tokens 2 --out {path}"
    );
    let output = Command::new(env!("CARGO_BIN_EXE_gram")).args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// The features of a labelled dataset, in a folder.
fn embedded(model: &Path, data: &str, out: String) -> String {
    let line = format!("embed --model {} --data {data} --out {out}", model.display());
    let output = Command::new(env!("CARGO_BIN_EXE_gram")).args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

/// Replaces a text in a file, and gives what was there.
fn edit(path: &Path, from: &str, to: &str) -> String {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}: no {from}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
    text
}

/// Changes a text in a file that a base reads, and back.
fn edited(base: &Base, path: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(path).unwrap();
    let change = || drop(edit(path, from, to));
    base.data(&format!("{}: {from} is {to}", path.display()), change, || fs::write(path, &before).unwrap());
}

/// Puts another file in the place of one that a base reads, and back.
fn replaced(base: &Base, path: &Path, by: &Path) {
    let before = fs::read(path).unwrap();
    let change = || {
        fs::copy(by, path).unwrap();
    };
    base.data(&format!("{} replaced", path.display()), change, || fs::write(path, &before).unwrap());
}

/// The numbers of a prompt file, whatever command made it.
fn prompt(out: &Path, _: &str) -> String {
    let file = PromptFile::load(out, &Device::flex()).unwrap();
    let mut numbers: Vec<String> =
        file.prompt.parts().map(|(part, tensor)| format!("{part:?} {}", tensor.to_data())).collect();
    numbers.extend(file.regulator.iter().map(|(name, tensor)| format!("{name} {}", tensor.to_data())));
    numbers.join("\n")
}

/// What a command printed as JSON, without the paths that it names.
fn printed(_: &Path, printed: &str) -> String {
    let mut value: Value = serde_json::from_str(printed).unwrap();
    if let Some(map) = value.as_object_mut() {
        map.remove("files");
    }
    value.to_string()
}

#[test]
fn no_setting_and_no_data_of_a_bench_bring_back_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    squares(folder.path());
    let (one, other) = (
        start(&folder.path().join("one.safetensors"), "1"),
        start(&folder.path().join("other.safetensors"), "2"),
    );
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    fs::write(at("tuning.toml"), "conditional_batch_size = 3\n").unwrap();
    let (x, y) = (at("x/squares.csv"), at("y/squares.csv"));
    let line = format!(
        "bench --model {} --protocol all --methods zero-shot,coop,coop-gram --shots 1 --seeds 1 --epochs 2 --start coop-gram={one}",
        tiny.display()
    );
    let line = CommandLine::new(&line).with("data", &[&x, &y]);
    let mut base = Base::new(line, "bench", printed);
    base.again();
    for (flag, value) in [
        ("protocol", "base-to-new"),
        ("methods", "zero-shot,coop,vpt"),
        ("source", "y/squares"),
        ("shots", "1,2"),
        ("seeds", "2"),
        ("seed", "2"),
        ("template", "a small {}"),
        ("zero-shot-template", "a red {}"),
        ("epochs", "3"),
        ("batch-size", "2"),
        ("rate", "0.5"),
        ("momentum", "0.5"),
        ("weight-decay", "0.1"),
        ("warmup-epochs", "0"),
        ("context-tokens", "3"),
        ("class-position", "end"),
        ("visual-tokens", "3"),
        ("visual-depth", "0"),
        ("sampling", "coop"),
        ("preset", "paper"),
    ] {
        base.flag(flag, &[value]);
    }
    base.flag("config", &[&at("tuning.toml")]);
    // A start of gram's own states its position, and is refused at another.
    let without_start = base.line().without("start").with("methods", &["zero-shot,coop"]);
    base.line_is(&without_start.with("class-position", &["front"]), "class position");
    base.flag("class-specific", &[]);
    base.flag("data", &[&y, &x]);
    let (of_x, of_y) = (embedded(&tiny, &x, at("of-x")), embedded(&tiny, &y, at("of-y")));
    base.flag("features", &[&of_x, &of_y]);
    base.line_is(&base.line().without("data").with("features", &[&of_x, &of_y]), "features alone");
    base.flag("start", &[&format!("coop-gram={other}")]);
    base.flag("model", &[&moved.display().to_string()]);
    base.every_flag_was_changed_but(&["data-root"]);

    let manifest = folder.path().join("x/squares.csv");
    edited(&base, &manifest, "red-8.png,red square", "red-8.png,blue square");
    edited(&base, &manifest, "red-0.png,red square", "red-0.png,blue square");
    edited(&base, &manifest, "grey-9.png,grey square,test", "grey-9.png,grey square,val");
    edited(&base, &folder.path().join("y/squares.csv"), "red-8.png,red square", "red-8.png,blue square");
    for name in ["red-0.png", "red-1.png", "red-7.png"] {
        replaced(&base, &folder.path().join("x").join(name), &folder.path().join("x/blue-6.png"));
    }
    replaced(&base, Path::new(&one), Path::new(&other));
    for name in [VISION_WEIGHT, "text_model.final_layer_norm.weight"] {
        let moved = model(&folder.path().join(name), Some(name));
        replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
    }
}

#[test]
fn datasets_of_one_name_are_both_measured() {
    let folder = tempfile::tempdir().unwrap();
    squares(folder.path());
    let y = folder.path().join("y/squares.csv");
    edit(&y, "green-8.png,green square", "green-8.png,blue square");
    let measured = |data: &[&str]| -> Vec<(String, f64)> {
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
        for data in data {
            command.arg("--data").arg(folder.path().join(data).join("squares.csv"));
        }
        let line = "bench --methods zero-shot --seeds 1 --shots 1 --json";
        let mut whole = Command::new(env!("CARGO_BIN_EXE_gram"));
        whole.args(line.split_whitespace()).args(command.get_args()).arg("--out").arg(out.path());
        let output = whole.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let runs = told["results"][0]["base_to_new"].as_array().unwrap();
        let run = |run: &Value| (run["dataset"].as_str().unwrap().to_owned(), run["base"].as_f64().unwrap());
        runs.iter().map(run).collect()
    };
    let ([x], [y]) = (&measured(&["x"])[..], &measured(&["y"])[..]) else { panic!("one row each") };
    assert_eq!(measured(&["x", "y"]), [("x/squares".to_owned(), x.1), ("y/squares".to_owned(), y.1)]);
    assert_ne!(x.1, y.1);
}

#[test]
fn other_templates_of_a_dataset_that_is_tested_only_bring_back_no_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    squares(folder.path());
    let target = folder.path().join("target");
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gram-data/tests/fixtures/clip_benchmark");
    copy_folder(&theirs, &target);
    let line = CommandLine::new("bench --protocol cross-dataset --methods zero-shot --shots 1 --seeds 1")
        .with(
            "data",
            &[&folder.path().join("x/squares.csv").display().to_string(), &target.display().to_string()],
        );
    let (out, fresh) = (folder.path().join("bench"), folder.path().join("fresh"));
    let before = printed(&out, &line.run(&out).unwrap());
    // Every sentence names all three colours: what is asked for is hard to tell.
    let same = "red square, green square, blue square, not {c}\n".repeat(2);
    fs::write(target.join("zeroshot_classification_templates.txt"), same).unwrap();
    let said = line.run(&out).unwrap_err();
    assert!(said.contains("targets.target.zero_shot_template was") && said.contains("--restart"), "{said}");
    let anew = printed(&out, &line.with("restart", &[]).run(&out).unwrap());
    assert_eq!(anew, printed(&fresh, &line.run(&fresh).unwrap()));
    assert_ne!(anew, before);
}

#[test]
fn no_setting_and_no_data_of_a_tuning_bring_back_another_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    squares(folder.path());
    let (one, other) = (
        start(&folder.path().join("one.safetensors"), "1"),
        start(&folder.path().join("other.safetensors"), "2"),
    );
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    fs::write(at("tuning.toml"), "[regulated]\nmomentum = 0.25\n").unwrap();
    fs::write(at("coop.yaml"), "OPTIM:\n  MAX_EPOCH: 3\n").unwrap();
    let drawn = Command::new(env!("CARGO_BIN_EXE_gram"))
        .args([
            "data",
            "few-shot",
            &at("x/squares.csv"),
            "--shots",
            "2",
            "--seed",
            "5",
            "--out",
            &at("shots.json"),
        ])
        .output()
        .unwrap();
    assert!(drawn.status.success(), "{drawn:?}");
    let line = format!(
        "adapt --model {} --data {} --method coop-gram --shots 1 --epochs 2 --init {one}",
        tiny.display(),
        at("x/squares.csv")
    );
    let mut base = Base::new(CommandLine::new(&line), "prompt.safetensors", prompt);
    base.again();
    for (flag, value) in [
        ("shots", "2"),
        ("seed", "2"),
        ("classes", "base"),
        ("template", "a small {}"),
        ("epochs", "3"),
        ("batch-size", "2"),
        ("rate", "0.5"),
        ("momentum", "0.5"),
        ("weight-decay", "0.1"),
        ("warmup-epochs", "0"),
        ("context-tokens", "3"),
        ("class-position", "end"),
        ("visual-tokens", "3"),
        ("visual-depth", "0"),
        ("sampling", "coop"),
        ("config", &at("tuning.toml")),
        ("coop-config", &at("coop.yaml")),
        ("data", &at("y/squares.csv")),
        ("init", &other),
    ] {
        base.flag(flag, &[value]);
    }
    base.flag("coop-options", &["OPTIM.MOMENTUM", "0.25"]);
    base.flag("class-specific", &[]);
    base.flag("model", &[&moved.display().to_string()]);
    let features = embedded(&tiny, &at("x/squares.csv"), at("features"));
    base.flag("features", &[&features]);
    base.line_is(&base.line().without("shots").with("few-shot", &[&at("shots.json")]), "shots of a file");
    let without_start = base.line().without("init").with("method", &["coop"]);
    base.line_is(&without_start, "another method");
    base.line_is(&without_start.with("class-position", &["front"]), "class position");
    base.every_flag_was_changed_but(&["few-shot", "method"]);
    edited(&base, &folder.path().join("x/squares.csv"), "red-0.png,red square", "red-0.png,blue square");
    for name in ["red-0.png", "red-1.png", "red-2.png", "red-3.png"] {
        replaced(&base, &folder.path().join("x").join(name), &folder.path().join("x/blue-6.png"));
    }
    replaced(&base, Path::new(&one), Path::new(&other));
    replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
}

/// Pairs of a few squares, a table and its images, in a folder; also as a shard, `pairs.tar`.
fn few_pairs(folder: &Path) -> PathBuf {
    squares(folder);
    let mut lines = String::new();
    for name in ["red", "green", "blue", "grey"] {
        for number in 0..4 {
            let line = serde_json::json!({"key": format!("{name}{number}"), "image": format!("x/{name}-{number}.png"),
                "caption": format!("a {name} square number {number}")});
            lines += &format!("{line}\n");
        }
    }
    let path = folder.join("pairs.jsonl");
    fs::write(&path, lines).unwrap();
    path
}

fn sentence_bert() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gram-features/tests/fixtures/sentence_bert");
    folder.display().to_string()
}

/// The features of a folder, with the names of their rows.
fn features(out: &Path, _: &str) -> String {
    let rows = if out.join("pairs.jsonl").is_file() { "pairs.jsonl" } else { "images.jsonl" };
    let files = ["features.safetensors", rows, "unreadable.jsonl", "summary.json"];
    files.map(|name| gram_data::fingerprint::of_bytes(&fs::read(out.join(name)).unwrap())).join(" ")
}

#[test]
fn no_setting_and_no_data_of_features_bring_back_other_ones() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = few_pairs(folder.path());
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    let line = format!("embed --model {} --pairs {}", tiny.display(), pairs.display());
    let mut base = Base::new(CommandLine::new(&line), "features", features);
    base.again();
    base.flag("model", &[&moved.display().to_string()]);
    base.flag("image-size", &["64"]);
    base.flag("sentence-bert", &[&sentence_bert()]);
    base.flag("full-precision", &[]);
    base.flag("seed", &["2"]);
    let few = folder.path().join("few.jsonl");
    fs::write(&few, fs::read_to_string(&pairs).unwrap().lines().take(5).collect::<Vec<_>>().join("\n"))
        .unwrap();
    base.flag("pairs", &[&few.display().to_string()]);
    fs::create_dir(folder.path().join("labelled")).unwrap();
    squares(&folder.path().join("labelled"));
    let data = folder.path().join("labelled/x/squares.csv").display().to_string();
    base.line_is(&base.line().without("pairs").with("data", &[&data]), "a labelled dataset");
    base.every_flag_was_changed_but(&["data"]);
    edited(&base, &pairs, "a red square number 2", "a blue square number 2");
    replaced(&base, &folder.path().join("x/red-1.png"), &folder.path().join("x/blue-6.png"));
    replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
}

#[test]
fn a_tokenizer_that_differs_in_one_merge_or_two_entries_is_of_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = few_pairs(folder.path());
    let tiny = model(&folder.path().join("tiny"), None);
    let line = CommandLine::new(&format!("embed --model {} --pairs {}", tiny.display(), pairs.display()));
    let out = folder.path().join("features");
    line.run(&out).unwrap();
    let written = changes::files(&out);
    let identity = || {
        let model = Model::open(&tiny, &Compute::cpu()).unwrap();
        // No word of it is made with what is changed.
        let ids = model.tokenizer.encode("A photo of 42 naïve snow leopards &amp; ICE cream, 雪🎉").unwrap();
        (model_identity(&model).unwrap(), ids)
    };
    let (before, ids) = identity();
    let tokenizer = tiny.join("tokenizer.json");
    for (from, to) in [
        (r#",["ricksha","w</w>"]"#, ""),
        (r#""pretzel</w>":4094,"rickshaw</w>":4095"#, r#""pretzel</w>":4095,"rickshaw</w>":4094"#),
    ] {
        let text = edit(&tokenizer, from, to);
        let (now, same) = identity();
        assert_eq!(same, ids);
        for (part, value) in before.as_object().unwrap() {
            assert_eq!(now[part] == *value, part != "tokenizer", "{from}: {part}");
        }
        let said = line.run(&out).unwrap_err();
        assert!(said.contains("model.tokenizer was") && said.contains("--restart"), "{from}: {said}");
        assert!(changes::files(&out) == written, "{from}: something was lost");
        fs::write(&tokenizer, text).unwrap();
    }
    line.run(&out).unwrap();
}

#[test]
fn no_features_and_no_labels_that_changed_bring_back_another_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    squares(folder.path());
    let tiny = model(&folder.path().join("tiny"), None);
    let features = embedded(&tiny, &at("x/squares.csv"), at("features"));
    // The same images, mirrored in their names: every row is another image's.
    fs::create_dir(folder.path().join("z")).unwrap();
    for colour in ["red", "green", "blue", "grey"] {
        for number in 0..10 {
            let from = folder.path().join(format!("x/{colour}-{}.png", 9 - number));
            fs::copy(from, folder.path().join(format!("z/{colour}-{number}.png"))).unwrap();
        }
    }
    fs::copy(at("x/squares.csv"), at("z/squares.csv")).unwrap();
    let others = embedded(&tiny, &at("z/squares.csv"), at("others"));
    let line = format!("adapt --features {features} --method coop --shots 1 --epochs 2 --batch-size 1");
    let base = Base::new(CommandLine::new(&line), "prompt.safetensors", prompt);
    base.again();
    base.line_is(&base.line().with("features", &[&others]), "other features");
    // The folder is embedded anew from other images, other labels, another name.
    let before = folder.path().join("before");
    let place = Path::new(&features);
    let csv = folder.path().join("z/squares.csv");
    fs::rename(place, &before).unwrap();
    let anew = |what: &str, data: &str| {
        let change = || drop(embedded(&tiny, data, features.clone()));
        base.data(what, change, || fs::remove_dir_all(place).unwrap());
    };
    anew("other images", &at("z/squares.csv"));
    fs::copy(at("x/squares.csv"), &csv).unwrap();
    edit(&csv, "red-0.png,red square", "red-0.png,blue square");
    anew("other labels", &at("z/squares.csv"));
    let text = fs::read_to_string(at("x/squares.csv")).unwrap().replace("red square", "scarlet square");
    fs::write(at("x/squares.csv"), text).unwrap();
    anew("another name", &at("x/squares.csv"));
}

#[test]
fn another_shard_under_the_same_name_is_embedded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |name: &str, caption: &str| {
        let place = folder.path().join(name);
        fs::create_dir(&place).unwrap();
        few_pairs(&place);
        fs::copy(place.join("x/red-1.png"), place.join("a.png")).unwrap();
        fs::write(place.join("a.txt"), caption).unwrap();
        let tar =
            Command::new("tar").current_dir(&place).args(["-cf", "pairs.tar", "a.png", "a.txt"]).status();
        assert!(tar.unwrap().success());
        place.join("pairs.tar")
    };
    let (one, other) = (shard("one", "a red square"), shard("other", "a blue square"));
    let line = CommandLine::new(&format!("embed --pairs {}", one.display()));
    let base = Base::new(line, "features", features);
    replaced(&base, &one, &other);
}

/// Topics, and every pair's place.
fn topics(out: &Path, _: &str) -> String {
    let clusters = gram_cluster::Clusters::load(out).unwrap();
    format!(
        "{:?} {} {}",
        clusters.topics,
        clusters.fingerprint(),
        fs::read_to_string(out.join("left_out.jsonl")).unwrap()
    )
}

#[test]
fn no_setting_and_no_data_of_a_clustering_bring_back_other_topics() {
    let folder = tempfile::tempdir().unwrap();
    // Pairs of its own, for they are edited.
    let pairs = folder.path().join("pairs.jsonl");
    let theirs = PathBuf::from(clustered().path("pairs.jsonl"));
    let text = fs::read_to_string(&theirs)
        .unwrap()
        .replace("\"image\":\"", &format!("\"image\":\"{}/", theirs.parent().unwrap().display()));
    fs::write(&pairs, text).unwrap();
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    let line = format!("cluster --model {} --pairs {} --min-cluster-size 8", tiny.display(), pairs.display());
    let mut base = Base::new(CommandLine::new(&line), "clusters", topics);
    base.again();
    let config = folder.path().join("clusters.toml");
    fs::write(&config, "minimum_domain_size = 5\n").unwrap();
    for (flag, value) in [
        ("seed", "2"),
        ("minimum-similarity", "0.2"),
        ("similarity-quantile", "0.2"),
        ("fit-sample", "400"),
        ("domains", "2"),
        ("min-cluster-size", "12"),
        ("language", "de"),
        ("sentence-bert", &sentence_bert()),
        ("config", &config.display().to_string()),
        ("model", &moved.display().to_string()),
    ] {
        base.flag(flag, &[value]);
    }
    base.flag("choose-domains", &[]);
    base.flag("phrases", &[]);
    base.every_flag_was_changed_but(&["pairs", "features", "dry-run"]);
    let first: Value =
        serde_json::from_str(fs::read_to_string(&pairs).unwrap().lines().next().unwrap()).unwrap();
    edited(&base, &pairs, first["caption"].as_str().unwrap(), "a picture of a zebra");
    edited(&base, &pairs, first["key"].as_str().unwrap(), "another-key");
    replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
}

#[test]
fn topics_that_another_clustering_put_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let line = |domains: &str| {
        let pairs = clustered().path("pairs.jsonl");
        CommandLine::new(&format!("cluster --pairs {pairs} --min-cluster-size 8 --domains {domains}"))
    };
    let (out, other) = (folder.path().join("clusters"), folder.path().join("other"));
    line("2").run(&out).unwrap();
    line("3").run(&other).unwrap();
    let own = changes::files(&out);
    for name in gram_cluster::Clusters::FILES {
        fs::copy(other.join(name), out.join(name)).unwrap();
    }
    let said = line("2").run(&out).unwrap_err();
    assert!(
        said.contains("its topics are not what was written there") && said.contains("--restart"),
        "{said}"
    );
    // A file that is gone is made again.
    fs::remove_file(out.join("topics.json")).unwrap();
    line("2").run(&out).unwrap();
    assert!(changes::files(&out) == own);
}

#[test]
fn other_features_under_the_same_name_are_clustered_anew() {
    let folder = tempfile::tempdir().unwrap();
    let embed = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_gram"))
            .args(["embed", "--pairs", &clustered().path("pairs.jsonl"), "--out"])
            .arg(&out)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        out
    };
    let (one, other) = (embed("one", &[]), embed("other", &["--sentence-bert", &sentence_bert()]));
    let line = CommandLine::new(&format!("cluster --features {} --min-cluster-size 8", one.display()));
    let base = Base::new(line, "clusters", topics);
    base.again();
    replaced(&base, &one.join("features.safetensors"), &other.join("features.safetensors"));
}

/// A meta-training of a step over the few pairs.
fn meta_line(rest: &str) -> CommandLine {
    let (clusters, pairs) = (clustered().path("clusters"), clustered().path("pairs.jsonl"));
    CommandLine::new(&format!("{rest} --pairs {pairs} --clusters {clusters}"))
}

#[test]
fn no_setting_and_no_data_of_a_meta_training_bring_back_another_start() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        start(&folder.path().join("one.safetensors"), "1"),
        start(&folder.path().join("other.safetensors"), "2"),
    );
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    let line = format!(
        "meta-train --model {} --method coop --ways 2 --meta-batch 1 --steps 2 --init {one} --validation-steps 2",
        tiny.display()
    );
    let mut base = Base::new(meta_line(&line), "start.safetensors", prompt);
    base.again();
    let config = folder.path().join("meta.toml");
    let settings = fs::read_to_string(folder.path().join("one.run/settings.toml")).unwrap();
    fs::write(&config, settings.replace("regulator_rate = 0.001", "regulator_rate = 0.01")).unwrap();
    for (flag, value) in [
        ("seed", "2"),
        ("template", "a small {}"),
        ("steps", "3"),
        ("meta-batch", "2"),
        ("task-micro-batch", "1"),
        ("pixel-memory", "1"),
        ("inner-steps", "2"),
        ("inner-momentum", "0.5"),
        ("inner-lr", "0.1"),
        ("regulator", "unit"),
        ("ways", "3"),
        ("support-shots", "2"),
        ("query-shots", "2"),
        ("query-only-classes", "2"),
        ("topic-draw", "by-size"),
        ("query-domains", "others"),
        ("optimizer", "sgd"),
        ("outer-lr", "0.01"),
        ("clip-norm", "0.001"),
        ("validation-topics", "0.4"),
        ("validation-steps", "1"),
        ("patience", "1"),
        ("init", &other),
        // A start of gram's own states it, and is refused at another.
        ("class-position", "end"),
        ("config", &config.display().to_string()),
        ("model", &moved.display().to_string()),
    ] {
        base.flag(flag, &[value]);
    }
    base.flag("learn-inner-lr", &[]);
    base.flag("first-order", &[]);
    for (flag, value) in [("context-tokens", "3"), ("visual-tokens", "3"), ("visual-depth", "0")] {
        base.flag(flag, &[value]);
    }
    base.line_is(&base.line().without("init"), "another start");
    base.line_is(&base.line().without("init").with("method", &["vpt"]), "another method");
    base.every_flag_was_changed_but(&["pairs", "features", "clusters", "episodes", "method"]);
    replaced(&base, Path::new(&one), Path::new(&other));
    replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
    let images = Path::new(&clustered().path("pairs.jsonl")).parent().unwrap().to_owned();
    let text = fs::read_to_string(images.join("pairs.jsonl")).unwrap();
    let image = |row: usize| -> PathBuf {
        let row: Value = serde_json::from_str(text.lines().nth(row).unwrap()).unwrap();
        images.join(row["image"].as_str().unwrap())
    };
    // In a copy, for other tests read these pairs.
    let pairs = folder.path().join("pairs");
    fs::create_dir(&pairs).unwrap();
    for row in 0..text.lines().count() {
        fs::copy(image(row), pairs.join(image(row).file_name().unwrap())).unwrap();
    }
    fs::write(pairs.join("pairs.jsonl"), &text).unwrap();
    let line = base.line().with("pairs", &[&pairs.join("pairs.jsonl").display().to_string()]);
    let base = Base::new(line, "start.safetensors", prompt);
    replaced(&base, &pairs.join(image(0).file_name().unwrap()), &image(100));
}

/// The table that a study wrote.
fn table(out: &Path, _: &str) -> String {
    ["study.md", "design.md"].iter().filter_map(|name| fs::read_to_string(out.join(name)).ok()).collect()
}

#[test]
fn no_setting_and_no_data_of_a_study_bring_back_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    squares(folder.path());
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    fs::write(at("tuning.toml"), "[regulated]\nmomentum = 0.25\n").unwrap();
    let line = format!(
        "study figure-3a --model {} --method coop-gram --data {} --shots 1 --seeds 1 --steps 1 --epochs 1 --rate 0.1",
        tiny.display(),
        at("x/squares.csv")
    );
    let mut base = Base::new(meta_line(&line), "study", table);
    base.again();
    for (flag, value) in [
        ("seeds", "2"),
        ("epochs", "3"),
        ("shots", "2"),
        ("steps", "2"),
        ("rate", "0.5"),
        ("method", "unigram"),
        ("seed", "2"),
        ("template", "a small {}"),
        ("initialisations", "2"),
        ("batch-size", "2"),
        ("momentum", "0.5"),
        ("weight-decay", "0.1"),
        ("warmup-epochs", "0"),
        ("context-tokens", "3"),
        ("class-position", "front"),
        ("visual-tokens", "3"),
        ("visual-depth", "0"),
        ("sampling", "coop"),
        ("config", &at("tuning.toml")),
        ("data", &at("y/squares.csv")),
        ("model", &moved.display().to_string()),
    ] {
        base.flag(flag, &[value]);
    }
    base.flag("class-specific", &[]);
    base.line_is(&base.line().called(&["study", "figure-1a"]).with("initialisations", &["1"]), "figure 1a");
    base.line_is(&base.line().called(&["study", "figure-3b"]).with("steps", &["4"]), "figure 3b");
    base.every_flag_was_changed_but(&["pairs", "clusters"]);
    edited(&base, &folder.path().join("x/squares.csv"), "red-8.png,red square", "red-8.png,blue square");
    edited(&base, &folder.path().join("x/squares.csv"), "red-0.png,red square", "red-0.png,blue square");
    replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
    let clusters = folder.path().join("clusters");
    fs::create_dir(&clusters).unwrap();
    for name in ["pairs.parquet", "topics.json"] {
        fs::copy(Path::new(&clustered().path("clusters")).join(name), clusters.join(name)).unwrap();
    }
    fs::write(clusters.join("topics.toml"), "# As found.").unwrap();
    let base = Base::new(base.line().with("clusters", &[&clusters.display().to_string()]), "study", table);
    let text = fs::read_to_string(clusters.join("topics.json")).unwrap();
    let topics: Value = serde_json::from_str(&text).unwrap();
    let name = topics["topics"][0]["name"].to_string();
    edited(&base, &clusters.join("topics.json"), &format!("\"name\": {name}"), "\"name\": \"zebra\"");
    edited(&base, &clusters.join("topics.toml"), "# As found.", &format!("rename = {{ {name} = 'zebra' }}"));
}

#[test]
fn a_study_with_more_seeds_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    squares(folder.path());
    let line = format!(
        "study figure-3a --method coop-gram --data {} --shots 1 --steps 1 --epochs 1",
        folder.path().join("x/squares.csv").display()
    );
    let out = folder.path().join("study");
    let run = |seeds: &str| meta_line(&line).with("seeds", &[seeds]).run(&out).unwrap();
    run("1");
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let first: Vec<PathBuf> = changes::files(&out.join("conditions")).into_keys().collect();
    let first: Vec<PathBuf> = first
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("seed-1"))
        .map(|path| out.join("conditions").join(path))
        .collect();
    assert_eq!(first.len(), 2);
    let before: Vec<_> = first.iter().map(|path| written(path)).collect();
    run("2");
    assert_eq!(first.iter().map(|path| written(path)).collect::<Vec<_>>(), before);
}

#[test]
fn a_study_that_begins_anew_does_not_delete_the_clusters_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    squares(folder.path());
    let line = meta_line(&format!(
        "study figure-3a --method coop-gram --data {} --shots 1 --seeds 1 --steps 1 --epochs 1",
        folder.path().join("x/squares.csv").display()
    ));
    let out = folder.path().join("study");
    line.run(&out).unwrap();
    // Where a study keeps the clusters that it finds itself.
    let clusters = out.join("clusters");
    fs::create_dir(&clusters).unwrap();
    for name in ["pairs.parquet", "topics.json"] {
        fs::copy(Path::new(&clustered().path("clusters")).join(name), clusters.join(name)).unwrap();
    }
    let before = changes::files(&out);
    for place in [&clusters, &out.join("starts/../clusters"), &out.join("clusters/.")] {
        let line = line.with("clusters", &[&place.display().to_string()]);
        let said = line.with("restart", &[]).run(&out).unwrap_err();
        let last = said.lines().last().unwrap();
        assert!(last.contains("--clusters lies in --out") && last.ends_with("name another --out"), "{said}");
        assert!(changes::files(&out) == before, "{}: something was lost", place.display());
    }
    line.with("clusters", &[&clusters.display().to_string()]).run(&out).unwrap();
}

#[test]
fn no_setting_and_no_data_of_a_design_study_bring_back_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    start(&folder.path().join("one.safetensors"), "1");
    let settings = at("one.run/settings.toml");
    fs::write(
        at("other.toml"),
        fs::read_to_string(&settings).unwrap().replace("query_shots = 8", "query_shots = 4"),
    )
    .unwrap();
    fs::write(at("tuning.toml"), "[regulated]\nmomentum = 0.25\n").unwrap();
    let tiny = model(&folder.path().join("tiny"), None);
    let moved = model(&folder.path().join("moved"), Some(VISION_WEIGHT));
    let line = format!(
        "study design --model {} --method coop-gram --domains 2 --held-out 0.5 --rates 0.1 --seeds 1 --shots 1 --epochs 1 --meta-config {settings}",
        tiny.display()
    );
    let mut base = Base::new(meta_line(&line), "design", table);
    base.again();
    for (flag, value) in [
        ("seeds", "2"),
        ("seed", "2"),
        ("vary", "order"),
        ("shots", "2"),
        ("rates", "0.1,0.3"),
        ("rates", "0.3"),
        ("epochs", "2"),
        ("method", "vpt-gram"),
        ("meta-config", &at("other.toml")),
        ("domains", "3"),
        ("held-out", "0.4"),
        ("template", "a small {}"),
        ("data", "demo:food"),
        ("batch-size", "2"),
        ("rate", "0.5"),
        ("momentum", "0.5"),
        ("weight-decay", "0.1"),
        ("warmup-epochs", "0"),
        ("context-tokens", "3"),
        ("class-position", "front"),
        ("visual-tokens", "3"),
        ("visual-depth", "0"),
        ("sampling", "coop"),
        ("config", &at("tuning.toml")),
        ("model", &moved.display().to_string()),
    ] {
        base.flag(flag, &[value]);
    }
    // A context for each class has nothing to say of new ones: a search refuses it.
    base.every_flag_was_changed_but(&["pairs", "clusters", "class-specific"]);
    replaced(&base, &tiny.join("model.safetensors"), &moved.join("model.safetensors"));
}

#[test]
fn a_design_study_with_two_datasets_of_one_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for place in ["x", "y"] {
        for class in 0..8_u8 {
            for (split, number) in [("train", 0), ("train", 1), ("val", 2), ("test", 3)] {
                let image = folder.path().join(format!("{place}/shades/{split}/shade {class}/{number}.png"));
                fs::create_dir_all(image.parent().unwrap()).unwrap();
                let shade = Rgb([30 * class, 90 + number, 250 - 30 * class]);
                RgbImage::from_pixel(16, 16, shade).save(image).unwrap();
            }
        }
    }
    fs::write(at("meta.toml"), "steps = 1\nmeta_batch = 1\n[episodes]\nways = 2\n").unwrap();
    let line = meta_line(&format!(
        "study design --method coop-gram --rates 0.1 --seeds 1 --shots 1 --epochs 1 --meta-config {}",
        at("meta.toml")
    ));
    let out = folder.path().join("design");
    let said = line.with("data", &[&at("x/shades"), &at("y/shades")]).run(&out).unwrap_err();
    let told =
        "datasets shades and shades: their runs would have the same files: rename one of their folders";
    assert_eq!(said.lines().last(), Some(format!("gram: {told}").as_str()));
    assert!(!out.exists());
    fs::rename(at("y/shades"), at("y/others")).unwrap();
    line.with("data", &[&at("x/shades"), &at("y/others")]).run(&out).unwrap();
}

const PRETRAINING: &str = r#"
seed = 3
vocabulary = 600

[training]
epochs = 1
batch_size = 4
learning_rate = 1e-2
warmup_steps = 2
weight_decay = 0.1
smallest_crop = 0.9
longest_caption = 10
checkpoint_steps = 2

[model]
projection_dim = 16

[model.text_config]
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 16

[model.vision_config]
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
image_size = 16
patch_size = 8
"#;

#[test]
fn no_setting_and_no_data_of_a_pretraining_bring_back_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = few_pairs(folder.path());
    let config = folder.path().join("pretrain.toml");
    fs::write(&config, PRETRAINING).unwrap();
    let weights = |out: &Path, _: &str| {
        gram_data::fingerprint::of_bytes(&fs::read(out.join("model/model.safetensors")).unwrap())
    };
    let line = format!("pretrain --pairs {} --config {}", pairs.display(), config.display());
    let mut base = Base::new(CommandLine::new(&line), "run", weights);
    base.again();
    base.flag("held-out", &[&folder.path().join("x/squares.csv").display().to_string()]);
    base.flag("seed", &["2"]);
    base.every_flag_was_changed_but(&["pairs", "config", "precision"]);
    for (from, to) in [
        ("seed = 3", "seed = 4"),
        ("epochs = 1", "epochs = 2"),
        ("batch_size = 4", "batch_size = 8"),
        ("learning_rate = 1e-2", "learning_rate = 2e-2"),
        ("warmup_steps = 2", "warmup_steps = 1"),
        ("weight_decay = 0.1", "weight_decay = 0.2"),
        ("smallest_crop = 0.9", "smallest_crop = 0.5"),
        ("projection_dim = 16", "projection_dim = 8"),
    ] {
        edited(&base, &config, from, to);
    }
    edited(&base, &pairs, "a red square number 2", "a blue square number 2");
    replaced(&base, &folder.path().join("x/red-1.png"), &folder.path().join("x/blue-6.png"));
}

#[test]
fn a_demo_with_another_seed_leaves_the_folder_of_the_first_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let demo = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
        command.args(["demo", "--out"]).arg(&out).args(more);
        command
    };
    let mut first = demo(&["--quick"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    while !out.join("run.json").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = demo(&["--quick"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another process is at work"), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    let before = changes::files(&out);
    for (more, differs) in
        [(&["--quick", "--seed", "2"][..], "seed was 1, now 2"), (&["--full"], "everything_live")]
    {
        let refused = demo(more).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(differs) && said.contains("--restart"), "{said}");
        assert!(changes::files(&out) == before);
    }
}
