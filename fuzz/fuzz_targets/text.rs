//! A text through the built-in tokenizer.
#![no_main]

use std::sync::LazyLock;

use gram_clip::ClipTokenizer;

static TOKENIZER: LazyLock<ClipTokenizer> =
    LazyLock::new(|| ClipTokenizer::openai().expect("the built-in vocabulary is whole"));

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = TOKENIZER.sentence(text, 1, 77);
});
