//! Files belong to the model that made them: another one is refused by name, and where none is given it is
//! their own.
#![allow(clippy::unwrap_used)]

mod clustered;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use burn::tensor::Device;
use clustered::{clustered, gram, json, text};
use gram_clip::checkpoint::{Source, to_f32_bytes};
use gram_clip::{Clip, ClipConfig, ClipError, Compute, Model};
use gram_hub::assets;
use gram_prompt::{PromptFile, PromptKind};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// Weights without a pattern, other ones for every phase.
struct Waves(f32);

impl Source for Waves {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let norm = name.contains("norm") && name.ends_with("weight");
        let (mean, size) = if norm { (1.0, 0.1) } else { (0.0, 0.3) };
        let wave = |index: usize| (self.0 + 2.3 * index as f32 + 0.1 * (index as f32).powi(2)).sin();
        Ok((0..shape.iter().product()).map(|index| mean + size * wave(index)).collect())
    }
}

/// The folder of a model of width 64 with the vocabulary of the built-in one.
fn random_model(folder: &Path, name: &str, phase: f32, patch_size: usize) -> String {
    let tiny = assets::tiny(&Compute::cpu()).unwrap();
    let mut config: ClipConfig = tiny.clip.config.clone();
    config.projection_dim = 64;
    let (text, vision) = (&mut config.text_config, &mut config.vision_config);
    (text.hidden_size, text.intermediate_size, text.num_hidden_layers) = (64, 128, 2);
    (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers) = (64, 128, 2);
    (vision.image_size, vision.patch_size) = (64, patch_size);
    let clip = Clip::read(&config, &mut Waves(phase), &Compute::cpu()).unwrap();
    write_model(&folder.join(name), &clip)
}

/// The built-in model with one other value in its vision tower, as after the shortest of fine-tunings.
fn tuned_tiny(folder: &Path) -> String {
    let mut weights = assets::tiny(&Compute::cpu()).unwrap().clip.named_weights();
    weights.get_mut("vision_model.encoder.layers.0.mlp.fc1.bias").unwrap().1[0] += 0.01;
    let config = include_str!("../../../assets/tiny/config.json");
    let bytes = to_f32_bytes(&weights).unwrap();
    write_model(&folder.join("tuned"), &Clip::from_bytes(config, &bytes, &Compute::cpu()).unwrap())
}

fn write_model(folder: &Path, clip: &Clip) -> String {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), serde_json::to_string(&clip.config).unwrap()).unwrap();
    fs::write(folder.join("model.safetensors"), to_f32_bytes(&clip.named_weights()).unwrap()).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/tiny/tokenizer.json");
    fs::copy(tokenizer, folder.join("tokenizer.json")).unwrap();
    folder.display().to_string()
}

fn fingerprint(model: &str) -> String {
    Model::open(model.as_ref(), &Compute::cpu()).unwrap().fingerprint().unwrap().to_string()
}

