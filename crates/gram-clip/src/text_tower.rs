//! The causal text tower: prompts and class names to features.
//!
//! A text is `[SOS] t_1 … t_M` (the shared prefix: start and context, eq. 2), then the tokens of its own up to EOS. The
//! tower is causal, so the prefix has the same hidden states for every text: its keys and values are computed once per
//! layer. Nothing after the pooled position can matter, so it is cut off. In the last layer only the pooled position is
//! computed. Context may also stand behind a name or differ between texts ([`Sentences`]); then less is shared. Several
//! contexts, each with texts of its own, pass the tower at once.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::TextConfig;
use crate::layers::{Block, KeysValues, LayerNorm, Linear, mask};
use crate::signal::Signal;

/// The text transformer of CLIP.
#[derive(Module, Debug)]
pub struct TextTower {
    /// `[vocabulary, width]`
    pub token_embedding: Param<Tensor<2>>,
    /// `[positions, width]`
    pub position_embedding: Param<Tensor<2>>,
    /// The layers.
    pub blocks: Vec<Block>,
    /// Norm before the projection.
    pub final_norm: LayerNorm,
    /// `[width, joint width]`, no bias.
    pub projection: Linear,
    /// Sizes and special tokens.
    #[module(skip)]
    pub config: TextConfig,
}

/// What stands at a position of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentences {
    /// What texts begin with, SOS first; all of one length.
    pub prefixes: Vec<Vec<Token>>,
    /// The texts.
    pub texts: Vec<Text>,
}

/// A text after a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Number of its prefix.
    pub prefix: usize,
    /// What follows, EOS included.
    pub tokens: Vec<Token>,
}

impl Sentences {
    /// Several sets of texts as one. Each has `rows` of the context for itself, below those of the set before it.
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

/// How texts of different lengths share a pass. Both give the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// One pass for every length: nothing is computed that is not read.
    ByLength,
    /// One pass, shorter texts padded: fewer, larger products.
    Padded,
}

impl TextTower {
    /// Normalised features `[texts, joint width]` of `texts`: token ids after the prefix, EOS included.
    ///
    /// # Shapes
    /// - context: `[context tokens, width]`, after SOS; absent for a hand-written prompt
    pub fn forward(
        &self,
        start: u32,
        context: Option<Signal<2>>,
        texts: &[Vec<u32>],
        batching: Batching,
    ) -> Signal<2> {
        let context_tokens = context.as_ref().map_or(0, |context| context.value.dims()[0]);
        let prefix = std::iter::once(Token::Word(start)).chain((0..context_tokens).map(Token::Context));
        let text =
            |ids: &Vec<u32>| Text { prefix: 0, tokens: ids.iter().copied().map(Token::Word).collect() };
        let sentences =
            Sentences { prefixes: vec![prefix.collect()], texts: texts.iter().map(text).collect() };
        self.forward_sentences(&sentences, context, batching)
    }

    /// Normalised features `[texts, joint width]` of texts with the context's rows where they say.
    ///
    /// # Shapes
    /// - context: `[rows, width]`, all rows that the texts name
    pub fn forward_sentences(
        &self,
        sentences: &Sentences,
        context: Option<Signal<2>>,
        batching: Batching,
    ) -> Signal<2> {
        let texts: Vec<&[Token]> =
            sentences.texts.iter().map(|text| self.up_to_pooled(&text.tokens)).collect();
        let prefix = self.prefix(&sentences.prefixes, context.as_ref());
        let groups = groups(&texts, batching);
        let features = groups.iter().map(|group| {
            let own: Vec<&[Token]> = group.iter().map(|index| texts[*index]).collect();
            let prefixes: Vec<usize> = group.iter().map(|index| sentences.texts[*index].prefix).collect();
            self.forward_group(&prefix, &prefixes, &own, context.as_ref())
        });
        let features = Signal::cat(features.collect(), 0);
        let order: Vec<usize> = groups.into_iter().flatten().collect();
        restore_order(features, &order)
    }

