//! The causal text tower: prompts and class names to features.
//!
//! A text is `[SOS] t_1 … t_M` (the shared prefix: start and context, eq. 2), then the tokens of its own up
//! to EOS. The tower is causal, so the prefix has the same hidden states for every text: it passes the tower
//! once. Prefixes and texts of all lengths go from layer to layer together, rows of one matrix, so that a
//! weight is read once for all. Nothing after the pooled position can matter, so it is cut off. In the last
//! layer only the pooled position is computed. Context may also stand behind a name or differ between texts
//! ([`Sentences`]); then less is shared. Several contexts, each with texts of its own, pass the tower at
//! once.

mod layout;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
pub(crate) use layout::Layouts;
use layout::{Group, Layout};

use crate::block::{Block, Place};
use crate::config::TextConfig;
use crate::contents::Contents;
use crate::layers::{LayerNorm, Linear, indices};
use crate::products::{Products, Tower};
pub use crate::sentences::{Batching, Sentences, Text, Token};
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
    /// Masks and indices of the texts that passed last.
    #[module(skip)]
    pub(crate) layouts: Layouts,
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

    /// [`forward_sentences`](Self::forward_sentences), whose products are kept in `products` or taken from
    /// there.
    pub fn forward_keeping(
        &self,
        sentences: &Sentences,
        context: Option<Signal<2>>,
        batching: Batching,
        products: Option<&Products>,
    ) -> Signal<2> {
        let mut input = Contents::default();
        input.value(&(sentences, batching));
        let device = self.device();
        let layout =
            self.layouts.of(&input, &device, || Layout::new(&self.config, &device, sentences, batching));
        let kept = products.map(|products| {
            context.iter().for_each(|context| input.tensor(&context.value));
            products.of_pass(Tower::Text, &input)
        });
        let positions = self.position_embedding.val().select(0, layout.positions.clone());
        let mut x = self.embed_tokens(&layout, context).add_constant(positions);
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

    /// Embeddings of words and rows of the context, `[tokens, width]`.
    fn embed_tokens(&self, layout: &Layout, context: Option<Signal<2>>) -> Signal<2> {
        let words = || Signal::from(self.token_embedding.val().select(0, layout.words.clone()));
        let (Some(rows), Some(context)) = (&layout.rows, context) else { return words() };
        let table = match layout.words.dims()[0] {
            0 => context,
            _ => Signal::cat(vec![words(), context], 0),
        };
        table.linear_map(|tensor| tensor.select(0, rows.clone()))
    }

    /// Final norm, projection and normalisation of the pooled positions, `[texts, width]`, in the order of
    /// the texts.
    fn read_out(&self, x: Signal<2>, layout: &Layout) -> Signal<2> {
        let features = x.layer_norm(&self.final_norm).linear(&self.projection).normalize();
        match &layout.places {
            Some(places) => features.linear_map(|tensor| tensor.select(0, places.clone())),
            None => features,
        }
    }

    /// Rows of the token table, `[ids, width]`: what a prompt of words is made of.
    pub fn embed(&self, ids: &[u32]) -> Tensor<2> {
        let ids: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
        self.token_embedding.val().select(0, indices(&ids, &self.device()))
    }

    fn device(&self) -> Device {
        self.position_embedding.val().device().without_autodiff()
    }
}
