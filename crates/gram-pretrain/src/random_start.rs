//! A random start for training from nothing, as CLIP's own (`initialize_parameters` in its code).
//!
//! Tokens N(0, 0.02²), positions N(0, 0.01²); in a tower of width `d` with `L` layers, queries, keys and values
//! N(0, 1/d), projections back into the stream N(0, 1/(2 L d)), the perceptron's first matrix N(0, 1/(2 d)); joint
//! projections N(0, 1/d); norms one, biases zero.

use gram_data::random::{normal, stream};

use gram_clip::checkpoint::Source;
use gram_clip::config::ClipConfig;
use gram_clip::error::ClipError;

/// New weights for a configuration: the same for a seed, each tensor from a stream of its own.
pub struct RandomStart<'a> {
    config: &'a ClipConfig,
    seed: u64,
}

impl<'a> RandomStart<'a> {
    /// A start under `seed`.
    pub fn new(config: &'a ClipConfig, seed: u64) -> Self {
        Self { config, seed }
    }

    fn deviation(&self, name: &str) -> f64 {
        let text = name.starts_with("text");
        let (width, layers) = match text {
            true => (self.config.text_config.hidden_size, self.config.text_config.num_hidden_layers),
            false => (self.config.vision_config.hidden_size, self.config.vision_config.num_hidden_layers),
        };
        let (width, layers) = (width as f64, layers as f64);
        match name {
            _ if name.contains("token_embedding") => 0.02,
            _ if name.contains("position_embedding") && text => 0.01,
            _ if name.contains("out_proj") || name.contains("fc2") => (2.0 * layers * width).powf(-0.5),
            _ if name.contains("fc1") => (2.0 * width).powf(-0.5),
            _ if name.contains("patch_embedding") => {
                (3.0 * (self.config.vision_config.patch_size as f64).powi(2)).powf(-0.5)
            }
            _ => width.powf(-0.5),
        }
    }
}

impl Source for RandomStart<'_> {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let count = shape.iter().product();
        if name == "logit_scale" {
            return Ok(vec![self.config.logit_scale_init_value]);
        }
        if name.ends_with(".bias") {
            return Ok(vec![0.0; count]);
        }
        if name.contains("norm") {
            return Ok(vec![1.0; count]);
        }
        let deviation = self.deviation(name) as f32;
        let mut random = stream(self.seed, name);
        Ok((0..count).map(|_| deviation * normal(&mut random)).collect())
    }
}
