//! Texts with learned vectors in them, as the text tower reads them.

/// What stands at a position of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// A token of the vocabulary.
    Word(u32),
    /// A row of the context: a learned vector.
    Context(usize),
}

impl Token {
    /// The token of the vocabulary, if it is one.
    pub fn word(self) -> Option<u32> {
        if let Token::Word(id) = self { Some(id) } else { None }
    }
}

/// Texts with learned vectors in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sentences {
    /// What texts begin with, SOS first; all of one length.
    pub prefixes: Vec<Vec<Token>>,
    /// The texts.
    pub texts: Vec<Text>,
}

/// A text after a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text {
    /// Number of its prefix.
    pub prefix: usize,
    /// What follows, EOS included.
    pub tokens: Vec<Token>,
}

impl Sentences {
    /// Several sets of texts as one. Each has `rows` of the context for itself, below those of the set before
    /// it.
    pub fn stack(sets: impl IntoIterator<Item = Self>, rows: usize) -> Self {
        let mut all = Self { prefixes: Vec::new(), texts: Vec::new() };
        for (set, Self { prefixes, texts }) in sets.into_iter().enumerate() {
            let below = |token: Token| match token {
                Token::Context(row) => Token::Context(set * rows + row),
                word @ Token::Word(_) => word,
            };
            let shifted = |tokens: Vec<Token>| tokens.into_iter().map(below).collect();
            let first = all.prefixes.len();
            all.prefixes.extend(prefixes.into_iter().map(shifted));
            let text = |text: Text| Text { prefix: first + text.prefix, tokens: shifted(text.tokens) };
            all.texts.extend(texts.into_iter().map(text));
        }
        all
    }
}

/// How texts of different lengths pass the tower. Both give the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Batching {
    /// Attention of each length by itself: nothing is computed that is not read.
    ByLength,
    /// Shorter texts padded: fewer, larger attentions.
    Padded,
}
