//! The configurations of models: Hugging Face's and open_clip's.
#![no_main]

use gram_clip::{ClipConfig, open_clip};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = ClipConfig::parse(text);
    let _ = open_clip::parse(text);
});
