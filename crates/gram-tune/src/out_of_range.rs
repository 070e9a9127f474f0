//! A setting that no objective can have.

/// A setting of an objective is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("objective.{setting}: {found}: {expected} is expected")]
pub struct OutOfRange {
    /// The setting.
    pub setting: &'static str,
    /// Its value.
    pub found: f32,
    /// Its range.
    pub expected: &'static str,
}
