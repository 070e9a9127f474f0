//! Where the vectors of a prompt enter the towers.
//!
//! Context tokens stand before the name, behind it or on both sides, and are the same for all classes or each
//! class's own (CoOp, section 3.1 of Zhou et al., IJCV 2022); visual vectors join before the first layer, and
//! fresh ones before further layers (VPT). A [`Prompt`](crate::Prompt) is a point without form; its placement
//! is the form.

use std::fmt;
use std::str::FromStr;

use gram_clip::text_tower::{Sentences, Text, Token};
use serde::{Deserialize, Serialize};

/// Where the class name stands among the context tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassPosition {
    /// After all of them.
    #[default]
    End,
    /// After the first half.
    Middle,
    /// Before them.
    Front,
}

impl fmt::Display for ClassPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ClassPosition::End => "end",
            ClassPosition::Middle => "middle",
            ClassPosition::Front => "front",
        })
    }
}

impl FromStr for ClassPosition {
    type Err = String;

    fn from_str(position: &str) -> Result<Self, Self::Err> {
        [Self::End, Self::Middle, Self::Front]
            .into_iter()
            .find(|known| known.to_string() == position)
            .ok_or_else(|| format!("a class stands at no place called `{position}`: end, middle or front"))
    }
}

/// Where the vectors of a prompt enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Where the class name stands.
    pub class_position: ClassPosition,
    /// How many contexts there are, below each other: 1 for all classes, or one for each class.
    pub contexts: usize,
    /// Layers of the vision tower before which there are vectors of their own: 1 is shallow.
    pub visual_depth: usize,
}

impl Default for Placement {
    /// CoOp's and VPT's usual one: name last, one context for all, shallow.
    fn default() -> Self {
        Self { class_position: ClassPosition::End, contexts: 1, visual_depth: 1 }
    }
}

/// The tokens of a class's sentence without the words before the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClassSentence {
    /// The name, what comes after it, and EOS.
    pub ids: Vec<u32>,
    /// How many of them are the name.
    pub name: usize,
}

impl Placement {
    /// Whether each class has a context of its own.
    pub fn is_class_specific(&self) -> bool {
        self.contexts > 1
    }

    /// The sentences (eq. 2) of `classes` around a context of `rows`, after `start`. What is the same for all
    /// classes is their prefix.
    pub fn sentences(&self, start: u32, classes: &[ClassSentence], rows: usize) -> Sentences {
        let tokens = rows / self.contexts;
        let before = match self.class_position {
            ClassPosition::End => tokens,
            ClassPosition::Middle => tokens / 2,
            ClassPosition::Front => 0,
        };
        let context = |from: usize, to: usize| (from..to).map(Token::Context);
        let words = |ids: &[u32]| ids.iter().copied().map(Token::Word).collect::<Vec<_>>();
        let shared = if self.is_class_specific() { 0 } else { before };
        let text = |(class, sentence): (usize, &ClassSentence)| {
            let first = if self.is_class_specific() { class * tokens } else { 0 };
            let (name, after) = sentence.ids.split_at(sentence.name.min(sentence.ids.len()));
            let mut text: Vec<Token> = context(first + shared, first + before).collect();
            text.extend(words(name));
            text.extend(context(first + before, first + tokens));
            text.extend(words(after));
            Text { prefix: 0, tokens: text }
        };
        let prefix = std::iter::once(Token::Word(start)).chain(context(0, shared)).collect();
        Sentences { prefixes: vec![prefix], texts: classes.iter().enumerate().map(text).collect() }
    }
}

#[cfg(test)]
mod tests {
    use Token::{Context, Word};

    use super::*;

    fn placed(class_position: ClassPosition, contexts: usize, rows: usize) -> Sentences {
        let class = |name: u32| ClassSentence { ids: vec![name, 8, 9], name: 1 };
        let placement = Placement { class_position, contexts, visual_depth: 1 };
        placement.sentences(1, &[class(5), class(6)], rows)
    }

    #[test]
    fn the_name_stands_after_between_or_before_the_context() {
        let end = placed(ClassPosition::End, 1, 3);
        assert_eq!(end.prefixes[0], [Word(1), Context(0), Context(1), Context(2)]);
        assert_eq!(end.texts[1].tokens, [Word(6), Word(8), Word(9)]);
        let middle = placed(ClassPosition::Middle, 1, 3);
        assert_eq!(middle.prefixes[0], [Word(1), Context(0)]);
        assert_eq!(middle.texts[0].tokens, [Word(5), Context(1), Context(2), Word(8), Word(9)]);
        let front = placed(ClassPosition::Front, 1, 3);
        assert_eq!(front.prefixes[0], [Word(1)]);
        assert_eq!(front.texts[0].tokens, [Word(5), Context(0), Context(1), Context(2), Word(8), Word(9)]);
    }

    #[test]
    fn each_class_has_its_own_context_when_there_are_several() {
        let end = placed(ClassPosition::End, 2, 4);
        assert_eq!(end.prefixes[0], [Word(1)]);
        assert_eq!(end.texts[0].tokens, [Context(0), Context(1), Word(5), Word(8), Word(9)]);
        assert_eq!(end.texts[1].tokens, [Context(2), Context(3), Word(6), Word(8), Word(9)]);
        let middle = placed(ClassPosition::Middle, 2, 4);
        assert_eq!(middle.texts[1].tokens, [Context(2), Word(6), Context(3), Word(8), Word(9)]);
    }
}
