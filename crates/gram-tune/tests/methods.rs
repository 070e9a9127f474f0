//! Every method against an independent PyTorch computation in 64 bits: the same start, the same batches, the
//! same losses and the same end (`fixtures/make_methods.py`).
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::read_tensors;
use gram_clip::scalars::read_one;
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, Compute, Signal};
use gram_features::Images;
use gram_meta::Regulator;
use gram_prompt::{
    ClassSentence, Classes, Classification, LabelledImages, Part, Placement, Prompt, PromptKind,
    PromptedClip, Rates, RegulatorForm,
};
use gram_tune::adaptation::{AdaptationSettings, TuningSet, adapt, batches};
use gram_tune::method::Start;
use gram_tune::prepared::EvaluationError;
use gram_tune::prompt_distribution::{self, CollectionSettings, PromptCollection};
use gram_tune::tip_adapter::{TipAdapter, TipAdapterSettings, tune_keys};
use serde_json::Value;

/// The seed whose order of images `orders.json` has.
const SEED: u64 = 7;
const EPOCHS: usize = 3;
const BATCH: usize = 3;
/// Largest deviation of a loss.
const LOSS: f32 = 1e-5;
/// Largest deviation of a parameter, relative to its norm.
const PARAMETER: f32 = 1e-5;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/methods")
}

struct Fixture {
    clip: Clip,
    cases: Value,
    tensors: gram_clip::checkpoint::Named,
    labels: Vec<usize>,
    classes_at_once: usize,
    device: Device,
}

impl Fixture {
    fn open() -> Self {
        let device = Compute::tested().device();
        let read = |name: &str| std::fs::read(folder().join(name)).unwrap();
        let config = String::from_utf8(read("config.json")).unwrap();
        let cases: Value = serde_json::from_slice(&read("cases.json")).unwrap();
        let bytes = read("cases.safetensors");
        let labels = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let labels = labels.tensor("labels").unwrap();
        let labels = labels.data().chunks(8).map(|bytes| usize::from(bytes[0])).collect();
        Self {
            clip: Clip::from_bytes(&config, &read("model.safetensors"), &Compute::tested()).unwrap(),
            cases,
            tensors: read_tensors("cases.safetensors", &bytes).unwrap(),
            labels,
            classes_at_once: usize::MAX,
            device,
        }
    }

