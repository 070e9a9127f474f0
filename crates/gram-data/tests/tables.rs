//! Pairs and datasets from tables and folders in the forms that other tools write them in.

// The lint lets test functions unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use gram_data::{
    ClassSubset, ImageFile, LabelledDataset, Pairs, SkipCause, Split, read_pairs, read_pairs_with_metadata,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn keys(pairs: &Pairs) -> Vec<&str> {
    pairs.pairs.iter().map(|pair| pair.key.as_str()).collect()
}

fn captions(pairs: &Pairs) -> Vec<&str> {
    pairs.pairs.iter().map(|pair| pair.caption.as_str()).collect()
}

fn table(name: &str) -> Pairs {
    let pairs = read_pairs(&fixture("tables").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(pairs.skipped.is_empty(), "{name}: {}", pairs.skipped_summary());
    pairs
}

const BOTH: [&str; 2] = ["a \"brown\", wet; dog", "a red cat\non two lines"];

/// A manifest of that name and text, and the images that it names, empty.
fn manifest(name: &str, text: &[u8], images: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    images.iter().for_each(|image| fs::write(folder.path().join(image), image).unwrap());
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Found by fuzzing: a page of 73 bytes says that it has 270 million values.
#[test]
fn a_dictionary_that_says_it_has_more_values_than_bytes_is_refused_and_takes_no_memory() {
    let error = read_pairs(&fixture("tables/large-dictionary.parquet")).unwrap_err().to_string();
    let told = "column image: a dictionary of 73 bytes says it has 270549127 values: write the file again";
    assert!(error.ends_with(told), "{error}");
}

#[test]
fn every_codec_of_parquet_is_read() {
    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"] {
        let pairs = table(&format!("{codec}.parquet"));
        assert_eq!(captions(&pairs), BOTH, "{codec}");
        assert_eq!(pairs.pairs[1].image.decode().unwrap().dimensions(), (6, 4), "{codec}");
    }
}

#[test]
fn fields_are_divided_as_the_header_is_and_a_byte_order_mark_is_taken_off() {
    for name in ["tabs.csv", "semicolons.csv", "commas.tsv", "tabs.tsv", "mark.csv", "mark.jsonl"] {
        assert_eq!(captions(&table(name)), BOTH, "{name}");
        assert_eq!(keys(&table(name)), ["../images/dog.jpg", "../images/cat.png"], "{name}");
    }
    let message = read_pairs(&fixture("tables/wide.csv")).unwrap_err().to_string();
    assert!(message.contains("wide.csv: its text is UTF-16 or UTF-32: save it as UTF-8"), "{message}");
}

#[test]
fn json_is_read_as_python_writes_it() {
    assert_eq!(captions(&table("numbers.jsonl")), BOTH);
    let pairs = read_pairs_with_metadata(&fixture("tables/numbers.jsonl")).unwrap();
    assert_eq!(pairs.pairs[0].metadata, None);
    let list = table("list.json");
    assert_eq!(captions(&list), [BOTH[0], "once more", BOTH[1], "once more"]);
    assert_eq!(keys(&list)[..2], ["../images/dog.jpg", "../images/dog.jpg#1"]);
}

#[test]
fn the_first_bad_row_is_quoted() {
    let text = "{\"image\": \"a.png\", \"caption\": \"one\"}\n{'image': 'b.png', 'caption': 'Python prints this'}\nNone\n";
    let (_folder, path) = manifest("m.jsonl", text.as_bytes(), &["a.png", "b.png"]);
    let pairs = read_pairs(&path).unwrap();
    assert_eq!(captions(&pairs), ["one"]);
    let summary = pairs.skipped_summary();
    assert!(
        summary.starts_with("2 skipped: 2 bad row; first bad row ") && summary.contains("m.jsonl, line 2: ")
    );
    assert!(summary.ends_with("`{'image': 'b.png', 'caption': 'Python prints this'}`"), "{summary}");
    let (_folder, path) = manifest("m.jsonl", b"image\ncaption\n", &[]);
    let message = read_pairs(&path).unwrap_err().to_string();
    assert!(message.contains("m.jsonl, line 1: ") && message.ends_with(": `image`"), "{message}");
}

#[test]
fn a_quote_that_never_closes_is_one_bad_row() {
    let text = "image,caption\na.png,\"never closed\nb.png,\"two\nlines\"\nc.png,three\n";
    let (_folder, path) = manifest("m.csv", text.as_bytes(), &["a.png", "b.png", "c.png"]);
    let pairs = read_pairs(&path).unwrap();
    assert_eq!(captions(&pairs), ["two\nlines", "three"]);
    assert_eq!(pairs.skipped.len(), 1);
    assert!(pairs.skipped[0].name.ends_with("m.csv, line 2"), "{}", pairs.skipped[0]);
}

#[test]
fn all_captions_of_an_image_are_pairs_in_every_list_of_captions() {
    let expected = ["A brown dog .", "The dog said : \" no", "A wet dog .", "A red cat ."];
    for name in ["captions.txt", "results.csv", "annotations/captions_val2017.json"] {
        let pairs = read_pairs(&fixture("captions").join(name)).unwrap();
        assert_eq!(captions(&pairs), expected, "{name}");
        assert_eq!(keys(&pairs), ["dog.jpg", "dog.jpg#1", "dog.jpg#2", "cat.png"], "{name}");
        assert_eq!(pairs.skipped_summary(), "nothing skipped", "{name}");
        assert_eq!(pairs.pairs[3].image.decode().unwrap().dimensions(), (6, 4), "{name}");
    }
    let pairs = read_pairs(&fixture("captions/Flickr8k.token.txt")).unwrap();
    assert_eq!(captions(&pairs), expected);
    assert_eq!(keys(&pairs), ["dog.jpg#0", "dog.jpg#1", "dog.jpg#2", "cat.png#0"]);
    assert_eq!(pairs.pairs[0].image.decode().unwrap().dimensions(), (16, 8));
}

#[test]
fn only_a_key_that_is_given_can_collide() {
    let rows = "image,caption\na.png,one\na.png,two\na.png,one\na.png#1,three\n";
    let (_folder, path) = manifest("m.csv", rows.as_bytes(), &["a.png", "a.png#1"]);
    let pairs = read_pairs(&path).unwrap();
    assert_eq!(keys(&pairs), ["a.png", "a.png#1", "a.png#1#1"]);
    assert_eq!(pairs.skipped_summary(), "1 skipped: 1 duplicate");
    let rows = "key,image,caption\n1,a.png,one\n1,a.png,two\n";
    let (_folder, path) = manifest("m.csv", rows.as_bytes(), &["a.png"]);
    assert_eq!(read_pairs(&path).unwrap().skipped_summary(), "1 skipped: 1 duplicate key");
}

#[test]
fn numbered_columns_of_captions_are_all_read() {
    let rows = "image,caption_0,caption_1\na.png,one,two\nb.png,three,\n";
    let (_folder, path) = manifest("m.csv", rows.as_bytes(), &["a.png", "b.png"]);
    let pairs = read_pairs(&path).unwrap();
    assert_eq!(captions(&pairs), ["one", "two", "three"]);
    assert_eq!(pairs.skipped_summary(), "1 skipped: 1 empty caption");
}

#[test]
fn other_json_is_refused_with_what_is_expected() {
    let (_folder, path) = manifest("dataset_coco.json", b"{\"images\": [], \"dataset\": \"coco\"}", &[]);
    let message = read_pairs(&path).unwrap_err().to_string();
    assert!(
        message.contains("dataset_coco.json: an object of images, dataset: a list of objects"),
        "{message}"
    );
}

#[test]
fn images_of_hugging_face_are_read_from_the_table() {
    let pairs = read_pairs(&fixture("hugging_face/captioned.parquet")).unwrap();
    let expected = ["dog.jpg", "dog.jpg#1", "cat.png", "owl.webp", "owl.webp#1", "owl.webp#2"];
    assert_eq!(keys(&pairs), expected);
    assert_eq!(captions(&pairs)[..3], ["a brown dog", "a dog", "a red cat"]);
    assert_eq!(captions(&pairs)[5], "größer");
    assert!(pairs.skipped.is_empty());
    for (pair, name) in pairs.pairs.iter().step_by(2).zip(["dog.jpg", "cat.png", "owl.webp"]) {
        assert_eq!(pair.image.bytes().unwrap().as_ref(), fs::read(fixture("images").join(name)).unwrap());
    }
    // A folder of such tables is one source.
    let folder = tempfile::tempdir().unwrap();
    for part in ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"] {
        fs::copy(fixture("hugging_face/captioned.parquet"), folder.path().join(part)).unwrap();
    }
    let pairs = read_pairs(folder.path()).unwrap();
    assert_eq!(keys(&pairs)[0], "train-00000-of-00002/dog.jpg");
    assert_eq!((pairs.pairs.len(), pairs.skipped_summary().as_str()), (6, "6 skipped: 6 duplicate"));
}

