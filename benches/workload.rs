//! CLIP models with weights drawn by a hash of their place, the same in any language, and work for them: what
//! the benches beside PyTorch time.

#![allow(dead_code, reason = "each bench does a part of the work")]

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::Source;
use gram_clip::scalars::read;
use gram_clip::{Clip, ClipConfig, ClipError, Compute};
use gram_features::Images;
use gram_meta::{InnerLoop, MetaGradient, Regulator, RegulatorStart, Task};
use gram_prompt::{
    ClassSentence, Classes, LabelledImages, Part, Placement, Prompt, PromptKind, PromptedClip, Rates,
    RegulatorForm,
};

pub const START: u32 = 49406;
pub const END: u32 = 49407;
pub const CONTEXT_TOKENS: usize = 4;
pub const VISUAL_TOKENS: usize = 4;
/// Tokens of a class name; a full stop and EOS follow.
pub const NAME: usize = 2;
pub const ALPHA: f32 = 0.1;

/// The sizes of a model.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub name: &'static str,
    /// Width of the text tower and of the features.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub vision_width: usize,
    pub vision_layers: usize,
    pub vision_heads: usize,
    pub side: usize,
}

impl Sizes {
    /// ViT-B/16.
    pub const FULL: Self = Self {
        name: "ViT-B/16",
        width: 512,
        layers: 12,
        heads: 8,
        vision_width: 768,
        vision_layers: 12,
        vision_heads: 12,
        side: 224,
    };
    /// ViT-B/16's text tower, where nobody looks at images.
    pub const TEXT: Self =
        Self { vision_width: 64, vision_layers: 1, vision_heads: 1, side: 32, ..Self::FULL };
    /// ViT-B/16's vision tower, where nobody reads.
    pub const VISION: Self = Self { layers: 1, ..Self::FULL };
    /// Enough to see that everything runs.
    pub const SMALL: Self = Self {
        name: "a small model",
        width: 64,
        layers: 2,
        heads: 2,
        vision_width: 64,
        vision_layers: 2,
        vision_heads: 2,
        side: 32,
    };
}

/// Weights by a hash of name and place: uniform, with standard deviation 0.02.
struct Hashed;

/// `count` values of the array `name`, with a standard deviation.
pub fn hashed(name: &str, count: usize, deviation: f32) -> Vec<f32> {
    let seed =
        name.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    let value = |place: u32| {
        let mut hash = place.wrapping_mul(2_654_435_761).wrapping_add(seed);
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x045d_9f3b);
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x045d_9f3b);
        hash ^= hash >> 16;
        ((f64::from(hash) / f64::from(u32::MAX) - 0.5) * 12.0_f64.sqrt()) as f32 * deviation
    };
    (0..count as u32).map(value).collect()
}

impl Source for Hashed {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let count = shape.iter().product();
        Ok(match name {
            "logit_scale" => vec![100.0_f32.ln()],
            _ if name.contains("norm") && name.ends_with("weight") => vec![1.0; count],
            _ => hashed(name, count, 0.02),
        })
    }
}

/// A model, and where it computes.
pub struct World {
    pub sizes: Sizes,
    pub clip: Clip,
    pub device: Device,
}

impl World {
    pub fn new(sizes: Sizes, compute: &Compute) -> Self {
        let config = serde_json::json!({
            "projection_dim": sizes.width,
            "text_config": {
                "hidden_size": sizes.width, "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
                "intermediate_size": 4 * sizes.width, "vocab_size": 49408, "max_position_embeddings": 77,
                "hidden_act": "quick_gelu", "bos_token_id": START, "eos_token_id": END,
            },
            "vision_config": {
                "hidden_size": sizes.vision_width, "num_hidden_layers": sizes.vision_layers,
                "num_attention_heads": sizes.vision_heads, "intermediate_size": 4 * sizes.vision_width,
                "image_size": sizes.side, "patch_size": 16, "hidden_act": "quick_gelu",
            },
        });
        let config = ClipConfig::parse(&config.to_string()).expect("the configuration is one");
        let clip = Clip::read(&config, &mut Hashed, compute).expect("every weight is drawn");
        Self { sizes, clip, device: compute.device() }
    }

