//! Folders of classes as torchvision's `ImageFolder` walks them, and what lies among them and is left out;
//! shards as CLIP_benchmark writes them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gram_data::{ClassSubset, LabelledDataset, Split};
use serde::Deserialize;
use tempfile::TempDir;

/// Empty files in a folder.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|file| touch(&folder.path().join(file)));
    folder
}

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}

fn keys(dataset: &LabelledDataset, split: Split) -> Vec<&str> {
    let chosen = dataset.select(split, ClassSubset::All, None);
    chosen.into_iter().map(|image| dataset.images[image].key.as_str()).collect()
}

/// A tree, and what `ImageFolder` finds in it.
#[derive(Deserialize)]
struct Walked {
    files: Vec<String>,
    outside: Vec<String>,
    links: BTreeMap<String, String>,
    classes: Vec<String>,
    samples: Vec<(String, usize)>,
}

#[cfg(unix)]
#[test]
fn images_are_found_in_the_order_of_torchvision_below_folders_and_links() {
    let walked: Walked = serde_json::from_str(include_str!("fixtures/image_folder.json")).unwrap();
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    walked.files.iter().for_each(|file| touch(&data.join(file)));
    walked.outside.iter().for_each(|file| touch(&root.path().join(file)));
    for (link, target) in &walked.links {
        std::os::unix::fs::symlink(root.path().join(target), data.join(link)).unwrap();
    }
    let check = |left_out: &[&str]| {
        let dataset = LabelledDataset::open(&data).unwrap();
        assert_eq!(dataset.classes, walked.classes);
        let found: Vec<(String, usize)> =
            dataset.images.iter().map(|image| (image.key.clone(), image.class)).collect();
        assert_eq!(found, walked.samples);
        assert_eq!(dataset.left_out, left_out);
    };
    check(&["cat/notes.txt", "elsewhere.png"]);
    // What torchvision would take for classes and images, and fail on.
    for junk in ["__MACOSX/cat/._b.png", ".DS_Store", "cat/Thumbs.db", "cat/._b.png", "cat/sub/desktop.ini"] {
        touch(&data.join(junk));
    }
    std::os::unix::fs::symlink(data.join("cat"), data.join("cat/sub/again")).unwrap();
    check(&[
        ".DS_Store",
        "__MACOSX",
        "cat/._b.png",
        "cat/Thumbs.db",
        "cat/notes.txt",
        "cat/sub/again",
        "cat/sub/desktop.ini",
        "elsewhere.png",
    ]);
}

#[test]
fn splits_are_told_in_any_case_and_by_their_other_names() {
    let folder = folder(&[
        "Train/cat/1.png",
        "Train/dog/far/2.png",
        "VALID/cat/3.png",
        "Test/dog/4.png",
        "__MACOSX/Train/cat/._1.png",
        "Train/list.txt",
    ]);
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(keys(&dataset, Split::Train), ["Train/cat/1.png", "Train/dog/far/2.png"]);
    assert_eq!(keys(&dataset, Split::Validation), ["VALID/cat/3.png"]);
    assert_eq!(keys(&dataset, Split::Test), ["Test/dog/4.png"]);
    assert_eq!(dataset.left_out, ["Train/list.txt", "__MACOSX"]);
    for (name, split) in
        [("Validation", Split::Validation), ("val", Split::Validation), ("TEST", Split::Test)]
    {
        assert_eq!(name.parse(), Ok(split));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_utf_8_are_paths_and_stay_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder(&["dog/1.png"]);
    for name in [&b"caf\xe9.png"[..], b"caf\xe8.png"] {
        touch(&folder.path().join("cat").join(OsStr::from_bytes(name)));
    }
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    let keys: Vec<&str> = dataset.images.iter().map(|image| image.key.as_str()).collect();
    assert_eq!(keys, ["cat/caf\\xe8.png", "cat/caf\\xe9.png", "dog/1.png"]);
    assert!(dataset.images.iter().all(|image| image.image.bytes().is_ok()));
}

const SHARDS: &str = "tests/fixtures/clip_benchmark";

#[test]
fn a_dataset_of_clip_benchmark_brings_its_own_sentences() {
    let dataset = LabelledDataset::open(SHARDS).unwrap();
    assert_eq!(dataset.classes, ["red square", "green square", "blue square"]);
    assert_eq!([Split::Train, Split::Test].map(|split| keys(&dataset, split).len()), [6, 6]);
    assert_eq!(
        dataset.templates,
        ["a bad photo of a {c}.", "a drawing of a {c}.", "the {c} in the picture."]
    );
}

#[test]
fn shards_that_are_said_to_be_there_and_are_not_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("test")).unwrap();
    for file in ["classnames.txt", "test/0.tar", "test/nshards.txt"] {
        fs::copy(Path::new(SHARDS).join(file), folder.path().join(file)).unwrap();
    }
    let error = LabelledDataset::open(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("nshards.txt: 2 shards are said to be here, 1 are: fetch the others"), "{error}");
    fs::write(folder.path().join("test/nshards.txt"), "1\n").unwrap();
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    assert_eq!((dataset.images.len(), dataset.templates.len()), (3, 0));
}