#[test]
fn labels_of_hugging_face_have_their_names_and_order() {
    let dataset = LabelledDataset::open(fixture("hugging_face/labelled.parquet")).unwrap();
    assert_eq!(dataset.classes, ["owl", "dog", "cat"]);
    assert_eq!(dataset.images.iter().map(|image| image.class).collect::<Vec<_>>(), [1, 2, 0, 1, 2, 0]);
    assert_eq!(dataset.images[3].key, "dog.jpg#1");
    assert_eq!(dataset.images[2].image.decode().unwrap().dimensions(), (5, 7));
}

#[test]
fn a_dataset_of_hugging_face_is_read_part_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(folder.path().join("README.md"), "").unwrap();
    let part = |name: &str| fs::copy(fixture("hugging_face/labelled.parquet"), data.join(name)).unwrap();
    part("train-00000-of-00002.parquet");
    part("test-00000-of-00001.parquet");
    let refused = LabelledDataset::open(folder.path()).unwrap_err().to_string();
    assert!(refused.ends_with("1 of the 2 tables of `train` are there: fetch the others"), "{refused}");
    part("train-00001-of-00002.parquet");
    for place in [folder.path(), &data] {
        let dataset = LabelledDataset::open(place).unwrap();
        assert_eq!(dataset.classes, ["owl", "dog", "cat"]);
        let of = |split| dataset.select(split, ClassSubset::All, None).len();
        assert_eq!([Split::Train, Split::Validation, Split::Test].map(of), [12, 0, 6]);
        let keys: HashSet<&str> = dataset.images.iter().map(|image| image.key.as_str()).collect();
        assert_eq!(keys.len(), 18);
        assert!(keys.contains("test-00000-of-00001/dog.jpg#1"));
    }
    // As pairs they lack captions.
    assert!(read_pairs(folder.path()).unwrap_err().to_string().contains("no column `caption`"));
    part("extra-00000-of-00001.parquet");
    let error = LabelledDataset::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("extra-00000-of-00001.parquet") && error.contains("`extra`"), "{error}");
}

