//! Pairs from shards and manifests that other tools wrote.

// The lint lets test functions unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use gram_data::{ImageFile, Pairs, SkipCause, Skipped, read_pairs, read_pairs_with_metadata, read_shard};

const SHARD: &[u8] = include_bytes!("fixtures/shards/pairs-000000.tar");

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn keys(pairs: &Pairs) -> Vec<&str> {
    pairs.pairs.iter().map(|pair| pair.key.as_str()).collect()
}

fn skipped(name: &str, cause: SkipCause) -> Skipped {
    Skipped { name: name.to_owned(), cause, detail: None }
}

fn causes(pairs: &Pairs) -> Vec<SkipCause> {
    pairs.skipped.iter().map(|skipped| skipped.cause).collect()
}

fn captions(pairs: &Pairs) -> Vec<&str> {
    pairs.pairs.iter().map(|pair| pair.caption.as_str()).collect()
}

/// A folder with a manifest of that name and content, and the images of the fixtures.
fn manifest_folder(name: &str, content: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    for image in ["dog.jpg", "cat.png", "owl.webp"] {
        let image = format!("images/{image}");
        fs::copy(fixture(&image), folder.path().join(&image)).unwrap();
    }
    fs::write(folder.path().join(name), content).unwrap();
    folder
}

/// The pairs of a manifest of that name and content, beside the images of the fixtures.
fn manifest(name: &str, content: &[u8]) -> Result<Pairs, gram_data::DataError> {
    read_pairs(&manifest_folder(name, content).path().join(name))
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
    assert_eq!(captions(&pairs), ["a brown dog", "a red cat", "a blue owl, größer"]);
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
        ("odd.json", b"{\"similarity\": NaN}"),
        ("latin.png", b"1"),
        ("latin.txt", b"gr\xfc\xdfe"),
        ("again.jpg", b"1"),
        ("again.txt", b"one\n"),
        ("readme.md", b"not read"),
        ("._good.txt", b"not read"),
    ]);
    let pairs = read_shard("s.tar", bytes.as_slice()).unwrap();
    assert_eq!(keys(&pairs), ["good", "odd"]);
    assert!(matches!(&pairs.pairs[0].image, ImageFile::Bytes { bytes, .. } if bytes.as_ref() == b"1"));
    let expected = [
        skipped("silent", SkipCause::NoCaption),
        skipped("blank", SkipCause::EmptyCaption),
        skipped("text", SkipCause::NoImage),
        skipped("latin", SkipCause::UnreadableCaption),
        skipped("good.jpg", SkipCause::DuplicateKey),
        skipped("again", SkipCause::Duplicate),
        skipped("readme", SkipCause::NoPart),
        skipped("._good.txt", SkipCause::NoPart),
    ];
    let sorted = |all: &[Skipped]| {
        all.iter().map(|skipped| (skipped.cause, skipped.name.clone())).collect::<BTreeSet<_>>()
    };
    assert_eq!(sorted(&pairs.skipped), sorted(&expected));
    assert!(pairs.skipped_summary().starts_with("8 skipped: 1 no image, 1 no caption, 1 empty caption"));
}

#[test]
fn shards_of_img2dataset_are_read_singly_and_as_a_folder() {
    let folder = read_pairs(&fixture("img2dataset")).unwrap();
    assert_eq!(keys(&folder), ["00000/000000000", "00000/000000001", "00001/000010001"]);
    assert_eq!(captions(&folder), ["red", "\"the green\" one", "blue"]);
    let expected = [
        skipped("00001/000010002", SkipCause::EmptyCaption),
        skipped("00001/000010000", SkipCause::Duplicate),
    ];
    assert_eq!(folder.skipped.len(), 2);
    assert!(expected.iter().all(|skipped| folder.skipped.contains(skipped)), "{:?}", folder.skipped);

    let shards = ["00000", "00001"].map(|shard| {
        let path = fixture("img2dataset").join(shard).with_extension("tar");
        (shard, read_pairs(&path).unwrap(), fs::read(&path).unwrap())
    });
    for (shard, alone, bytes) in &shards {
        for pair in &alone.pairs {
            let key = format!("{shard}/{}", pair.key);
            // Of a pair that two shards have, the folder keeps the first.
            let inside = folder.pairs.iter().find(|other| other.key == key);
            assert!(inside.is_some_and(|inside| inside.image == pair.image) || key == "00001/000010000");
        }
        let streamed = read_shard(shard, bytes.as_slice()).unwrap();
        assert_eq!(keys(&streamed), keys(alone));
        for (streamed, alone) in streamed.pairs.iter().zip(&alone.pairs) {
            assert_eq!(streamed.image.bytes().unwrap(), alone.image.bytes().unwrap());
        }
    }
}

