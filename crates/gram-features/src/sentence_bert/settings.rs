//! What the JSON files of a model folder say, and whether it is a model that is read here.

use std::fs;
use std::path::Path;

use gram_data::without_mark;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::SentenceBertError;

/// The sizes of the encoder: `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct BertConfig {
    model_type: String,
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) layer_norm_eps: f64,
}

fn absolute() -> String {
    "absolute".into()
}

/// One step of a model: an entry of `modules.json`.
#[derive(Deserialize)]
struct Step {
    path: String,
    r#type: String,
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct ReadingConfig {
    max_seq_length: Option<usize>,
}

/// `tokenizer_config.json`, which has the length in the folders of newer versions of the library.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    /// Far above any number of tokens (1e30) where there is no limit.
    model_max_length: Option<f64>,
}

/// The pooling's `config.json`: newer versions of the library name the mode, older ones have a switch for
/// each, and any other mode joins in when it is on.
#[derive(Deserialize)]
struct PoolingConfig {
    pooling_mode: Option<Value>,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

/// All that a model folder says beside its weights and vocabulary.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) bert: BertConfig,
    /// Tokens of a sentence that are read, its two special tokens counted.
    pub(super) longest: usize,
}

impl Settings {
    pub(super) fn open(folder: &Path) -> Result<Self, SentenceBertError> {
        check_steps(folder)?;
        let path = folder.join("config.json");
        let bert: BertConfig = json(&path)?;
        bert.check(&path)?;
        let longest = longest(folder, bert.max_position_embeddings)?;
        Ok(Self { bert, longest })
    }
}

/// Tokens of a sentence that are read: `max_seq_length`, or else what the tokenizer says, no more than
/// `most`.
fn longest(folder: &Path, most: usize) -> Result<usize, SentenceBertError> {
    let reading_path = folder.join("sentence_bert_config.json");
    let reading: ReadingConfig = json_if_there(&reading_path)?;
    let tokenizer_path = folder.join("tokenizer_config.json");
    let (path, key, longest) = match reading.max_seq_length {
        Some(longest) => (reading_path, "max_seq_length", longest),
        None => {
            let tokenizer: TokenizerConfig = json_if_there(&tokenizer_path)?;
            let longest = tokenizer.model_max_length.map_or(most, |longest| most.min(longest as usize));
            (tokenizer_path, "model_max_length", longest)
        }
    };
    // Less than the two special tokens leaves no sentence, and the tokenizer would count below zero.
    require((3..=most).contains(&longest), &path, key, longest, format!("between 3 and {most}"))?;
    Ok(longest)
}

impl BertConfig {
    fn check(&self, path: &Path) -> Result<(), SentenceBertError> {
        let Self { model_type, hidden_act, position_embedding_type, .. } = self;
        require(model_type == "bert", path, "model_type", model_type, "bert")?;
        require(hidden_act == "gelu", path, "hidden_act", hidden_act, "gelu")?;
        let positions = position_embedding_type;
        require(positions == "absolute", path, "position_embedding_type", positions, "absolute")?;
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            require(size > 0, path, key, size, "above 0")?;
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        require(
            width.is_multiple_of(heads),
            path,
            "num_attention_heads",
            heads,
            format!("a divisor of {width}"),
        )
    }
}

/// Transformer, then mean pooling, then perhaps scaling to length 1, which is done in any case.
fn check_steps(folder: &Path) -> Result<(), SentenceBertError> {
    let path = folder.join("modules.json");
    let steps: Vec<Step> = json(&path)?;
    let kinds: Vec<&str> =
        steps.iter().map(|step| step.r#type.rsplit('.').next().unwrap_or_default()).collect();
    let known = matches!(kinds[..], ["Transformer", "Pooling"] | ["Transformer", "Pooling", "Normalize"]);
    require(known, &path, "type", kinds.join(", "), "Transformer, Pooling and perhaps Normalize")?;
    require(steps[0].path.is_empty(), &path, "path", &steps[0].path, "empty for the Transformer")?;
    let path = folder.join(&steps[1].path).join("config.json");
    let pooling: PoolingConfig = json(&path)?;
    if let Some(mode) = pooling.pooling_mode {
        return require(mode == "mean", &path, "pooling_mode", mode, "\"mean\"");
    }
    let mode = "pooling_mode_mean_tokens";
    require(pooling.pooling_mode_mean_tokens, &path, mode, false, "true")?;
    let mut others = pooling.others.iter();
    match others.find(|(key, value)| key.starts_with("pooling_mode_") && value.as_bool() == Some(true)) {
        Some((key, value)) => require(false, &path, key, value, "false: only mean pooling is read"),
        None => Ok(()),
    }
}

/// An error unless `valid`.
fn require(
    valid: bool,
    path: &Path,
    key: &str,
    found: impl ToString,
    expected: impl Into<String>,
) -> Result<(), SentenceBertError> {
    if valid {
        return Ok(());
    }
    let (path, key, found, expected) = (path.to_owned(), key.to_owned(), found.to_string(), expected.into());
    Err(SentenceBertError::Setting { path, key, found, expected })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, SentenceBertError> {
    let bytes = read(path)?;
    serde_json::from_slice(without_mark(&bytes))
        .map_err(|source| SentenceBertError::Json { path: path.to_owned(), source })
}

/// What a file says that not every version of the library writes.
fn json_if_there<T: DeserializeOwned + Default>(path: &Path) -> Result<T, SentenceBertError> {
    if path.exists() { json(path) } else { Ok(T::default()) }
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, SentenceBertError> {
    fs::read(path).map_err(|source| SentenceBertError::File { path: path.to_owned(), source })
}