    fn values(&self, name: &str) -> &[f32] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor `{name}`")).1
    }

    /// Any tensor as a matrix of its last dimension.
    fn matrix(&self, name: &str) -> Tensor<2> {
        let (shape, values) = &self.tensors[name];
        let width = *shape.last().unwrap();
        Tensor::from_data(TensorData::new(values.clone(), [values.len() / width, width]), &self.device)
    }

    fn pixels(&self, name: &str, epoch: usize, chosen: &[usize]) -> Tensor<4> {
        let (shape, values) = &self.tensors[name];
        let image: usize = shape[shape.len() - 3..].iter().product();
        let first = epoch * self.labels.len();
        let picked = |image_index: &usize| {
            values[(first + image_index) * image..(first + image_index + 1) * image].to_vec()
        };
        let values: Vec<f32> = chosen.iter().flat_map(picked).collect();
        Tensor::from_data(TensorData::new(values, [chosen.len(), 3, 16, 16]), &self.device)
    }

    fn start_token(&self) -> u32 {
        self.cases["tokens"]["start"].as_u64().unwrap() as u32
    }

    /// Name, full stop and end of every class.
    fn sentences(&self) -> Vec<ClassSentence> {
        let after = ["full_stop", "end"].map(|token| self.cases["tokens"][token].as_u64().unwrap() as u32);
        let sentence = |name: &Value| {
            let ids: Vec<u32> =
                name.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            ClassSentence { name: ids.len(), ids: [ids, after.to_vec()].concat() }
        };
        self.cases["names"].as_array().unwrap().iter().map(sentence).collect()
    }

    fn hand_written(&self) -> Tensor<2> {
        let ids =
            |ids: &Value| ids.as_array().unwrap()[1..].iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let texts: Vec<Vec<u32>> =
            self.cases["hand_written_ids"].as_array().unwrap().iter().map(ids).collect();
        self.clip.text.forward(self.start_token(), None, &texts, Batching::ByLength).value
    }

    fn image_features(&self, name: &str, epoch: usize, chosen: &[usize]) -> Tensor<2> {
        self.clip.image_features(self.pixels(name, epoch, chosen), None)
    }

    fn settings(&self, case: &str) -> AdaptationSettings {
        let rate = |tower: &str| self.cases["cases"][case]["rates"][tower].as_f64().unwrap_or(0.0) as f32;
        let of = |name: &str| self.cases["settings"][name].as_f64().unwrap() as f32;
        AdaptationSettings {
            epochs: EPOCHS,
            batch_size: BATCH,
            rates: Rates { text: rate("text"), visual: rate("visual") },
            momentum: of("momentum"),
            weight_decay: of("weight_decay"),
            warmup_epochs: 1,
            joint_rates: None,
            warmup_rate: of("warmup_rate"),
            regulated: Default::default(),
        }
    }

    fn prompt(&self, case: &str, moment: &str, kind: PromptKind) -> Prompt {
        let part = |part: &Part| (*part, self.matrix(&format!("{case}.{moment}.{}", part.name())));
        kind.parts().iter().map(part).collect()
    }

    fn close_losses(&self, case: &str, found: &[f32]) {
        let expected = self.values(&format!("{case}.losses"));
        assert_eq!(found.len(), expected.len());
        for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < LOSS, "{case}, step {step}: {found}, PyTorch {expected}");
        }
    }

    fn close(&self, name: &str, found: &Tensor<2>) {
        let expected = self.matrix(name);
        let norm = |tensor: Tensor<2>| tensor.square().sum().sqrt().into_scalar::<f32>();
        let off = norm(found.clone() - expected.clone()) / norm(expected);
        assert!(off < PARAMETER, "{name}: off by {off} of its norm");
    }

    /// Tunes a prompt from the case's start and compares losses, end, and the logits of other images.
    fn check(&self, case: &str, kind: PromptKind, placement: Placement, phi: Option<Regulator>) {
        let model = self.model(placement);
        let classes = match kind.has(Part::Text) {
            true => Classes::Sentences(self.sentences()),
            false => Classes::Features(self.hand_written()),
        };
        let images = |epoch: usize, chosen: &[usize]| {
            Ok::<_, EvaluationError>(match kind.has(Part::Visual) {
                true => Images::Pixels(self.pixels("views", epoch, chosen)),
                false => Images::Features(self.image_features("views", epoch, chosen)),
            })
        };
        let set = TuningSet { classes: classes.clone(), images: &images, labels: self.labels.clone() };
        let start = Start { theta: self.prompt(case, "start", kind), placement, phi };
        let mut found = Vec::new();
        let mut observe = |_: usize, _: &Prompt, losses: &[f32]| found.extend_from_slice(losses);
        let end =
            adapt(&model, &set, &start, &self.settings(case), SEED, &self.device, &mut observe).unwrap();
        self.close_losses(case, &found);
        for (part, tensor) in end.parts() {
            self.close(&format!("{case}.final.{}", part.name()), tensor);
        }
        let images = Images::Pixels(self.pixels("test_pixels", 0, &[0, 1, 2, 3, 4]));
        let classes = model.fixed(&end, classes);
        self.close(&format!("{case}.test_logits"), &model.logits(&end, &classes, &images));
    }

    fn model(&self, placement: Placement) -> PromptedClip<'_> {
        PromptedClip {
            clip: &self.clip,
            start: self.start_token(),
            placement,
            classes_at_once: self.classes_at_once,
        }
    }

    fn regulator(&self) -> Regulator {
        let named = ["gamma_weight", "gamma_bias", "beta_weight", "beta_bias"].map(|parameter| {
            (format!("text.{parameter}"), self.matrix(&format!("regulator.text.{parameter}")))
        });
        let prompt = self.prompt("coop-gram", "start", PromptKind::Textual);
        Regulator::from_named(&prompt, &named.into_iter().collect(), RegulatorForm::Paper).unwrap().unwrap()
    }
}

fn placed(class_position: &str, contexts: usize, visual_depth: usize) -> Placement {
    Placement { class_position: class_position.parse().unwrap(), contexts, visual_depth }
}

