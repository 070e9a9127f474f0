//! The causal text tower: prompts and class names to features.
//!
//! A text is `[SOS] t_1 … t_M` (the shared prefix: start and context, eq. 2), then the tokens of its own up to EOS. The
//! tower is causal, so the prefix has the same hidden states for every text: its keys and values are computed once per
//! layer. Nothing after the pooled position can matter, so it is cut off. In the last layer only the pooled position is
//! computed. Context may also stand behind a name or differ between texts ([`Sentences`]); then less is shared.

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
#[derive(Clone, Debug)]
pub struct Sentences {
    /// What all begin with, SOS first.
    pub prefix: Vec<Token>,
    /// What follows in each, EOS included.
    pub texts: Vec<Vec<Token>>,
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
        let words = |ids: &Vec<u32>| ids.iter().copied().map(Token::Word).collect();
        let sentences = Sentences { prefix: prefix.collect(), texts: texts.iter().map(words).collect() };
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
        let texts: Vec<&[Token]> = sentences.texts.iter().map(|text| self.up_to_pooled(text)).collect();
        let prefix = self.prefix(&sentences.prefix, context.as_ref());
        let groups = groups(&texts, batching);
        let features = groups.iter().map(|group| {
            let texts: Vec<&[Token]> = group.iter().map(|index| texts[*index]).collect();
            self.forward_group(&prefix, &texts, context.as_ref())
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

    /// Keys and values of the shared prefix in every layer.
    fn prefix(&self, tokens: &[Token], context: Option<&Signal<2>>) -> Prefix {
        let length = tokens.len();
        let x = self.embed_tokens(tokens, context);
        let mut x = x.add_constant(self.positions(0, length)).linear_map(|tensor| tensor.unsqueeze::<3>());
        let causal = self.causal_mask(0, length);
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            layers.push(block.prefix(x.clone()));
            if index + 1 < self.blocks.len() {
                x = block.forward(x, None, causal.clone());
            }
        }
        Prefix { length, layers }
    }

    fn forward_group(&self, prefix: &Prefix, texts: &[&[Token]], context: Option<&Signal<2>>) -> Signal<2> {
        let (count, own) = (texts.len(), texts.iter().map(|text| text.len()).max().unwrap_or(0));
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
        for (block, prefix) in others.iter().zip(&prefix.layers) {
            x = block.forward(x, Some(prefix), causal.clone());
        }
        let ends: Vec<usize> = texts.iter().map(|text| text.len() - 1).collect();
        let rows: Vec<i64> = ends.iter().enumerate().map(|(text, end)| (text * own + end) as i64).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &self.device());
        let ragged = ends.iter().any(|end| *end + 1 != own);
        let shape = [count, 1, prefix.length, own];
        let padding = ragged.then(|| mask(shape, &self.device(), |text, _, key| key > ends[text]));
        let pick = |tensor: Tensor<3>| {
            tensor.reshape([count * own, width]).select(0, rows.clone()).reshape([count, 1, width])
        };
        self.read_out(last.forward_at(x, prefix.layers.last(), padding, pick))
    }

    /// Embeddings of words and rows of the context, `[tokens, width]`.
    fn embed_tokens(&self, tokens: &[Token], context: Option<&Signal<2>>) -> Signal<2> {
        let words: Vec<u32> = tokens.iter().filter_map(|token| token.word()).collect();
        let (mut next, context) = match context {
            Some(context) if words.len() < tokens.len() => (0..words.len() as i64, context.clone()),
            _ => return self.embed(&words).into(),
        };
        let row = |token: &Token| match token {
            Token::Word(_) => next.next(),
            Token::Context(row) => Some((words.len() + row) as i64),
        };
        let rows: Vec<i64> = tokens.iter().filter_map(row).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [tokens.len()]), &self.device());
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

/// The shared prefix, ready to be attended to.
struct Prefix {
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
    let mut places = vec![0_i64; order.len()];
    order.iter().enumerate().for_each(|(row, index)| places[*index] = row as i64);
    let device = features.value.device().without_autodiff();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [order.len()]), &device);
    features.linear_map(|tensor| tensor.select(0, places.clone()))
}