/// The labelled table of `datasets` with other text of the same length in its description.
fn labelled_with(from: &str, to: &str) -> Vec<u8> {
    let mut bytes = fs::read(fixture("hugging_face/labelled.parquet")).unwrap();
    let place = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[place..][..from.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn parts_of_a_dataset_whose_class_names_differ_are_refused_and_both_named() {
    let own = fs::read(fixture("hugging_face/labelled.parquet")).unwrap();
    // Another name, and the same names in another order: each table alone is in order.
    for other in [["owl", "cow", "cat"], ["owl", "cat", "dog"]] {
        let changed = labelled_with(r#"["owl", "dog", "cat"]"#, &format!("{other:?}"));
        for [first, second] in [
            ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
            ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"],
        ] {
            let folder = tempfile::tempdir().unwrap();
            let [first, second] = [first, second].map(|name| folder.path().join(name));
            fs::write(&second, &changed).unwrap();
            assert_eq!(LabelledDataset::open(&second).unwrap().classes, other);
            fs::write(&first, &own).unwrap();
            let error = LabelledDataset::open(folder.path()).unwrap_err().to_string();
            let named = [&first, &second].map(|path| error.contains(&path.display().to_string()));
            assert!(named == [true; 2] && error.contains("its class names are not those of"), "{error}");
            assert!(error.ends_with("give both the same") && error.lines().count() == 1, "{error}");
        }
    }
}

#[test]
fn a_part_without_class_names_has_those_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    part("train-00000-of-00002.parquet", &labelled_with("huggingface", "nothingelse"));
    part("train-00001-of-00002.parquet", &fs::read(fixture("hugging_face/labelled.parquet")).unwrap());
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["owl", "dog", "cat"]);
    let classes: Vec<usize> = dataset.images.iter().map(|image| image.class).collect();
    assert_eq!(classes, [1, 2, 0, 1, 2, 0].repeat(2));
}

#[test]
fn a_folder_of_labelled_images_is_read_by_its_metadata() {
    let folder = tempfile::tempdir().unwrap();
    for (split, rows) in [("train", "a.png,dog\nb.png,cat\n"), ("validation", "a.png,cat\n")] {
        let place = folder.path().join(split);
        fs::create_dir(&place).unwrap();
        ["a.png", "b.png"].iter().for_each(|name| fs::write(place.join(name), split).unwrap());
        fs::write(place.join("metadata.csv"), format!("file_name,label\n{rows}")).unwrap();
    }
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    let found = dataset.images.iter().map(|image| (image.key.as_str(), image.class, image.split));
    let expected = [
        ("train/a.png", 1, Split::Train),
        ("train/b.png", 0, Split::Train),
        ("validation/a.png", 0, Split::Validation),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(dataset.left_out, ["validation/b.png"]);
    // Without labels, folders are classes.
    let folder = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::write(folder.path().join(class).join("a.png"), class).unwrap();
        fs::write(folder.path().join(class).join("metadata.csv"), "file_name,text\na.png,x\n").unwrap();
    }
    assert_eq!(LabelledDataset::open(folder.path()).unwrap().classes, ["cat", "dog"]);
}

#[test]
fn a_folder_of_images_is_read_by_its_metadata() {
    let pairs = read_pairs(&fixture("hugging_face/image_folder")).unwrap();
    assert_eq!(keys(&pairs), ["dog.jpg", "more/cat.png"]);
    assert_eq!(captions(&pairs), ["a brown dog", "a red cat"]);
    assert_eq!(pairs.skipped_summary(), "1 skipped: 1 no caption");
    assert!(pairs.skipped[0].name.ends_with("owl.webp") && pairs.skipped[0].cause == SkipCause::NoCaption);

    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "test"] {
        fs::create_dir(folder.path().join(split)).unwrap();
        fs::write(folder.path().join(split).join("a.png"), split).unwrap();
        fs::write(folder.path().join(split).join("metadata.csv"), format!("file_name,text\na.png,{split}\n"))
            .unwrap();
    }
    let pairs = read_pairs(folder.path()).unwrap();
    assert_eq!(keys(&pairs), ["test/a.png", "train/a.png"]);
    assert_eq!(captions(&pairs), ["test", "train"]);
    assert_eq!(pairs.pairs[0].image, ImageFile::Path(folder.path().join("test/a.png")));
}

