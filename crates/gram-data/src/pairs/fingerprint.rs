//! What tells one pair from another: 128 bits of SipHash over an image and its caption. That any two of three million
//! pairs that differ have the same has a probability of 10⁻²⁶.

use std::hash::Hasher;
use std::io::{self, Write};

use siphasher::sip128::{Hasher128, SipHasher13};

/// Takes in bytes, in pieces of any length, and gives their fingerprint.
#[derive(Default)]
pub(super) struct Fingerprinting(SipHasher13);

impl Fingerprinting {
    /// The fingerprint of all bytes written so far.
    pub(super) fn finish(&self) -> u128 {
        self.0.finish128().as_u128()
    }
}

impl Write for Fingerprinting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fingerprint of some bytes.
pub(super) fn of(bytes: &[u8]) -> u128 {
    SipHasher13::new().hash(bytes).as_u128()
}

/// The fingerprint of a pair, from that of its image.
pub(super) fn of_pair(image: u128, caption: &str) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(&image.to_le_bytes());
    hasher.write(caption.as_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_does_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in [1, 3, 7, 8, 64, 100] {
            let mut pieces = Fingerprinting::default();
            bytes.chunks(length).for_each(|piece| pieces.write_all(piece).unwrap());
            assert_eq!(pieces.finish(), of(&bytes), "{length}");
        }
    }

    #[test]
    fn image_and_caption_both_count() {
        let all = [of_pair(of(b"1"), "a"), of_pair(of(b"1"), "b"), of_pair(of(b"2"), "a")];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        assert_eq!(all[0], of_pair(of(b"1"), "a"));
    }
}