    /// A text up to its pooled position: nothing after it can matter.
    fn up_to_pooled<'a>(&self, text: &'a [Token]) -> &'a [Token] {
        let ids: Vec<u32> = text.iter().map(|token| token.word().unwrap_or(0)).collect();
        &text[..(self.config.pooled_position(&ids) + 1).min(text.len())]
    }

    /// Keys and values of the prefixes in every layer.
    fn prefix(&self, prefixes: &[Vec<Token>], context: Option<&Signal<2>>) -> Prefix {
        let (count, length) = (prefixes.len(), prefixes.first().map_or(0, Vec::len));
        let shape = [count, length, self.config.hidden_size];
        let x = self.embed_tokens(&prefixes.concat(), context).linear_map(|tensor| tensor.reshape(shape));
        let mut x = x.add_constant(self.positions(0, length).unsqueeze::<3>());
        let causal = self.causal_mask(0, length);
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            if index + 1 < self.blocks.len() {
                let (read, next) = block.forward_prefix(x, causal.clone());
                layers.push(read);
                x = next;
            } else {
                layers.push(block.prefix(x.clone()));
            }
        }
        Prefix { count, length, layers }
    }

    /// Features of some texts, each after the prefix that `prefixes` says.
    fn forward_group(
        &self,
        prefix: &Prefix,
        prefixes: &[usize],
        texts: &[&[Token]],
        context: Option<&Signal<2>>,
    ) -> Signal<2> {
        let (count, own) = (texts.len(), texts.iter().map(|text| text.len()).max().unwrap_or(0));
        let chosen = (prefix.count > 1).then(|| row_numbers(prefixes, &self.device()));
        let read = |layer: &KeysValues| match &chosen {
            Some(chosen) => layer.select(chosen),
            None => layer.clone(),
        };
        let padding = |text: &[Token]| std::iter::repeat_n(Token::Word(0), own - text.len());
        let padded: Vec<Token> =
            texts.iter().flat_map(|text| text.iter().copied().chain(padding(text))).collect();
        let width = self.config.hidden_size;
        let positions = self.positions(prefix.length, own).unsqueeze::<3>();
        let embedded =
            self.embed_tokens(&padded, context).linear_map(|tensor| tensor.reshape([count, own, width]));
        let mut x = embedded.add_constant(positions);
        let causal = self.causal_mask(prefix.length, own);
        let (last, others) = match self.blocks.split_last() {
            Some((last, others)) => (last, others),
            None => return self.read_out(x.linear_map(|tensor| tensor.narrow(1, 0, 1))),
        };
        for (block, layer) in others.iter().zip(&prefix.layers) {
            x = block.forward(x, Some(&read(layer)), causal.clone());
        }
        let ends: Vec<usize> = texts.iter().map(|text| text.len() - 1).collect();
        let rows: Vec<usize> = ends.iter().enumerate().map(|(text, end)| text * own + end).collect();
        let rows = row_numbers(&rows, &self.device());
        let ragged = ends.iter().any(|end| *end + 1 != own);
        let shape = [count, 1, prefix.length, own];
        let padding = ragged.then(|| mask(shape, &self.device(), |text, _, key| key > ends[text]));
        let pick = |tensor: Tensor<3>| {
            tensor.reshape([count * own, width]).select(0, rows.clone()).reshape([count, 1, width])
        };
        let last_layer = prefix.layers.last().map(read);
        self.read_out(last.forward_at(x, last_layer.as_ref(), padding, pick))
    }

    /// Embeddings of words and rows of the context, `[tokens, width]`.
    fn embed_tokens(&self, tokens: &[Token], context: Option<&Signal<2>>) -> Signal<2> {
        let words: Vec<u32> = tokens.iter().filter_map(|token| token.word()).collect();
        let (mut next, context) = match context {
            Some(context) if words.len() < tokens.len() => (0..words.len(), context.clone()),
            _ => return self.embed(&words).into(),
        };
        let row = |token: &Token| match token {
            Token::Word(_) => next.next(),
            Token::Context(row) => Some(words.len() + row),
        };
        let rows = row_numbers(&tokens.iter().filter_map(row).collect::<Vec<_>>(), &self.device());
        let table = match words.is_empty() {
            true => context,
            false => Signal::cat(vec![self.embed(&words).into(), context], 0),
        };
        table.linear_map(|tensor| tensor.select(0, rows.clone()))
    }

    /// Final norm, projection and normalisation of the pooled positions, `[texts, 1, width]`.
    fn read_out(&self, x: Signal<3>) -> Signal<2> {
        let [count, _, width] = x.value.dims();
        x.linear_map(|tensor| tensor.reshape([count, width]))
            .layer_norm(&self.final_norm)
            .linear(&self.projection)
            .normalize()
    }

    /// Rows of the token table, `[ids, width]`: what a prompt of words is made of.
    pub fn embed(&self, ids: &[u32]) -> Tensor<2> {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        self.token_embedding.val().select(0, Tensor::from_data(TensorData::new(ids, [count]), &self.device()))
    }

    fn positions(&self, first: usize, count: usize) -> Tensor<2> {
        self.position_embedding.val().narrow(0, first, count)
    }

    fn causal_mask(&self, prefix: usize, own: usize) -> Option<Tensor<4>> {
        (own > 1).then(|| mask([1, own, prefix, own], &self.device(), |_, query, key| key > query))
    }

    fn device(&self) -> Device {
        self.position_embedding.val().device().without_autodiff()
    }
}

/// The prefixes, ready to be attended to.
struct Prefix {
    count: usize,
    length: usize,
    layers: Vec<KeysValues>,
}

/// Indices of the texts of every pass.
fn groups(texts: &[&[Token]], batching: Batching) -> Vec<Vec<usize>> {
    if batching == Batching::Padded {
        return vec![(0..texts.len()).collect()];
    }
    let mut by_length = BTreeMap::<usize, Vec<usize>>::new();
    for (index, text) in texts.iter().enumerate() {
        by_length.entry(text.len()).or_default().push(index);
    }
    by_length.into_values().collect()
}

/// Rows that come in `order`, brought back to 0, 1, 2, …
fn restore_order(features: Signal<2>, order: &[usize]) -> Signal<2> {
    if order.is_sorted() {
        return features;
    }
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(row, index)| places[*index] = row);
    let places = row_numbers(&places, &features.value.device().without_autodiff());
    features.linear_map(|tensor| tensor.select(0, places.clone()))
}

/// Numbers of rows to select, `[rows]`.
pub(crate) fn row_numbers(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    Tensor::from_data(TensorData::new(numbers, [rows.len()]), device)
}