/// Red and blue squares in the layout of one folder a class; gives the folder and one of the images.
fn squares(folder: &Path) -> (String, String) {
    let root = folder.join("squares");
    for (name, colour) in [("red", [200, 30, 30]), ("blue", [40, 60, 210])] {
        for (split, count) in [("train", 4_u32), ("test", 2)] {
            let class = root.join(split).join(name);
            fs::create_dir_all(&class).unwrap();
            for number in 0..count {
                let shade =
                    |x: u32, y: u32| Rgb(colour.map(|value| value + ((x * number + 3 * y) % 17) as u8));
                RgbImage::from_fn(48, 48, shade).save(class.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    let image = root.join("test/red/0.png").display().to_string();
    (root.display().to_string(), image)
}

/// A prompt of CoOp for the squares.
fn adapted(folder: &Path, data: &str, model: &str) -> String {
    let out = folder.join("prompt.safetensors").display().to_string();
    let output = gram(&[
        "adapt", "--model", model, "--data", data, "--method", "coop", "--shots", "2", "--epochs", "1",
        "--out", &out,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    out
}

#[track_caller]
fn error_of(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    text(&output.stderr).lines().last().unwrap_or_default()
}

fn predictions(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    json(output)["predictions"].clone()
}

fn notes_with(output: &Output, words: &str) -> usize {
    text(&output.stderr).lines().filter(|line| line.contains(words)).count()
}

/// Changes the header of a prompt file.
fn with_header(path: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let file = fs::read(path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let mut gram: Value = serde_json::from_str(header["__metadata__"]["gram"].as_str().unwrap()).unwrap();
    change(gram.as_object_mut().unwrap());
    header["__metadata__"]["gram"] = gram.to_string().into();
    let mut header = header.to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let written = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[8 + length..]].concat();
    fs::write(path, written).unwrap();
}

#[test]
fn a_prompt_is_refused_by_a_model_of_the_same_widths_and_other_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (data, image) = squares(folder.path());
    let own = random_model(folder.path(), "patch-16", 0.3, 16);
    let prompt = adapted(folder.path(), &data, &own);
    for other in
        [random_model(folder.path(), "patch-32", 0.7, 32), random_model(folder.path(), "other", 0.9, 16)]
    {
        let name = Path::new(&other).file_name().unwrap().to_str().unwrap();
        let expected = format!(
            "gram: {prompt}: made for patch-16 ({}), not for {name} ({}): pass --model {own}",
            fingerprint(&own),
            fingerprint(&other)
        );
        let weights = folder.path().join("weights.safetensors").display().to_string();
        for command in [
            &["predict", &image][..],
            &["eval", "--data", &data],
            &["export", "--to", "classifier", "--out", &weights],
        ] {
            let output = gram(&[command, &["--model", &other, "--prompt", &prompt]].concat());
            assert_eq!(error_of(&output), expected, "{command:?}");
        }
        let out = folder.path().join("again.safetensors").display().to_string();
        let start = [
            "adapt",
            "--model",
            &other,
            "--data",
            &data,
            "--method",
            "coop-gram",
            "--init",
            &prompt,
            "--out",
            &out,
        ];
        assert_eq!(error_of(&gram(&start)), expected);
    }
}

#[test]
fn where_no_model_is_given_it_is_the_prompt_s_own_wherever_it_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (data, image) = squares(folder.path());
    let own = random_model(folder.path(), "own", 0.3, 16);
    let prompt = adapted(folder.path(), &data, &own);
    let predict =
        |model: &[&str]| gram(&[&["predict", "--json", "--prompt", &prompt, &image], model].concat());
    let expected = predictions(&predict(&["--model", &own]));
    let output = predict(&[]);
    assert_eq!(predictions(&output), expected);
    assert_eq!(text(&output.stderr), "");
    let evaluated = json(&gram(&["eval", "--json", "--prompt", &prompt, "--data", &data]));
    assert_eq!((&evaluated["model"], &evaluated["fingerprint"]), (&json!("own"), &json!(fingerprint(&own))));

    let moved = folder.path().join("moved").display().to_string();
    fs::rename(&own, &moved).unwrap();
    let error =
        format!("gram: {prompt}: made with own ({}), which cannot be opened: pass it with --model: ", {
            fingerprint(&moved)
        });
    assert!(error_of(&predict(&[])).starts_with(&error), "{}", error_of(&predict(&[])));
    assert_eq!(predictions(&predict(&["--model", &moved])), expected);

    random_model(folder.path(), "own", 0.9, 16);
    let output = predict(&[]);
    let error = error_of(&output);
    assert!(
        error.ends_with(&format!("{own} is another model now, pass --model with the old one")),
        "{error}"
    );
}

#[test]
fn prompts_without_a_fingerprint_are_read_and_that_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let (data, image) = squares(folder.path());
    let own = random_model(folder.path(), "own", 0.3, 16);
    let prompt = adapted(folder.path(), &data, &own);
    let coop = folder.path().join("model.pth.tar-0").display().to_string();
    assert!(gram(&["export", "--to", "coop", "--prompt", &prompt, "--out", &coop]).status.success());
    with_header(&prompt, |header| {
        header.remove("fingerprint");
        header.remove("model_source");
    });
    for (file, said) in [
        (
            &prompt,
            "made for own by gram 0.1.0, which kept no fingerprint of a model: only widths and layers are checked",
        ),
        (&coop, "only widths and layers are checked"),
    ] {
        let more = ["--classes", "red,blue", "--model", &own];
        let output = gram(&[&["predict", "--json", "--prompt", file, &image], &more[..]].concat());
        assert_eq!(predictions(&output).as_array().unwrap().len(), 2);
        assert_eq!((notes_with(&output, said), text(&output.stderr).lines().count()), (1, 1), "{output:?}");
    }
    let output = gram(&["predict", "--prompt", &prompt, "--model", "tiny", &image]);
    assert!(error_of(&output).contains("made for own, text width 64, but tiny has width 128"), "{output:?}");
}

#[test]
fn a_classifier_says_which_model_it_is_of_and_an_array_of_numpy_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let (_, image) = squares(folder.path());
    let own = random_model(folder.path(), "own", 0.3, 16);
    let other = random_model(folder.path(), "other", 0.9, 16);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (weights, again, array) = (path("a.safetensors"), path("b.safetensors"), path("a.npy"));
    for out in [&weights, &again, &array] {
        let output =
            gram(&["export", "--to", "classifier", "--model", &own, "--classes", "red,blue", "--out", out]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert!(fs::read(&weights).unwrap() == fs::read(&again).unwrap(), "the same matrix is the same bytes");
    let predict = |more: &[&str]| gram(&[&["predict", "--json", &image], more].concat());
    let expected =
        predictions(&predict(&["--model", &own, "--template", "a photo of a {}", "--classes", "red,blue"]));
    let named = predict(&["--weights", &weights]);
    assert_eq!((predictions(&named), text(&named.stderr)), (expected.clone(), ""));
    let error = format!(
        "gram: {weights}: made for own ({}), not for other ({}): pass --model {own}",
        fingerprint(&own),
        fingerprint(&other)
    );
    assert_eq!(error_of(&predict(&["--weights", &weights, "--model", &other])), error);
    let unnamed = predict(&["--weights", &array, "--classes", "red,blue", "--model", &own]);
    assert_eq!(predictions(&unnamed), expected);
    assert_eq!(notes_with(&unnamed, "it does not say which model it is for, as .npy cannot"), 1);
}

#[test]
fn the_built_in_model_says_once_what_it_knows_and_only_of_images_that_a_user_brings() {
    let folder = tempfile::tempdir().unwrap();
    let (data, image) = squares(folder.path());
    let said = "`tiny` knows emoji and icons only";
    let own = random_model(folder.path(), "own", 0.3, 16);
    let features = folder.path().join("features").display().to_string();
    let manifest = folder.path().join("pairs.csv").display().to_string();
    fs::write(&manifest, format!("image,caption\n{image},a red square\n")).unwrap();
    let out = |name: &str| folder.path().join(name).display().to_string();
    let (of_squares, of_food) = (out("squares.safetensors"), out("food.safetensors"));
    let tune = ["adapt", "--method", "coop", "--epochs", "1", "--shots", "2"];
    for (arguments, times) in [
        (&["predict", "--classes", "red,blue", &image, &image][..], 1),
        (&["predict", "--classes", "red,blue", "--model", &own, &image], 0),
        (&["eval", "--data", &data], 1),
        (&["eval", "--data", "demo:animals", "--classes", "new"], 0),
        (&["embed", "--pairs", &manifest, "--out", &features], 1),
        (&[&tune[..], &["--data", &data, "--out", &of_squares]].concat(), 1),
        (&[&tune[..], &["--data", "demo:food", "--out", &of_food]].concat(), 0),
    ] {
        let output = gram(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(notes_with(&output, said), times, "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn clusters_and_features_say_whose_they_are_and_a_start_is_meta_trained_for_that_model() {
    let folder = tempfile::tempdir().unwrap();
    let (pairs, own) = (clustered().path("pairs.jsonl"), tuned_tiny(folder.path()));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (features, clusters) = (path("features"), path("clusters"));
    let embedded = gram(&["embed", "--model", &own, "--pairs", &pairs, "--out", &features]);
    assert!(embedded.status.success(), "{}", text(&embedded.stderr));
    let cluster = |more: &[&str]| {
        let sizes = ["--min-cluster-size", "8", "--out", &clusters];
        gram(&[&["cluster", "--json", "--features", &features], &sizes[..], more].concat())
    };
    let refused = cluster(&["--model", "tiny"]);
    let tiny = assets::tiny(&Compute::cpu()).unwrap().fingerprint().unwrap();
    let expected =
        format!("gram: {features}: made for tuned ({}), not for tiny ({tiny}): pass --model {own}", {
            fingerprint(&own)
        });
    assert_eq!(error_of(&refused), expected);
    let identity = json!({"model": "tuned", "fingerprint": fingerprint(&own), "model_source": own});
    assert_eq!(json(&cluster(&["--model", &own]))["model"], identity);
    // Without the model no name is checked in images: other topics.
    assert_eq!(json(&cluster(&["--restart"]))["model"], identity);
    let topics: Value =
        serde_json::from_slice(&fs::read(Path::new(&clusters).join("topics.json")).unwrap()).unwrap();
    assert_eq!((&topics["model"], &topics["fingerprint"]), (&identity["model"], &identity["fingerprint"]));

    let meta_train = |out: &str, more: &[&str]| {
        let fixed = ["meta-train", "--pairs", &pairs, "--method", "coop", "--steps", "0", "--ways", "2"];
        let output = gram(&[&fixed[..], &["--out", &path(out)], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let file = PromptFile::load(&PathBuf::from(path(out)), &Device::flex()).unwrap();
        assert_eq!(serde_json::to_value(&file.header.clusters).unwrap(), identity);
        (serde_json::to_value(&file.header.model).unwrap(), output)
    };
    let (model, output) = meta_train("own.safetensors", &["--clusters", &clusters]);
    assert_eq!((model, notes_with(&output, "topics and domains")), (identity.clone(), 0));

    // Topics and domains are groups of pairs: another model may learn from them, and that is said.
    let (model, output) = meta_train("tiny.safetensors", &["--clusters", &clusters, "--model", "tiny"]);
    assert_eq!(model["fingerprint"], tiny.to_string());
    let said = format!(
        "topics and domains as tuned ({}) sees them, for a prompt of tiny ({tiny})",
        fingerprint(&own)
    );
    assert_eq!(notes_with(&output, &said), 1, "{}", text(&output.stderr));

    let episodes = path("episodes.json");
    let listed =
        gram(&["episodes", "--clusters", &clusters, "--count", "8", "--ways", "2", "--out", &episodes]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert_eq!(meta_train("listed.safetensors", &["--episodes", &episodes]).0, identity);
    // A start of another model is refused by its name, wherever its pairs come from.
    let start = path("own.safetensors");
    let again = ["meta-train", "--pairs", &pairs, "--method", "coop", "--clusters", &clusters, "--ways", "2"];
    let out = path("again.safetensors");
    let output = gram(&[&again[..], &["--init", &start, "--model", "tiny", "--out", &out]].concat());
    assert!(error_of(&output).contains("made for tuned ("), "{output:?}");
}

#[test]
fn the_shipped_starts_are_for_the_built_in_model() {
    let device = Device::flex();
    let tiny = assets::tiny(&Compute::cpu()).unwrap().identity().unwrap();
    for kind in [PromptKind::Visual, PromptKind::Joint] {
        let shipped = assets::start(kind).unwrap();
        let file = PromptFile::parse(shipped.name.as_ref(), shipped.file, &device).unwrap();
        assert_eq!(file.header.model, tiny, "{}: write_model.py beside it writes this", shipped.name);
    }
}
