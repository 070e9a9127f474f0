//! `predict`, `eval` and `embed` as their users meet them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use gram_clip::checkpoint::float_values;
use safetensors::SafeTensors;
use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
    command.args(arguments);
    command
}

fn gram(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What a command printed that did all, or all but for an image that cannot be read (exit code 3).
fn lines(output: &Output) -> Vec<Value> {
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first `count` images of `demo:animals` as files; one more that is no image.
fn animals(folder: &Path, count: usize) {
    let dataset = gram_hub::model::open_dataset("demo:animals").unwrap();
    for (index, image) in dataset.images.iter().take(count).enumerate() {
        fs::write(folder.join(format!("{index:03}.jpg")), image.image.bytes().unwrap()).unwrap();
    }
    fs::write(folder.join("broken.png"), "no image").unwrap();
}

#[test]
fn predictions_are_probabilities_of_the_named_classes_best_first() {
    let folder = tempfile::tempdir().unwrap();
    animals(folder.path(), 70);
    let path = folder.path().display().to_string();
    let output = gram(&["predict", "--classes", "cat,dog,fish", "--top", "2", "--json", &path]);
    let told = lines(&output);
    assert_eq!(told.len(), 71);
    let broken: Vec<&Value> = told.iter().filter(|line| line["error"].is_string()).collect();
    assert!(broken.len() == 1 && broken[0]["image"].as_str().unwrap().ends_with("broken.png"));
    for line in told.iter().filter(|line| line["error"].is_null()) {
        let predictions = line["predictions"].as_array().unwrap();
        let probability = |index: usize| predictions[index]["probability"].as_f64().unwrap();
        assert!(predictions.len() == 2 && probability(0) >= probability(1) && probability(0) > 1.0 / 3.0);
        assert!(probability(0) + probability(1) <= 1.0 + 1e-6);
    }
}

#[test]
fn images_may_be_named_on_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    animals(folder.path(), 2);
    let mut child = command(&["predict", "--classes", "cat,dog", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let paths = [0, 1].map(|index| folder.path().join(format!("{index:03}.jpg")).display().to_string());
    child.stdin.take().unwrap().write_all(paths.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.starts_with(&format!("{}\t", paths[0])) && text.contains(" %\t"), "{text}");
}

#[test]
fn what_cannot_be_predicted_is_one_line_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    animals(folder.path(), 0);
    let broken = folder.path().join("broken.png").display().to_string();
    let long = "very ".repeat(100);
    for (arguments, told) in [
        (vec!["predict", "--classes", "cat,dog", &broken], "none of 1 images can be read"),
        (vec!["predict", &broken], "no class to choose from: name some with --classes"),
        (vec!["predict", "--classes", &long, &broken], "shorten the name or the context"),
        (
            vec!["predict", "--classes", "a", "--templates", "nowhere", &broken],
            "`imagenet-80`, `imagenet-7` are built in",
        ),
        (vec!["predict", "--model", "no-such-model", "--classes", "a", &broken], "an id on the hub such as"),
        (
            vec!["predict", "--image-size", "50", "--classes", "a", &broken],
            "must be a multiple of patch_size, 8",
        ),
    ] {
        let output = gram(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.lines().last().unwrap().contains(told), "{error}");
    }
}

#[test]
fn a_prompt_file_is_enough_to_predict_with_and_fails_on_another_model_by_name() {
    let folder = tempfile::tempdir().unwrap();
    animals(folder.path(), 1);
    let image = folder.path().join("000.jpg").display().to_string();
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/starts/joint.safetensors");
    let told = lines(&gram(&["predict", "--prompt", start, "--classes", "cat,dog", "--json", &image]));
    assert_eq!(told[0]["predictions"].as_array().unwrap().len(), 2);
    let other =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../gram-clip/tests/fixtures/checkpoints/hugging-face/half");
    let output = gram(&["predict", "--model", other, "--prompt", start, "--classes", "cat,dog", &image]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("made for tiny (") && error.contains("), not for half ("), "{error}");
    assert!(error.trim_end().ends_with("pass --model tiny"), "{error}");
}

#[test]
fn a_classifier_that_was_exported_predicts_as_the_sentences_did() {
    let folder = tempfile::tempdir().unwrap();
    animals(folder.path(), 1);
    let image = folder.path().join("000.jpg").display().to_string();
    let sentences = ["--template", "a drawing of a {}", "--classes", "cat,dog,fish"];
    let expected = gram(&[&["predict", "--json"], &sentences[..], &[image.as_str()]].concat());
    for (ending, classes) in [("npy", &["--classes", "cat,dog,fish"][..]), ("safetensors", &[])] {
        let out = folder.path().join(format!("weights.{ending}")).display().to_string();
        let exported = gram(&[&["export", "--to", "classifier", "--out", &out], &sentences[..]].concat());
        assert!(exported.status.success(), "{exported:?}");
        let found = gram(&[&["predict", "--json", "--weights", &out], classes, &[image.as_str()]].concat());
        let (found, expected) = (lines(&found), lines(&expected));
        for (one, other) in found[0]["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .zip(expected[0]["predictions"].as_array().unwrap())
        {
            assert_eq!(one["class"], other["class"]);
            assert!(
                (one["probability"].as_f64().unwrap() - other["probability"].as_f64().unwrap()).abs() < 1e-5
            );
        }
    }
    let unnamed =
        gram(&["predict", "--weights", &folder.path().join("weights.npy").display().to_string(), &image]);
    assert!(String::from_utf8(unnamed.stderr).unwrap().contains("it names no classes: use --classes"));
}

#[test]
fn evaluation_counts_by_domain_and_the_ensemble_is_another_classifier() {
    let evaluate = |more: &[&str]| {
        let arguments = [&["eval", "--data", "demo:animals", "--classes", "new", "--json"], more].concat();
        lines(&gram(&arguments)).remove(0)
    };
    let one = evaluate(&["--template", "a picture of a {}"]);
    assert_eq!((one["classes"].as_u64(), one["images"].as_u64()), (Some(20), Some(180)));
    let accuracy = one["accuracy"].as_f64().unwrap();
    assert!(accuracy > 10.0, "{one}");
    let domains: Vec<f64> =
        one["domains"].as_object().unwrap().values().map(|value| value.as_f64().unwrap()).collect();
    assert!((domains.iter().sum::<f64>() / 3.0 - accuracy).abs() < 1e-9);
    assert!((one["mean_per_class"].as_f64().unwrap() - accuracy).abs() < 1e-9);
    assert!((accuracy..=100.0).contains(&one["top_five"].as_f64().unwrap()), "{one}");
    assert_ne!(evaluate(&["--templates", "imagenet-7"])["domains"], one["domains"]);
}

#[test]
fn an_evaluation_names_classes_confusions_and_mistakes_and_writes_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let report = page.display().to_string();
    let arguments = ["eval", "--data", "demo:food", "--classes", "new", "--report", &report];
    let one = lines(&gram(&[&arguments[..], &["--json"]].concat())).remove(0);
    let list = |name: &str| one[name].as_array().unwrap().clone();
    let images: u64 = list("per_class").iter().map(|class| class["images"].as_u64().unwrap()).sum();
    assert_eq!(Some(images), one["images"].as_u64());
    let recalls: Vec<f64> =
        list("per_class").iter().map(|class| class["accuracy"].as_f64().unwrap()).collect();
    let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
    assert!((mean - one["mean_per_class"].as_f64().unwrap()).abs() < 1e-9);
    let wrong: u64 = list("confusions").iter().map(|confusion| confusion["images"].as_u64().unwrap()).sum();
    assert_eq!(wrong as usize, list("mistakes").len());
    let accuracy = 100.0 * (images - wrong) as f64 / images as f64;
    assert!((accuracy - one["accuracy"].as_f64().unwrap()).abs() < 1e-9);
    assert!(list("mistakes").iter().all(|mistake| mistake["class"] != mistake["named"]));
    let binned = one["calibration"]["bins"].as_array().unwrap().iter();
    assert_eq!(binned.map(|bin| bin["images"].as_u64().unwrap()).sum::<u64>(), images);

    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("Worst mistakes"));
    // A page is replaced by a page, anything else is not.
    let printed = gram(&arguments);
    assert!(String::from_utf8(printed.stdout).unwrap().ends_with(&format!("{report}\n")));
    fs::write(&page, "notes").unwrap();
    let refused = gram(&arguments);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stderr).unwrap().contains("this is no page, and is not replaced by one")
    );
    assert_eq!(fs::read_to_string(&page).unwrap(), "notes");
}

