//! The causal text tower: prompts and class names to features.
//!
//! A text is `[SOS] t_1 … t_M` (the shared prefix: start and context, eq. 2), then the tokens of its own up to EOS. The
//! tower is causal, so the prefix has the same hidden states for every text: it passes the tower once. Prefixes and texts
//! of all lengths go from layer to layer together, rows of one matrix, so that a weight is read once for all. Nothing after the pooled position can matter, so it is cut off. In the last layer only the pooled position is
//! computed. Context may also stand behind a name or differ between texts ([`Sentences`]); then less is shared. Several
//! contexts, each with texts of its own, pass the tower at once.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::block::{Block, KeysValues, Place, mask};
use crate::config::TextConfig;
use crate::contents::Contents;
use crate::layers::{LayerNorm, Linear, indices};
use crate::products::{Products, Tower};
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

/// How texts of different lengths pass the tower. Both give the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Batching {
    /// Attention of each length by itself: nothing is computed that is not read.
    ByLength,
    /// Shorter texts padded: fewer, larger attentions.
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
        self.forward_keeping(sentences, context, batching, None)
    }

    /// [`forward_sentences`](Self::forward_sentences), whose products are kept in `products` or taken from there.
    pub fn forward_keeping(
        &self,
        sentences: &Sentences,
        context: Option<Signal<2>>,
        batching: Batching,
        products: Option<&Products>,
    ) -> Signal<2> {
        let kept = products.map(|products| {
            let mut input = Contents::default();
            input.value(&(sentences, batching));
            context.iter().for_each(|context| input.tensor(&context.value));
            products.of_pass(Tower::Text, &input)
        });
        let layout = Layout::new(self, sentences, batching);
        let positions = indices(&layout.positions, &self.device());
        let positions = self.position_embedding.val().select(0, positions);
        let mut x = self.embed_tokens(&layout.tokens, context.as_ref()).add_constant(positions);
        let (last, others) = match self.blocks.split_last() {
            Some((last, others)) => (last, others),
            None => {
                return self.read_out(x.linear_map(|rows| rows.select(0, layout.pooled.clone())), &layout);
            }
        };
        for (layer, block) in others.iter().enumerate() {
            let kept = kept.map(|kept| kept.of_layer(layer));
            x = block.forward_rows(x, None, kept, |queries, keys, values| {
                let prefix = block.keys_values(&keys, &values, layout.prefix);
                let of_prefix =
                    block.attention(&queries, layout.prefix, prefix.clone(), layout.causal.clone());
                let of_group = |group: &Group| {
                    let read = group.read(block, &keys, &values, &prefix);
                    block.attention(&queries, group.place, read, group.causal.clone())
                };
                Signal::cat(std::iter::once(of_prefix).chain(layout.groups.iter().map(of_group)).collect(), 0)
            });
        }
        // In the last layer a text is its pooled position.
        let kept = kept.map(|kept| kept.of_layer(others.len()));
        let x = last.forward_rows(x, Some(&layout.pooled), kept, |queries, keys, values| {
            let prefix = last.keys_values(&keys, &values, layout.prefix);
            let mut first = 0;
            let of_group = |group: &Group| {
                let wanted = Place { first, batch: group.place.batch, positions: 1 };
                first += group.place.batch;
                let read = group.read(last, &keys, &values, &prefix);
                last.attention(&queries, wanted, read, group.padding.clone())
            };
            Signal::cat(layout.groups.iter().map(of_group).collect(), 0)
        });
        self.read_out(x, &layout)
    }

    /// A text up to its pooled position: nothing after it can matter.
    fn up_to_pooled<'a>(&self, text: &'a [Token]) -> &'a [Token] {
        let ids: Vec<u32> = text.iter().map(|token| token.word().unwrap_or(0)).collect();
        &text[..(self.config.pooled_position(&ids) + 1).min(text.len())]
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
        let rows = indices(&tokens.iter().filter_map(row).collect::<Vec<_>>(), &self.device());
        let table = match words.is_empty() {
            true => context,
            false => Signal::cat(vec![self.embed(&words).into(), context], 0),
        };
        table.linear_map(|tensor| tensor.select(0, rows.clone()))
    }

    /// Final norm, projection and normalisation of the pooled positions, `[texts, width]`, in the order of the texts.
    fn read_out(&self, x: Signal<2>, layout: &Layout) -> Signal<2> {
        let features = x.layer_norm(&self.final_norm).linear(&self.projection).normalize();
        restore_order(features, &layout.order)
    }

    /// Rows of the token table, `[ids, width]`: what a prompt of words is made of.
    pub fn embed(&self, ids: &[u32]) -> Tensor<2> {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        self.token_embedding.val().select(0, Tensor::from_data(TensorData::new(ids, [count]), &self.device()))
    }

    fn device(&self) -> Device {
        self.position_embedding.val().device().without_autodiff()
    }
}

