//! The number format of the frozen towers.

use std::fmt;
use std::str::FromStr;

use burn::tensor::FloatDType;

/// The number format in which the frozen towers multiply. Prompts, regulators, norms, softmax, features,
/// logits and losses are f32 in each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision: 24 bits of a number's digits.
    #[default]
    F32,
    /// bfloat16: the range of f32, 8 bits of its digits.
    Bf16,
    /// Half precision: 11 bits of the digits, and numbers up to 65504.
    F16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// burn's name for it.
    pub(crate) fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|precision| precision.name() == name);
        known.ok_or_else(|| format!("no number format is called `{name}`: f32, bf16 or f16"))
    }
}
