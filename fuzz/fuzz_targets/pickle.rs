//! A pickle, without the archive around it.
#![no_main]

use gram_clip::checkpoint::pickle::{Pickle, Value};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(pickle) = Pickle::parse(bytes) {
        pickle.sequence(pickle.root());
        for value in pickle.values() {
            if let Value::Made { maker, arguments, .. } = value {
                pickle.maker_name(*maker, *arguments);
            }
        }
    }
});
