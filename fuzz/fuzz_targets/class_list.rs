//! Lists of class names; the first byte says of which kind.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

const NAMES: [&str; 4] = ["c.txt", "c.csv", "c.tsv", "c.json"];

/// A folder of this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("gram-fuzz-classes-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, content)) = bytes.split_first() else { return };
    let path = FOLDER.join(NAMES[usize::from(*kind) % NAMES.len()]);
    fs::write(&path, content).unwrap();
    let _ = gram_data::read_class_list(&path);
});
