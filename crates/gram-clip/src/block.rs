//! The pre-norm transformer block, which both towers are made of, and its attention.

use burn::module::Module;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Device, Int, Tensor, TensorData, module};

use crate::compute::Precision;
use crate::kernels;
use crate::layers::{LayerNorm, Linear};
use crate::product::{is_ours, product};
use crate::products::{AffineMap, LayerProducts};
use crate::signal::{Activation, Signal};

/// A pre-norm transformer block: `x + attention(norm x)`, then `x + mlp(norm x)`.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before the attention.
    pub norm1: LayerNorm,
    /// `[width, width]`
    pub query: Linear,
    /// `[width, width]`
    pub key: Linear,
    /// `[width, width]`
    pub value: Linear,
    /// `[width, width]`
    pub output: Linear,
    /// Norm before the perceptron.
    pub norm2: LayerNorm,
    /// `[width, hidden]`
    pub expand: Linear,
    /// `[hidden, width]`
    pub contract: Linear,
    /// Attention heads.
    pub heads: usize,
    /// The perceptron's activation.
    #[module(skip)]
    pub activation: Activation,
}

/// What one layer's attention reads: keys and values, `[batch, heads, positions, width of a head]`.
#[derive(Clone)]
pub struct KeysValues {
    keys: Signal<4>,
    values: Signal<4>,
}

impl KeysValues {
    /// Of several prefixes (`[prefixes, heads, prefix, width of a head]`), that of each item of a batch, by
    /// number.
    pub fn select(&self, prefixes: &Tensor<1, Int>) -> Self {
        // By rows of a matrix, which are whole pieces of memory: the reverse pass adds up what came from
        // each.
        let select = |signal: &Signal<4>| {
            let [count, heads, positions, head] = signal.value.dims();
            let rows = [count, heads * positions * head];
            let selected = [prefixes.dims()[0], heads, positions, head];
            signal
                .clone()
                .linear_map(|tensor| tensor.reshape(rows).select(0, prefixes.clone()).reshape(selected))
        };
        Self { keys: select(&self.keys), values: select(&self.values) }
    }

    /// These positions preceded by `prefix`, one (`[1, heads, prefix, width of a head]`) for the whole batch
    /// or one for each item.
    pub fn after(self, prefix: &KeysValues) -> Self {
        let batch = self.keys.value.dims()[0];
        let join = |prefix: &Signal<4>, own: Signal<4>| {
            let [_, heads, positions, head] = prefix.value.dims();
            let shared = prefix.clone().linear_map(|tensor| tensor.expand([batch, heads, positions, head]));
            Signal::cat(vec![shared, own], 2)
        };
        Self { keys: join(&prefix.keys, self.keys), values: join(&prefix.values, self.values) }
    }
}

/// Which positions of each sequence are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of them.
    All,
    /// The first.
    First,
}

/// Where a batch of sequences of one length lies among rows of positions: one sequence below the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first row.
    pub first: usize,
    /// Sequences.
    pub batch: usize,
    /// Positions of each.
    pub positions: usize,
}

impl Block {
    /// The same block of images.
    pub(crate) fn of_images(self) -> Self {
        let [query, key, value, output, expand, contract] =
            [self.query, self.key, self.value, self.output, self.expand, self.contract]
                .map(Linear::of_images);
        Self { query, key, value, output, expand, contract, ..self }
    }

    /// Rounds the weights of its products to a number format.
    pub(crate) fn round_to(&mut self, precision: Precision) {
        let Self { query, key, value, output, expand, contract, .. } = self;
        [query, key, value, output, expand, contract].into_iter().for_each(|map| map.round_to(precision));
    }

