//! A prompt, in gram's file or in CoOp's.
#![no_main]

use std::path::Path;

use burn::tensor::Device;
use gram_prompt::{ClassPosition, PromptFile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed");
    if let Ok(file) = PromptFile::parse(path, bytes, &Device::flex()) {
        let _ = file.doubt();
        let _ = file.with_class_position(path, Some(ClassPosition::Middle));
    }
});