/// How prefixes and texts lie below each other on their way through the tower: prefixes first, then texts by length.
struct Layout {
    /// What stands at every row.
    tokens: Vec<Token>,
    /// Its position in its text.
    positions: Vec<usize>,
    prefix: Place,
    /// The mask of the prefixes.
    causal: Option<Tensor<4>>,
    groups: Vec<Group>,
    /// The row of every text's pooled position, group by group.
    pooled: Tensor<1, Int>,
    /// The texts in the order of the groups.
    order: Vec<usize>,
}

/// Texts that are as long as each other, or padded to be.
struct Group {
    place: Place,
    /// The prefix of every text; none where there is one for all.
    prefixes: Option<Tensor<1, Int>>,
    /// The mask of all positions.
    causal: Option<Tensor<4>>,
    /// The mask of the pooled positions, where there is padding.
    padding: Option<Tensor<4>>,
}

impl Group {
    /// What the texts' positions read in a layer: the prefixes' and their own keys and values.
    fn read(&self, block: &Block, keys: &Signal<2>, values: &Signal<2>, prefix: &KeysValues) -> KeysValues {
        let own = block.keys_values(keys, values, self.place);
        match &self.prefixes {
            Some(prefixes) => own.after(&prefix.select(prefixes)),
            None => own.after(prefix),
        }
    }
}

impl Layout {
    fn new(tower: &TextTower, sentences: &Sentences, batching: Batching) -> Self {
        let device = tower.device();
        let Sentences { prefixes, texts } = sentences;
        let (count, length) = (prefixes.len(), prefixes.first().map_or(0, Vec::len));
        let causal = |prefix: usize, own: usize| {
            (own > 1).then(|| mask([1, own, prefix, own], &device, |_, query, key| key > query))
        };
        let (mut tokens, mut pooled, mut groups) = (prefixes.concat(), Vec::new(), Vec::new());
        let mut positions: Vec<usize> = (0..count).flat_map(|_| 0..length).collect();
        let cut: Vec<&[Token]> = texts.iter().map(|text| tower.up_to_pooled(&text.tokens)).collect();
        let by_length = by_length(&cut, batching);
        for group in &by_length {
            let first = tokens.len();
            let own = group.iter().map(|text| cut[*text].len()).max().unwrap_or(0);
            for (place, text) in group.iter().enumerate() {
                let text = cut[*text];
                pooled.push(first + place * own + text.len() - 1);
                tokens.extend(
                    text.iter().copied().chain(std::iter::repeat_n(Token::Word(0), own - text.len())),
                );
                positions.extend(length..length + own);
            }
            let ends: Vec<usize> = group.iter().map(|text| cut[*text].len() - 1).collect();
            let ragged = ends.iter().any(|end| *end + 1 != own);
            let shape = [group.len(), 1, length, own];
            let of_texts: Vec<usize> = group.iter().map(|text| texts[*text].prefix).collect();
            groups.push(Group {
                place: Place { first, batch: group.len(), positions: own },
                prefixes: (count > 1).then(|| indices(&of_texts, &device)),
                causal: causal(length, own),
                padding: ragged.then(|| mask(shape, &device, |text, _, key| key > ends[text])),
            });
        }
        Self {
            tokens,
            positions,
            prefix: Place { first: 0, batch: count, positions: length },
            causal: causal(0, length),
            groups,
            pooled: indices(&pooled, &device),
            order: by_length.concat(),
        }
    }
}

/// Indices of the texts of every group.
fn by_length(texts: &[&[Token]], batching: Batching) -> Vec<Vec<usize>> {
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
    let places = indices(&places, &features.value.device().without_autodiff());
    features.linear_map(|tensor| tensor.select(0, places.clone()))
}
