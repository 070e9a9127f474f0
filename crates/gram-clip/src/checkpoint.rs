//! Weights by name: reading and writing `model.safetensors`, and drawing new ones.
//!
//! Every part of the model lists its tensors once, under Hugging Face's names, in a `read` and a `write` that stand
//! side by side. A [`Source`] is where `read` gets values from: a file ([`Weights`]), or a random start before
//! training. Hugging Face stores the matrix of an affine map as `[outputs, inputs]`;
//! here it is `[inputs, outputs]`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::clip::Clip;
use crate::config::{ClipConfig, TextConfig, VisionConfig};
use crate::error::ClipError;
use crate::layers::{Block, LayerNorm, Linear};
use crate::text_tower::TextTower;
use crate::vision_tower::VisionTower;

/// Where the values of a named tensor come from.
pub trait Source {
    /// The values, row-major, of the tensor `name` of `shape`.
    ///
    /// # Errors
    /// [`ClipError`] says why there are none.
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError>;
}

/// The tensors of a safetensors file, as 32-bit values.
pub struct Weights {
    file: String,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    /// Reads a file by mapping it into memory.
    ///
    /// # Errors
    /// [`ClipError`] names the file and, where it applies, the tensor.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let failed = |source| ClipError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = map(&file).map_err(failed)?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of a file called `file`.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, ClipError> {
        let parsed = SafeTensors::deserialize(bytes)
            .map_err(|source| ClipError::Safetensors { file: file.to_owned(), source })?;
        let mut tensors = BTreeMap::new();
        for (name, view) in parsed.tensors() {
            // Counters that old versions of transformers kept among the weights are no weights.
            if let Some(values) = float_values(&view) {
                if values.iter().any(|value| !value.is_finite()) {
                    return Err(ClipError::NotFinite { file: file.to_owned(), name });
                }
                tensors.insert(name, (view.shape().to_vec(), values));
            } else if !name.ends_with("position_ids") {
                let found = format!("{:?}", view.dtype());
                return Err(ClipError::Type { file: file.to_owned(), name, found });
            }
        }
        Ok(Self { file: file.to_owned(), tensors })
    }
}

/// Maps a file into memory.
#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read once, here, and copied out before it is dropped; a model file that another process
    // truncates meanwhile ends this program, as it would end any reader of a mapped file.
    unsafe { Mmap::map(file) }
}

impl Source for Weights {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let missing = || ClipError::MissingTensor { file: self.file.clone(), name: name.to_owned() };
        let (found, _) = self.tensors.get(name).ok_or_else(missing)?;
        if found != shape && !(shape == [1] && found.is_empty()) {
            let (found, expected) = (found.clone(), shape.to_vec());
            return Err(ClipError::Shape { file: self.file.clone(), name: name.to_owned(), found, expected });
        }
        Ok(self.tensors.remove(name).map(|(_, values)| values).unwrap_or_default())
    }
}

/// The values of a tensor of floating-point numbers.
pub fn float_values(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        _ => return None,
    })
}

/// Named tensors on their way into a file.
pub type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The bytes of a safetensors file with 16-bit values.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f16_bytes(tensors: &Named) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, Dtype::F16, |values| {
        values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
    })
}

/// The bytes of a safetensors file with 32-bit values.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f32_bytes(tensors: &Named) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, Dtype::F32, |values| values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn serialize(
    tensors: &Named,
    dtype: Dtype,
    encode: impl Fn(&[f32]) -> Vec<u8>,
) -> Result<Vec<u8>, ClipError> {
    let encoded: Vec<(&String, &Vec<usize>, Vec<u8>)> =
        tensors.iter().map(|(name, (shape, values))| (name, shape, encode(values))).collect();
    let refused = |source| ClipError::Safetensors { file: "model.safetensors".into(), source };
    let views = encoded
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(dtype, shape.to_vec(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    safetensors::serialize(views, None).map_err(refused)
}

fn parameter<const D: usize>(
    source: &mut dyn Source,
    name: String,
    shape: [usize; D],
    device: &Device,
) -> Result<Param<Tensor<D>>, ClipError> {
    let values = source.values(&name, &shape)?;
    Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)))
}

fn put<const D: usize>(named: &mut Named, name: String, tensor: Tensor<D>) {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().convert::<f32>().try_to_vec().unwrap_or_default();
    named.insert(name, (shape, values));
}

