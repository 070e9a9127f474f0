//! TensorBoard's event files: scalars by step.
//!
//! A file is a sequence of records (TensorFlow's TFRecord: length, its checksum, bytes, their checksum;
//! little endian, checksums CRC-32C, masked), each an `Event` message (`tensorflow/core/util/event.proto`) in
//! protocol buffers' encoding.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tag and value of a scalar.
pub type Scalar<'a> = (&'a str, f32);

/// The record that a file begins with.
pub fn header() -> Vec<u8> {
    record(&[wall_time(), bytes_field(3, b"brain.Event:2")].concat())
}

/// The record of the scalars of a step.
pub fn scalars(step: u64, scalars: &[Scalar]) -> Vec<u8> {
    let value = |(tag, value): &Scalar| {
        let value = [bytes_field(1, tag.as_bytes()), vec![key(2, 5)], value.to_le_bytes().to_vec()].concat();
        bytes_field(1, &value)
    };
    let summary: Vec<u8> = scalars.iter().flat_map(value).collect();
    let step = [vec![key(2, 0)], varint(step)].concat();
    record(&[wall_time(), step, bytes_field(5, &summary)].concat())
}

/// Field 1, a double: seconds since 1970.
fn wall_time() -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    [vec![key(1, 1)], seconds.to_le_bytes().to_vec()].concat()
}

fn bytes_field(field: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![key(field, 2)], varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Number and wire type of a field.
fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let (of_length, of_bytes) = (masked(&length).to_le_bytes(), masked(bytes).to_le_bytes());
    [&length[..], &of_length, bytes, &of_bytes].concat()
}

/// The checksum as TFRecord masks it, so that a checksum of checksums is none of a known string.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_framed_as_tensorflow_frames_it() {
        // Written by the tensorboard package (RecordWriter) of the bytes `gram`.
        let expected = [4, 0, 0, 0, 0, 0, 0, 0, 66, 69, 82, 4, b'g', b'r', b'a', b'm', 137, 222, 89, 192];
        assert_eq!(record(b"gram"), expected);
        assert_eq!(varint(300), [0xac, 0x02]);
    }
}