#[test]
fn metadata_is_kept_when_asked_for() {
    let path = fixture("img2dataset/00001.tar");
    assert!(read_pairs(&path).unwrap().pairs.iter().all(|pair| pair.metadata.is_none()));
    let pairs = read_pairs_with_metadata(&path).unwrap();
    assert_eq!(pairs.pairs[0].metadata.as_ref().unwrap()["url"], "https://example.org/000010000.jpg");
    // Its similarity is NaN, which is no JSON.
    assert_eq!(pairs.pairs[1].caption, "blue");
    assert_eq!(pairs.pairs[1].metadata.as_ref().unwrap()["similarity"], serde_json::Value::Null);
    let folder = read_pairs_with_metadata(&fixture("img2dataset")).unwrap();
    assert_eq!(folder.pairs[0].metadata.as_ref().unwrap()["width"], 8);
}

#[test]
fn images_of_plain_shards_stay_in_their_file_and_are_read_from_any_thread() {
    let pairs = read_pairs(&fixture("shards")).unwrap().pairs;
    let in_file = |image: &ImageFile| matches!(image, ImageFile::Member { .. });
    assert_eq!(pairs.iter().map(|pair| in_file(&pair.image)).collect::<Vec<_>>(), [true, true, true, false]);
    let in_memory = read_shard("pairs.tar", SHARD).unwrap().pairs;
    thread::scope(|scope| {
        for (pair, other) in pairs.iter().zip(&in_memory) {
            scope.spawn(|| assert_eq!(pair.image.decode().unwrap(), other.image.decode().unwrap()));
        }
    });
    let name = pairs[0].image.name();
    assert!(name.ends_with("pairs-000000.tar: dog.jpg"), "{name}");
}

#[test]
fn an_image_whose_shard_is_gone_or_was_cut_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.tar");
    fs::write(&path, SHARD).unwrap();
    let pairs = read_pairs(&path).unwrap().pairs;
    fs::write(&path, &SHARD[..600]).unwrap();
    let message = pairs[0].image.decode().unwrap_err().to_string();
    assert!(message.contains("s.tar: dog.jpg: "), "{message}");
    fs::remove_file(&path).unwrap();
    let message = pairs[1].image.decode().unwrap_err().to_string();
    assert!(message.contains("s.tar: cat.png: "), "{message}");
}

