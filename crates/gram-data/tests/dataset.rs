//! Labelled datasets from folders, manifests and archives, and the shots drawn from them.

// The lint lets test functions unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use gram_data::{ClassSubset, DataError, LabelledDataset, Split, few_shot};
use tempfile::TempDir;

const ARCHIVE: &[u8] = include_bytes!("fixtures/shapes.tar.gz");

fn shapes() -> LabelledDataset {
    LabelledDataset::from_archive("shapes", ARCHIVE).unwrap()
}

/// A folder with these empty files and this text in `manifest.csv`, unless it is empty.
fn folder(files: &[&str], manifest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    if !manifest.is_empty() {
        fs::write(folder.path().join("manifest.csv"), manifest).unwrap();
    }
    folder
}

fn message(path: impl AsRef<Path>) -> String {
    LabelledDataset::open(path).unwrap_err().to_string()
}

/// The images of a split by the file's name, with their class names.
fn split(dataset: &LabelledDataset, split: Split) -> Vec<(String, String)> {
    let name = |index: usize| dataset.images[index].image.name().rsplit('/').next().unwrap().to_owned();
    let class = |index: usize| dataset.classes[dataset.images[index].class].clone();
    let indices = dataset.select(split, ClassSubset::All, None);
    indices.into_iter().map(|index| (name(index), class(index))).collect()
}

fn owned(images: &[(&str, &str)]) -> Vec<(String, String)> {
    images.iter().map(|(name, class)| ((*name).to_owned(), (*class).to_owned())).collect()
}

#[test]
fn an_archive_gives_classes_domains_and_splits() {
    let dataset = shapes();
    assert_eq!(dataset.classes, ["circle", "cross", "ring", "square", "star"]);
    assert_eq!(dataset.domains, ["ink", "paint"]);
    let count = |split| dataset.select(split, ClassSubset::All, None).len();
    assert_eq!([Split::Train, Split::Validation, Split::Test].map(count), [20, 10, 20]);
    assert_eq!(dataset.select(Split::Test, ClassSubset::New, Some(1)).len(), 4);
    for image in &dataset.images {
        assert_eq!(image.image.decode().unwrap().dimensions(), (8, 8));
        let path =
            format!("shapes: {}/{}-", dataset.domains[image.domain.unwrap()], dataset.classes[image.class]);
        assert!(image.image.name().starts_with(&path), "{} is not {path}", image.image.name());
    }
}

#[test]
fn a_fingerprint_tells_of_classes_and_of_the_images_that_are_chosen() {
    let dataset = shapes();
    let images = dataset.select(Split::Train, ClassSubset::All, None);
    let first = dataset.fingerprint_of(&images);
    assert_eq!(first, shapes().fingerprint_of(&images));
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_ne!(first, dataset.fingerprint_of(&images[1..]));
    let changed = |change: &dyn Fn(&mut LabelledDataset)| {
        let mut dataset = shapes();
        change(&mut dataset);
        dataset.fingerprint_of(&images)
    };
    let chosen = images[3];
    assert_ne!(first, changed(&|dataset| dataset.classes[4] = "asterisk".into()));
    assert_ne!(first, changed(&|dataset| dataset.domains[1] = "oil".into()));
    assert_ne!(first, changed(&|dataset| dataset.images[chosen].key.push('x')));
    assert_ne!(first, changed(&|dataset| dataset.images[chosen].class += 1));
    assert_ne!(first, changed(&|dataset| dataset.images[chosen].domain = None));
    assert_ne!(first, changed(&|dataset| dataset.images[chosen].split = Split::Test));
    let lost = gram_data::ImageFile::Path("nowhere.png".into());
    assert_ne!(first, changed(&|dataset| dataset.images[chosen].image = lost.clone()));
    // What is not chosen, the name and the place do not count.
    let test = dataset.select(Split::Test, ClassSubset::All, None)[0];
    assert_eq!(first, changed(&|dataset| dataset.images[test].image = lost.clone()));
    assert_eq!(first, changed(&|dataset| dataset.name = "others".into()));
}

#[test]
fn an_archive_on_disk_is_named_after_its_file() {
    let dataset = LabelledDataset::open("tests/fixtures/shapes.tar.gz").unwrap();
    assert_eq!(dataset.name, "shapes");
    assert_eq!(dataset.images.len(), shapes().images.len());
}

