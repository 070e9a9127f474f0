//! A prompt, in gram's file or in CoOp's.
#![no_main]

use std::path::Path;

use burn::tensor::Device;
use gram_prompt::PromptFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = PromptFile::parse(Path::new("fuzzed"), bytes, &Device::default());
});
