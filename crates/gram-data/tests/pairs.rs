//! Pairs from shards and manifests that other tools wrote.

// The lint lets test functions unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use gram_data::{ImageFile, Pairs, SkipCause, Skipped, read_pairs, read_shard};

const SHARD: &[u8] = include_bytes!("fixtures/shards/pairs-000000.tar");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn keys(pairs: &Pairs) -> Vec<&str> {
    pairs.pairs.iter().map(|pair| pair.key.as_str()).collect()
}

fn skipped(name: &str, cause: SkipCause) -> Skipped {
    Skipped { name: name.to_owned(), cause }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive with these members.
fn shard(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_webdataset_shard_gives_its_pairs_in_order() {
    let pairs = read_shard("pairs.tar", SHARD).unwrap();
    assert_eq!(keys(&pairs), ["dog", "cat", "owl"]);
    let captions: Vec<_> = pairs.pairs.iter().map(|pair| pair.caption.as_str()).collect();
    assert_eq!(captions, ["a brown dog", "a red cat", "a blue owl, größer"]);
    assert_eq!(pairs.pairs[0].metadata.as_ref().unwrap()["size"], 16);
    assert_eq!(pairs.pairs[1].metadata, None);
    assert_eq!(pairs.pairs[0].image.name(), "pairs.tar: dog.jpg");
    assert!(pairs.skipped.is_empty());
}

#[test]
fn jpeg_png_and_webp_are_decoded_and_what_is_transparent_is_white() {
    let pairs = read_shard("pairs.tar", SHARD).unwrap().pairs;
    let [dog, cat, owl] = [0, 1, 2].map(|index: usize| pairs[index].image.decode().unwrap());
    assert_eq!(dog.dimensions(), (16, 8));
    assert!(dog.pixels().all(|pixel| (0..3).all(|c| pixel[c].abs_diff([150, 100, 50][c]) <= 2)));
    assert_eq!(cat.dimensions(), (6, 4));
    assert_eq!((cat.get_pixel(0, 0).0, cat.get_pixel(5, 3).0), ([255, 0, 0], [255, 255, 255]));
    assert_eq!(owl.dimensions(), (5, 7));
    assert_eq!((owl.get_pixel(0, 0).0, owl.get_pixel(4, 6).0), ([0, 255, 0], [0, 0, 255]));
}

#[test]
fn a_compressed_shard_is_told_by_its_content() {
    let plain = read_shard("pairs.tar", SHARD).unwrap();
    let compressed = read_shard("pairs.tar", gzip(SHARD).as_slice()).unwrap();
    assert_eq!(compressed.pairs, plain.pairs);
}

#[test]
fn the_pairs_of_a_folder_of_shards_carry_their_shard_in_the_key() {
    let pairs = read_pairs(&fixture("shards")).unwrap();
    let expected = ["pairs-000000/dog", "pairs-000000/cat", "pairs-000000/owl", "pairs-000001/dog"];
    assert_eq!(keys(&pairs), expected);
    assert_eq!(pairs.skipped, [skipped("pairs-000001/alone", SkipCause::NoCaption)]);
}

#[test]
fn members_of_a_key_need_not_stand_together() {
    let bytes = shard(&[("./b.png", b"1"), ("a.webp", b"2"), ("a.txt", b"first"), ("b.txt", b"second")]);
    let pairs = read_shard("s.tar", bytes.as_slice()).unwrap();
    assert_eq!(keys(&pairs), ["b", "a"]);
    assert_eq!(pairs.pairs[0].caption, "second");
}

#[test]
fn what_is_no_pair_is_skipped_and_counted_by_cause() {
    let bytes = shard(&[
        ("good.png", b"1"),
        ("good.txt", b"one"),
        ("good.jpg", b"2"),
        ("silent.png", b"1"),
        ("blank.png", b"1"),
        ("blank.txt", b" \n"),
        ("text.txt", b"no image"),
        ("odd.png", b"1"),
        ("odd.txt", b"fine"),
        ("odd.json", b"{not json"),
        ("latin.png", b"1"),
        ("latin.txt", b"gr\xfc\xdfe"),
        ("readme.md", b"not looked at"),
        ("._good.txt", b"not looked at"),
    ]);
    let pairs = read_shard("s.tar", bytes.as_slice()).unwrap();
    assert_eq!(keys(&pairs), ["good"]);
    assert!(matches!(&pairs.pairs[0].image, ImageFile::Bytes { bytes, .. } if bytes.as_ref() == b"1"));
    let expected = [
        skipped("good.jpg", SkipCause::DuplicateKey),
        skipped("silent", SkipCause::NoCaption),
        skipped("blank", SkipCause::EmptyCaption),
        skipped("text", SkipCause::NoImage),
        skipped("odd", SkipCause::UnreadableJson),
        skipped("latin", SkipCause::UnreadableCaption),
    ];
    assert_eq!(pairs.skipped, expected);
    assert!(pairs.skipped_summary().starts_with("6 skipped: 1 no image, 1 no caption, 1 empty caption"));
}

#[test]
fn four_manifest_formats_give_the_same_pairs() {
    for extension in ["csv", "tsv", "jsonl", "parquet"] {
        let name = format!("pairs.{extension}");
        let pairs = read_pairs(&fixture(&name)).unwrap();
        assert_eq!(keys(&pairs), ["images/dog.jpg", "images/cat.png"], "{name}");
        assert_eq!(pairs.pairs[0].caption, "a \"brown\", wet dog", "{name}");
        assert_eq!(pairs.pairs[0].metadata.as_ref().unwrap()["source"], "field", "{name}");
        assert_eq!(pairs.pairs[1].image.decode().unwrap().dimensions(), (6, 4), "{name}");
        let causes: Vec<_> = pairs.skipped.iter().map(|skipped| skipped.cause).collect();
        assert_eq!(causes, [SkipCause::EmptyCaption, SkipCause::NoImage, SkipCause::DuplicateKey], "{name}");
        let row = if extension == "csv" || extension == "tsv" { 4 } else { 3 };
        assert!(pairs.skipped[0].name.ends_with(&format!("{name}, line {row}")), "{}", pairs.skipped[0].name);
    }
}

#[test]
fn a_key_column_names_pairs_that_share_an_image_and_absolute_paths_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let image = fixture("images/cat.png");
    let path = folder.path().join("m.tsv");
    let image_name = image.display();
    fs::write(&path, format!("key\timage\tcaption\n1\t{image_name}\tone\n2\t{image_name}\ttwo\n")).unwrap();
    let pairs = read_pairs(&path).unwrap();
    assert_eq!(keys(&pairs), ["1", "2"]);
    assert_eq!(pairs.pairs[0].image, ImageFile::Path(image));
    assert_eq!(pairs.pairs[0].metadata, None);
}

#[test]
fn a_shard_cut_short_anywhere_is_one_clear_error() {
    for length in [0, 1, 300, 511, 512, 600, 1024, 1536, 2000, 4096, 7168] {
        let message = read_shard("cut.tar", &SHARD[..length]).unwrap_err().to_string();
        assert!(
            message.starts_with("cut.tar: ends after ") && message.contains("cut short"),
            "{length}: {message}"
        );
    }
    let compressed = gzip(SHARD);
    for length in [10, compressed.len() / 2, compressed.len() - 9, compressed.len() - 1] {
        let message = read_shard("cut.tar.gz", &compressed[..length]).unwrap_err().to_string();
        assert!(message.starts_with("cut.tar.gz: ends after "), "{length}: {message}");
    }
}

#[test]
fn a_damaged_archive_is_told_from_one_cut_short() {
    let garbage: Vec<u8> = (0..4096_u32).map(|index| (index * 37 % 251) as u8).collect();
    let mut broken_gzip = gzip(SHARD);
    let end = broken_gzip.len();
    broken_gzip[end - 6] ^= 1;
    let false_gzip = [&[0x1f, 0x8b][..], &garbage].concat();
    for (name, bytes) in [
        ("garbage.tar", garbage.clone()),
        ("garbage inside.tar.gz", gzip(&garbage)),
        ("garbage outside.tar.gz", false_gzip),
        ("checksum.tar.gz", broken_gzip),
    ] {
        let message = read_shard(name, bytes.as_slice()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: no tar archive, or damaged after ")), "{message}");
    }
}

#[test]
fn no_damage_to_one_byte_of_a_shard_or_a_table_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let table = fs::read(fixture("pairs.parquet")).unwrap();
    let path = folder.path().join("damaged.parquet");
    for index in 0..table.len() {
        for flip in [0x01, 0x80] {
            let mut damaged = table.clone();
            damaged[index] ^= flip;
            fs::write(&path, damaged).unwrap();
            let _ = read_pairs(&path);
        }
    }
    for index in (0..SHARD.len()).step_by(5) {
        let mut damaged = SHARD.to_vec();
        damaged[index] ^= 0xff;
        for pair in read_shard("damaged.tar", damaged.as_slice()).map(|pairs| pairs.pairs).unwrap_or_default()
        {
            let _ = pair.image.decode();
        }
    }
}

#[test]
fn a_manifest_without_image_column_names_those_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.csv");
    fs::write(&path, "file,caption\na.png,a\n").unwrap();
    let message = read_pairs(&path).unwrap_err().to_string();
    assert!(
        message.ends_with("m.csv: no column `image` among `file`, `caption`: rename or add it"),
        "{message}"
    );
}

#[test]
fn a_source_without_a_pair_or_of_no_known_kind_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str| read_pairs(&folder.path().join(name)).unwrap_err().to_string();
    fs::write(folder.path().join("m.csv"), "image,caption\na.png,a\n,b\n").unwrap();
    assert!(message("m.csv").ends_with("no image-text pair (2 skipped: 2 no image)"), "{}", message("m.csv"));
    fs::write(folder.path().join("m.xlsx"), "").unwrap();
    assert!(
        message("m.xlsx").contains("m.xlsx: give a shard (.tar, .tar.gz, .tgz)"),
        "{}",
        message("m.xlsx")
    );
    assert!(message("").contains("no shard in this folder"), "{}", message(""));
    assert!(message("absent.tar").contains("absent.tar: "), "{}", message("absent.tar"));
}
