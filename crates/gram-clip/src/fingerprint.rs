//! The fingerprint of a model's weights: what tells it from every other model, whatever the two are called.
//!
//! It is over what decides the features of given tokens and pixels: every tensor of both towers by name,
//! shape and 32-bit values, the scale of the logits, and of the configuration the activations, heads, norm
//! epsilons and the end-of-text rule. It is not over the name, the format of the files or the side of the
//! images, so that one model has one fingerprint in Hugging Face's folder, open_clip's file and OpenAI's
//! archive, as long as the values are the same.
//!
//! Files carry it, so it must stay what it is from release to release: tensors are named by the fields of
//! [`Clip`], and hashed in the order of these names, as the fields hold them.

use std::fmt;
use std::str::FromStr;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::clip::Clip;
use crate::config::TextConfig;
use crate::error::ClipError;

/// What tells one model's weights from another's; in files and messages 16 hexadecimal digits.
///
/// XXH3, for a model has hundreds of megabytes: ViT-B/16's 600 take a third of a second on one core. Its 64
/// bits tell any number of models apart that chance makes; they are no proof against somebody who makes two
/// models to collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a model's weights.
    ///
    /// # Errors
    /// [`ClipError::Device`] if the device does not hand out its values.
    pub fn of(clip: &Clip) -> Result<Self, ClipError> {
        let mut weights = NamedWeights::default();
        clip.visit(&mut weights);
        weights.tensors.sort_by(|one, other| one.name.cmp(&other.name));
        // Tensor by tensor, on all cores: what comes out does not depend on how many there are.
        let digests =
            weights.tensors.into_par_iter().map(Weight::digest).collect::<Result<Vec<u64>, ClipError>>()?;
        let mut hash = Xxh3Default::new();
        digests.iter().for_each(|digest| hash.update(&digest.to_le_bytes()));
        hash.update(rules(clip).as_bytes());
        Ok(Self(hash.digest()))
    }
}

/// What the towers compute beside their weights, in words.
fn rules(clip: &Clip) -> String {
    let (text, vision) = (&clip.text.config, &clip.vision.config);
    let tower = |heads: usize, activation, epsilon: f64| format!("{heads} {activation:?} {epsilon:e}");
    format!(
        "text {} end {}; vision {}",
        tower(text.num_attention_heads, text.hidden_act, text.layer_norm_eps),
        end_of_text(text),
        tower(vision.num_attention_heads, vision.hidden_act, vision.layer_norm_eps),
    )
}

/// The end-of-text rule. Where the token that ends a text is the last of the vocabulary, as in all published
/// models, it is also the highest id of the text: files that say the one and files that say the other are of
/// one model.
fn end_of_text(text: &TextConfig) -> String {
    let end = text.eos_token_id as usize;
    if end == 2 || end + 1 == text.vocab_size { "highest".into() } else { end.to_string() }
}

/// The weights of a model by the names of its fields, `text.blocks.0.query.weight`.
#[derive(Default)]
struct NamedWeights {
    path: Vec<String>,
    tensors: Vec<Weight>,
}

struct Weight {
    name: String,
    shape: Vec<usize>,
    values: Tensor<1>,
}

impl Weight {
    fn digest(self) -> Result<u64, ClipError> {
        let mut hash = Xxh3Default::new();
        hash.update(format!("{} {:?}", self.name, self.shape).as_bytes());
        let count = self.values.dims()[0];
        // Piece by piece: the device hands out copies, and one of a whole matrix takes longer than hashing
        // it.
        let mut bytes = Vec::with_capacity(4 * PIECE);
        for first in (0..count).step_by(PIECE) {
            let piece = self.values.clone().narrow(0, first, PIECE.min(count - first));
            let piece = piece.into_data().convert::<f32>();
            let values = piece.as_slice::<f32>().map_err(|error| {
                let (tensor, problem) = (self.name.clone(), format!("{error:?}"));
                ClipError::Device { tensor, problem }
            })?;
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            hash.update(&bytes);
        }
        Ok(hash.digest())
    }
}

/// Values that are hashed at a time.
const PIECE: usize = 1 << 15;

impl ModuleVisitor for NamedWeights {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let tensor = parameter.val();
        let shape = tensor.dims().to_vec();
        let values = tensor.reshape([shape.iter().product::<usize>()]);
        self.tensors.push(Weight { name: self.path.join("."), shape, values });
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let wrong = || format!("`{text}` is no fingerprint: 16 hexadecimal digits are expected");
        let value = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}
