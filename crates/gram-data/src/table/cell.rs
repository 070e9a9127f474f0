//! What a table holds at one place.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

/// A value, or an image that lies in the table itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// A value; null where there is none.
    Value(Value),
    /// An image as Hugging Face's `datasets` keeps it: its encoded bytes, what its file was called, or both.
    Image { bytes: Option<Arc<[u8]>>, path: Option<String> },
}

impl Default for Cell {
    fn default() -> Self {
        Self::Value(Value::Null)
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl Cell {
    /// The cell as text, trimmed, if it is a text, number or truth value.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Value(value) => text(value),
            Self::Image { .. } => None,
        }
    }

    /// The texts of the cell: its own, or those of a list.
    pub(super) fn texts(&self) -> Option<Vec<Cow<'_, str>>> {
        match self {
            Self::Value(Value::Array(values)) => Some(values.iter().filter_map(text).collect()),
            _ => self.text().map(|text| vec![text]),
        }
    }

    /// Whether something is in the cell.
    pub(super) fn is_filled(&self) -> bool {
        *self != Self::default() && self.text().is_none_or(|text| !text.is_empty())
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text.trim())),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
