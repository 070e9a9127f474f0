//! What the members of a WebDataset shard are called.
//!
//! The convention is that of the library webdataset (`base_plus_ext`): a member's key is its path up to the
//! first dot of its base name, and what follows says what it is. Members of one key make one sample, and what
//! follows may have a name of its own before the extension: `0.input.jpg` and `0.outputs.txt` are the parts
//! `input` and `outputs` of `0`.

use crate::image_file::is_image_extension;

/// The name of a member, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberName<'a> {
    /// The key of its sample.
    pub(crate) key: &'a str,
    /// The part's own name; mostly empty.
    pub(crate) part: &'a str,
    /// The extension, without its dot, in the case that it has.
    pub(crate) extension: &'a str,
}

impl<'a> MemberName<'a> {
    /// Takes a path apart; nothing if its base name has no dot, or begins with one.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let base = path.rfind('/').map_or(0, |slash| slash + 1);
        let dot = base + path[base..].find('.').filter(|&dot| dot > 0)?;
        let (part, extension) = path[dot + 1..].rsplit_once('.').unwrap_or(("", &path[dot + 1..]));
        Some(Self { key: &path[..dot], part, extension })
    }

    /// Whether the extension is this one, in any case.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.extension.eq_ignore_ascii_case(extension)
    }

    /// Whether the member is an image.
    pub(crate) fn is_image(&self) -> bool {
        is_image_extension(self.extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_the_first_dot_of_the_base_name() {
        let of = |path| MemberName::of(path).map(|name| (name.key, name.part, name.extension));
        assert_eq!(of("v1.2/dog.JPG"), Some(("v1.2/dog", "", "JPG")));
        assert_eq!(of("dog.txt"), Some(("dog", "", "txt")));
        assert_eq!(of("dog.mask.png"), Some(("dog", "mask", "png")));
        assert_eq!(of("dog.v1.0.png"), Some(("dog", "v1.0", "png")));
        assert_eq!(of("._dog.png"), None);
        assert_eq!(of("v1.2/dog"), None);
        assert!(MemberName::of("a.JPeG").is_some_and(|name| name.is_image() && name.is("jpeg")));
    }
}