/// Reads `image_features` back from both files, of 16-bit numbers.
fn image_features(folder: &Path) -> (Vec<f32>, Vec<f32>) {
    let bytes = fs::read(folder.join("features.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let array = fs::read(folder.join("image_features.npy")).unwrap();
    let npy = npyz::NpyFile::new(&array[..]).unwrap();
    let view = tensors.tensor("image_features").unwrap();
    assert_eq!(npy.shape(), view.shape().iter().map(|size| *size as u64).collect::<Vec<_>>());
    let array = npy.into_vec::<half::f16>().unwrap();
    (float_values(&view).unwrap(), array.into_iter().map(half::f16::to_f32).collect())
}

#[test]
fn embedding_that_was_killed_goes_on_to_the_same_features() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).display().to_string();
    let (whole, killed) = (out("whole"), out("killed"));
    let arguments = |out: &str| ["embed", "--pairs", "demo", "--out", out, "--json"].map(str::to_owned);
    let run =
        |out: &str| command(&arguments(out).each_ref().map(String::as_str)).stderr(Stdio::null()).output();
    let first = lines(&run(&whole).unwrap()).remove(0);
    assert_eq!(
        (first["summary"]["rows"].as_u64(), first["summary"]["resumed"].as_u64()),
        (Some(4000), Some(0))
    );

    let mut child = command(&arguments(&killed).each_ref().map(String::as_str))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !Path::new(&killed).join("parts/000001.safetensors").exists() {
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&killed).join("features.safetensors").exists());
    let rest = lines(&run(&killed).unwrap()).remove(0);
    assert!(rest["summary"]["resumed"].as_u64().unwrap() >= 1024, "{rest}");
    for file in ["features.safetensors", "image_features.npy", "text_features.npy", "pairs.jsonl"] {
        let read = |folder: &str| fs::read(Path::new(folder).join(file)).unwrap();
        assert!(read(&whole) == read(&killed), "{file} differs");
    }
    let (tensor, array) = image_features(Path::new(&whole));
    assert!(tensor == array && tensor.len() == 4000 * 128);
    assert_eq!(lines(&run(&whole).unwrap())[0]["summary"]["resumed"], 4000);

    let other = gram(&["embed", "--pairs", "demo", "--out", &whole, "--image-size", "64"]);
    let error = String::from_utf8(other.stderr).unwrap();
    assert!(error.lines().last().unwrap().contains("image_size was 48, now 64"), "{error}");
}
