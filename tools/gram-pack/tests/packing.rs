//! What a user of gram-pack sees: shards and datasets from a folder of packages, whatever the icons hold.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const EMOJI: &str = r#"{
    "🐯": {"name": "tiger face", "slug": "tiger_face", "group": "Animals & Nature"},
    "🍎": {"name": "red apple", "slug": "red_apple", "group": "Food & Drink"},
    "🦄": {"name": "unicorn", "slug": "unicorn", "group": "Animals & Nature"}
}"#;

fn write_set(folder: &Path, prefix: &str, icons: &[(&str, &str)]) {
    let package = folder.join(prefix).join("package");
    fs::create_dir_all(&package).unwrap();
    let icons: BTreeMap<&str, serde_json::Value> =
        icons.iter().map(|(name, body)| (*name, serde_json::json!({ "body": body }))).collect();
    let file = serde_json::json!({ "prefix": prefix, "width": 10, "height": 10, "icons": icons });
    fs::write(package.join("icons.json"), file.to_string()).unwrap();
    let info = r#"{"name": "A set", "author": {"name": "A. Painter"}, "license": {"title": "MIT"}}"#;
    fs::write(package.join("info.json"), info).unwrap();
}

/// Two pool sets, one of them with an icon that is no SVG, and the held-out sets of the plain validation.
fn icons() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let red = r##"<path fill="#c80000" d="M1 1h8v8H1z"/>"##;
    let ink = r#"<circle cx="5" cy="5" r="4" fill="currentColor"/>"#;
    let drawn = [("tiger", red), ("red-apple", red), ("unicorn", ink)];
    write_set(
        folder.path(),
        "emojione",
        &[("tiger-face", red), ("unicorn", "<path d='M0 0"), ("red-apple", ink)],
    );
    write_set(folder.path(), "openmoji", &[("tiger-face", red), ("tiger-face-light-skin-tone", ink)]);
    write_set(folder.path(), "mdi", &[("bell-outline", ink), ("bell-off", red)]);
    for prefix in ["noto", "twemoji", "fluent-emoji-flat"] {
        write_set(folder.path(), prefix, &drawn);
    }
    fs::write(folder.path().join("data-by-emoji.json"), EMOJI).unwrap();
    folder
}

fn pretraining(icons: &Path, out: &Path, threads: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram-pack"))
        .args(["pretraining", "--emoji-variations", "5", "--icon-variations", "3", "--icons"])
        .args([icons, Path::new("--out"), out])
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .unwrap()
}

fn members(shard: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(shard).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, File>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn a_broken_icon_is_counted_and_all_others_become_pairs_of_the_pool_alone() {
    let (icons, out) = (icons(), tempfile::tempdir().unwrap());
    let output = pretraining(icons.path(), out.path(), "2");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let emojione = report.lines().find(|line| line.starts_with("emojione")).unwrap();
    assert!(emojione.contains("2 drawings") && emojione.contains("1 broken"), "{emojione}");
    let members = members(&out.path().join("pairs/pretraining-00000.tar"));
    // Three emoji in five looks, one icon in three, three members each.
    assert_eq!(members.len(), 3 * (3 * 5 + 3));
    for (name, bytes) in members.iter().filter(|(name, _)| name.ends_with(".json")) {
        let pair: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert!(["emojione", "openmoji", "mdi"].contains(&pair["set"].as_str().unwrap()), "{name}");
        let caption = String::from_utf8(members[&name.replace("json", "txt")].clone()).unwrap();
        assert!(caption.contains(&pair["concept"].as_str().unwrap().replace('-', " ")), "{caption}");
        let picture = image::load_from_memory(&members[&name.replace("json", "jpg")]).unwrap();
        assert_eq!((picture.width(), picture.height()), (48, 48));
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let icons = icons();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    pretraining(icons.path(), one.path(), "1");
    pretraining(icons.path(), two.path(), "2");
    for name in ["pairs/pretraining-00000.tar", "plain-validation.tar.gz"] {
        let [first, second] = [&one, &two].map(|folder| fs::read(folder.path().join(name)).unwrap());
        assert_eq!(first, second, "{name}");
    }
}

#[test]
fn a_folder_without_icon_sets_is_said_to_have_none() {
    let (icons, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = pretraining(icons.path(), out.path(), "1");
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("found no icon set") && message.contains("unpack"), "{message}");
}
