//! A WebDataset shard, and a dataset in an archive.
#![no_main]

use gram_data::{LabelledDataset, read_shard};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read_shard("fuzzed", bytes);
    let _ = LabelledDataset::from_archive("fuzzed", bytes);
});
