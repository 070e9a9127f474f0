//! The program's allocator: tensors come and go by the megabyte.

use libmimalloc_sys::{mi_option_set_default, mi_option_t, mi_option_use_numa_nodes};

/// The system's allocator would hand each tensor back to the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_e`, which the crate leaves out: the option before this
/// one.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;

/// Keeps memory that is free for what comes next, unless `MIMALLOC_PURGE_DELAY` says otherwise: mimalloc
/// would hand it back after a second, and the kernel would clear it again for the next step, which takes up
/// to a third of the time of a step with images.
#[allow(unsafe_code)]
pub(crate) fn keep_free_memory() {
    // SAFETY: the option is one of mimalloc's, and it is set before there are other threads.
    unsafe { mi_option_set_default(PURGE_DELAY, -1) };
}

#[cfg(test)]
mod tests {
    #[test]
    #[allow(unsafe_code)]
    fn the_purge_delay_is_the_option_that_is_a_second_by_default() {
        // SAFETY: it is read only.
        let delay = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(delay, 1000);
    }
}