impl Linear {
    fn read(
        source: &mut dyn Source,
        name: &str,
        [inputs, outputs]: [usize; 2],
        bias: bool,
        device: &Device,
    ) -> Result<Self, ClipError> {
        let values = source.values(&format!("{name}.weight"), &[outputs, inputs])?;
        let stored = Tensor::<2>::from_data(TensorData::new(values, [outputs, inputs]), device);
        // A copy in the new order: products with a transposed view would reorder it every time.
        let weight = stored.transpose().into_data();
        let bias = match bias {
            true => Some(parameter(source, format!("{name}.bias"), [outputs], device)?),
            false => None,
        };
        Ok(Self { weight: Param::from_tensor(Tensor::from_data(weight, device)), bias })
    }

    fn write(&self, named: &mut Named, name: &str) {
        put(named, format!("{name}.weight"), self.weight.val().transpose());
        if let Some(bias) = &self.bias {
            put(named, format!("{name}.bias"), bias.val());
        }
    }
}

impl LayerNorm {
    fn read(
        source: &mut dyn Source,
        name: &str,
        width: usize,
        epsilon: f64,
        device: &Device,
    ) -> Result<Self, ClipError> {
        let weight = parameter(source, format!("{name}.weight"), [width], device)?;
        let bias = parameter(source, format!("{name}.bias"), [width], device)?;
        Ok(Self { weight, bias, epsilon })
    }

    fn write(&self, named: &mut Named, name: &str) {
        put(named, format!("{name}.weight"), self.weight.val());
        put(named, format!("{name}.bias"), self.bias.val());
    }
}

impl Block {
    fn read(
        source: &mut dyn Source,
        name: &str,
        sizes: &BlockSizes,
        device: &Device,
    ) -> Result<Self, ClipError> {
        let BlockSizes { width, hidden, epsilon, .. } = *sizes;
        let mut linear =
            |part: &str, shape| Linear::read(source, &format!("{name}.{part}"), shape, true, device);
        let query = linear("self_attn.q_proj", [width, width])?;
        let key = linear("self_attn.k_proj", [width, width])?;
        let value = linear("self_attn.v_proj", [width, width])?;
        let output = linear("self_attn.out_proj", [width, width])?;
        let expand = linear("mlp.fc1", [width, hidden])?;
        let contract = linear("mlp.fc2", [hidden, width])?;
        let mut norm =
            |part: &str| LayerNorm::read(source, &format!("{name}.{part}"), width, epsilon, device);
        let (norm1, norm2) = (norm("layer_norm1")?, norm("layer_norm2")?);
        let (heads, activation) = (sizes.heads, sizes.activation);
        Ok(Self { norm1, query, key, value, output, norm2, expand, contract, heads, activation })
    }

    fn write(&self, named: &mut Named, name: &str) {
        self.query.write(named, &format!("{name}.self_attn.q_proj"));
        self.key.write(named, &format!("{name}.self_attn.k_proj"));
        self.value.write(named, &format!("{name}.self_attn.v_proj"));
        self.output.write(named, &format!("{name}.self_attn.out_proj"));
        self.expand.write(named, &format!("{name}.mlp.fc1"));
        self.contract.write(named, &format!("{name}.mlp.fc2"));
        self.norm1.write(named, &format!("{name}.layer_norm1"));
        self.norm2.write(named, &format!("{name}.layer_norm2"));
    }
}

struct BlockSizes {
    width: usize,
    hidden: usize,
    heads: usize,
    epsilon: f64,
    activation: crate::signal::Activation,
}

impl From<&TextConfig> for BlockSizes {
    fn from(config: &TextConfig) -> Self {
        Self {
            width: config.hidden_size,
            hidden: config.intermediate_size,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            activation: config.hidden_act,
        }
    }
}

impl From<&VisionConfig> for BlockSizes {
    fn from(config: &VisionConfig) -> Self {
        Self {
            width: config.hidden_size,
            hidden: config.intermediate_size,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            activation: config.hidden_act,
        }
    }
}

