//! Where what was asked for is not all there: classes, images, shots, sentences. Said, counted, or refused.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::Value;

fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

fn errors(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Squares of three colours in folders of classes, in so many train and test images each.
fn squares(folder: &Path, train: [usize; 3]) -> PathBuf {
    let data = folder.join("squares");
    for (class, (name, train)) in ["red", "green", "blue"].into_iter().zip(train).enumerate() {
        for (split, count) in [("Train", train), ("Test", 2)] {
            let place = data.join(split).join(name).join("below");
            fs::create_dir_all(&place).unwrap();
            for number in 0..count {
                let mut colour = [number as u8 * 9; 3];
                colour[class] = 220;
                RgbImage::from_pixel(16, 16, Rgb(colour)).save(place.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    data
}

#[test]
fn partial_failure_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), [2, 2, 2]);
    let good = data.join("Train/red/below/0.png").display().to_string();
    let broken = data.join("Test/red/below/broken.png");
    let predict = |images: &[&str]| gram(&[&["predict", "--classes", "red,blue"], images].concat());
    let output = predict(&["missing.jpg", &good]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(errors(&output).contains("gram: missing.jpg: "), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert_eq!(predict(&[&good]).status.code(), Some(0));
    assert_eq!(predict(&["missing.jpg"]).status.code(), Some(1));

    let data = data.display().to_string();
    let [validate, eval] = [&["data", "validate", &data][..], &["eval", "--json", "--data", &data]];
    assert_eq!([gram(validate), gram(eval)].map(|output| output.status.code()), [Some(0), Some(0)]);
    fs::write(&broken, "no image").unwrap();
    let output = gram(validate);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("unreadable: Test/red/below/broken.png"));
    let output = gram(eval);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!((json(&output)["images"].clone(), json(&output)["unreadable"].clone()), (6.into(), 1.into()));
    let help = String::from_utf8(gram(&["--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but"), "{help}");
}

/// Where sources are of the size of the web, what cannot be read is counted and named, and is no failure.
#[test]
fn unreadable_images_among_pairs_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    RgbImage::new(16, 16).save(path("a.png")).unwrap();
    fs::write(path("b.png"), "no image").unwrap();
    fs::write(path("pairs.csv"), "image,caption\na.png,one\nb.png,two\n").unwrap();
    let output = gram(&["embed", "--pairs", &path("pairs.csv"), "--out", &path("features"), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json(&output)["summary"]["unreadable"], 1);
    assert!(fs::read_to_string(path("features/unreadable.jsonl")).unwrap().contains("b.png"));
}

#[test]
fn a_class_file_that_is_not_there_is_no_class() {
    let folder = tempfile::tempdir().unwrap();
    let image = squares(folder.path(), [1, 1, 1]).join("Train/red/below/0.png").display().to_string();
    let classes = folder.path().join("classes.txt").display().to_string();
    for name in ["clases.txt", "lists/classes", "names.csv", "names.json", "names.tsv", &classes] {
        let output = gram(&["predict", "--classes", name, &image]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = format!("gram: --classes {name}: there is no such file");
        assert!(errors(&output).starts_with(&told), "{output:?}");
    }
    fs::write(&classes, "red\nblue\n").unwrap();
    assert_eq!(gram(&["predict", "--classes", &classes, &image]).status.code(), Some(0));
    for twice in ["tiger,cat,tiger", "tiger , tiger"] {
        let output = gram(&["predict", "--classes", twice, &image]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(errors(&output), "gram: --classes: `tiger` is named twice: leave one out\n");
    }
    let listed = gram(&["predict", "--classes", "AC/DC,Queen", &image]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let one = gram(&["predict", "--classes", "tiger", &image]);
    assert_eq!(one.status.code(), Some(0));
    assert!(errors(&one).contains("one class only: every image is said to show `tiger`"), "{one:?}");
}

#[test]
fn fewer_images_than_shots_are_said_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), [10, 7, 9]).display().to_string();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let told = "squares: 2 of 3 classes have fewer than 10 training images and give all they have; `green` has fewest, 7";
    let few_shot =
        |shots: &str| gram(&["data", "few-shot", &data, "--shots", shots, "--out", &path("few.json")]);
    assert_eq!(errors(&few_shot("10")).lines().filter(|line| *line == told).count(), 1);
    assert!(!errors(&few_shot("7")).contains("fewer"));
    let (short, none) = (["--epochs", "1", "--batch-size", "8"], &[][..]);
    let tune = |command: &[&str], shots: &str, more: &[&str]| {
        let output = gram(&[command, &["--data", &data, "--shots", shots], &short, more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        errors(&output)
            .lines()
            .filter(|line| line.contains("have fewer than"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (prompts, bench) = ([path("ten.safetensors"), path("seven.safetensors")], path("bench"));
    let adapt = |prompt: usize, shots: &str| {
        tune(&["adapt", "--method", "coop", "--out", &prompts[prompt]], shots, none)
    };
    assert_eq!(adapt(0, "10"), [told]);
    assert_eq!(adapt(1, "7"), Vec::<String>::new());
    // Base classes alone are drawn from.
    let base = "squares: 2 of 2 classes have fewer than 100 training images and give all they have; `green` has fewest, 7";
    let protocol = ["--protocol", "base-to-new", "--methods", "zero-shot", "--seeds", "1"];
    assert_eq!(tune(&["bench", "--out", &bench], "1,100", &protocol), [base]);
}

#[test]
fn what_lies_among_class_folders_is_counted_and_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = squares(folder.path(), [2, 2, 2]);
    for junk in ["__MACOSX/._x.png", ".DS_Store", "Train/red/Thumbs.db", "Train/notes.txt"] {
        fs::create_dir_all(data.join(junk).parent().unwrap()).unwrap();
        fs::write(data.join(junk), "").unwrap();
    }
    let data = data.display().to_string();
    let output = gram(&["eval", "--data", &data, "--json"]);
    assert_eq!(json(&output)["images"], 6, "{output:?}");
    let told = "squares: 4 left out, no images of a class: .DS_Store, Train/notes.txt, Train/red/Thumbs.db and 1 more";
    assert_eq!(errors(&output).lines().filter(|line| *line == told).count(), 1, "{output:?}");
    let report = json(&gram(&["data", "validate", &data, "--json"]));
    assert_eq!(report["left_out"].as_array().unwrap().len(), 4);
    assert_eq!(report["images"], serde_json::json!({"train": 6, "test": 6}));
}

#[test]
fn a_dataset_is_asked_in_its_own_sentences_where_none_is_given() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../gram-data/tests/fixtures/clip_benchmark");
    let folder = tempfile::tempdir().unwrap();
    // The probabilities of an image tell one classifier from another; accuracies of six images need not.
    let image = folder.path().join("square.png");
    RgbImage::from_pixel(16, 16, Rgb([210, 30, 30])).save(&image).unwrap();
    let (image, weights) = (image.display().to_string(), folder.path().join("own.npy").display().to_string());
    let templates = format!("{data}/zeroshot_classification_templates.txt");
    let names = format!("{data}/classnames.txt");
    let plain = folder.path().join("plain.txt").display().to_string();
    fs::write(&plain, fs::read_to_string(&templates).unwrap().replace("{c}", "{}")).unwrap();
    let export = |templates: &str| {
        let with = ["--templates", templates, "--classes", &names];
        let output = gram(&[&["export", "--to", "classifier", "--out", &weights], &with[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        fs::read(&weights).unwrap()
    };
    assert_eq!(export(&templates), export(&plain));
    let predict = gram(&["predict", "--template", "the {c}", "--classes", &names, &image]);
    assert_eq!(
        predict.stdout,
        gram(&["predict", "--template", "the {}", "--classes", &names, &image]).stdout
    );

    // A template that the model reads otherwise shows which sentences are in force.
    let own = folder.path().join("data");
    for place in ["train", "test"] {
        fs::create_dir_all(own.join(place)).unwrap();
        for file in ["0.tar", "1.tar", "nshards.txt"] {
            fs::copy(format!("{data}/{place}/{file}"), own.join(place).join(file)).unwrap();
        }
    }
    fs::copy(&names, own.join("classnames.txt")).unwrap();
    let own_name = own.display().to_string();
    let eval = |more: &[&str]| json(&gram(&[&["eval", "--json", "--data", &own_name], more].concat()));
    let bench = |name: &str| {
        let out = folder.path().join(name).display().to_string();
        let arguments =
            ["bench", "--data", &own_name, "--methods", "zero-shot", "--shots", "1", "--seeds", "1"];
        let output = gram(&[&arguments[..], &["--out", &out]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let run = folder.path().join(name).join("runs/1-shot/base-to-new/data/seed-1/zero-shot.json");
        let run: Value = serde_json::from_slice(&fs::read(run).unwrap()).unwrap();
        run["made_from"]["zero_shot_template"].clone()
    };
    let (without, bench_without) = (eval(&[]), bench("without"));
    // Every sentence names all three colours: what is asked for is hard to tell.
    let same = "red square, green square, blue square, not {c}\n".repeat(2);
    fs::write(own.join("zeroshot_classification_templates.txt"), format!("\u{feff}{same}")).unwrap();
    let (with, bench_with) = (eval(&[]), bench("with"));
    let given = own.join("zeroshot_classification_templates.txt").display().to_string();
    assert_eq!(with["accuracy"], eval(&["--templates", &given])["accuracy"]);
    assert_eq!(without["accuracy"], eval(&["--template", "a photo of a {}"])["accuracy"]);
    assert_ne!(with, without);
    assert_eq!(bench_without, serde_json::json!(["a picture of a {}"]));
    let asked = "red square, green square, blue square, not {}";
    assert_eq!(bench_with, serde_json::json!([asked, asked]));
    fs::write(own.join("zeroshot_classification_templates.txt"), "a photo\n").unwrap();
    let output = gram(&["eval", "--data", &own_name]);
    assert!(errors(&output).contains("dataset data: template `a photo`: write {} once"), "{output:?}");
}