#[test]
fn members_that_lead_outside_are_names_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret.jpg"), b"secret").unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let secret = folder.path().join("secret.jpg").display().to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        // The library that writes archives refuses such paths: they are put into the header by hand.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    add("../x.jpg", tar::EntryType::Regular, "", b"above");
    add("../x.txt", tar::EntryType::Regular, "", b"above");
    add("/etc/y.jpg", tar::EntryType::Regular, "", b"absolute");
    add("/etc/y.txt", tar::EntryType::Regular, "", b"absolute");
    for (index, kind) in [tar::EntryType::Symlink, tar::EntryType::Link].into_iter().enumerate() {
        add(&format!("z{index}.jpg"), kind, &secret, b"");
        add(&format!("z{index}.txt"), tar::EntryType::Regular, "", b"linked");
    }
    let bytes = builder.into_inner().unwrap();
    fs::write(inside.join("s.tar"), &bytes).unwrap();
    let pairs = read_pairs(&inside.join("s.tar")).unwrap();
    assert_eq!(keys(&pairs), ["../x", "/etc/y"]);
    assert_eq!(pairs.pairs[0].image.bytes().unwrap().as_ref(), b"above");
    assert_eq!(pairs.pairs[1].image.bytes().unwrap().as_ref(), b"absolute");
    assert_eq!(causes(&pairs), [SkipCause::NoImage; 2]);
    assert_eq!(pairs.skipped[0].to_string(), "z0: not read of it: jpg (no file, but a link)");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_was_left_out_is_written_as_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = read_shard("cut.tar", &SHARD[..4096]).unwrap();
    let path = folder.path().join("out/skipped.jsonl");
    pairs.write_skipped(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["name"], &first["cause"]), (&"cut.tar".into(), &"damaged shard".into()));
    assert!(first["detail"].as_str().unwrap().contains("cut short"), "{first}");
    Pairs::default().write_skipped(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn seven_manifest_formats_give_the_same_pairs() {
    for extension in ["csv", "tsv", "jsonl", "parquet", "csv.gz", "tsv.gz", "jsonl.gz"] {
        let name = format!("pairs.{extension}");
        let (pairs, line) = match name.strip_suffix(".gz") {
            Some(plain) => (manifest(&name, &gzip(&fs::read(fixture(plain)).unwrap())).unwrap(), plain),
            None => (read_pairs_with_metadata(&fixture(&name)).unwrap(), name.as_str()),
        };
        assert_eq!(keys(&pairs), ["images/dog.jpg", "images/cat.png", "images/dog.jpg#1"], "{name}");
        assert_eq!(captions(&pairs), ["a \"brown\", wet dog", "a red cat", "a dog again"], "{name}");
        assert_eq!(causes(&pairs), [SkipCause::EmptyCaption, SkipCause::NoImage], "{name}");
        let row = match line.rsplit('.').next() {
            Some("parquet") => "row 3",
            Some("jsonl") => "line 3",
            _ => "line 4",
        };
        assert!(pairs.skipped[0].name.ends_with(&format!("{name}, {row}")), "{}", pairs.skipped[0].name);
        if line == name {
            assert_eq!(pairs.pairs[0].metadata.as_ref().unwrap()["source"], "field", "{name}");
            assert_eq!(pairs.pairs[1].image.decode().unwrap().dimensions(), (6, 4), "{name}");
            assert_eq!(read_pairs(&fixture(&name)).unwrap().pairs[0].metadata, None, "{name}");
        }
    }
}

#[test]
fn columns_have_the_names_that_other_programs_give_them() {
    for image in ["image", "filepath", "image_path", "file", "path", "FilePath"] {
        for caption in ["caption", "title", "text", "TEXT"] {
            let content = format!("{caption}\turl\t{image}\na dog\thttp://a.org\timages/dog.jpg\n");
            let pairs = manifest("m.tsv", content.as_bytes()).unwrap();
            assert_eq!(captions(&pairs), ["a dog"], "{image} {caption}");
        }
    }
    let both = "file,image,text,caption\nno.jpg,images/dog.jpg,another,a dog\n";
    assert_eq!(captions(&manifest("m.csv", both.as_bytes()).unwrap()), ["a dog"]);
}

#[test]
fn conceptual_captions_have_no_header_and_single_quotes_of_their_own() {
    let quoted = "\"the best dog in town\timages/dog.jpg\na cat said : \" no\timages/cat.png\n";
    let pairs = manifest("Train_GCC-training.tsv", quoted.as_bytes()).unwrap();
    assert_eq!(captions(&pairs), ["\"the best dog in town", "a cat said : \" no"]);
    assert_eq!(keys(&pairs), ["images/dog.jpg", "images/cat.png"]);

    let turned = "images/lost.jpg\tlost\nimages/dog.jpg\ta dog\nhttps://a.org/cat.png\ta cat\n";
    let pairs = manifest("m.tsv", turned.as_bytes()).unwrap();
    assert_eq!(captions(&pairs), ["a dog"]);
    assert_eq!(causes(&pairs), [SkipCause::NoImage, SkipCause::NotDownloaded]);
    assert!(pairs.skipped[0].name.ends_with("m.tsv, line 1"), "{}", pairs.skipped[0].name);

    let addresses = "a dog\thttp://a.org/dog.jpg\na cat\thttp://a.org/cat.jpg\n";
    let message = manifest("m.tsv", addresses.as_bytes()).unwrap_err().to_string();
    assert!(message.contains("2 skipped: 2 image not downloaded"), "{message}");
    let named = manifest("m.csv", b"url,caption\nhttp://a.org/dog.jpg,a dog\n").unwrap_err().to_string();
    assert!(named.contains("m.csv: names its images by `url` alone: download them first"), "{named}");
}

#[test]
fn a_bad_row_costs_that_row_alone() {
    let csv = b"image,caption\nimages/dog.jpg\nimages/cat.png,gr\xfc\xdfe\nimages/owl.webp,an owl\n";
    let jsonl = b"{\"image\":\"images/owl.webp\",\"caption\":\"an owl\"}\n{\"image\":\n\"images/dog.jpg\"\n";
    for (name, content) in [("m.csv", &csv[..]), ("m.jsonl", jsonl)] {
        let pairs = manifest(name, content).unwrap();
        assert_eq!(captions(&pairs), ["an owl"], "{name}");
        assert_eq!(causes(&pairs), [SkipCause::BadRow; 2], "{name}");
        let places: Vec<_> = pairs.skipped.iter().map(|skipped| &skipped.name).collect();
        assert!(places[0].ends_with("line 2") && places[1].ends_with("line 3"), "{places:?}");
        assert!(pairs.skipped[0].detail.is_some());
    }
}

#[test]
fn a_compressed_manifest_that_was_cut_gives_the_rows_before() {
    // The bits of a caption do not compress: a cut takes rows off.
    let noise = |row: u64| (0..8).map(|word| (row * 8 + word).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let rows: Vec<Vec<u64>> = (0..200).map(noise).collect();
    for (name, header, line) in [
        ("m.tsv.gz", "key\timage\tcaption\n", "KEY\timages/dog.jpg\tTEXT\n"),
        ("m.jsonl.gz", "", "{\"key\":\"KEY\",\"image\":\"images/dog.jpg\",\"caption\":\"TEXT\"}\n"),
    ] {
        let lines: String = rows
            .iter()
            .enumerate()
            .map(|(key, row)| line.replace("KEY", &key.to_string()).replace("TEXT", &format!("{row:x?}")))
            .collect();
        let whole = gzip(format!("{header}{lines}").as_bytes());
        let pairs = manifest(name, &whole[..whole.len() / 2]).unwrap();
        assert!((50..150).contains(&pairs.pairs.len()), "{name}: {}", pairs.pairs.len());
        assert_eq!(causes(&pairs), [SkipCause::BadRow], "{name}");
        assert!(pairs.skipped[0].detail.as_ref().unwrap().contains("breaks off"), "{name}");
        assert_eq!(pairs.pairs.last().unwrap().caption, format!("{:x?}", rows[pairs.pairs.len() - 1]));
    }
}

#[test]
fn a_row_of_a_manifest_that_comes_twice_is_a_duplicate() {
    let content =
        "key,image,caption\n1,images/dog.jpg,a dog\n2,images/dog.jpg,a wet dog\n3,images/dog.jpg,a dog\n";
    let pairs = manifest("m.csv", content.as_bytes()).unwrap();
    assert_eq!(keys(&pairs), ["1", "2"]);
    assert_eq!(causes(&pairs), [SkipCause::Duplicate]);
    assert!(pairs.skipped[0].name.ends_with("m.csv, line 4"), "{}", pairs.skipped[0].name);
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
fn a_fingerprint_tells_of_keys_captions_and_what_images_hold_wherever_they_lie() {
    let content = "key,image,caption\n1,images/dog.jpg,a dog\n2,images/cat.png,a cat\n";
    let of = |content: &str| manifest_folder("m.csv", content.as_bytes());
    let fingerprint =
        |folder: &tempfile::TempDir| read_pairs(&folder.path().join("m.csv")).unwrap().fingerprint();
    let first = fingerprint(&of(content));
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(first, fingerprint(&of(content)));
    for (from, to) in [("1,", "3,"), ("a dog", "a hound"), ("images/cat.png", "images/owl.webp")] {
        assert_ne!(first, fingerprint(&of(&content.replace(from, to))), "{from} {to}");
    }
    let changed = of(content);
    let image = changed.path().join("images/cat.png");
    let mut bytes = fs::read(&image).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&image, &bytes).unwrap();
    assert_ne!(first, fingerprint(&changed));
    let pairs = read_pairs(&changed.path().join("m.csv")).unwrap();
    fs::remove_file(&image).unwrap();
    assert_ne!(first, pairs.fingerprint());
    let order = Pairs { pairs: pairs.pairs.iter().rev().cloned().collect(), ..Pairs::default() };
    assert_ne!(pairs.fingerprint(), order.fingerprint());
    // The same images and captions in a shard, under the same keys.
    let image = |name: &str| fs::read(fixture(&format!("images/{name}"))).unwrap();
    let (dog, cat) = (image("dog.jpg"), image("cat.png"));
    let shard = shard(&[("1.jpg", &dog), ("1.txt", b"a dog"), ("2.png", &cat), ("2.txt", b"a cat")]);
    assert_eq!(first, read_shard("s.tar", shard.as_slice()).unwrap().fingerprint());
}

#[test]
fn a_shard_cut_short_anywhere_gives_the_pairs_before() {
    let whole = read_shard("cut.tar", SHARD).unwrap();
    let check = |name: &str, bytes: &[u8]| {
        let read = read_shard(name, bytes);
        let count = read.as_ref().map_or(0, |pairs| pairs.pairs.len());
        let detail = match read {
            Ok(pairs) => {
                assert_eq!(keys(&pairs), keys(&whole)[..count], "{}", bytes.len());
                let damage = &pairs.skipped[0];
                assert_eq!((damage.name.as_str(), damage.cause), (name, SkipCause::DamagedShard));
                damage.detail.clone().unwrap()
            }
            Err(error) => error.to_string(),
        };
        assert!(detail.contains("ends after ") && detail.contains("cut short"), "{}: {detail}", bytes.len());
        count
    };
    let plain = [0, 1, 300, 511, 512, 600, 1024, 1536, 2000, 4096, 7168].map(|end| check("s", &SHARD[..end]));
    assert!(plain.is_sorted() && plain[0] == 0 && plain[10] == 3, "{plain:?}");
    let compressed = gzip(SHARD);
    for length in [10, compressed.len() / 2, compressed.len() - 9, compressed.len() - 1] {
        check("cut.tar.gz", &compressed[..length]);
    }
}

#[test]
fn a_damaged_shard_among_others_costs_what_follows_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("0.tar", &shard(&[("a.png", b"1"), ("a.txt", b"one"), ("b.png", b"2"), ("b.txt", b"two")])[..2560]);
    write("1.tar", b"no archive at all");
    write("2.tar", &shard(&[("a.png", b"3"), ("a.txt", b"three")]));
    fs::create_dir(folder.path().join("3.tar")).unwrap();
    write("4.tar", b"");
    let pairs = read_pairs(folder.path()).unwrap();
    assert_eq!(keys(&pairs), ["0/a", "2/a"]);
    let damaged: Vec<_> =
        pairs.skipped.iter().filter(|skipped| skipped.cause == SkipCause::DamagedShard).collect();
    let named = |name: &str| damaged.iter().any(|skipped| skipped.name.ends_with(name));
    assert!(damaged.len() == 4 && ["0.tar", "1.tar", "3.tar", "4.tar"].into_iter().all(named), "{damaged:?}");
    assert_eq!(pairs.pairs[0].image.bytes().unwrap().as_ref(), b"1");
}

#[test]
fn a_damaged_archive_is_told_from_one_cut_short() {
    let garbage: Vec<u8> = (0..4096_u32).map(|index| (index * 37 % 251) as u8).collect();
    let false_gzip = [&[0x1f, 0x8b][..], &garbage].concat();
    for (name, bytes) in [
        ("garbage.tar", garbage.clone()),
        ("garbage inside.tar.gz", gzip(&garbage)),
        ("garbage outside.tar.gz", false_gzip),
    ] {
        let message = read_shard(name, bytes.as_slice()).unwrap_err().to_string();
        assert!(message.contains(&format!("first {name}: no tar archive, or damaged after ")), "{message}");
    }
    let mut broken_gzip = gzip(SHARD);
    let end = broken_gzip.len();
    broken_gzip[end - 6] ^= 1;
    let pairs = read_shard("checksum.tar.gz", broken_gzip.as_slice()).unwrap();
    assert_eq!((pairs.pairs.len(), causes(&pairs)), (3, vec![SkipCause::DamagedShard]));
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
    fs::write(&path, "picture,caption,note\na.png,a,b\n").unwrap();
    let message = read_pairs(&path).unwrap_err().to_string();
    let found = " among `picture`, `caption`, `note`: rename or add it";
    assert!(
        message.contains("m.csv: no column `image` or `filepath` or ") && message.ends_with(found),
        "{message}"
    );
    fs::write(&path, "image,words\na.png,a\n").unwrap();
    let message = read_pairs(&path).unwrap_err().to_string();
    assert!(message.contains("no column `caption` or `title` or `text` or "), "{message}");
    assert!(message.contains(" among `image`, `words`"), "{message}");
}

#[test]
fn a_source_without_a_pair_or_of_no_known_kind_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str| read_pairs(&folder.path().join(name)).unwrap_err().to_string();
    fs::write(folder.path().join("m.csv"), "image,caption\na.png,a\n,b\n").unwrap();
    let expected = "no image-text pair (2 skipped: 2 no image; first ";
    assert!(
        message("m.csv").contains(expected) && message("m.csv").ends_with("a.png does not exist)"),
        "{}",
        message("m.csv")
    );
    fs::write(folder.path().join("m.xlsx"), "").unwrap();
    assert!(
        message("m.xlsx").contains("m.xlsx: give a shard (.tar, .tar.gz, .tgz)"),
        "{}",
        message("m.xlsx")
    );
    assert!(message("").contains("no shard in this folder"), "{}", message(""));
    assert!(message("absent.tar").contains("absent.tar: "), "{}", message("absent.tar"));
}
