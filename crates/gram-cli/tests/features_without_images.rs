//! Prompts are tuned and compared on features that were computed before: no image is needed then.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::Device;
use gram_prompt::{Part, PromptFile};
use serde_json::Value;

fn gram(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_gram")).current_dir(folder).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// The context of a prompt file.
fn context(path: &Path) -> Vec<f32> {
    let file = PromptFile::load(path, &Device::flex()).unwrap();
    file.prompt.get(Part::Text).unwrap().clone().into_data().try_to_vec().unwrap()
}

/// A folder with a dataset `food.tar.gz`, settings without augmentation, and features of the dataset in
/// `features`.
fn embedded() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let food = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/demo/food.tar.gz");
    fs::copy(food, folder.path().join("food.tar.gz")).unwrap();
    let none = "[augmentation]\nscale = [1.0, 1.0]\nflip = false\n";
    fs::write(folder.path().join("none.toml"), none).unwrap();
    let told = json(&gram(folder.path(), "embed --data food.tar.gz --full-precision --out features --json"));
    assert_eq!(told["summary"]["rows"], 960);
    folder
}

#[test]
fn features_give_the_prompt_and_the_table_that_images_give_and_no_image_is_needed() {
    let folder = embedded();
    let path = folder.path();
    let run = |arguments: &str| json(&gram(path, arguments));
    let tuned = "--method coop --shots 1 --epochs 2 --json";
    let measured = "--methods zero-shot,coop,tip-adapter-f --shots 1 --seeds 1 --epochs 1 --json";
    run(&format!("adapt --data food.tar.gz --config none.toml {tuned} --out images.safetensors"));
    let seen = run(&format!("bench --data food.tar.gz --config none.toml {measured} --out by-images"));
    fs::remove_file(path.join("food.tar.gz")).unwrap();
    run(&format!("adapt --features features {tuned} --out features.safetensors"));
    assert_eq!(context(&path.join("images.safetensors")), context(&path.join("features.safetensors")));
    let known = run(&format!("bench --features features {measured} --out by-features"));
    let runs = |told: &Value| told["results"][0]["base_to_new"].clone();
    assert_eq!(runs(&seen).as_array().unwrap().len(), 3);
    assert_eq!(runs(&seen), runs(&known));
    // A bench knows its features again, and those of other images are not theirs.
    let again = run(&format!("bench --features features {measured} --out by-features"));
    assert_eq!(runs(&again), runs(&known));
}

#[test]
fn what_features_do_not_serve_is_said_with_the_way_out() {
    let folder = embedded();
    let path = folder.path();
    let problem = error_of(&gram(path, "adapt --features features --method vpt --out x.safetensors"));
    assert!(problem.contains("--features: vpt needs images, not features"), "{problem}");
    let problem = error_of(&gram(path, "bench --features features --methods coop,joint --out bench"));
    assert!(problem.contains("joint needs images, not features: leave it out of --methods"), "{problem}");
    let two = "bench --features features --data food.tar.gz --data demo:smileys --methods coop --out bench";
    let problem = error_of(&gram(path, two));
    assert!(problem.contains("--features: 1 for 2 --data: give one for each of them"), "{problem}");
    let problem = error_of(&gram(path, "adapt --features nowhere --method coop --out x.safetensors"));
    assert!(problem.contains("nowhere: no such folder"), "{problem}");
    let problem = error_of(&gram(path, "cluster --features features --out clusters"));
    assert!(problem.contains("features of a labelled dataset, without captions"), "{problem}");
    let pairs = "embed --pairs demo --out pairs --json";
    json(&gram(path, pairs));
    let problem = error_of(&gram(path, "adapt --features pairs --method coop --out x.safetensors"));
    assert!(problem.contains("holds no dataset.json"), "{problem}");
    let problem =
        error_of(&gram(path, "adapt --data food.tar.gz --features pairs --method coop --out x.safetensors"));
    assert!(problem.contains("no row has its key"), "{problem}");
    assert!(!path.join("x.safetensors").exists());
}