#[test]
fn the_fixture_has_the_order_that_the_seed_gives() {
    let orders: Vec<Vec<usize>> = (0..EPOCHS).map(|epoch| batches(8, BATCH, SEED, epoch).concat()).collect();
    let fixture = std::fs::read(folder().join("orders.json")).unwrap();
    assert_eq!(orders, serde_json::from_slice::<Vec<Vec<usize>>>(&fixture).unwrap());
}

#[test]
fn coop_is_pytorch_s_wherever_the_name_stands() {
    let fixture = Fixture::open();
    for position in ["end", "middle", "front"] {
        fixture.check(&format!("coop-{position}"), PromptKind::Textual, placed(position, 1, 1), None);
    }
}

#[test]
fn classes_taken_in_parts_give_the_same_descent() {
    let fixture = Fixture { classes_at_once: 3, ..Fixture::open() };
    fixture.check("coop-end", PromptKind::Textual, Placement::default(), None);
    fixture.check("coop-class-specific-middle", PromptKind::Textual, placed("middle", 4, 1), None);
    fixture.check("joint", PromptKind::Joint, Placement::default(), None);
}

/// Many classes pass the tower in parts, each on a core; all at once is what several tasks do.
#[test]
fn many_classes_in_parts_have_the_gradient_of_one_pass() {
    let fixture = Fixture::open();
    let sentences: Vec<ClassSentence> = fixture.sentences().into_iter().cycle().take(123).collect();
    let classes = Classes::Sentences(sentences);
    let width = fixture.clip.config.text_config.hidden_size;
    let values: Vec<f32> = (0..4 * width).map(|place| 0.05 * ((place * 7 % 19) as f32 - 9.0)).collect();
    let context = Tensor::from_data(TensorData::new(values, [4, width]), &fixture.device);
    let prompt: Prompt = [(Part::Text, context)].into_iter().collect();
    let images = Images::Features(fixture.image_features("test_pixels", 0, &[0, 1, 2, 3, 4]));
    let labels = Tensor::from_data(TensorData::new(vec![0_i64, 49, 50, 99, 122], [5]), &fixture.device);
    let set = LabelledImages { images, labels };
    let clip = |classes_at_once| PromptedClip {
        clip: &fixture.clip,
        start: fixture.start_token(),
        placement: Placement::default(),
        classes_at_once,
    };
    let task = Classification { prompt: &prompt, classes: &classes, set: &set };
    let whole = clip(usize::MAX).gradients(&[task]).remove(0);
    for classes_at_once in [usize::MAX, 123, 70, 11] {
        let parts = clip(classes_at_once).gradient(&prompt, &classes, &set);
        let (loss, expected) = (read_one(parts.loss), read_one(whole.loss.clone()));
        assert!((loss - expected).abs() < LOSS, "{loss} {expected}");
        let apart = parts.gradient.add_scaled(&whole.gradient, -1.0).norm() / whole.gradient.norm();
        assert!(apart < PARAMETER, "{apart} of the norm with {classes_at_once} at once");
    }
}

#[test]
fn coop_with_a_context_for_each_class_is_pytorch_s() {
    let fixture = Fixture::open();
    fixture.check("coop-class-specific", PromptKind::Textual, placed("end", 4, 1), None);
    fixture.check("coop-class-specific-middle", PromptKind::Textual, placed("middle", 4, 1), None);
}

#[test]
fn cocoop_is_pytorch_s() {
    Fixture::open().check("cocoop", PromptKind::Conditional, Placement::default(), None);
}

#[test]
fn vpt_is_pytorch_s_shallow_and_deep() {
    let fixture = Fixture::open();
    fixture.check("vpt-shallow", PromptKind::Visual, Placement::default(), None);
    fixture.check("vpt-deep", PromptKind::Visual, placed("end", 1, 3), None);
}

#[test]
fn joint_prompts_with_a_rate_for_each_tower_are_pytorch_s() {
    Fixture::open().check("joint", PromptKind::Joint, Placement::default(), None);
}

#[test]
fn regulated_descent_is_pytorch_s() {
    let fixture = Fixture::open();
    let phi = || Some(fixture.regulator());
    fixture.check("coop-gram", PromptKind::Textual, Placement::default(), phi());
    fixture.check("cocoop-gram", PromptKind::Conditional, Placement::default(), phi());
}

