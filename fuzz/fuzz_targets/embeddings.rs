//! A folder of features: a matrix of any bytes beside a description of two rows; and that matrix as a
//! classifier.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use gram_data::EmbeddingsFolder;
use gram_features::MatrixFile;

const DESCRIPTION: &[u8] =
    include_bytes!("../../crates/gram-data/tests/fixtures/embeddings/metadata/metadata_01.parquet");

/// A folder of this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("gram-fuzz-embeddings-{}", std::process::id()));
    for kind in ["img_emb", "text_emb", "metadata"] {
        fs::create_dir_all(folder.join(kind)).unwrap();
    }
    fs::write(folder.join("metadata/metadata_0.parquet"), DESCRIPTION).unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in ["img_emb", "text_emb"] {
        fs::write(FOLDER.join(kind).join(format!("{kind}_0.npy")), bytes).unwrap();
    }
    let _ = MatrixFile::read(&FOLDER.join("img_emb/img_emb_0.npy"));
    if let Ok(folder) = EmbeddingsFolder::open(&*FOLDER) {
        for part in folder.parts() {
            let _ = (part.image_features(), part.text_features(), part.captions(), part.keys());
        }
    }
});
