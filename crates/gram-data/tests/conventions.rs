//! Shards whose members are named in every way, beside what the library webdataset reads of them.

// The lint lets test functions unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gram_data::{LabelledDataset, Pairs, SkipCause, read_pairs, read_pairs_with_metadata};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conventions").join(name)
}

fn pairs(name: &str) -> Pairs {
    read_pairs(&fixture(name)).unwrap()
}

fn named(pairs: &Pairs) -> Vec<(&str, &str)> {
    pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair.caption.as_str())).collect()
}

/// The keys of the samples that webdataset reads.
fn keys_by_webdataset(name: &str) -> Vec<String> {
    let samples: Value = serde_json::from_slice(&fs::read(fixture("samples.json")).unwrap()).unwrap();
    let samples = samples[name].as_array().unwrap();
    samples.iter().map(|sample| sample[0].as_str().unwrap().to_owned()).collect()
}

#[test]
fn named_parts_are_read_under_the_keys_of_webdataset() {
    let read = pairs("named.tar");
    let expected = [("0", "a brown dog"), ("1", "a red cat"), ("some/folder/2", "a blue owl")];
    assert_eq!(named(&read), expected);
    assert_eq!(
        read.pairs.iter().map(|pair| pair.key.clone()).collect::<Vec<_>>(),
        keys_by_webdataset("named.tar")
    );
    assert_eq!(read.skipped_summary(), "nothing skipped");
    assert_eq!(read.pairs[0].image.decode().unwrap().dimensions(), (16, 8));
    let read = read_pairs_with_metadata(&fixture("named.tar")).unwrap();
    assert_eq!(read.pairs[2].metadata.as_ref().unwrap()["size"], 5);
}

#[test]
fn what_names_leave_open_is_counted_and_named() {
    let read = pairs("dots.tar");
    let expected = [
        ("photo.v1", "a red cat"),
        ("photo.v2", "a brown dog"),
        ("v1.5/Photo", "in capitals"),
        ("only", "a blue owl"),
    ];
    assert_eq!(named(&read), expected);
    // `photo` is one sample to webdataset; two pairs of it are told by the names of their parts.
    let by_webdataset: BTreeSet<String> = keys_by_webdataset("dots.tar").into_iter().collect();
    assert!(["photo", "v1.5/Photo", "only"].iter().all(|key| by_webdataset.contains(*key)));
    let skipped: Vec<(&str, SkipCause)> =
        read.skipped.iter().map(|skipped| (skipped.name.as_str(), skipped.cause)).collect();
    for expected in [
        (".hidden.png", SkipCause::NoPart),
        ("nodot", SkipCause::NoPart),
        ("photo.mask", SkipCause::NoPart),
        ("readme", SkipCause::NoPart),
        ("wide", SkipCause::UnreadableCaption),
        ("photo2", SkipCause::NoImage),
        ("link", SkipCause::NoImage),
    ] {
        assert!(skipped.contains(&expected), "{expected:?} is not among {skipped:?}");
    }
    assert_eq!(skipped.len(), 7, "{skipped:?}");
    let detail = |name: &str| {
        read.skipped.iter().find(|skipped| skipped.name == name).unwrap().detail.clone().unwrap()
    };
    assert_eq!(detail("photo2"), "not read of it: heic");
    assert_eq!(detail("link"), "not read of it: png (no file, but a link)");
    assert!(detail("wide").contains("UTF-16"));
}

#[test]
fn keys_that_begin_anew_in_another_archive_or_behind_others_are_other_pairs() {
    let expected = [
        ("0", "a brown dog"),
        ("1", "an owl with a brown dog"),
        ("0#1", "a red cat"),
        ("1#1", "an owl with a red cat"),
    ];
    // Of archives that were glued, webdataset reads the first alone; of one that was appended to, all.
    assert_eq!(keys_by_webdataset("appended.tar"), ["0", "1", "0", "1"]);
    for name in ["glued.tar", "appended.tar"] {
        let read = pairs(name);
        assert_eq!(named(&read), expected, "{name}");
        assert_eq!(read.skipped_summary(), "nothing skipped", "{name}");
        assert_eq!(read.pairs[2].image.decode().unwrap().dimensions(), (6, 4), "{name}");
    }
    let bytes = fs::read(fixture("glued.tar")).unwrap();
    for cut in [10240 + 512, 10240 + 1500, bytes.len() - 10240 + 100] {
        let read = gram_data::read_shard("cut.tar", &bytes[..cut]).unwrap();
        assert_eq!(named(&read)[..2], expected[..2], "{cut}");
        assert_eq!(read.skipped[0].cause, SkipCause::DamagedShard, "{cut}");
    }
}

#[test]
fn labelled_shards_may_begin_their_keys_anew_and_name_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, members: &[(&str, &[u8])]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
        for (path, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.finish().unwrap();
    };
    fs::write(folder.path().join("classnames.txt"), "\u{feff}ant\nbee\n").unwrap();
    write(
        "train/0.tar",
        &[("s0.webp", b"1"), ("s0.cls", b"0"), ("s1.input.png", b"2"), ("s1.CLS", b"\xef\xbb\xbf1\n")],
    );
    write("train/1.tar", &[("s0.webp", b"3"), ("s0.cls", b"1")]);
    write("test/0.tar", &[("s0.cls", b"0"), ("s0.webp", b"4")]);
    let dataset = LabelledDataset::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["ant", "bee"]);
    let found: BTreeSet<(&str, usize)> =
        dataset.images.iter().map(|image| (image.key.as_str(), image.class)).collect();
    let expected =
        [("test/s0.webp", 0), ("train/s0.webp", 0), ("train/s0.webp#1", 1), ("train/s1.input.png", 1)];
    assert_eq!(found, expected.into_iter().collect());
}
