//! Clusters on disk: what is saved comes back, and damage is told apart from good files.
#![allow(clippy::unwrap_used)]

mod world;

use std::fs;
use std::path::Path;

use gram_cluster::{ChcSettings, Clusters};
use tempfile::TempDir;
use world::World;

fn saved() -> (TempDir, Clusters) {
    let settings = ChcSettings { minimum_similarity: Some(0.215), ..ChcSettings::default() };
    let mut clusters = World::new().cluster(&settings).unwrap();
    clusters.pairs[0].caption = "l'été, \"猫\"\n\t\u{1f405}".to_owned();
    clusters.pairs[1].caption.clear();
    let folder = TempDir::new().unwrap();
    clusters.save(&folder.path().join("new/clusters")).unwrap();
    (folder, clusters)
}

fn path(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("new/clusters")
}

fn refusal(folder: &Path) -> String {
    Clusters::load(folder).unwrap_err().to_string()
}

/// Changes `topics.json` by one replacement and says how it is refused.
fn refusal_after(from: &str, to: &str) -> String {
    let (folder, _) = saved();
    let file = path(&folder).join("topics.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    fs::write(&file, text.replacen(from, to, 1)).unwrap();
    refusal(&path(&folder))
}

#[test]
fn saved_clusters_come_back_to_the_last_bit() {
    let (folder, clusters) = saved();
    assert_eq!(Clusters::load(&path(&folder)).unwrap(), clusters);
    let mut names: Vec<_> =
        fs::read_dir(path(&folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["pairs.parquet", "topics.json"]);
}

#[test]
fn saving_again_replaces_what_was_there_and_writes_the_same_bytes() {
    let (folder, clusters) = saved();
    let bytes = |name: &str| fs::read(path(&folder).join(name)).unwrap();
    let before = [bytes("pairs.parquet"), bytes("topics.json")];
    clusters.save(&path(&folder)).unwrap();
    assert_eq!(before, [bytes("pairs.parquet"), bytes("topics.json")]);
}

#[test]
fn more_pairs_than_one_row_group_holds_come_back_in_order() {
    let (folder, mut clusters) = saved();
    let pair = clusters.pairs.iter().find(|pair| !pair.kept).unwrap().clone();
    for index in 0..140_000 {
        clusters.pairs.push(gram_cluster::ClusteredPair { key: format!("more-{index}"), ..pair.clone() });
        clusters.layout.push(None);
    }
    clusters.save(&path(&folder)).unwrap();
    assert_eq!(Clusters::load(&path(&folder)).unwrap(), clusters);
}

#[test]
fn a_missing_or_unreadable_file_is_named_with_a_way_out() {
    let (folder, _) = saved();
    for name in ["pairs.parquet", "topics.json"] {
        let file = path(&folder).join(name);
        let good = fs::read(&file).unwrap();
        for damaged in [&b""[..], b"not clusters", &good[..good.len() / 2]] {
            fs::write(&file, damaged).unwrap();
            let message = refusal(&path(&folder));
            assert!(message.contains(name) && message.contains("or cluster again"), "{message}");
        }
        fs::remove_file(&file).unwrap();
        let message = refusal(&path(&folder));
        assert!(message.contains(name) && message.contains("No such file"), "{message}");
        fs::write(&file, good).unwrap();
    }
    assert!(Clusters::load(&path(&folder)).is_ok());
}

#[test]
fn another_version_and_topics_that_do_not_fit_the_pairs_are_refused() {
    let message = refusal_after("\"version\": 2", "\"version\": 9");
    assert!(message.contains("topics.json: version 9, this program reads version 2"), "{message}");
    let message = refusal_after("\"size\": ", "\"size\": 1");
    assert!(message.contains("pairs.parquet: topic `"), "{message}");
    let message = refusal_after("\"seed\": 7", "\"seed\": -7");
    assert!(message.contains("topics.json: cannot be read as clusters"), "{message}");
    let (folder, mut clusters) = saved();
    clusters.topics.pop();
    clusters.save(&path(&folder)).unwrap();
    let message = refusal(&path(&folder));
    assert!(message.contains("is in a domain that topics.json does not have: cluster again"), "{message}");
}

#[test]
fn a_table_of_other_columns_is_refused() {
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    let (folder, _) = saved();
    let schema = parse_message_type("message other { REQUIRED INT32 key; REQUIRED INT32 word; }").unwrap();
    let file = fs::File::create(path(&folder).join("pairs.parquet")).unwrap();
    SerializedFileWriter::new(file, schema.into(), Default::default()).unwrap().close().unwrap();
    let message = refusal(&path(&folder));
    assert!(message.contains("has columns key, word; expected key, caption, topic"), "{message}");
}

#[test]
fn damaged_bytes_never_make_loading_panic() {
    let (folder, _) = saved();
    let file = path(&folder).join("pairs.parquet");
    let good = fs::read(&file).unwrap();
    for place in (0..good.len()).step_by(5) {
        let mut damaged = good.clone();
        damaged[place] ^= 0xff;
        fs::write(&file, &damaged).unwrap();
        // Damage to a text or a number may pass unseen; what is told must name the file.
        if let Err(error) = Clusters::load(&path(&folder)) {
            assert!(error.to_string().contains("pairs.parquet"), "byte {place}: {error}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (folder, clusters) = saved();
    let file = path(&folder).join("topics.json");
    let message = clusters.save(&file).unwrap_err().to_string();
    assert!(message.contains("topics.json/pairs.parquet: cannot be written"), "{message}");
    assert!(message.contains("give a folder that can be written to"), "{message}");
}
