//! The widest vectors that the processor at hand has.

/// Does `work`, compiled for those vectors. It must be inlined, a closure by `#[inline(always)]`, and so must
/// what it calls. Numbers do not depend on the vectors: nothing is contracted or added in another order.
///
/// What is compiled for every processor of a kind knows narrow vectors only on x86-64, and no wide
/// multiplication of whole numbers.
#[inline(always)]
pub fn widest<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512dq") {
        // Sound, as the processor was asked. There is no safe way to call a function that needs more than
        // every processor of the kind has.
        #[allow(unsafe_code)]
        return unsafe { with_avx512(work) };
    }
    wide(work)
}

/// Does `work`, compiled for vectors of 256 bits at most: those of pixels gain nothing from wider ones, for
/// which the compiler leaves calls in their inner loops.
#[inline(always)]
pub(crate) fn wide<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // Sound, as above.
        #[allow(unsafe_code)]
        return unsafe { with_avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn with_avx512<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
}
