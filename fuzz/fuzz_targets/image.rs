//! An image of any format, and what a model reads of it.
#![no_main]

use std::sync::LazyLock;

use gram_clip::Preprocess;
use gram_data::ImageFile;

/// Some decoders panic on some damage, where overflows are checked as they are here, and are caught; what is
/// not caught ends the run as before.
static CAUGHT: LazyLock<()> = LazyLock::new(|| std::panic::set_hook(Box::new(|_| ())));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    LazyLock::force(&CAUGHT);
    if let Ok(image) = (ImageFile::Bytes { name: "fuzzed".into(), bytes: bytes.into() }).decode() {
        let _ = Preprocess::clip(8).pixels(&image);
    }
});
