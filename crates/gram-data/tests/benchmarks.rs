//! Small imitations of the datasets' real folders, with the traps of the real ones.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use gram_data::{Benchmark, LabelledDataset, Split};
use tempfile::{TempDir, tempdir};

/// A folder with empty files, and texts in some of them: images are not decoded when a dataset is opened.
fn folder(images: &[&str], texts: &[(&str, &str)]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, text) in
        images.iter().map(|image| (image, "")).chain(texts.iter().map(|(name, text)| (name, *text)))
    {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn open(folder: &TempDir) -> LabelledDataset {
    LabelledDataset::open(folder.path()).unwrap()
}

fn split_of(dataset: &LabelledDataset, key: &str) -> (Split, String) {
    let image = dataset.images.iter().find(|image| image.key == key).unwrap();
    (image.split, dataset.classes[image.class].clone())
}

#[test]
fn a_shared_split_says_all_and_its_numbers_order_the_classes() {
    let split = r#"{"train": [["a/1.jpg", 1, "leopard"], ["b/1.jpg", 0, "hair_brush"]],
                    "val": [["a/2.jpg", 1, "leopard"]], "test": [["b/2.jpg", 0, "hair_brush"]]}"#;
    let images = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "BACKGROUND_Google/1.jpg"];
    let images = images.map(|image| format!("101_ObjectCategories/{image}"));
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let caltech = open(&folder(&images, &[("split_zhou_Caltech101.json", split)]));
    assert_eq!((caltech.benchmark, caltech.name.as_str()), (Some(Benchmark::Caltech101), "caltech101"));
    assert_eq!(caltech.classes, ["hair brush", "leopard"]);
    assert_eq!(caltech.images.len(), 4);
    assert_eq!(split_of(&caltech, "a/2.jpg"), (Split::Validation, "leopard".into()));
    assert_eq!(split_of(&caltech, "b/2.jpg").0, Split::Test);
}

