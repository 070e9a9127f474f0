//! `tokenizer.json`, and a text through it.
#![no_main]

use gram_clip::ClipTokenizer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokenizer) = ClipTokenizer::from_bytes(bytes) {
        let _ = tokenizer.sentence("A cat&#39;s  picture, No. 3", 1, 77);
    }
});