#[test]
fn a_labelled_manifest_may_begin_with_a_mark_and_name_its_columns_otherwise() {
    let text = "\u{feff}file_name;label;split\na.png;ant;train\nb.png;bee;test\n";
    let (_folder, path) = manifest("m.csv", text.as_bytes(), &["a.png", "b.png"]);
    let dataset = LabelledDataset::open(path).unwrap();
    assert_eq!(dataset.classes, ["ant", "bee"]);
    assert_eq!(dataset.select(Split::Test, ClassSubset::All, None), [1]);
}

#[test]
fn no_damage_to_one_byte_of_a_table_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        "tables/zstd.parquet",
        "tables/gzip.parquet",
        "tables/brotli.parquet",
        "tables/lz4.parquet",
        "hugging_face/captioned.parquet",
        "hugging_face/labelled.parquet",
        "tables/mark.csv",
        "tables/numbers.jsonl",
        "captions/annotations/captions_val2017.json",
        "captions/Flickr8k.token.txt",
    ];
    for file in files {
        let whole = fs::read(fixture(file)).unwrap();
        let path = folder.path().join(Path::new(file).file_name().unwrap());
        for index in (0..whole.len()).step_by(if whole.len() > 400 { 13 } else { 3 }) {
            for flip in [0x02, 0xff] {
                let mut damaged = whole.clone();
                damaged[index] ^= flip;
                fs::write(&path, damaged).unwrap();
                let _ = read_pairs_with_metadata(&path);
                let _ = LabelledDataset::open(&path);
            }
        }
    }
}
