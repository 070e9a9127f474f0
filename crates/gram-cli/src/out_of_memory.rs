//! A GPU whose memory is not enough: said in one line, with the settings that need less.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;

static RAN_OUT: AtomicBool = AtomicBool::new(false);

/// What `work` says, or, where the device's memory was not enough for it, which setting to lower. burn panics
/// there, on whichever thread asks for the numbers.
pub fn caught<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |information| {
        if says_out_of_memory(&information.to_string()) {
            RAN_OUT.store(true, Ordering::Relaxed);
        } else if !RAN_OUT.load(Ordering::Relaxed) {
            usual(information);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome,
        Err(_) if RAN_OUT.load(Ordering::Relaxed) => bail!(
            "the device's memory is not enough: lower --images-at-once, and the same command goes on; or take a smaller \
             --batch-size (adapt, bench), --task-micro-batch (meta-train), text_megabytes in the settings file, or \
             --precision bf16, which are other settings and want another --out"
        ),
        Err(other) => panic::resume_unwind(other),
    }
}

/// Whether a panic says that memory was not enough, in the words of burn's runtimes: `can't allocate buffer`,
/// `out of device memory allocating`, `An out-of-memory error happened`, `OutOfMemory`.
fn says_out_of_memory(panic: &str) -> bool {
    let panic = panic.to_lowercase().replace(['-', ' '], "");
    ["outofmemory", "outofdevicememory", "can'tallocate", "buffertoobig"]
        .iter()
        .any(|word| panic.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_enough_is_one_line_and_other_panics_are_what_they_are() {
        for said in [
            "called `Result::unwrap()` on an `Err` value: OutOfMemory { size: 12 }",
            "Error while reading data: can't allocate buffer of size: 207475232",
            "out of device memory allocating 12 bytes",
            "An out-of-memory error happened during launch",
        ] {
            let error = caught::<()>(|| panic!("{said}")).unwrap_err().to_string();
            assert!(
                error.starts_with("the device's memory is not enough: lower --images-at-once"),
                "{error}"
            );
            assert!(!error.contains('\n'));
            RAN_OUT.store(false, Ordering::Relaxed);
        }
        let other = panic::catch_unwind(|| caught::<()>(|| panic!("index out of bounds")));
        assert_eq!(other.unwrap_err().downcast_ref::<&str>(), Some(&"index out of bounds"));
        assert_eq!(caught(|| Ok(3)).unwrap(), 3);
    }
}