#[test]
fn base_and_new_classes_share_nothing_and_are_labelled_from_zero() {
    let dataset = shapes();
    assert_eq!(dataset.class_names(ClassSubset::Base), ["circle", "cross", "ring"]);
    assert_eq!(dataset.class_names(ClassSubset::New), ["square", "star"]);
    let labels = |classes: ClassSubset| -> Vec<usize> {
        let class = |index: &usize| dataset.images[*index].class;
        let label = |index| classes.label(class(&index), dataset.classes.len()).unwrap();
        let mut labels: Vec<_> = dataset.select(Split::Test, classes, None).into_iter().map(label).collect();
        labels.dedup();
        labels
    };
    assert_eq!(labels(ClassSubset::Base)[..3], [0, 1, 2]);
    assert_eq!(labels(ClassSubset::New)[..2], [0, 1]);
}

#[test]
fn a_folder_per_class_is_divided_the_same_way_each_time() {
    let files: Vec<String> = ["dog", "cat"]
        .iter()
        .flat_map(|class| (0..10).map(move |n| format!("{class}/{class}{n}.png")))
        .collect();
    let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
    files.extend(["notes.txt", ".cache/a.png", "cat/notes.txt"]);
    let folder = folder(&files, "");
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(dataset.images.len(), 20);
    assert!(dataset.domains.is_empty());
    assert_eq!(split(&dataset, Split::Train).len(), 12);
    assert_eq!(split(&dataset, Split::Validation).len(), 4);
    assert_eq!(split(&dataset, Split::Test), owned(&TEST_OF_CATS_AND_DOGS));
    assert_eq!(LabelledDataset::open(folder.path()).unwrap(), dataset);
}

/// Drawn once: another platform or release must draw the same.
const TEST_OF_CATS_AND_DOGS: [(&str, &str); 4] =
    [("cat6.png", "cat"), ("cat7.png", "cat"), ("dog1.png", "dog"), ("dog6.png", "dog")];

#[test]
fn folders_named_as_splits_are_splits_and_those_with_images_are_classes() {
    let divided = folder(&["train/cat/a.png", "train/dog/b.jpg", "val/cat/c.png", "test/dog/d.webp"], "");
    let dataset = LabelledDataset::open(divided.path()).unwrap();
    assert_eq!(split(&dataset, Split::Train), owned(&[("a.png", "cat"), ("b.jpg", "dog")]));
    assert_eq!(split(&dataset, Split::Validation), owned(&[("c.png", "cat")]));
    assert_eq!(split(&dataset, Split::Test), owned(&[("d.webp", "dog")]));

    let vehicles = folder(&["train/a.png", "bus/b.png"], "");
    assert_eq!(LabelledDataset::open(vehicles.path()).unwrap().classes, ["bus", "train"]);
}

#[test]
fn a_manifest_without_splits_is_divided_and_without_domains_has_none() {
    let files = ["1.png", "2.png", "3.png", "4.png", "5.png", "6.png"];
    let manifest = "label,image,split\na,1.png,\na,2.png,\na,3.png,\nb,4.png,\nb,5.png,\nb,6.png,\n";
    let folder = folder(&files, manifest);
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    let by_file = LabelledDataset::open(folder.path().join("manifest.csv")).unwrap();
    assert_eq!(dataset.images, by_file.images);
    for place in [Split::Train, Split::Validation, Split::Test] {
        assert_eq!(split(&dataset, place).len(), 2);
    }
    assert!(dataset.images.iter().all(|image| image.domain.is_none()));
}

#[test]
fn faults_of_a_manifest_are_named_with_file_and_line() {
    let files = ["1.png", "2.png"];
    for (manifest, expected) in [
        (
            "image,label,split\n1.png,a,train\n2.png,b,dev\n",
            "line 3: unknown split `dev`: expected train, val",
        ),
        ("image,label,split\n1.png,a,train\n2.png,b,\n", "line 3: column `split` is empty"),
        ("image,label\n1.png,a\n3.png,b\n", "line 3: no image `3.png`"),
        ("image,label\n1.png,\n2.png,b\n", "line 2: column `label` is empty"),
        ("image,label\n1.png,a\n1.png,b\n", "line 3: image `1.png` is listed a second time"),
        ("picture,label\n1.png,a\n", "manifest.csv: no column `image` or `filepath` or "),
        ("image,label\n1.png,a\n2.png,a\n", ": `a` is the only class"),
        ("image,label\n", ": no image (*.jpg"),
    ] {
        let folder = folder(&files, manifest);
        let message = message(folder.path());
        assert!(message.contains(expected), "{message} lacks {expected}");
    }
}

