//! An image of any format, and what a model reads of it.
#![no_main]

use gram_clip::Preprocess;
use gram_data::ImageFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = (ImageFile::Bytes { name: "fuzzed".into(), bytes: bytes.into() }).decode() {
        let _ = Preprocess::clip(8).pixels(&image);
    }
});
