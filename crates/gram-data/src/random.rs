//! One seed, many independent random streams.
//!
//! Every purpose (data order, initialisation, episodes, …) draws from a stream of its own, so that one more
//! draw in one place moves nothing in another, and results do not depend on the number of threads.
//!
//! ```
//! use gram_data::random::stream;
//! use rand::Rng;
//!
//! let mut episodes = stream(7, "episodes");
//! assert_eq!(episodes.next_u64(), stream(7, "episodes").next_u64());
//! assert_ne!(stream(7, "episodes").next_u64(), stream(7, "data order").next_u64());
//! ```

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The random number generator used everywhere: portable, seekable and fast.
pub type Stream = ChaCha8Rng;

/// The random stream of one `purpose` under one `seed`.
pub fn stream(seed: u64, purpose: &str) -> Stream {
    // FNV-1a: stable across platforms and releases, unlike the standard library's hasher.
    let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash.to_le_bytes());
    Stream::from_seed(key)
}

/// The stream of one item of a numbered sequence (an epoch, an episode, an image): item `index` can be drawn
/// without drawing those before it.
pub fn indexed_stream(seed: u64, purpose: &str, index: u64) -> Stream {
    let mut stream = stream(seed, purpose);
    stream.set_stream(index);
    stream
}

/// One draw from the standard normal distribution (Box and Muller's transform).
pub fn normal(stream: &mut Stream) -> f32 {
    use rand::RngExt;
    let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()) as f32
}
