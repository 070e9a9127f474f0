//! Files of settings, over the defaults of meta-training and of clustering.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use gram_experiments::{defaults, settings_file};
use gram_prompt::PromptKind;

/// A file of this process.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("gram-fuzz-settings-{}.toml", std::process::id())));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fs::write(&*FILE, bytes).unwrap();
    let _ = settings_file::over(&defaults::meta_training(PromptKind::Joint, 1), &FILE);
    let _ = settings_file::over(&defaults::demo_clustering(), &FILE);
});
