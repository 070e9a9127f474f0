//! KgCoOp against an independent PyTorch computation in 64 bits (`fixtures/make_kgcoop.py`): loss, gradient,
//! and a whole descent, with GRAM's regulator and without, on the model and the images of `fixtures/methods`.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::{Named, read_tensors};
use gram_clip::layers::indices;
use gram_clip::scalars::read_one;
use gram_clip::{Clip, Compute};
use gram_features::Images;
use gram_meta::Regulator;
use gram_prompt::{
    ClassSentence, Classes, CrossEntropy, LabelledImages, Objective, Part, Placement, Prompt, PromptedClip,
    Rates, RegulatorForm,
};
use gram_tune::adaptation::{AdaptationSettings, Regulated, Tuner};
use gram_tune::descent::{TuningSet, batches};
use gram_tune::kgcoop::{KgcoopSettings, KnowledgeGuided};
use gram_tune::method::Start;
use gram_tune::method_table::{Method, ObjectiveSettings};
use serde_json::Value;

/// The seed whose order of images the fixture has.
const SEED: u64 = 7;
const EPOCHS: usize = 3;
const BATCH: usize = 3;
const CLASSES: usize = 4;
/// Largest deviation of a loss.
const LOSS: f32 = 1e-5;
/// Largest deviation of a context or a gradient, relative to its norm.
const RELATIVE: f32 = 1e-5;

struct Fixture {
    clip: Clip,
    /// Of methods/.
    inputs: Named,
    described: Value,
    /// Of kgcoop/.
    expected: Named,
    cases: Value,
    labels: Vec<usize>,
    device: Device,
}

impl Fixture {
    fn open() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let json = |name: &str| serde_json::from_slice::<Value>(&read(name)).unwrap();
        let (device, inputs) = (Compute::tested().device(), read("methods/cases.safetensors"));
        let config = String::from_utf8(read("methods/config.json")).unwrap();
        let labels = safetensors::SafeTensors::deserialize(&inputs).unwrap();
        let labels = labels.tensor("labels").unwrap().data().chunks(8).map(|bytes| usize::from(bytes[0]));
        Self {
            clip: Clip::from_bytes(&config, &read("methods/model.safetensors"), &Compute::tested()).unwrap(),
            labels: labels.collect(),
            inputs: read_tensors("methods", &inputs).unwrap(),
            described: json("methods/cases.json"),
            expected: read_tensors("kgcoop", &read("kgcoop/cases.safetensors")).unwrap(),
            cases: json("kgcoop/cases.json"),
            device,
        }
    }

    /// Any tensor as a matrix of its last dimension.
    fn matrix(&self, of: &Named, name: &str) -> Tensor<2> {
        let (shape, values) = of.get(name).unwrap_or_else(|| panic!("no tensor `{name}`"));
        let width = *shape.last().unwrap();
        Tensor::from_data(TensorData::new(values.clone(), [values.len() / width, width]), &self.device)
    }

    /// Features of some images as an epoch sees them.
    fn features(&self, name: &str, epoch: usize, chosen: &[usize]) -> Tensor<2> {
        let values = &self.inputs[name].1;
        let size = 3 * 16 * 16;
        let picked = chosen.iter().flat_map(|image| {
            let first = (epoch * self.labels.len() + image) * size;
            values[first..first + size].to_vec()
        });
        let data = TensorData::new(picked.collect::<Vec<f32>>(), [chosen.len(), 3, 16, 16]);
        self.clip.image_features(Tensor::from_data(data, &self.device), None)
    }

    fn token(&self, name: &str) -> u32 {
        self.described["tokens"][name].as_u64().unwrap() as u32
    }

    /// Name, full stop and end of every class.
    fn sentences(&self) -> Vec<ClassSentence> {
        let after = [self.token("full_stop"), self.token("end")];
        let names: Vec<Vec<u32>> = serde_json::from_value(self.described["names"].clone()).unwrap();
        let sentence = |ids: Vec<u32>| ClassSentence { name: ids.len(), ids: [ids, after.to_vec()].concat() };
        names.into_iter().map(sentence).collect()
    }

    /// As the table of methods gives it.
    fn objective(&self, method: Method) -> Box<dyn Objective> {
        let weight = self.cases["weight"].as_f64().unwrap() as f32;
        let settings = ObjectiveSettings { kgcoop: KgcoopSettings { weight } };
        method.objective(&settings, self.matrix(&self.inputs, "hand_written_features"))
    }

    fn settings(&self) -> AdaptationSettings {
        let of = |name: &str| self.described["settings"][name].as_f64().unwrap() as f32;
        AdaptationSettings {
            epochs: EPOCHS,
            batch_size: BATCH,
            rates: Rates::both(self.cases["rate"].as_f64().unwrap() as f32),
            joint_rates: None,
            momentum: of("momentum"),
            weight_decay: of("weight_decay"),
            warmup_epochs: 1,
            warmup_rate: of("warmup_rate"),
            regulated: Regulated::Gradient,
        }
    }

    fn model(&self, contexts: usize, classes_at_once: usize) -> PromptedClip<'_> {
        let placement = Placement { contexts, ..Placement::default() };
        PromptedClip { clip: &self.clip, start: self.token("start"), placement, classes_at_once }
    }

    fn prompt(&self, name: &str) -> Prompt {
        [(Part::Text, self.matrix(&self.expected, name))].into_iter().collect()
    }

    fn close(&self, name: &str, found: &Tensor<2>) {
        let expected = self.matrix(&self.expected, name);
        let norm = |tensor: Tensor<2>| tensor.square().sum().sqrt().into_scalar::<f32>();
        let off = norm(found.clone() - expected.clone()) / norm(expected);
        assert!(off < RELATIVE, "{name}: off by {off} of its norm");
    }

    /// The first batch's loss and gradient, and the whole descent.
    fn check(&self, case: &str, method: Method, contexts: usize, at_once: usize, phi: Option<Regulator>) {
        let (model, objective) = (self.model(contexts, at_once), self.objective(method));
        let (theta, classes) =
            (self.prompt(&format!("{case}.start.text")), Classes::Sentences(self.sentences()));
        let chosen = batches(self.labels.len(), BATCH, SEED, 0).remove(0);
        let labels: Vec<usize> = chosen.iter().map(|image| self.labels[*image]).collect();
        let set = LabelledImages {
            images: Images::Features(self.features("views", 0, &chosen)),
            labels: indices(&labels, &self.device),
        };
        let first = model.gradient_of(objective.as_ref(), &theta, &classes, &set);
        self.close(&format!("{case}.first_gradient.text"), first.gradient.get(Part::Text).unwrap());

        let images =
            |epoch: usize, chosen: &[usize]| Ok(Images::Features(self.features("views", epoch, chosen)));
        let set = TuningSet { classes: classes.clone(), images: &images, labels: self.labels.clone() };
        let start = Start { theta, placement: model.placement, phi };
        let settings = self.settings();
        let tuner = Tuner { clip: &model, objective: objective.as_ref(), settings: &settings };
        let mut found = Vec::new();
        let mut observe = |_: usize, _: &Prompt, losses: &[f32]| found.extend_from_slice(losses);
        let end = tuner.tune(&set, &start, SEED, &self.device, &mut observe).unwrap();
        let expected = &self.expected[&format!("{case}.losses")].1;
        assert_eq!((found.len(), found[0]), (expected.len(), read_one(first.loss)));
        for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < LOSS, "{case}, step {step}: {found}, PyTorch {expected}");
        }
        self.close(&format!("{case}.final.text"), end.get(Part::Text).unwrap());
        let images = Images::Features(self.features("test_pixels", 0, &[0, 1, 2, 3, 4]));
        self.close(&format!("{case}.test_logits"), &model.logits(&end, &classes, &images));
    }

    fn regulator(&self) -> Regulator {
        let named = ["gamma_weight", "gamma_bias", "beta_weight", "beta_bias"].map(|parameter| {
            let name = format!("text.{parameter}");
            (name.clone(), self.matrix(&self.inputs, &format!("regulator.{name}")))
        });
        let theta = self.prompt("kgcoop-gram.start.text");
        Regulator::from_named(&theta, &named.into(), RegulatorForm::Paper).unwrap().unwrap()
    }
}

