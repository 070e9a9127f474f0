//! A pickle, without the archive around it.
#![no_main]

use gram_clip::checkpoint::pickle::Pickle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(pickle) = Pickle::parse(bytes) {
        pickle.sequence(pickle.root());
    }
});