    /// The block over rows of positions, whichever sequences they belong to: every product with a weight is
    /// one for all rows. What sees what, `attend` says, from queries, keys and values of the rows.
    ///
    /// # Shapes
    /// - x: `[rows, width]`
    /// - wanted: the rows that are wanted, all of them if none; keys and values are of all rows, all else of
    ///   these
    /// - kept: where the products of this layer are kept, if they are
    /// - output: `[wanted, width]`
    pub(crate) fn forward_rows(
        &self,
        x: Signal<2>,
        wanted: Option<&Tensor<1, Int>>,
        kept: Option<LayerProducts>,
        attend: impl FnOnce(Signal<2>, Signal<2>, Signal<2>) -> Signal<2>,
    ) -> Signal<2> {
        let affine = |map: AffineMap, x: Signal<2>| self.affine(map, x, kept);
        let normed = x.clone().layer_norm(&self.norm1);
        let (keys, values) =
            (affine(AffineMap::Key, normed.clone()), affine(AffineMap::Value, normed.clone()));
        let wanted = |rows: Signal<2>| match wanted {
            Some(wanted) => rows.linear_map(|tensor| tensor.select(0, wanted.clone())),
            None => rows,
        };
        let queries = affine(AffineMap::Query, wanted(normed));
        let x = wanted(x).plus(affine(AffineMap::Output, attend(queries, keys, values)));
        let hidden = affine(AffineMap::Expand, x.clone().layer_norm(&self.norm2)).activation(self.activation);
        x.plus(affine(AffineMap::Contract, hidden))
    }

    /// `x W + b` of one of its maps, `[rows, outputs]` from `[rows, inputs]`.
    fn affine(&self, map: AffineMap, x: Signal<2>, kept: Option<LayerProducts>) -> Signal<2> {
        let linear = match map {
            AffineMap::Query => &self.query,
            AffineMap::Key => &self.key,
            AffineMap::Value => &self.value,
            AffineMap::Output => &self.output,
            AffineMap::Expand => &self.expand,
            AffineMap::Contract => &self.contract,
        };
        match kept {
            Some(kept) => linear.forward_keeping(map, x, kept),
            None => x.linear(linear),
        }
    }

    /// The block over all positions, each of which sees all others.
    ///
    /// # Shapes
    /// - x: `[batch, positions, width]`
    /// - output: `[batch, positions, width]`
    pub fn forward(&self, x: Signal<3>) -> Signal<3> {
        self.forward_sequences(x, Wanted::All, None)
    }

    /// The block where only the first position of each sequence is wanted, `[batch, 1, width]`: the last
    /// layer of a tower whose other positions nobody reads.
    ///
    /// # Shapes
    /// As [`Block::forward`].
    pub fn forward_first(&self, x: Signal<3>) -> Signal<3> {
        self.forward_sequences(x, Wanted::First, None)
    }

    /// [`forward`](Self::forward) or [`forward_first`](Self::forward_first), by what is wanted.
    pub(crate) fn forward_sequences(
        &self,
        x: Signal<3>,
        wanted: Wanted,
        kept: Option<LayerProducts>,
    ) -> Signal<3> {
        let [batch, positions, width] = x.value.dims();
        let place = Place { first: 0, batch, positions };
        let rows = x.linear_map(|tensor| tensor.reshape([batch * positions, width]));
        let (queried, rows_wanted) = match wanted {
            Wanted::All => (place, None),
            Wanted::First => {
                let (all, device) = (batch * positions, rows.value.device().without_autodiff());
                let firsts = Tensor::arange_step(0..all as i64, positions, &device);
                (Place { positions: 1, ..place }, Some(firsts))
            }
        };
        let attend = |queries: Signal<2>, keys: Signal<2>, values: Signal<2>| {
            self.attention(&queries, queried, self.keys_values(&keys, &values, place), None)
        };
        self.forward_rows(rows, rows_wanted.as_ref(), kept, attend)
            .linear_map(|tensor| tensor.reshape([batch, queried.positions, width]))
    }

    /// Keys and values of some rows.
    pub fn keys_values(&self, keys: &Signal<2>, values: &Signal<2>, place: Place) -> KeysValues {
        KeysValues { keys: self.split_heads(keys, place), values: self.split_heads(values, place) }
    }

    /// What the queries at `place` gather from what they read, `[batch * positions, width]`.
    ///
    /// # Shapes
    /// - mask: `[batch or 1, 1, positions, positions that are read]`, added to the scores
    pub fn attention(
        &self,
        queries: &Signal<2>,
        place: Place,
        read: KeysValues,
        mask: Option<Tensor<4>>,
    ) -> Signal<2> {
        let Place { batch, positions, .. } = place;
        let width = queries.value.dims()[1];
        attention(self.split_heads(queries, place), read, mask, self.query.weight.val().dtype())
            .linear_map(|tensor| tensor.swap_dims(1, 2).reshape([batch * positions, width]))
    }

