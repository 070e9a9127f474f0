//! The header of NumPy's `.npy`, looked at before a parser of Python's literals reads it.

/// What every `.npy` file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The deepest brackets in a header of NumPy's: a dictionary, a list of fields, a field, its shape.
const DEEPEST: usize = 4;

/// Checks that what `bytes` begin with is the header of a `.npy` file whose brackets are no deeper than NumPy
/// writes them: a parser that tries every way to close them would take hours over a few dozen.
///
/// Format: `numpy.lib.format`, versions 1 to 3.
///
/// # Errors
/// What is wrong with it.
pub fn check_npy_header(bytes: &[u8]) -> Result<(), String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as one")?;
    let (length, header) = match rest {
        [1, _, low, high, header @ ..] => (usize::from(u16::from_le_bytes([*low, *high])), header),
        [2 | 3, _, a, b, c, d, header @ ..] => {
            (usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX), header)
        }
        _ => return Err("its version is none of 1 to 3".to_owned()),
    };
    let header = header.get(..length).ok_or("its header is cut short, or too long")?;
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in header {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    match deepest <= DEEPEST {
        true => Ok(()),
        false => Err(format!("its header has brackets {deepest} deep, and NumPy's have {DEEPEST} at most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str) -> Vec<u8> {
        let length = header.len() as u32;
        let length = length.to_le_bytes();
        let length = if version == 1 { &length[..2] } else { &length[..] };
        [MAGIC, &[version, 0], length, header.as_bytes()].concat()
    }

    #[test]
    fn headers_of_numpy_pass_in_every_version() {
        for version in 1..=3 {
            for header in [
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n",
                "{'descr': [('a', '<f4', (2, 2)), ('b', '<i8')], 'fortran_order': False, 'shape': (3,), }\n",
            ] {
                assert_eq!(check_npy_header(&file(version, header)), Ok(()));
            }
        }
    }

    #[test]
    fn deep_brackets_and_what_is_no_header_are_refused() {
        let problem = |bytes: &[u8]| check_npy_header(bytes).unwrap_err();
        assert!(problem(&file(1, &"{".repeat(40))).contains("brackets 40 deep"));
        assert!(problem(&file(2, &"(".repeat(40))).contains("brackets 40 deep"));
        assert!(problem(b"PK\x03\x04").contains("does not begin"));
        assert!(problem(&file(4, "{}")).contains("version"));
        assert!(problem(&file(1, "{}")[..9]).contains("version"));
        assert!(problem(&file(1, "{}")[..11]).contains("cut short"));
    }
}
