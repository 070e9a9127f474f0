//! The BERT encoder: embeddings, then blocks of attention and perceptron, each followed by its norm.

use burn::tensor::{Int, Tensor, module};
use gram_clip::signal::{Activation, Signal};

use super::error::SentenceBertError;
use super::settings::BertConfig;
use super::weights::{LayerNorm, Linear, Weights};

/// Added to a score to hide it: `exp` of it is exactly zero, and it stays finite.
const HIDDEN: f32 = -1e9;

/// The encoder's weights.
#[derive(Debug)]
pub(super) struct Bert {
    /// `[vocabulary, width]`
    words: Tensor<2>,
    /// Positions, the embedding of the first sentence added: `[positions, width]`.
    positions: Tensor<2>,
    norm: LayerNorm,
    blocks: Vec<Block>,
}

/// A post-norm transformer block: `norm(x + attention x)`, then `norm(x + mlp x)`.
#[derive(Debug)]
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    expand: Linear,
    contract: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl Bert {
    pub(super) fn read(config: &BertConfig, weights: Weights) -> Result<Self, SentenceBertError> {
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let table =
            |name: &str, rows| weights.tensor(&format!("embeddings.{name}_embeddings.weight"), [rows, width]);
        let words = table("word", config.vocab_size)?;
        let positions = table("position", config.max_position_embeddings)?;
        // A caption is always the first of BERT's two sentences.
        let first = table("token_type", config.type_vocab_size)?.narrow(0, 0, 1);
        let norm = weights.layer_norm("embeddings.LayerNorm", width, epsilon)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| Block::read(config, &weights, &format!("encoder.layer.{layer}")))
            .collect::<Result<_, _>>()?;
        Ok(Self { words, positions: positions + first, norm, blocks })
    }

    /// The last hidden states.
    ///
    /// # Shapes
    /// - ids, mask: `[sentences, positions]`, the mask 1 for tokens and 0 for padding
    /// - output: `[sentences, positions, width]`
    pub(super) fn forward(&self, ids: Tensor<2, Int>, mask: Tensor<2>) -> Tensor<3> {
        let [sentences, length] = ids.dims();
        let positions = self.positions.clone().narrow(0, 0, length).unsqueeze::<3>();
        let mut hidden = self.norm.forward(module::embedding(self.words.clone(), ids) + positions);
        let bias = ((mask.neg() + 1.0) * HIDDEN).reshape([sentences, 1, 1, length]);
        for block in &self.blocks {
            hidden = block.forward(hidden, bias.clone());
        }
        hidden
    }
}

impl Block {
    fn read(config: &BertConfig, weights: &Weights, name: &str) -> Result<Self, SentenceBertError> {
        let (width, middle) = (config.hidden_size, config.intermediate_size);
        let linear = |part: &str, shape| weights.linear(&format!("{name}.{part}"), shape);
        let norm = |part: &str| weights.layer_norm(&format!("{name}.{part}"), width, config.layer_norm_eps);
        Ok(Self {
            query: linear("attention.self.query", [width, width])?,
            key: linear("attention.self.key", [width, width])?,
            value: linear("attention.self.value", [width, width])?,
            output: linear("attention.output.dense", [width, width])?,
            attention_norm: norm("attention.output.LayerNorm")?,
            expand: linear("intermediate.dense", [width, middle])?,
            contract: linear("output.dense", [middle, width])?,
            norm: norm("output.LayerNorm")?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let attended = self.output.forward(self.attention(x.clone(), bias));
        let x = self.attention_norm.forward(x + attended);
        let hidden = Signal::from(self.expand.forward(x.clone())).activation(Activation::Gelu).value;
        self.norm.forward(x + self.contract.forward(hidden))
    }

    /// `softmax(q k^T / sqrt(d) + bias) v` per head, the heads side by side again.
    fn attention(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let [sentences, length, width] = x.dims();
        let split = |layer: &Linear| {
            let shape = [sentences, length, self.heads, width / self.heads];
            layer.forward(x.clone()).reshape(shape).swap_dims(1, 2)
        };
        let (query, key, value) = (split(&self.query), split(&self.key), split(&self.value));
        let mixed = gram_clip::attention(query.into(), key.into(), value.into(), Some(bias));
        mixed.value.swap_dims(1, 2).reshape([sentences, length, width])
    }
}
