//! The fixtures of double backward, for its tests and for the bench of GPUs.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::float_values;
use gram_clip::layers::indices;
use gram_clip::{Clip, Compute};
use gram_features::Images;
use gram_meta::{InnerLoop, NewClasses, Regulator, Task};
use gram_prompt::{
    ClassSentence, Classes, LabelledImages, Part, Placement, Prompt, PromptKind, PromptedClip, Rates,
    RegulatorForm,
};
use safetensors::SafeTensors;

pub const CASES: [&str; 2] = ["seed-11-quick-gelu", "seed-12-gelu"];
pub const METHODS: [(&str, PromptKind); 4] = [
    ("textual", PromptKind::Textual),
    ("conditional", PromptKind::Conditional),
    ("visual", PromptKind::Visual),
    ("joint", PromptKind::Joint),
];

/// A fixture: a small random CLIP, an episode, and every number of the method by double backward in float64.
pub struct Case {
    pub device: Device,
    pub clip: Clip,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub integers: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
    pub settings: serde_json::Value,
}

impl Case {
    /// Opens the folder of a fixture.
    pub fn open(folder: &Path, compute: &Compute) -> Self {
        let device = compute.device();
        let bytes = fs::read(folder.join("case.safetensors")).unwrap();
        let header = SafeTensors::read_metadata(&bytes).unwrap().1;
        let settings = serde_json::from_str(&header.metadata().as_ref().unwrap()["case"]).unwrap();
        let (mut tensors, mut integers) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            match float_values(&view) {
                Some(values) => _ = tensors.insert(name, (view.shape().to_vec(), values)),
                None => {
                    let values =
                        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
                    integers.insert(name, (view.shape().to_vec(), values.collect()));
                }
            }
        }
        Self { clip: Clip::open(folder, compute).unwrap(), device, tensors, integers, settings }
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = self.tensors.get(name).unwrap_or_else(|| panic!("no {name}"));
        let shape: [usize; D] = match shape.len() {
            0 => [1; D],
            _ => {
                // A vector where a row is asked for.
                let ones = vec![1; D - shape.len()];
                [ones, shape.clone()].concat().try_into().unwrap()
            }
        };
        Tensor::from_data(TensorData::new(values.clone(), shape), &self.device)
    }

    pub fn setting(&self, name: &str) -> f32 {
        self.settings[name].as_f64().unwrap() as f32
    }

    pub fn model(&self) -> PromptedClip<'_> {
        PromptedClip {
            clip: &self.clip,
            start: self.settings["sos"].as_u64().unwrap() as u32,
            placement: Placement::default(),
            classes_at_once: usize::MAX,
        }
    }

    /// The inner loop, exact, with fixed rates.
    pub fn inner_loop(&self, steps: usize) -> InnerLoop {
        let rates = Rates::both(self.setting("alpha"));
        InnerLoop { steps, rates, ..InnerLoop::default() }
    }

    pub fn task(&self) -> Task {
        let (shape, names) = &self.integers["names"];
        let end = self.settings["eos"].as_u64().unwrap() as u32;
        let sentence = |row: &[i64]| {
            let name: Vec<u32> = row.iter().filter(|id| **id >= 0).map(|id| *id as u32).collect();
            ClassSentence { name: name.len(), ids: [name, vec![end]].concat() }
        };
        let set = |part: &str| LabelledImages {
            images: Images::Pixels(self.tensor(&format!("{part}_pixels"))),
            labels: {
                let (shape, labels) = &self.integers[&format!("{part}_labels")];
                Tensor::from_data(TensorData::new(labels.clone(), [shape[0]]), &self.device)
            },
        };
        Task {
            classes: Classes::Sentences(names.chunks(shape[1]).map(sentence).collect()),
            support_set: set("support"),
            query_set: set("query"),
            new_classes: None,
        }
    }

    /// The first two classes, the second first, with their support images, count as new ones.
    pub fn task_with_new_classes(&self) -> Task {
        let task = self.task();
        let (Classes::Sentences(sentences), Images::Pixels(pixels)) =
            (&task.classes, &task.support_set.images)
        else {
            unreachable!("fixtures have sentences and pixels");
        };
        let labels = &self.integers["support_labels"].1;
        let shown: Vec<usize> = (0..labels.len()).filter(|image| labels[*image] < 2).collect();
        let renumbered: Vec<usize> = shown.iter().map(|image| 1 - labels[*image] as usize).collect();
        let new_classes = NewClasses {
            classes: Classes::Sentences(vec![sentences[1].clone(), sentences[0].clone()]),
            query_set: LabelledImages {
                images: Images::Pixels(pixels.clone().select(0, indices(&shown, &self.device))),
                labels: indices(&renumbered, &self.device),
            },
        };
        Task { new_classes: Some(new_classes), ..task }
    }

    pub fn prompt(&self, kind: PromptKind, name: impl Fn(&str) -> String) -> Prompt {
        let part = |modality: &Part| (*modality, self.tensor::<2>(&name(modality.name())));
        kind.parts().iter().map(part).collect()
    }

    pub fn theta(&self, kind: PromptKind) -> Prompt {
        self.prompt(kind, |part| format!("theta.{part}"))
    }

    pub fn regulator(&self, kind: PromptKind, prefix: &str, form: RegulatorForm) -> Regulator {
        let theta = self.theta(kind);
        let named = theta.parts().filter(|(part, _)| part.is_of_tower()).flat_map(|(modality, _)| {
            ["gamma_weight", "gamma_bias", "beta_weight", "beta_bias"].map(|parameter| {
                let name = format!("{}.{parameter}", modality.name());
                (name.clone(), self.tensor::<2>(&format!("{prefix}.{name}")))
            })
        });
        Regulator::from_named(&theta, &named.collect(), form).unwrap().unwrap()
    }
}

/// Distance of two gradients over the norm of the second.
pub fn apart(found: &Prompt, expected: &Prompt) -> f32 {
    found.add_scaled(expected, -1.0).norm() / expected.norm()
}
