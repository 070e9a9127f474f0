//! Where prefixes and texts of all lengths lie among the rows of one matrix.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Int, Tensor};

use crate::block::{Block, KeysValues, Place, mask};
use crate::config::TextConfig;
use crate::contents::Contents;
use crate::layers::indices;
use crate::sentences::{Batching, Sentences, Token};
use crate::signal::Signal;

/// Rows on their way through the tower: prefixes first, then texts by length.
pub(super) struct Layout {
    /// The ids of the words among the rows.
    pub(super) words: Tensor<1, Int>,
    /// For every row, which of the words it is, or which row of the context, which stands below them; none
    /// where the rows are words as they come.
    pub(super) rows: Option<Tensor<1, Int>>,
    /// The position of every row in its text.
    pub(super) positions: Tensor<1, Int>,
    pub(super) prefix: Place,
    /// The mask of the prefixes.
    pub(super) causal: Option<Tensor<4>>,
    pub(super) groups: Vec<Group>,
    /// The row of every text's pooled position, group by group.
    pub(super) pooled: Tensor<1, Int>,
    /// Where each text stands in the order of the groups; none where that is its own.
    pub(super) places: Option<Tensor<1, Int>>,
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
        let words: Vec<usize> =
            tokens.iter().filter_map(|token| token.word()).map(|id| id as usize).collect();
        let rows = (words.len() < tokens.len()).then(|| {
            let mut next = 0..words.len();
            let row = |token: &Token| match token {
                Token::Word(_) => next.next(),
                Token::Context(row) => Some(words.len() + row),
            };
            indices(&tokens.iter().filter_map(row).collect::<Vec<_>>(), device)
        });
        Self {
            words: indices(&words, device),
            rows,
            positions: indices(&positions, device),
            prefix: Place { first: 0, batch: count, positions: length },
            causal: causal(0, length),
            groups,
            pooled: indices(&pooled, device),
            places: places(&by_length.concat()).map(|places| indices(&places, device)),
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

/// Where 0, 1, 2, … stand in `order`; none where they stand in order.
fn places(order: &[usize]) -> Option<Vec<usize>> {
    if order.is_sorted() {
        return None;
    }
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(row, index)| places[*index] = row);
    Some(places)
}

/// Layouts that were made, the latest few: texts pass the tower again at every step of a descent, and masks
/// and indices are made and sent to the device once.
#[derive(Clone, Default)]
pub(crate) struct Layouts(Arc<Mutex<Kept>>);

/// The latest first, each behind the digest of its texts.
type Kept = VecDeque<(u128, Arc<Layout>)>;

impl Layouts {
    /// Layouts that are kept.
    const KEPT: usize = 32;

    /// The layout of what has that digest, on that device.
    pub(super) fn of(
        &self,
        contents: &Contents,
        device: &Device,
        make: impl FnOnce() -> Layout,
    ) -> Arc<Layout> {
        let digest = contents.digest();
        let is_it =
            |(known, layout): &&(u128, Arc<Layout>)| *known == digest && layout.positions.device() == *device;
        if let Some((_, layout)) = self.kept().iter().find(is_it) {
            return layout.clone();
        }
        let made = Arc::new(make());
        let mut kept = self.kept();
        kept.truncate(Self::KEPT - 1);
        kept.push_front((digest, made.clone()));
        made
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Layouts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Layouts").finish_non_exhaustive()
    }
}
