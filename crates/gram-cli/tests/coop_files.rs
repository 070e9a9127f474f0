//! Prompts of CoOp and names as CoOp reads them, through the program.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::Device;
use gram_clip::Compute;
use gram_prompt::prompt_file::VERSION;
use gram_prompt::{ClassPosition, Header, Part, Placement, Prompt, PromptFile, PromptKind, Source};
use serde_json::Value;

/// The configuration that `export` asks of CoOp.
const ASKED: &str = "TRAINER.COOP.N_CTX 4 TRAINER.COOP.CLASS_TOKEN_POSITION middle TRAINER.COOP.CSC False \
                     TRAINER.COOP.CTX_INIT \"\"";

fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What is predicted of the image, by class.
#[track_caller]
fn predicted(arguments: &[&str]) -> BTreeMap<String, f64> {
    let output = gram(&[&["predict", "--json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    let one = |entry: &Value| Some((entry["class"].as_str()?.to_owned(), entry["probability"].as_f64()?));
    line["predictions"].as_array().unwrap().iter().map(|entry| one(entry).unwrap()).collect()
}

#[track_caller]
fn furthest(one: &BTreeMap<String, f64>, other: &BTreeMap<String, f64>) -> f64 {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    one.values().zip(other.values()).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max)
}

/// A file of `tiny` with random context tokens, and an image.
fn prompt_and_image(folder: &Path, class_position: ClassPosition) -> [String; 2] {
    let device = Device::flex();
    let model = gram_hub::model::open_model("tiny", &Compute::cpu(), &()).unwrap();
    let width = Part::Text.width(&model.clip);
    let context = Prompt::random(Part::Text, [4, width], 0.4, 7, &device);
    let header = Header {
        version: VERSION,
        program: "0.1.0".into(),
        model: model.identity().unwrap(),
        clusters: None,
        kind: PromptKind::Textual,
        placement: Placement { class_position, ..Placement::default() },
        template: "{}.".into(),
        regulator_form: Default::default(),
        classes: Vec::new(),
        settings: Value::Null,
        command: String::new(),
    };
    let (prompt, regulator) = ([(Part::Text, context)].into_iter().collect(), BTreeMap::new());
    let path = folder.join("prompt.safetensors");
    PromptFile { header, prompt, regulator, source: Source::Gram }.save(&path).unwrap();
    [path.display().to_string(), image(folder)]
}

fn image(folder: &Path) -> String {
    let dataset = gram_hub::model::open_dataset("demo:animals").unwrap();
    let path = folder.join("animal.jpg");
    fs::write(&path, dataset.images[0].image.bytes().unwrap()).unwrap();
    path.display().to_string()
}

const CLASSES: [&str; 2] = ["--classes", "cat,dog,fish,great white shark"];

#[test]
fn a_prompt_comes_back_from_coop_s_file_at_the_position_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let [own, image] = prompt_and_image(folder.path(), ClassPosition::Middle);
    let coop = folder.path().join("model.pth.tar-0").display().to_string();
    let exported = gram(&["export", "--prompt", &own, "--to", "coop", "--out", &coop]);
    assert!(exported.status.success() && error(&exported).contains(ASKED), "{exported:?}");

    let of = |prompt: &str, more: &[&str]| {
        predicted(&[&["--prompt", prompt], &CLASSES[..], more, &[image.as_str()]].concat())
    };
    let expected = of(&own, &[]);
    assert!(furthest(&of(&coop, &["--class-position", "middle"]), &expected) < 1e-6);
    assert!(furthest(&of(&own, &["--class-position", "middle"]), &expected) < 1e-9);
    assert!(furthest(&of(&coop, &[]), &expected) > 1e-4, "the end is another sentence");
}

#[test]
fn what_coop_s_file_does_not_say_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let [own, image] = prompt_and_image(folder.path(), ClassPosition::End);
    let coop = folder.path().join("model.pth.tar-0").display().to_string();
    assert!(gram(&["export", "--prompt", &own, "--to", "coop", "--out", &coop]).status.success());
    let told = |more: &[&str]| {
        let arguments = [&["predict", "--model", "tiny", "--prompt", &coop], &CLASSES[..], more, &[&image]];
        let error = error(&gram(&arguments.concat()));
        let lines: Vec<&str> = error.lines().filter(|line| line.contains("CoOp")).collect();
        assert_eq!(lines.len(), 1, "{error}");
        lines[0].to_owned()
    };
    let assumed = told(&[]);
    assert!(assumed.contains("carries no fingerprint of its model"), "{assumed}");
    assert!(assumed.contains("the end is assumed, --class-position says another"), "{assumed}");
    assert!(!told(&["--class-position", "end"]).contains("assumed"));
}

#[test]
fn a_file_that_states_another_position_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [own, image] = prompt_and_image(folder.path(), ClassPosition::Middle);
    let arguments = [&["predict", "--prompt", &own, "--class-position", "front"], &CLASSES[..], &[&image]];
    let output = gram(&arguments.concat());
    assert_eq!(output.status.code(), Some(1));
    let error = error(&output);
    assert!(error.contains("its class names stand at the middle, not at the front"), "{error}");
}