#[test]
fn tip_adapter_s_cache_and_logits_are_pytorch_s() {
    let fixture = Fixture::open();
    let all: Vec<usize> = (0..8).collect();
    let views: Vec<Tensor<2>> =
        (0..EPOCHS).map(|epoch| fixture.image_features("views", epoch, &all)).collect();
    let images = fixture.image_features("test_pixels", 0, &[0, 1, 2, 3, 4]);
    for (index, weights) in
        fixture.cases["settings"]["tip_adapter"]["alpha_beta"].as_array().unwrap().iter().enumerate()
    {
        let [alpha, beta] = [0, 1].map(|place| weights[place].as_f64().unwrap() as f32);
        let cache = TipAdapter::new(&views, &fixture.labels, 4, alpha, beta);
        fixture.close("tip-adapter.keys", &cache.keys);
        let logits = cache.logits(&fixture.clip, images.clone(), fixture.hand_written());
        fixture.close(&format!("tip-adapter.logits.{index}"), &logits);
    }
}

#[test]
fn the_keys_of_tip_adapter_f_are_tuned_as_pytorch_does() {
    let fixture = Fixture::open();
    let case = "tip-adapter-f";
    let of = |name: &str| fixture.cases["cases"][case][name].as_f64().unwrap() as f32;
    let cache = TipAdapter {
        keys: fixture.matrix("tip-adapter-f.start.keys"),
        ..TipAdapter::new(
            &[fixture.matrix("tip-adapter-f.start.keys")],
            &fixture.labels,
            4,
            of("alpha"),
            of("beta"),
        )
    };
    let settings = TipAdapterSettings { epochs: EPOCHS, batch_size: BATCH, ..TipAdapterSettings::default() };
    let images =
        |epoch: usize, chosen: &[usize]| Ok(Images::Features(fixture.image_features("views", epoch, chosen)));
    let classes = Classes::Features(fixture.hand_written());
    let set = TuningSet { classes, images: &images, labels: fixture.labels.clone() };
    let mut found = Vec::new();
    let mut observe = |_: &TipAdapter, loss: f32| found.push(loss);
    let start = cache.keys.clone();
    let tuned = tune_keys(&fixture.clip, cache, &set, &settings, SEED, &mut observe).unwrap();
    fixture.close_losses(case, &found);
    // The keys move by a fiftieth of their norm only: what is compared is how they moved.
    let moved = tuned.keys - start.clone();
    let expected = fixture.matrix("tip-adapter-f.final.keys") - start;
    let norm = |tensor: Tensor<2>| tensor.square().sum().sqrt().into_scalar::<f32>();
    assert!(norm(moved - expected.clone()) / norm(expected) < 1e-3);
}

#[test]
fn proda_is_pytorch_s() {
    let fixture = Fixture::open();
    let settings =
        CollectionSettings { prompts: 4, prompts_of_step: 4, context_tokens: 3, orthogonality: 0.1 };
    let start = PromptCollection { contexts: fixture.matrix("proda.start.text"), prompts: 4 };
    let images =
        |epoch: usize, chosen: &[usize]| Ok(Images::Features(fixture.image_features("views", epoch, chosen)));
    let sentences = fixture.sentences();
    let set = TuningSet {
        classes: Classes::Sentences(sentences.clone()),
        images: &images,
        labels: fixture.labels.clone(),
    };
    let clip = fixture.model(Placement::default());
    let mut found = Vec::new();
    let mut observe = |_: usize, _: &PromptCollection, loss: f32| found.push(loss);
    let adaptation = fixture.settings("proda");
    let tuned =
        prompt_distribution::tune(&clip, &set, start, &settings, &adaptation, SEED, &mut observe).unwrap();
    fixture.close_losses("proda", &found);
    fixture.close("proda.final.text", &tuned.contexts);
    let images = fixture.image_features("test_pixels", 0, &[0, 1, 2, 3, 4]);
    let text = tuned.mean(&fixture.clip, fixture.start_token(), &sentences);
    fixture.close("proda.test_logits", &fixture.clip.logits(images.into(), Signal::from(text)).value);
}
