//! The icon sets that are known, who drew them, and on which side of the wall they stand.
//!
//! A vendor whose drawings serve in labelled datasets never appears among the image-text pairs: otherwise the
//! protocols would measure memory.

/// Where a set's drawings may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Image-text pairs: pre-training, clustering and meta-training.
    Pool,
    /// Labelled datasets only.
    HeldOut,
    /// Image-text pairs that neither pre-training nor a labelled dataset has: what meta-training learns from
    /// vendors that the model does not know. Nothing of them is shipped.
    Unseen,
}

/// What a set draws, which decides how its names are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unicode emoji, named after Unicode's short names.
    Emoji,
    /// Emoji as above, and further drawings whose own names are worth keeping.
    EmojiAndMore,
    /// Interface or game icons with names of their own.
    Icons,
}

/// One icon set.
#[derive(Debug)]
pub struct IconSet {
    /// The set's iconify prefix.
    pub prefix: &'static str,
    /// Who drew it.
    pub vendor: &'static str,
    /// Pool, held out or unseen.
    pub role: Role,
    /// How its names are read.
    pub kind: Kind,
    /// One word for how it looks.
    pub style: &'static str,
}

const fn set(
    prefix: &'static str,
    vendor: &'static str,
    role: Role,
    kind: Kind,
    style: &'static str,
) -> IconSet {
    IconSet { prefix, vendor, role, kind, style }
}

/// Every set that can be used, in the order in which drawings are listed.
pub const SETS: [IconSet; 25] = [
    set("emojione", "EmojiOne", Role::Pool, Kind::EmojiAndMore, "flat"),
    set("emojione-v1", "EmojiOne", Role::Pool, Kind::EmojiAndMore, "shaded"),
    set("emojione-monotone", "EmojiOne", Role::Pool, Kind::EmojiAndMore, "monochrome"),
    set("openmoji", "OpenMoji", Role::Pool, Kind::EmojiAndMore, "outlined"),
    set("fxemoji", "Mozilla", Role::Pool, Kind::Emoji, "simple"),
    set("streamline-emojis", "Streamline", Role::Pool, Kind::Emoji, "cartoon"),
    set("mdi", "Pictogrammers", Role::Pool, Kind::Icons, "solid"),
    set("tabler", "Tabler", Role::Pool, Kind::Icons, "line"),
    set("ph", "Phosphor", Role::Pool, Kind::Icons, "line"),
    set("game-icons", "GameIcons", Role::Pool, Kind::Icons, "silhouette"),
    set("healthicons", "Resolve to Save Lives", Role::Pool, Kind::Icons, "solid"),
    set("noto", "Google", Role::HeldOut, Kind::Emoji, "shaded"),
    set("noto-v1", "Google", Role::HeldOut, Kind::Emoji, "shaded"),
    set("twemoji", "Twitter", Role::HeldOut, Kind::Emoji, "flat"),
    set("fluent-emoji", "Microsoft", Role::HeldOut, Kind::Emoji, "glossy"),
    set("fluent-emoji-flat", "Microsoft", Role::HeldOut, Kind::Emoji, "flat"),
    set("fluent-emoji-high-contrast", "Microsoft", Role::HeldOut, Kind::Emoji, "monochrome"),
    set("lucide", "Lucide", Role::Unseen, Kind::Icons, "line"),
    set("fa6-solid", "Font Awesome", Role::Unseen, Kind::Icons, "solid"),
    set("bi", "Bootstrap", Role::Unseen, Kind::Icons, "line"),
    set("iconoir", "Iconoir", Role::Unseen, Kind::Icons, "line"),
    set("ion", "Ionic", Role::Unseen, Kind::Icons, "solid"),
    set("hugeicons", "Hugeicons", Role::Unseen, Kind::Icons, "line"),
    set("flat-color-icons", "Icons8", Role::Unseen, Kind::Icons, "flat"),
    set("icon-park", "ByteDance", Role::Unseen, Kind::Icons, "flat"),
];

/// The set with this iconify prefix, if it is known.
pub fn find(prefix: &str) -> Option<&'static IconSet> {
    SETS.iter().find(|set| set.prefix == prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_vendor_is_on_two_sides() {
        for one in &SETS {
            for other in SETS.iter().filter(|other| other.role != one.role) {
                assert_ne!(one.vendor, other.vendor, "{} and {}", one.prefix, other.prefix);
            }
        }
    }
}
