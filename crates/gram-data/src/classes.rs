//! Base and new classes: the halves of a dataset's classes that are tuned on and that are never seen.

use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A class name as a model reads it: `great_white_shark` is `great white shark`, as in CoOp's code. Names
/// come from folders, lists, files and the command line; all of them pass here before they are a text.
pub fn readable_name(name: &str) -> String {
    name.replace('_', " ")
}

/// A part of a dataset's classes, taken in their sorted order.
///
/// The base classes are the first half, one more than the new ones if the number is odd, as in CoOp and
/// CoCoOp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassSubset {
    /// All classes.
    All,
    /// The first half: classes that are tuned on.
    Base,
    /// The second half: classes that tuning never sees.
    New,
}

/// A name that is no subset's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected all, base or new")]
pub struct UnknownSubsetName;

impl FromStr for ClassSubset {
    type Err = UnknownSubsetName;

    fn from_str(name: &str) -> Result<Self, UnknownSubsetName> {
        match name {
            "all" => Ok(Self::All),
            "base" => Ok(Self::Base),
            "new" => Ok(Self::New),
            _ => Err(UnknownSubsetName),
        }
    }
}

impl ClassSubset {
    /// The subset's classes among `class_count`.
    pub fn indices(self, class_count: usize) -> Range<usize> {
        let base_count = class_count.div_ceil(2);
        match self {
            Self::All => 0..class_count,
            Self::Base => 0..base_count,
            Self::New => base_count..class_count,
        }
    }

    /// The label of `class` inside the subset, counted from its first class; nothing if it is not in it.
    pub fn label(self, class: usize, class_count: usize) -> Option<usize> {
        let range = self.indices(class_count);
        range.contains(&class).then(|| class - range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_and_new_divide_the_classes_and_base_takes_the_odd_one() {
        assert_eq!(ClassSubset::Base.indices(5), 0..3);
        assert_eq!(ClassSubset::New.indices(5), 3..5);
        assert_eq!(ClassSubset::Base.indices(6), 0..3);
        assert_eq!(ClassSubset::New.indices(6), 3..6);
        assert_eq!(ClassSubset::All.indices(5), 0..5);
    }

    #[test]
    fn labels_are_counted_from_the_first_class_of_the_subset() {
        assert_eq!(ClassSubset::New.label(3, 5), Some(0));
        assert_eq!(ClassSubset::New.label(2, 5), None);
        assert_eq!(ClassSubset::All.label(4, 5), Some(4));
    }
}