    pub fn model(&self) -> PromptedClip<'_> {
        let placement = Placement::default();
        PromptedClip { clip: &self.clip, start: START, placement, classes_at_once: usize::MAX }
    }

    /// Values by their name, as a matrix.
    pub fn matrix(&self, name: &str, shape: [usize; 2], deviation: f32) -> Tensor<2> {
        let values = hashed(name, shape[0] * shape[1], deviation);
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    /// Classes from a number on, each with a name of its own.
    pub fn classes(&self, first: usize, count: usize) -> Classes {
        let class = |class: usize| {
            let name = (0..NAME).map(|token| (1000 + 97 * class + 31 * token) as u32);
            ClassSentence { ids: name.chain([269, END]).collect(), name: NAME }
        };
        Classes::Sentences((first..first + count).map(class).collect())
    }

    /// Normalised features, of images or of classes that no prompt stands before.
    pub fn normalised(&self, name: &str, count: usize) -> Tensor<2> {
        gram_clip::Signal::from(self.matrix(name, [count, self.sizes.width], 1.0)).normalize().value
    }

    fn labels(&self, classes: usize, count: usize) -> Tensor<1, burn::tensor::Int> {
        let labels: Vec<i64> = (0..count).map(|image| (image % classes) as i64).collect();
        Tensor::from_data(TensorData::new(labels, [count]), &self.device)
    }

    /// Pixels `[count, 3, side, side]`.
    pub fn pixels(&self, name: &str, count: usize) -> Tensor<4> {
        let side = self.sizes.side;
        let values = hashed(name, count * 3 * side * side, 1.0);
        Tensor::from_data(TensorData::new(values, [count, 3, side, side]), &self.device)
    }

    pub fn prompt(&self, kind: PromptKind) -> Prompt {
        let part = |part: &Part| match part {
            Part::Visual => (*part, self.matrix("theta", [VISUAL_TOKENS, self.sizes.vision_width], 0.02)),
            _ => (*part, self.matrix("theta", [CONTEXT_TOKENS, self.sizes.width], 0.02)),
        };
        kind.parts().iter().map(part).collect()
    }

    /// The regulator, drawn as everything else.
    pub fn regulator(&self, theta: &Prompt) -> Regulator {
        let start = RegulatorStart { deviation: 0.0, gamma_bias: 2.0, form: RegulatorForm::Paper };
        Regulator::near_identity(theta, start, 1, &self.device).map(|(_, parameter), tensor| {
            match tensor.dims() {
                [rows, columns] if rows == columns => self.matrix(parameter.name(), [rows, columns], 0.01),
                _ => tensor,
            }
        })
    }

    /// The images of a step: 32, of the first of 100 classes, or their features.
    pub fn batch(&self, kind: PromptKind) -> LabelledImages {
        let images = match kind.parts().contains(&Part::Visual) {
            true => Images::Pixels(self.pixels("batch", 32)),
            false => Images::Features(self.normalised("batch", 100).narrow(0, 0, 32)),
        };
        LabelledImages { images, labels: self.labels(100, 32) }
    }

    /// Four tasks of five ways: on features 4 + 15 of each class, on images 1 + 3; with the classes' names
    /// where they are prompted, else with their features.
    pub fn tasks(&self, kind: PromptKind) -> Vec<Task> {
        let has = |part: Part| kind.parts().contains(&part);
        let images = |name: String, of_each: usize| LabelledImages {
            images: match has(Part::Visual) {
                true => Images::Pixels(self.pixels(&name, 5 * of_each)),
                false => Images::Features(self.normalised(&name, 5 * of_each)),
            },
            labels: self.labels(5, 5 * of_each),
        };
        let (support, query) = if has(Part::Visual) { (1, 3) } else { (4, 15) };
        let task = |task: usize| Task {
            classes: match has(Part::Text) {
                true => self.classes(200 + 5 * task, 5),
                false => Classes::Features(self.normalised(&format!("classes {task}"), 5)),
            },
            support_set: images(format!("support {task}"), support),
            query_set: images(format!("query {task}"), query),
            new_classes: None,
        };
        (0..4).map(task).collect()
    }
}

pub fn inner_loop(steps: usize) -> InnerLoop {
    InnerLoop { steps, rates: Rates::both(ALPHA), ..InnerLoop::default() }
}

/// The gradient of images among classes, and behind it its loss.
pub fn step(model: &PromptedClip, theta: &Prompt, classes: &Classes, images: &LabelledImages) -> Vec<f32> {
    let found = model.gradient(theta, classes, images);
    read(tensors(&found.gradient).chain([found.loss]).collect())
}

/// The sum of the tasks' exact meta-gradients for theta, and behind it that of their query losses. So many
/// tasks pass the towers at once.
pub fn meta_step(
    model: &PromptedClip,
    (theta, phi): (&Prompt, &Regulator),
    tasks: &[Task],
    at_once: usize,
    inner: &InnerLoop,
) -> Vec<f32> {
    let some = |tasks: &[Task]| inner.meta_gradients(model, theta, Some(phi), tasks);
    let found = model.clip.compute.side_by_side(tasks.chunks(at_once).collect(), some).concat();
    let rest = found.iter().skip(1);
    let sum = rest.fold(found[0].theta.clone(), |sum, one| sum.add_scaled(&one.theta, 1.0));
    let (readings, mut values) = MetaGradient::read_all(&found, tensors(&sum).collect());
    values.push(readings.iter().map(|reading| reading.query_loss).sum());
    values
}

/// The numbers of each part.
fn tensors(prompt: &Prompt) -> impl Iterator<Item = Tensor<1>> {
    prompt.parts().map(|(_, tensor)| tensor.clone().reshape([-1]))
}

/// The distance of two lists of numbers over the norm of the second.
pub fn deviation(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = found.iter().zip(expected).map(|(one, other)| f64::from(*one) - f64::from(*other));
    norm(&mut apart.into_iter()) / norm(&mut expected.iter().map(|value| f64::from(*value)))
}

/// Median seconds of `work`, and what it gives.
pub fn timed<T>(times: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut last = work();
    let mut seconds: Vec<f64> = (0..times)
        .map(|_| {
            let clock = Instant::now();
            last = work();
            clock.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    (seconds[seconds.len() / 2], last)
}

pub fn values(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.to_data().try_to_vec().expect("numbers are 32-bit")
}