    /// The rows at `place`, `[batch, heads, positions, width of a head]`.
    fn split_heads(&self, rows: &Signal<2>, place: Place) -> Signal<4> {
        let Place { first, batch, positions } = place;
        let [count, width] = rows.value.dims();
        let own = batch * positions;
        let shape = [batch, positions, self.heads, width / self.heads];
        rows.clone().linear_map(|tensor| {
            let tensor = if own == count { tensor } else { tensor.narrow(0, first, own) };
            tensor.reshape(shape).swap_dims(1, 2)
        })
    }
}

/// `softmax(q k^T / sqrt(d) + mask) v` in f32, for whoever has layers of their own.
///
/// # Shapes
/// - queries, keys, values: `[batch, heads, positions, width of a head]`
/// - mask: `[batch or 1, 1, positions or 1, positions]`, added to the scores; nothing is asked of it
/// - output: that of the queries
pub fn attention_of(
    queries: Signal<4>,
    keys: Signal<4>,
    values: Signal<4>,
    mask: Option<Tensor<4>>,
) -> Signal<4> {
    let format = queries.value.dtype();
    attention(queries, KeysValues { keys, values }, mask, format)
}

/// `softmax(q k^T / sqrt(d) + mask) v`, in f32. Where the tower multiplies in another `format`, its factors
/// may be rounded to TF32, which has more digits than that.
fn attention(queries: Signal<4>, read: KeysValues, mask: Option<Tensor<4>>, format: DType) -> Signal<4> {
    if kernels::take(&queries.value) {
        return attention_on_cpu(queries, read, mask);
    }
    let [batch, heads, positions, head] = queries.value.dims();
    // The fused kernel has no tangent and no reverse pass. Keys and values may need them where queries do
    // not: those of a learned prefix in the first layer. Its products are burn's.
    let differentiated = |part: &Signal<4>| part.tangent.is_some() || part.value.is_autodiff();
    let is_whole = queries.value.dtype() == format;
    let takes_burn_s_products = !is_whole || !is_ours(&queries.value);
    if takes_burn_s_products && ![&queries, &read.keys, &read.values].into_iter().any(differentiated) {
        let width = read.keys.value.dims()[2];
        let bias = mask.map(|mask| mask.expand([batch, heads, positions, width]));
        let options = AttentionModuleOptions::default();
        return module::attention(queries.value, read.keys.value, read.values.value, None, bias, options)
            .into();
    }
    let multiply = if is_whole { product } else { Tensor::matmul };
    let scale = (head as f32).powf(-0.5);
    let scores = queries
        .linear_map(|tensor| tensor * scale)
        .matmul_by(multiply, read.keys.linear_map(|tensor| tensor.swap_dims(2, 3)));
    let scores = match mask {
        Some(mask) => scores.add_constant(mask),
        None => scores,
    };
    scores.softmax().matmul_by(multiply, read.values)
}

/// [`attention`] by the kernels of the CPU.
fn attention_on_cpu(queries: Signal<4>, read: KeysValues, mask: Option<Tensor<4>>) -> Signal<4> {
    let all = [queries, read.keys, read.values];
    let values = all.each_ref().map(|signal| signal.value.clone());
    let moves = all.iter().any(|signal| signal.tangent.is_some());
    let tangent = moves.then(|| {
        let tangents = all.map(|signal| signal.tangent.unwrap_or_else(|| signal.value.zeros_like()));
        kernels::attention_tangent(values.clone(), tangents, mask.clone())
    });
    Signal { value: kernels::attention(values, mask), tangent }
}

/// Added to a score to hide it: `exp` of it is exactly zero, and it stays finite through every product.
const HIDDEN: f32 = -1e9;

/// The mask `[batch, 1, queries, prefix + own]` that hides from query `q` of item `b` the own positions `k`
/// with `hidden(b, q, k)`.
pub(crate) fn mask(
    [batch, queries, prefix, own]: [usize; 4],
    device: &Device,
    hidden: impl Fn(usize, usize, usize) -> bool,
) -> Tensor<4> {
    let mut values = Vec::with_capacity(batch * queries * (prefix + own));
    for item in 0..batch {
        for query in 0..queries {
            values.extend(std::iter::repeat_n(0.0, prefix));
            values.extend((0..own).map(|key| if hidden(item, query, key) { HIDDEN } else { 0.0 }));
        }
    }
    Tensor::from_data(TensorData::new(values, [batch, 1, queries, prefix + own]), device)
}
