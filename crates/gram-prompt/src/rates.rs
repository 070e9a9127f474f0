//! Learning rates by tower.
//!
//! Text and visual prompts live at different scales: a token embedding and the first layer's patch tokens
//! differ in size, and so do their gradients. One rate for both either leaves one still or throws the other
//! about.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::prompt::{Part, Prompt};

/// A rate for what the text tower reads and one for what the vision tower reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Of context tokens, and of the net that moves them.
    pub text: f32,
    /// Of visual vectors.
    pub visual: f32,
}

impl Rates {
    /// One rate for both.
    pub fn both(rate: f32) -> Self {
        Self { text: rate, visual: rate }
    }

    /// The rate of a part.
    pub fn of(&self, part: Part) -> f32 {
        match part {
            Part::Visual => self.visual,
            Part::Text | Part::HiddenWeight | Part::HiddenBias | Part::ShiftWeight | Part::ShiftBias => {
                self.text
            }
        }
    }

    /// Whether both are above zero.
    pub fn are_positive(&self) -> bool {
        self.text > 0.0 && self.visual > 0.0
    }

    /// The derivative of a step `-rate * gradient` along `v` for the logarithms of the text rate and of the
    /// visual rate, `[1]` each; none where there is no such part.
    pub fn along_logarithm(&self, gradient: &Prompt, v: &Prompt) -> [Option<Tensor<1>>; 2] {
        [(self.text, false), (self.visual, true)].map(|(rate, visual)| {
            let parts = gradient.parts().filter(|(part, _)| (*part == Part::Visual) == visual);
            let own: Prompt = parts.map(|(part, tensor)| (part, tensor.clone())).collect();
            Some(own.inner_product(v)? * -rate)
        })
    }

    /// Both times `factor`.
    pub fn times(&self, factor: f32) -> Self {
        Self { text: self.text * factor, visual: self.visual * factor }
    }

    /// The sum with others.
    pub fn plus(&self, other: &Self) -> Self {
        Self { text: self.text + other.text, visual: self.visual + other.visual }
    }

    /// Every part of a gradient or velocity times its rate and `factor`.
    pub fn scale(&self, step: &Prompt, factor: f32) -> Prompt {
        step.map(|part, tensor| tensor * (self.of(part) * factor))
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.text, self.visual)
    }
}

impl FromStr for Rates {
    type Err = String;

    /// `0.02` for both, or `0.02/0.002` for text and visual.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rate =
            |text: &str| text.parse().map_err(|_| format!("`{text}` is no rate: write 0.02, or 0.02/0.002"));
        Ok(match text.split_once('/') {
            Some((text, visual)) => Self { text: rate(text)?, visual: rate(visual)? },
            None => Self::both(rate(text)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        let rates: Rates = "0.02/0.001".parse().unwrap();
        assert_eq!((rates.text, rates.visual, rates.to_string().as_str()), (0.02, 0.001, "0.02/0.001"));
        assert_eq!("0.5".parse::<Rates>().unwrap(), Rates::both(0.5));
        assert!("fast".parse::<Rates>().is_err());
    }
}