#[test]
fn a_split_of_cars_is_relative_to_the_dataset_s_folder_and_one_of_no_known_dataset_to_where_its_images_are() {
    let entry = |folder: &str, class: usize, name: &str| format!(r#"["{folder}/1.jpg", {class}, "{name}"]"#);
    let text = format!(
        r#"{{"train": [{}], "val": [], "test": [{}]}}"#,
        entry("cars_train", 0, "2000 AM General Hummer SUV"),
        entry("cars_test", 1, "2012 Acura RL Sedan")
    );
    let images = ["cars_train/1.jpg", "cars_test/1.jpg"];
    let cars = open(&folder(&images, &[("split_zhou_StanfordCars.json", &text)]));
    assert_eq!(cars.benchmark, Some(Benchmark::StanfordCars));
    let other = folder(
        &["pictures/cars_train/1.jpg", "pictures/cars_test/1.jpg"],
        &[("split_zhou_Mine.json", &text)],
    );
    assert_eq!((open(&other).benchmark, open(&other).images.len()), (None, 2));
    let missing = folder(&["cars_train/1.jpg"], &[("split_zhou_StanfordCars.json", &text)]);
    let error = LabelledDataset::open(missing.path()).unwrap_err().to_string();
    assert!(error.contains("split_zhou_StanfordCars.json") && error.contains("cars_test/1.jpg"), "{error}");
}

#[test]
fn caltech_without_a_split_leaves_its_background_out_and_keeps_the_folders_order() {
    let classes = ["BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "accordion", "airplanes"];
    let images: Vec<String> =
        classes.iter().map(|class| format!("101_ObjectCategories/{class}/1.jpg")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    assert_eq!(open(&folder(&images, &[])).classes, ["face", "leopard", "accordion", "airplane"]);
}

#[test]
fn aircraft_is_read_by_its_lists_whose_variants_have_spaces() {
    let aircraft = folder(
        &["images/0034309.jpg", "images/1025794.jpg", "images/0000001.jpg"],
        &[
            ("variants.txt", "Cessna 172\nF/A-18\n"),
            ("images_variant_train.txt", "1025794 F/A-18\n"),
            ("images_variant_val.txt", "0000001 Cessna 172\n"),
            ("images_variant_test.txt", "0034309 Cessna 172\n"),
        ],
    );
    let dataset = open(&aircraft);
    assert_eq!(dataset.classes, ["Cessna 172", "F/A-18"]);
    assert_eq!(split_of(&dataset, "0000001.jpg"), (Split::Validation, "Cessna 172".into()));
    fs::write(aircraft.path().join("images_variant_val.txt"), "0000001 Cesna\n").unwrap();
    let error = LabelledDataset::open(aircraft.path()).unwrap_err().to_string();
    assert!(error.contains("images_variant_val.txt, line 1") && error.contains("`Cesna`"), "{error}");
}

#[test]
fn pets_scenes_and_actions_are_read_by_their_lists() {
    let pets = folder(
        &["images/Abyssinian_1.jpg", "images/american_bulldog_1.jpg", "images/american_bulldog_2.jpg"],
        &[
            ("annotations/trainval.txt", "Abyssinian_1 1 1 1\namerican_bulldog_1 2 2 1\n"),
            ("annotations/test.txt", "american_bulldog_2 2 2 1\n"),
        ],
    );
    assert_eq!(open(&pets).classes, ["abyssinian", "american bulldog"]);
    let scenes = folder(
        &["SUN397/a/apartment_building/outdoor/sun_1.jpg", "SUN397/b/bar/sun_2.jpg"],
        &[
            ("ClassName.txt", "/a/apartment_building/outdoor\n/b/bar\n"),
            ("Training_01.txt", "/a/apartment_building/outdoor/sun_1.jpg\n"),
            ("Testing_01.txt", "/b/bar/sun_2.jpg\n"),
        ],
    );
    assert_eq!(open(&scenes).classes, ["outdoor apartment building", "bar"]);
    let actions = folder(
        &[
            "UCF-101-midframes/Handstand_Pushups/v_HandStandPushups_g01_c01.jpg",
            "UCF-101-midframes/Archery/v_Archery_g01_c01.jpg",
        ],
        &[
            ("ucfTrainTestlist/classInd.txt", "1 Archery\n2 HandstandPushups\n"),
            ("ucfTrainTestlist/trainlist01.txt", "HandstandPushups/v_HandStandPushups_g01_c01.avi 2\n"),
            ("ucfTrainTestlist/testlist01.txt", "Archery/v_Archery_g01_c01.avi\n"),
        ],
    );
    assert_eq!(open(&actions).classes, ["Archery", "Handstand Pushups"]);
}

const NAMES: &str =
    "n01440764 tench\nn01443537 goldfish\nn02012849 crane bird\nn03126707 construction crane\n";

#[test]
fn image_net_is_tuned_on_its_training_and_tested_on_its_validation_images() {
    let dataset = open(&folder(
        &["images/train/n01440764/a.JPEG", "images/train/n01443537/b.JPEG", "images/val/n01443537/c.JPEG"],
        &[("classnames.txt", NAMES)],
    ));
    assert_eq!((dataset.benchmark, dataset.classes.len()), (Some(Benchmark::Imagenet), 2));
    assert_eq!(split_of(&dataset, "val/n01443537/c.JPEG"), (Split::Test, "goldfish".into()));
    assert_eq!(split_of(&dataset, "train/n01440764/a.JPEG"), (Split::Train, "tench".into()));
}

#[test]
fn variants_of_image_net_have_its_names_and_only_the_classes_that_they_hold() {
    let names = ("classnames.txt", NAMES);
    let adversarial = open(&folder(
        &["imagenet-a/n02012849/a.jpg", "imagenet-a/n01443537/b.jpg"],
        &[names, ("imagenet-a/README.txt", "x")],
    ));
    assert_eq!(adversarial.benchmark, Some(Benchmark::ImagenetA));
    assert_eq!(adversarial.classes, ["goldfish", "crane bird"]);
    let rendition = open(&folder(&["imagenet-r/n03126707/a.jpg", "imagenet-r/n01440764/b.jpg"], &[names]));
    assert_eq!(rendition.classes, ["tench", "construction crane"]);
    let sketch = open(&folder(&["images/n03126707/a.JPEG", "images/n01440764/b.JPEG"], &[names]));
    assert_eq!(sketch.benchmark, Some(Benchmark::ImagenetSketch));
    let second = "imagenetv2-matched-frequency-format-val";
    // Folders are numbers: 10 comes before 2 in the order of names, not here.
    let images = [format!("{second}/3/a.jpeg"), format!("{second}/1/b.jpeg")];
    let version2 = open(&folder(&[&images[0], &images[1]], &[names]));
    assert_eq!(version2.classes, ["goldfish", "construction crane"]);
    assert!(version2.images.iter().all(|image| image.split == Split::Test));
    let unknown = folder(&["imagenet-r/n99999999/a.jpg", "imagenet-r/n01440764/b.jpg"], &[names]);
    let error = LabelledDataset::open(unknown.path()).unwrap_err().to_string();
    assert!(error.contains("n99999999") && error.contains("classnames.txt"), "{error}");
}

#[test]
fn two_classes_may_have_one_name_but_not_one_number() {
    let names = "n1 missile\nn2 missile\n";
    let dataset =
        open(&folder(&["imagenet-r/n1/a.jpg", "imagenet-r/n2/b.jpg"], &[("classnames.txt", names)]));
    assert_eq!(dataset.classes, ["missile", "missile"]);
    assert_ne!(dataset.images[0].class, dataset.images[1].class);
    let split = r#"{"train": [["1.jpg", 0, "one"], ["2.jpg", 0, "two"]], "val": [], "test": []}"#;
    let twice = folder(&["1.jpg", "2.jpg"], &[("split_zhou_Mine.json", split)]);
    let error = LabelledDataset::open(twice.path()).unwrap_err().to_string();
    assert!(error.contains("class 0 is called `one` and `two`"), "{error}");
}

#[test]
fn shards_are_read_as_clip_benchmark_keeps_them() {
    let shard = |members: &[(&str, &str)]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let shards = folder(
        &[],
        &[("classnames.txt", "cat\ndog\n"), ("test/nshards.txt", "2\n"), ("train/nshards.txt", "1\n")],
    );
    let write = |path: &str, bytes: &[u8]| fs::write(shards.path().join(path), bytes).unwrap();
    write("test/0.tar", &shard(&[("s0000000.webp", "x"), ("s0000000.cls", "1")]));
    write("test/1.tar", &shard(&[("s0000001.jpg", "x"), ("s0000001.cls", "0")]));
    write("train/0.tar", &shard(&[("s0000000.png", "x"), ("s0000000.cls", "0\n")]));
    let dataset = open(&shards);
    assert_eq!(
        (dataset.images.len(), dataset.classes.as_slice()),
        (3, ["cat".to_owned(), "dog".to_owned()].as_slice())
    );
    assert_eq!(split_of(&dataset, "test/s0000000.webp"), (Split::Test, "dog".into()));
    write("train/0.tar", &shard(&[("s0000000.png", "x"), ("s0000000.cls", "7")]));
    let error = LabelledDataset::open(shards.path()).unwrap_err().to_string();
    assert!(error.contains("train/0.tar: s0000000: class `7`"), "{error}");
}

#[test]
fn datasets_are_found_below_their_root() {
    let root = folder(&["eurosat/2750/Forest/1.jpg", "eurosat/2750/AnnualCrop/1.jpg", "other/1.jpg"], &[]);
    let below = Benchmark::below(root.path());
    assert_eq!(below, [(Benchmark::Eurosat, root.path().join("eurosat"))]);
    let eurosat = LabelledDataset::open(&below[0].1 as &Path).unwrap();
    assert_eq!(eurosat.classes, ["Annual Crop Land", "Forest"]);
}
