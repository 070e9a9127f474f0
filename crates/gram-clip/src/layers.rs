//! The layers that both towers share: affine maps, layer normalisation and the pre-norm transformer block.

use burn::module::{Module, Param};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor, TensorData, module};

use crate::signal::{Activation, Signal};

/// An affine map.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<1>>>,
}

/// Layer normalisation over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Param<Tensor<1>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

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
    /// Of several prefixes (`[prefixes, heads, prefix, width of a head]`), that of each item of a batch, by number.
    pub fn select(&self, prefixes: &Tensor<1, Int>) -> Self {
        let select =
            |signal: &Signal<4>| signal.clone().linear_map(|tensor| tensor.select(0, prefixes.clone()));
        Self { keys: select(&self.keys), values: select(&self.values) }
    }

    /// These positions preceded by `prefix`, one (`[1, heads, prefix, width of a head]`) for the whole batch or one for each
    /// item.
    pub fn after(self, prefix: Option<&KeysValues>) -> Self {
        let Some(prefix) = prefix else { return self };
        let batch = self.keys.value.dims()[0];
        let join = |prefix: &Signal<4>, own: Signal<4>| {
            let [_, heads, positions, head] = prefix.value.dims();
            let shared = prefix.clone().linear_map(|tensor| tensor.expand([batch, heads, positions, head]));
            Signal::cat(vec![shared, own], 2)
        };
        Self { keys: join(&prefix.keys, self.keys), values: join(&prefix.values, self.values) }
    }
}

impl Block {
    /// The block over all positions of a prefix, and what later positions read of it.
    ///
    /// # Shapes
    /// As [`Block::forward`].
    pub fn forward_prefix(&self, x: Signal<3>, mask: Option<Tensor<4>>) -> (KeysValues, Signal<3>) {
        let normed = x.clone().layer_norm(&self.norm1);
        let read = self.keys_values(normed.clone());
        (read.clone(), self.attend(x, normed, read, mask))
    }

    /// The block over all positions.
    ///
    /// # Shapes
    /// - x: `[batch, positions, width]`
    /// - prefix: keys and values of shared positions before these
    /// - mask: `[batch or 1, 1, positions, prefix + positions]`, added to the scores
    /// - output: `[batch, positions, width]`
    pub fn forward(&self, x: Signal<3>, prefix: Option<&KeysValues>, mask: Option<Tensor<4>>) -> Signal<3> {
        let normed = x.clone().layer_norm(&self.norm1);
        let read = self.keys_values(normed.clone()).after(prefix);
        self.attend(x, normed, read, mask)
    }

    /// The block where only the positions picked by `read_out` are wanted: the last layer of a tower, whose other
    /// positions nobody reads, needs queries, output and perceptron only there.
    pub fn forward_at(
        &self,
        x: Signal<3>,
        prefix: Option<&KeysValues>,
        mask: Option<Tensor<4>>,
        read_out: impl Fn(Tensor<3>) -> Tensor<3>,
    ) -> Signal<3> {
        let normed = x.clone().layer_norm(&self.norm1);
        let read = self.keys_values(normed.clone()).after(prefix);
        self.attend(x.linear_map(&read_out), normed.linear_map(&read_out), read, mask)
    }

    /// Keys and values of `x`, `[batch, positions, width]`: all that later positions need of a shared prefix.
    pub fn prefix(&self, x: Signal<3>) -> KeysValues {
        self.keys_values(x.layer_norm(&self.norm1))
    }

    fn keys_values(&self, normed: Signal<3>) -> KeysValues {
        KeysValues {
            keys: self.split_heads(normed.clone().linear(&self.key)),
            values: self.split_heads(normed.linear(&self.value)),
        }
    }

    fn attend(
        &self,
        x: Signal<3>,
        normed: Signal<3>,
        read: KeysValues,
        mask: Option<Tensor<4>>,
    ) -> Signal<3> {
        let [batch, positions, width] = x.value.dims();
        let queries = self.split_heads(normed.linear(&self.query));
        let mixed = attention(queries, read, mask)
            .linear_map(|tensor| tensor.swap_dims(1, 2).reshape([batch, positions, width]));
        let x = x.plus(mixed.linear(&self.output));
        let hidden = x.clone().layer_norm(&self.norm2).linear(&self.expand).activation(self.activation);
        x.plus(hidden.linear(&self.contract))
    }

    fn split_heads(&self, x: Signal<3>) -> Signal<4> {
        let [batch, positions, width] = x.value.dims();
        let shape = [batch, positions, self.heads, width / self.heads];
        x.linear_map(|tensor| tensor.reshape(shape).swap_dims(1, 2))
    }
}

/// `softmax(q k^T / sqrt(d) + mask) v`.
fn attention(queries: Signal<4>, read: KeysValues, mask: Option<Tensor<4>>) -> Signal<4> {
    let [batch, heads, positions, head] = queries.value.dims();
    // The fused kernel has no tangent and no reverse pass. Keys and values may need them where queries do not: those of
    // a learned prefix in the first layer.
    let differentiated = |part: &Signal<4>| part.tangent.is_some() || part.value.is_autodiff();
    if ![&queries, &read.keys, &read.values].into_iter().any(differentiated) {
        let width = read.keys.value.dims()[2];
        let bias = mask.map(|mask| mask.expand([batch, heads, positions, width]));
        let options = AttentionModuleOptions::default();
        return module::attention(queries.value, read.keys.value, read.values.value, None, bias, options)
            .into();
    }
    let scale = (head as f32).powf(-0.5);
    let scores = queries
        .linear_map(|tensor| tensor * scale)
        .matmul(read.keys.linear_map(|tensor| tensor.swap_dims(2, 3)));
    let scores = match mask {
        Some(mask) => scores.add_constant(mask),
        None => scores,
    };
    scores.softmax().matmul(read.values)
}

/// Added to a score to hide it: `exp` of it is exactly zero, and it stays finite through every product.
const HIDDEN: f32 = -1e9;

/// The mask `[batch, 1, queries, prefix + own]` that hides from query `q` of item `b` the own positions `k` with
/// `hidden(b, q, k)`.
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