#[test]
fn kgcoop_is_pytorch_s() {
    let fixture = Fixture::open();
    fixture.check("kgcoop", Method::Kgcoop, 1, usize::MAX, None);
    fixture.check("kgcoop-class-specific", Method::Kgcoop, CLASSES, usize::MAX, None);
}

#[test]
fn kgcoop_with_gram_is_pytorch_s() {
    let fixture = Fixture::open();
    fixture.check("kgcoop-gram", Method::KgcoopGram, 1, usize::MAX, Some(fixture.regulator()));
}

#[test]
fn the_distance_to_the_hand_written_prompt_reaches_the_context_where_classes_are_taken_in_parts() {
    let fixture = Fixture::open();
    fixture.check("kgcoop", Method::Kgcoop, 1, 3, None);
    fixture.check("kgcoop-class-specific", Method::Kgcoop, CLASSES, 1, None);
}

#[test]
fn the_distance_is_pytorch_s_and_nothing_for_the_hand_written_prompt_itself() {
    let fixture = Fixture::open();
    let hand_written = fixture.matrix(&fixture.inputs, "hand_written_features");
    let guided = KnowledgeGuided { hand_written: hand_written.clone(), weight: 1.0 };
    assert!(guided.distance(hand_written).into_scalar::<f32>().abs() < 1e-6);
    let images = Images::Features(fixture.features("test_pixels", 0, &[0]));
    let (theta, classes) = (fixture.prompt("kgcoop.start.text"), Classes::Sentences(fixture.sentences()));
    let answer = fixture.model(1, usize::MAX).answer(&theta, &classes, &images);
    let expected = fixture.expected["kgcoop.penalties"].1[0];
    assert!((guided.distance(answer.texts).into_scalar::<f32>() - expected).abs() < LOSS);
}

#[test]
fn without_its_weight_kgcoop_is_coop() {
    let fixture = Fixture::open();
    let (theta, classes) = (fixture.prompt("kgcoop.start.text"), Classes::Sentences(fixture.sentences()));
    let set = LabelledImages {
        images: Images::Features(fixture.features("views", 0, &[0, 1, 2])),
        labels: indices(&fixture.labels[..3], &fixture.device),
    };
    let hand_written = fixture.matrix(&fixture.inputs, "hand_written_features");
    let unguided = KnowledgeGuided { hand_written, weight: 0.0 };
    let model = fixture.model(1, usize::MAX);
    let (found, expected) = (
        model.gradient_of(&unguided, &theta, &classes, &set),
        model.gradient_of(&CrossEntropy, &theta, &classes, &set),
    );
    assert_eq!(read_one(found.loss), read_one(expected.loss));
    assert_eq!(found.gradient.add_scaled(&expected.gradient, -1.0).norm(), 0.0);
}
