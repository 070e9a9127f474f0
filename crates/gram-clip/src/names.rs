//! The names of the tensors of `model.safetensors`, which are Hugging Face's.
//!
//! Every part of the model lists its tensors once, in a `read` and a `write` that stand side by side. Hugging
//! Face stores the matrix of an affine map as `[outputs, inputs]`; here it is `[inputs, outputs]`.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::block::Block;
use crate::checkpoint::{Named, Source};
use crate::clip::Clip;
use crate::compute::Compute;
use crate::config::{ClipConfig, TextConfig, VisionConfig};
use crate::error::ClipError;
use crate::layers::{LayerNorm, Linear};
use crate::signal::Activation;
use crate::text_tower::{Layouts, TextTower};
use crate::vision_tower::VisionTower;

fn parameter<const D: usize>(
    source: &mut dyn Source,
    name: String,
    shape: [usize; D],
    device: &Device,
) -> Result<Param<Tensor<D>>, ClipError> {
    let values = source.values(&name, &shape)?;
    Ok(named(&name, Tensor::from_data(TensorData::new(values, shape), device)))
}

/// A parameter with an identity that its name decides, not chance: the optimiser's state in a file belongs to
/// identities, and must find them again in a model that is read later.
fn named<const D: usize>(name: &str, tensor: Tensor<D>) -> Param<Tensor<D>> {
    // FNV-1a: stable across platforms and releases, unlike the standard library's hasher.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut parameter = Param::from_tensor(tensor);
    parameter.id = ParamId::from(hash);
    parameter
}

/// A matrix of the file, `[outputs, inputs]`, as `[inputs, outputs]`.
fn matrix(
    source: &mut dyn Source,
    name: String,
    shape: &[usize],
    device: &Device,
) -> Result<Param<Tensor<2>>, ClipError> {
    let values = source.values(&name, shape)?;
    let (outputs, inputs) = (shape[0], shape[1..].iter().product());
    let stored = Tensor::<2>::from_data(TensorData::new(values, [outputs, inputs]), device);
    // A copy in the new order: products with a transposed view would reorder it every time.
    Ok(named(&name, Tensor::from_data(stored.transpose().into_data(), device)))
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
        let weight = matrix(source, format!("{name}.weight"), &[outputs, inputs], device)?;
        let bias = match bias {
            true => Some(parameter(source, format!("{name}.bias"), [outputs], device)?),
            false => None,
        };
        Ok(Self::new(weight, bias))
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
    activation: Activation,
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
        let (config, layouts) = (config.clone(), Layouts::default());
        Ok(Self { token_embedding, position_embedding, blocks, final_norm, projection, config, layouts })
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
        // The convolution with stride and side of a patch, as the affine map that it is.
        let patch_name = "vision_model.embeddings.patch_embedding.weight".to_owned();
        let patch_shape = [width, 3, config.patch_size, config.patch_size];
        let patch_embedding =
            Linear::new(matrix(source, patch_name, &patch_shape, device)?, None).of_images();
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
            .map(|block| Ok(block?.of_images()))
            .collect::<Result<_, ClipError>>()?;
        let post_norm = LayerNorm::read(source, "vision_model.post_layernorm", width, epsilon, device)?;
        let projection =
            Linear::read(source, "visual_projection", [width, joint], false, device)?.of_images();
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

impl Clip {
    /// Builds the model of `config` from a source of weights.
    ///
    /// # Errors
    /// What the source says.
    pub fn read(config: &ClipConfig, source: &mut dyn Source, compute: &Compute) -> Result<Self, ClipError> {
        // Matrices are turned on the CPU, whatever they are for.
        let device = &Compute::cpu().device();
        let clip = Self {
            text: TextTower::read(config, source, device)?,
            vision: VisionTower::read(config, source, device)?,
            logit_scale: parameter(source, "logit_scale".into(), [1], device)?,
            config: config.clone(),
            compute: Compute::cpu(),
        };
        Ok(clip.on(compute))
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
