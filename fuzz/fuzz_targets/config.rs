//! The configurations of models and the settings of their images: Hugging Face's and open_clip's.
#![no_main]

use gram_clip::{ClipConfig, Preprocess, open_clip};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = ClipConfig::parse(text);
    let _ = open_clip::parse(text);
    let _ = Preprocess::parse(text);
    let _ = Preprocess::parse_processor(text);
});
