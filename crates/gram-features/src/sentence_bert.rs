//! Sentence-BERT: a caption becomes one vector, captions that mean the same become vectors that point the
//! same way.
//!
//! A BERT encoder reads the tokens of a sentence; its last hidden states, averaged over the tokens that are
//! no padding and scaled to length 1, are the embedding: `e = h / |h|`, `h = (sum_i m_i h_i) / (sum_i m_i)`
//! with the attention mask `m`. CHC finds topics among these vectors (section 3.2 of GRAM, arXiv 2303.06571).
//!
//! Models come as folders in the layout of the library sentence-transformers, of any version: `modules.json`,
//! `config.json`, `sentence_bert_config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`
//! and the pooling's own `config.json`. BERT with mean pooling (such as all-MiniLM-L6-v2) is read here;
//! anything else is refused by name. With all-MiniLM-L6-v2, embeddings are the library's
//! (`tests/fixtures/compare_minilm.py`).
//!
//! Reference: Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP
//! 2019.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use gram_features::sentence_bert::SentenceBert;
//!
//! # fn main() -> Result<(), gram_features::sentence_bert::SentenceBertError> {
//! let model = SentenceBert::open(std::path::Path::new("all-MiniLM-L6-v2"), &Device::flex())?;
//! let embeddings = model.embed(&["a small red bird", "two dogs in the snow"])?;
//! assert_eq!(embeddings.dim(), (2, model.width()));
//! # Ok(())
//! # }
//! ```

mod bert;
mod error;
mod settings;
mod weights;

use std::path::{Path, PathBuf};

use bert::Bert;
use burn::tensor::{Device, Int, Tensor, TensorData};
pub use error::SentenceBertError;
use ndarray::{Array2, ArrayView1};
use settings::Settings;
use tokenizers::{Tokenizer, TruncationParams};
use weights::Weights;

/// Sentences that are tokenised at a time: enough to find others of like length, few enough to forget soon.
const BLOCK: usize = 4096;
/// Sentences that pass through the encoder at a time.
const BATCH: usize = 64;

/// A sentence encoder.
#[derive(Debug)]
pub struct SentenceBert {
    tokenizer: Tokenizer,
    tokenizer_file: PathBuf,
    bert: Bert,
    width: usize,
    device: Device,
}

impl SentenceBert {
    /// Reads a model folder onto `device`.
    ///
    /// # Errors
    /// [`SentenceBertError`] names the file, and the key or tensor in it.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, SentenceBertError> {
        let settings = Settings::open(folder)?;
        let tokenizer_file = folder.join("tokenizer.json");
        let tokenizer = open_tokenizer(&tokenizer_file, &settings)?;
        let weights = Weights::open(&folder.join("model.safetensors"), device)?;
        let bert = Bert::read(&settings.bert, weights)?;
        Ok(Self { tokenizer, tokenizer_file, bert, width: settings.bert.hidden_size, device: device.clone() })
    }

    /// Numbers in an embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The embeddings of `sentences`, rows of length 1 in the same order: `[sentences, width]`. A sentence
    /// longer than the model reads is cut.
    ///
    /// # Errors
    /// [`SentenceBertError::Tokenizer`] if a sentence cannot be tokenised, [`SentenceBertError::Readback`] if
    /// the device does not hand out its result.
    pub fn embed(&self, sentences: &[&str]) -> Result<Array2<f32>, SentenceBertError> {
        let mut embeddings = Array2::zeros((sentences.len(), self.width));
        for (block, sentences) in sentences.chunks(BLOCK).enumerate() {
            let tokens = self.tokenise(sentences)?;
            // Sentences of like length share a batch, so that little of it is padding.
            let mut order: Vec<usize> = (0..tokens.len()).collect();
            order.sort_by_key(|&sentence| tokens[sentence].len());
            for batch in order.chunks(BATCH) {
                let ids: Vec<&[u32]> = batch.iter().map(|&sentence| tokens[sentence].as_slice()).collect();
                let rows = self.embed_batch(&ids)?;
                for (row, &sentence) in rows.chunks_exact(self.width).zip(batch) {
                    embeddings.row_mut(block * BLOCK + sentence).assign(&ArrayView1::from(row));
                }
            }
        }
        Ok(embeddings)
    }

    fn tokenise(&self, sentences: &[&str]) -> Result<Vec<Vec<u32>>, SentenceBertError> {
        let encodings = self
            .tokenizer
            .encode_batch_fast(sentences.to_vec(), true)
            .map_err(|problem| SentenceBertError::tokenizer(&self.tokenizer_file, problem))?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The embeddings of token ids, row after row.
    fn embed_batch(&self, ids: &[&[u32]]) -> Result<Vec<f32>, SentenceBertError> {
        let (ids, mask) = pad(ids, &self.device);
        let hidden = self.bert.forward(ids, mask.clone());
        let embeddings = normalise(mean_pool(hidden, mask));
        let data = embeddings.try_into_data().map_err(|error| SentenceBertError::readback(&error))?;
        let data = data.try_cast_as::<f32>().map_err(|error| SentenceBertError::readback(&error))?;
        data.try_into_vec().map_err(|error| SentenceBertError::readback(&error))
    }
}

fn open_tokenizer(path: &Path, settings: &Settings) -> Result<Tokenizer, SentenceBertError> {
    let failed = |problem: tokenizers::Error| SentenceBertError::tokenizer(path, problem);
    let bytes = settings::read(path)?;
    let mut tokenizer = Tokenizer::from_bytes(gram_data::without_mark(&bytes)).map_err(failed)?;
    // What the file says on these two is what its last user wanted, not what the model can read.
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: settings.longest, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
    let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
    let vocabulary = settings.bert.vocab_size;
    if highest as usize >= vocabulary {
        let problem = format!("token {highest} is none of the {vocabulary} that config.json announces");
        return Err(SentenceBertError::tokenizer(path, problem));
    }
    Ok(tokenizer)
}

/// Ids and attention mask `[sentences, longest]`; padding has id 0 and mask 0.
fn pad(ids: &[&[u32]], device: &Device) -> (Tensor<2, Int>, Tensor<2>) {
    let longest = ids.iter().map(|ids| ids.len()).max().unwrap_or_default().max(1);
    let shape = [ids.len(), longest];
    let mut padded = Vec::with_capacity(ids.len() * longest);
    let mut mask = Vec::with_capacity(ids.len() * longest);
    for ids in ids {
        let padding = longest - ids.len();
        padded.extend(ids.iter().map(|&id| i64::from(id)).chain(std::iter::repeat_n(0, padding)));
        mask.extend(std::iter::repeat_n(1.0_f32, ids.len()).chain(std::iter::repeat_n(0.0, padding)));
    }
    let ids = Tensor::from_data(TensorData::new(padded, shape), device);
    (ids, Tensor::from_data(TensorData::new(mask, shape), device))
}

/// The mean of `hidden` `[sentences, positions, width]` where `mask` `[sentences, positions]` is 1:
/// `[sentences, width]`.
fn mean_pool(hidden: Tensor<3>, mask: Tensor<2>) -> Tensor<2> {
    // A sentence without any token has the mean zero.
    let count = mask.clone().sum_dim(1).clamp_min(1.0);
    let sum = (hidden * mask.unsqueeze_dim::<3>(2)).sum_dim(1).squeeze_dim::<2>(1);
    sum / count
}

/// Rows of length 1; a row of zeros stays one.
fn normalise(rows: Tensor<2>) -> Tensor<2> {
    let norm = rows.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    rows / norm
}