#[test]
fn a_start_in_coop_s_file_is_tuned_at_the_position_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let [own, _] = prompt_and_image(folder.path(), ClassPosition::End);
    let coop = folder.path().join("model.pth.tar-0").display().to_string();
    assert!(gram(&["export", "--prompt", &own, "--to", "coop", "--out", &coop]).status.success());
    let out = folder.path().join("tuned.safetensors");
    let output = gram(&[
        "adapt",
        "--data",
        "demo:animals",
        "--method",
        "coop-gram",
        "--init",
        &coop,
        "--class-position",
        "front",
        "--shots",
        "1",
        "--epochs",
        "1",
        "--out",
        &out.display().to_string(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let tuned = PromptFile::load(&out, &Device::flex()).unwrap();
    assert_eq!(tuned.header.placement.class_position, ClassPosition::Front);
}

#[test]
fn a_prompt_with_a_visual_part_is_no_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("weights.npy");
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/starts/joint.safetensors");
    let arguments = ["export", "--prompt", start, "--classes", "cat,dog", "--to", "classifier", "--out"];
    let output = gram(&[&arguments[..], &[&out.display().to_string()]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = error(&output);
    assert!(error.contains("a plain image tower, which gives other answers") && !out.exists(), "{error}");
}

#[test]
fn underscores_in_names_are_blanks() {
    let folder = tempfile::tempdir().unwrap();
    let [prompt, image] = prompt_and_image(folder.path(), ClassPosition::End);
    let list = folder.path().join("classes.txt");
    fs::write(&list, "great_white_shark\npolar_bear\ncat\n").unwrap();
    let list = list.display().to_string();
    let (blanks, underscores) = ("great white shark,polar bear,cat", "great_white_shark,polar_bear,cat");
    let matrix = folder.path().join("weights.safetensors").display().to_string();
    for more in [&["--template", "a picture of a {}"][..], &["--prompt", &prompt]] {
        let of = |classes: &str| predicted(&[more, &["--classes", classes, &image]].concat());
        let expected = of(blanks);
        assert!(expected.contains_key("great white shark"));
        assert_eq!((of(underscores), of(&list)), (expected.clone(), expected.clone()));
        let export = ["export", "--to", "classifier", "--out", &matrix, "--classes", underscores];
        assert!(gram(&[&export[..], more].concat()).status.success());
        assert!(furthest(&predicted(&["--weights", &matrix, &image]), &expected) < 1e-5);
    }
}

#[test]
fn an_activation_that_was_assumed_is_told_in_one_line() {
    let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../gram-clip/tests/fixtures"));
    let (model, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for file in ["configurations/activation/state-dict.pt", "checkpoints/open-clip/gelu/tokenizer.json"] {
        let path = fixtures.join(file);
        fs::copy(&path, model.path().join(path.file_name().unwrap())).unwrap();
    }
    let (image, name) = (image(folder.path()), model.path().display().to_string());
    let told = || {
        let output = gram(&["predict", "--model", &name, "--classes", "cat,dog", &image]);
        assert!(output.status.success(), "{output:?}");
        error(&output).lines().filter(|line| line.contains("activation")).count()
    };
    assert_eq!(told(), 1);
    let described = fixtures.join("configurations/activation/ViT.json");
    fs::copy(described, model.path().join("open_clip_config.json")).unwrap();
    assert_eq!(told(), 0);
}

#[test]
fn a_configuration_of_coop_tunes_as_the_same_flags_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (yaml, by_yaml, by_flags) = (at("ep2.yaml"), at("yaml.safetensors"), at("flags.safetensors"));
    let text = "DATALOADER:\n  TRAIN_X:\n    BATCH_SIZE: 8\nOPTIM:\n  LR: 0.01\n  MAX_EPOCH: 2\n  LR_SCHEDULER: \"cosine\"\n\
                MODEL:\n  BACKBONE:\n    NAME: \"RN50\"\nTRAINER:\n  COOP:\n    CTX_INIT: \"a picture of a\"\n";
    std::fs::write(&yaml, text).unwrap();
    let adapt = |more: &[&str]| {
        let arguments = ["adapt", "--data", "demo:food", "--method", "coop"];
        std::process::Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).args(more).output().unwrap()
    };
    let options = ["--coop-options", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base"];
    let asked = [&["--coop-config", &yaml, "--out", &by_yaml][..], &options].concat();
    let refused = adapt(&asked);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("RN50: gram reads vision transformers"), "{said}");
    let output = adapt(&[&asked[..], &["--model", "tiny"]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("gram: OPTIM.MAX_EPOCH 2: baseline.epochs 2"), "{said}");
    let flags = ["--batch-size", "8", "--rate", "0.01", "--epochs", "2", "--shots", "2", "--classes", "base"];
    let template = ["--template", "a picture of a {}.", "--context-tokens", "0", "--out", &by_flags];
    assert!(adapt(&[&flags[..], &template].concat()).status.success());
    let losses = |prompt: &str| std::fs::read(prompt.replace(".safetensors", ".metrics.jsonl")).unwrap();
    assert_eq!(losses(&by_yaml), losses(&by_flags));
    // A flag comes before the file.
    let shorter = adapt(&[&asked[..], &["--model", "tiny", "--epochs", "1", "--restart"]].concat());
    assert!(shorter.status.success());
    assert_eq!(String::from_utf8(losses(&by_yaml)).unwrap().lines().count(), 1);
}