#[test]
fn faults_of_a_folder_are_named() {
    let unknown = folder(&["train/a/1.png", "train/b/2.png", "dev/a/3.png"], "");
    assert!(message(unknown.path()).contains("dev: unknown split `dev`"), "{}", message(unknown.path()));
    let empty_class = folder(&["a/1.png", "b/2.txt"], "");
    assert!(message(empty_class.path()).contains("b: no image"), "{}", message(empty_class.path()));
    let empty = folder(&["readme.txt"], "");
    assert!(message(empty.path()).contains("no image"), "{}", message(empty.path()));
    assert!(message(empty.path().join("readme.txt")).contains("give a folder per class"));
    assert!(message(empty.path().join("absent")).contains("absent: "));
}

#[test]
fn an_archive_looks_for_images_among_its_members_only() {
    let outside = folder(&["1.png"], "");
    let image = outside.path().join("1.png");
    let manifest = format!("image,label\n{},a\n", image.display());
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(manifest.len() as u64);
    builder.append_data(&mut header, "manifest.csv", manifest.as_bytes()).unwrap();
    let archive = builder.into_inner().unwrap();
    let error = LabelledDataset::from_archive("x.tar", archive.as_slice()).unwrap_err();
    assert!(matches!(error, DataError::MissingImage { .. }));
    assert!(error.to_string().starts_with("x.tar: manifest.csv, line 2: no image"), "{error}");

    let pairs = include_bytes!("fixtures/shards/pairs-000000.tar");
    let error = LabelledDataset::from_archive("pairs.tar", &pairs[..]).unwrap_err();
    assert!(matches!(error, DataError::NoManifest { .. }), "{error}");
    let error = LabelledDataset::from_archive("cut.tar", &pairs[..700]).unwrap_err();
    assert!(matches!(error, DataError::ArchiveTruncated { members: 0, .. }), "{error}");
}

#[test]
fn shots_are_so_many_of_each_class_and_the_same_for_one_seed() {
    let dataset = shapes();
    let draw = |seed| few_shot::sample(&dataset, Split::Train, ClassSubset::All, None, 2, seed);
    for seed in 0..10 {
        let shots = draw(seed);
        assert!(shots.is_sorted() && shots == draw(seed));
        for class in 0..5 {
            assert_eq!(shots.iter().filter(|&&index| dataset.images[index].class == class).count(), 2);
        }
    }
    assert!((1..10).any(|seed| draw(seed) != draw(0)));
}

#[test]
fn shots_come_from_their_split_and_domain_only() {
    let dataset = shapes();
    let test = dataset.select(Split::Test, ClassSubset::All, None);
    let shots = few_shot::sample(&dataset, Split::Train, ClassSubset::All, None, 16, 3);
    assert_eq!(shots, dataset.select(Split::Train, ClassSubset::All, None), "too few images: all of them");
    assert!(shots.iter().all(|index| !test.contains(index)));
    let ink = few_shot::sample(&dataset, Split::Train, ClassSubset::Base, Some(0), 1, 3);
    assert!(ink.iter().all(|&index| dataset.images[index].domain == Some(0)) && ink.len() == 3);
}

#[test]
fn fewer_shots_are_a_part_of_more_and_base_classes_draw_alone_as_among_all() {
    let dataset = shapes();
    let draw = |classes, shots| few_shot::sample(&dataset, Split::Train, classes, None, shots, 5);
    assert!(draw(ClassSubset::All, 1).iter().all(|index| draw(ClassSubset::All, 3).contains(index)));
    let mut halves = [draw(ClassSubset::Base, 2), draw(ClassSubset::New, 2)].concat();
    halves.sort_unstable();
    assert_eq!(halves, draw(ClassSubset::All, 2));
}

#[test]
fn a_change_in_one_class_moves_no_other_class() {
    let dataset = shapes();
    let mut changed = dataset.clone();
    let extra = changed.images[0].clone();
    changed.images.extend(std::iter::repeat_n(extra, 3));
    let class = dataset.images[0].class;
    for seed in 0..5 {
        let others = |dataset: &LabelledDataset| {
            let mut shots = few_shot::sample(dataset, Split::Train, ClassSubset::All, None, 2, seed);
            shots.retain(|&index| dataset.images[index].class != class);
            shots
        };
        assert_eq!(others(&changed), others(&dataset));
    }
}
