//! The widest vectors that the processor at hand has.

/// Does `work`, compiled for those vectors. It must be inlined, a closure by `#[inline(always)]`.
///
/// What is compiled for every processor of a kind knows no wide multiplication of whole numbers on x86-64.
#[inline(always)]
pub(crate) fn widest<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // Sound, as the processor was asked. There is no safe way to call a function that needs more than
        // every processor of the kind has.
        #[allow(unsafe_code)]
        return unsafe { with_avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
}