#[test]
fn labels_in_a_table_need_no_image_where_a_matrix_has_a_row_for_each() {
    let folder = embedded();
    let path = folder.path();
    let tuned = "--method coop --shots 1 --epochs 1 --json";
    json(&gram(path, &format!("adapt --features features {tuned} --out folder.safetensors")));
    // The same labels as a table of images that are nowhere, and the rows as NumPy's matrix.
    let mut table = String::from("image,label,split,domain\n");
    for line in fs::read_to_string(path.join("features/images.jsonl")).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        table += &format!("{},{},{},{}\n", text("key"), text("label"), text("split"), row["domain"]);
    }
    fs::write(path.join("food.csv"), table).unwrap();
    let matrix = "--data food.csv --features features/image_features.npy";
    json(&gram(path, &format!("adapt {matrix} {tuned} --out matrix.safetensors")));
    let one = context(&path.join("folder.safetensors"));
    assert_eq!(one, context(&path.join("matrix.safetensors")));
    // The usual 16 bits do as well.
    json(&gram(path, "embed --data food.tar.gz --out half --json"));
    let matrix = "--data food.csv --features half/image_features.npy";
    json(&gram(path, &format!("adapt {matrix} {tuned} --out half.safetensors")));
    let half = context(&path.join("half.safetensors"));
    let apart = one.iter().zip(half).map(|(one, other)| (one - other).abs());
    assert!(apart.fold(0.0, f32::max) < 1e-3);
}

#[test]
fn an_image_of_a_labelled_dataset_that_cannot_be_read_ends_the_embedding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for class in ["cat", "dog"] {
        fs::create_dir(path.join(class)).unwrap();
        image::RgbImage::new(8, 8).save(path.join(class).join("good.png")).unwrap();
    }
    fs::write(path.join("dog/broken.png"), "no image").unwrap();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("features");
    let arguments = format!("embed --data {} --out {}", path.display(), out.display());
    let problem = error_of(&gram(path, &arguments));
    assert!(problem.contains("broken.png") && problem.contains("every image of a labelled"), "{problem}");
    assert!(!out.join("features.safetensors").exists());
}

#[test]
fn a_folder_of_features_that_was_changed_or_is_of_another_size_of_images_is_refused() {
    let folder = embedded();
    let path = folder.path();
    let adapt = "adapt --features features --method coop --shots 1 --epochs 1 --out x.safetensors";
    let images = path.join("features/images.jsonl");
    let before = fs::read_to_string(&images).unwrap();
    let turned: Vec<&str> = before.lines().rev().collect();
    let relabelled = before.replacen("\"class\":0", "\"class\":1", 1);
    for (changed, told) in [
        (turned.join("\n") + "\n", "images.jsonl: it is not what `gram embed` wrote: embed again"),
        (relabelled, "its class 1 is `bacon`, and its label `avocado`"),
    ] {
        fs::write(&images, changed).unwrap();
        let problem = error_of(&gram(path, adapt));
        assert!(problem.contains(told), "{problem}");
    }
    fs::write(&images, before).unwrap();
    json(&gram(path, &format!("{adapt} --json")));
    // As a run that was stopped leaves it.
    fs::remove_file(path.join("features/written.json")).unwrap();
    let problem = error_of(&gram(path, adapt));
    assert!(problem.contains("features: `gram embed` did not finish here"), "{problem}");

    json(&gram(path, "embed --data food.tar.gz --image-size 64 --out large --json"));
    let problem = error_of(&gram(path, "adapt --features large --method coop --shots 1 --out y.safetensors"));
    assert!(problem.contains("large: images were embedded at 64 pixels, and tiny sees"), "{problem}");
}

#[test]
fn a_dataset_of_another_name_is_not_embedded_into_the_same_folder() {
    let folder = embedded();
    let path = folder.path();
    fs::rename(path.join("food.tar.gz"), path.join("meals.tar.gz")).unwrap();
    let again = "embed --data meals.tar.gz --full-precision --out features";
    let problem = error_of(&gram(path, again));
    assert!(problem.contains("dataset.name was \"food\", now \"meals\""), "{problem}");
    fs::rename(path.join("meals.tar.gz"), path.join("food.tar.gz")).unwrap();
    json(&gram(path, "embed --data food.tar.gz --full-precision --out features --json"));
}