impl TextTower {
    fn read(config: &ClipConfig, source: &mut dyn Source, device: &Device) -> Result<Self, ClipError> {
        let (joint, config) = (config.projection_dim, &config.text_config);
        let (width, sizes) = (config.hidden_size, BlockSizes::from(config));
        let table = |part: &str| format!("text_model.embeddings.{part}_embedding.weight");
        let token_embedding = parameter(source, table("token"), [config.vocab_size, width], device)?;
        let position_embedding =
            parameter(source, table("position"), [config.max_position_embeddings, width], device)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| Block::read(source, &format!("text_model.encoder.layers.{layer}"), &sizes, device))
            .collect::<Result<_, _>>()?;
        let final_norm =
            LayerNorm::read(source, "text_model.final_layer_norm", width, config.layer_norm_eps, device)?;
        let projection = Linear::read(source, "text_projection", [width, joint], false, device)?;
        let config = config.clone();
        Ok(Self { token_embedding, position_embedding, blocks, final_norm, projection, config })
    }

    fn write(&self, named: &mut Named) {
        put(named, "text_model.embeddings.token_embedding.weight".into(), self.token_embedding.val());
        put(named, "text_model.embeddings.position_embedding.weight".into(), self.position_embedding.val());
        for (layer, block) in self.blocks.iter().enumerate() {
            block.write(named, &format!("text_model.encoder.layers.{layer}"));
        }
        self.final_norm.write(named, "text_model.final_layer_norm");
        self.projection.write(named, "text_projection");
    }
}

impl VisionTower {
    fn read(config: &ClipConfig, source: &mut dyn Source, device: &Device) -> Result<Self, ClipError> {
        let (joint, config) = (config.projection_dim, &config.vision_config);
        let (width, epsilon, sizes) = (config.hidden_size, config.layer_norm_eps, BlockSizes::from(config));
        let patch_embedding = read_patch_embedding(config, source, device)?;
        let class_embedding =
            parameter(source, "vision_model.embeddings.class_embedding".into(), [width], device)?;
        let position_embedding = parameter(
            source,
            "vision_model.embeddings.position_embedding.weight".into(),
            [1 + config.patches(), width],
            device,
        )?;
        // The name is misspelt in the format.
        let pre_norm = LayerNorm::read(source, "vision_model.pre_layrnorm", width, epsilon, device)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| Block::read(source, &format!("vision_model.encoder.layers.{layer}"), &sizes, device))
            .collect::<Result<_, _>>()?;
        let post_norm = LayerNorm::read(source, "vision_model.post_layernorm", width, epsilon, device)?;
        let projection = Linear::read(source, "visual_projection", [width, joint], false, device)?;
        let config = config.clone();
        Ok(Self {
            patch_embedding,
            class_embedding,
            position_embedding,
            pre_norm,
            blocks,
            post_norm,
            projection,
            config,
        })
    }

    fn write(&self, named: &mut Named) {
        let (side, width) = (self.config.patch_size, self.config.hidden_size);
        let patches = self.patch_embedding.weight.val().transpose().reshape([width, 3, side, side]);
        put(named, "vision_model.embeddings.patch_embedding.weight".into(), patches);
        put(named, "vision_model.embeddings.class_embedding".into(), self.class_embedding.val());
        put(named, "vision_model.embeddings.position_embedding.weight".into(), self.position_embedding.val());
        self.pre_norm.write(named, "vision_model.pre_layrnorm");
        for (layer, block) in self.blocks.iter().enumerate() {
            block.write(named, &format!("vision_model.encoder.layers.{layer}"));
        }
        self.post_norm.write(named, "vision_model.post_layernorm");
        self.projection.write(named, "visual_projection");
    }
}

/// The convolution with stride and side of a patch, as the affine map that it is.
fn read_patch_embedding(
    config: &VisionConfig,
    source: &mut dyn Source,
    device: &Device,
) -> Result<Linear, ClipError> {
    let (side, width) = (config.patch_size, config.hidden_size);
    let name = "vision_model.embeddings.patch_embedding.weight";
    let values = source.values(name, &[width, 3, side, side])?;
    let stored = Tensor::<2>::from_data(TensorData::new(values, [width, 3 * side * side]), device);
    let weight = stored.transpose().into_data();
    Ok(Linear { weight: Param::from_tensor(Tensor::from_data(weight, device)), bias: None })
}

impl Clip {
    /// Builds the model of `config` from a source of weights.
    ///
    /// # Errors
    /// What the source says.
    pub fn read(config: &ClipConfig, source: &mut dyn Source, device: &Device) -> Result<Self, ClipError> {
        Ok(Self {
            text: TextTower::read(config, source, device)?,
            vision: VisionTower::read(config, source, device)?,
            logit_scale: parameter(source, "logit_scale".into(), [1], device)?,
            config: config.clone(),
        })
    }

    /// Every weight under its name in `model.safetensors`.
    pub fn named_weights(&self) -> Named {
        let mut named = Named::new();
        self.text.write(&mut named);
        self.vision.write(&mut named);
        put(&mut named, "logit_scale".into(), self.logit_scale.val());
        if let Some((shape, _)) = named.get_mut("logit_scale") {
            shape.clear();
        }
        named
    }
}
