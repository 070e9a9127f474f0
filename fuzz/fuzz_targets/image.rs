//! An image of any format.
#![no_main]

use gram_data::ImageFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ImageFile::Bytes { name: "fuzzed".into(), bytes: bytes.into() }.decode();
});
