//! Where prefixes and texts of all lengths lie among the rows of one matrix.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor};

use crate::block::{Block, KeysValues, Place, mask};
use crate::config::TextConfig;
use crate::layers::indices;
use crate::sentences::{Batching, Sentences, Token};
use crate::signal::Signal;

/// Rows on their way through the tower: prefixes first, then texts by length.
pub(super) struct Layout {
    /// What stands at every row.
    pub(super) tokens: Vec<Token>,
    /// Its position in its text.
    pub(super) positions: Vec<usize>,
    pub(super) prefix: Place,
    /// The mask of the prefixes.
    pub(super) causal: Option<Tensor<4>>,
    pub(super) groups: Vec<Group>,
    /// The row of every text's pooled position, group by group.
    pub(super) pooled: Tensor<1, Int>,
    /// The texts in the order of the groups.
    pub(super) order: Vec<usize>,
}

/// Texts that are as long as each other, or padded to be.
pub(super) struct Group {
    pub(super) place: Place,
    /// The prefix of every text; none where there is one for all.
    prefixes: Option<Tensor<1, Int>>,
    /// The mask of all positions.
    pub(super) causal: Option<Tensor<4>>,
    /// The mask of the pooled positions, where there is padding.
    pub(super) padding: Option<Tensor<4>>,
}

impl Group {
    /// What the texts' positions read in a layer: the prefixes' and their own keys and values.
    pub(super) fn read(
        &self,
        block: &Block,
        keys: &Signal<2>,
        values: &Signal<2>,
        prefix: &KeysValues,
    ) -> KeysValues {
        let own = block.keys_values(keys, values, self.place);
        match &self.prefixes {
            Some(prefixes) => own.after(&prefix.select(prefixes)),
            None => own.after(prefix),
        }
    }
}

impl Layout {
    pub(super) fn new(
        config: &TextConfig,
        device: &Device,
        sentences: &Sentences,
        batching: Batching,
    ) -> Self {
        let Sentences { prefixes, texts } = sentences;
        let (count, length) = (prefixes.len(), prefixes.first().map_or(0, Vec::len));
        let causal = |prefix: usize, own: usize| {
            (own > 1).then(|| mask([1, own, prefix, own], device, |_, query, key| key > query))
        };
        let (mut tokens, mut pooled, mut groups) = (prefixes.concat(), Vec::new(), Vec::new());
        let mut positions: Vec<usize> = (0..count).flat_map(|_| 0..length).collect();
        let cut: Vec<&[Token]> = texts.iter().map(|text| up_to_pooled(config, &text.tokens)).collect();
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
                prefixes: (count > 1).then(|| indices(&of_texts, device)),
                causal: causal(length, own),
                padding: ragged.then(|| mask(shape, device, |text, _, key| key > ends[text])),
            });
        }
        Self {
            tokens,
            positions,
            prefix: Place { first: 0, batch: count, positions: length },
            causal: causal(0, length),
            groups,
            pooled: indices(&pooled, device),
            order: by_length.concat(),
        }
    }
}

/// A text up to its pooled position: nothing after it can matter.
fn up_to_pooled<'a>(config: &TextConfig, text: &'a [Token]) -> &'a [Token] {
    let ids: Vec<u32> = text.iter().map(|token| token.word().unwrap_or(0)).collect();
    &text[..(config.pooled_position(&ids) + 1).min(text.len())]
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
pub(super) fn restore_order(features: Signal<2>, order: &[usize]) -> Signal<2> {
    if order.is_sorted() {
        return features;
    }
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(row, index)| places[*index] = row);
    let places = indices(&places, &features.value.device().without_autodiff());
    features.linear_map(|tensor| tensor.select(0, places.clone()))
}
