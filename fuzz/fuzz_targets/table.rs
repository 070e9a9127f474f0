//! A table of any format, as pairs and as a dataset; the first byte says which.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use gram_data::{LabelledDataset, read_pairs_with_metadata};

const NAMES: [&str; 7] = ["t.csv", "t.tsv", "t.txt", "t.jsonl", "t.json", "t.parquet", "t.csv.gz"];

/// A folder of this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // The Parquet reader panics on some damage, and is caught; what is not caught ends the run as before.
    std::panic::set_hook(Box::new(|_| ()));
    let folder = std::env::temp_dir().join(format!("gram-fuzz-table-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.png"), "").unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, content)) = bytes.split_first() else { return };
    // A file that begins as Parquet, compressed text or JSON does is itself the seed of its format.
    let (kind, content) = match bytes {
        [b'P', b'A', b'R', b'1', ..] => (5, bytes),
        [0x1f, 0x8b, ..] => (6, bytes),
        [b'{', ..] => (3, bytes),
        [b'[', ..] => (4, bytes),
        _ => (usize::from(*kind) % NAMES.len(), content),
    };
    let path = FOLDER.join(NAMES[kind]);
    fs::write(&path, content).unwrap();
    let _ = read_pairs_with_metadata(&path);
    let _ = LabelledDataset::open(&path);
});
