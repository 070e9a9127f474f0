//! Every number of GRAM against PyTorch's double backward in float64 (`fixtures/make_fixtures.py`).
#![allow(clippy::unwrap_used)]

use gram_clip::Compute;
use gram_clip::scalars::read_one;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::Clip;
use gram_clip::checkpoint::float_values;
use gram_clip::layers::indices;
use gram_clip::products::Refusal;
use gram_features::Images;
use gram_meta::meta_gradient::regulated;
use gram_meta::{InnerLoop, NewClasses, Regulated, Regulator, Task};
use gram_prompt::{
    ClassSentence, Classes, Classification, LabelledImages, Part, Placement, Prompt, PromptKind,
    PromptedClip, Rates, RegulatorForm,
};
use safetensors::SafeTensors;

/// Largest deviation allowed, relative to the norm of what is compared. Values are 32-bit here.
const TOLERANCE: f32 = 2e-4;
const CASES: [&str; 2] = ["seed-11-quick-gelu", "seed-12-gelu"];
const METHODS: [(&str, PromptKind); 4] = [
    ("textual", PromptKind::Textual),
    ("conditional", PromptKind::Conditional),
    ("visual", PromptKind::Visual),
    ("joint", PromptKind::Joint),
];

struct Case {
    device: Device,
    clip: Clip,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    integers: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
    settings: serde_json::Value,
}

impl Case {
    fn open(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let device = Compute::tested().device();
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
        Self { clip: Clip::open(&folder, &Compute::tested()).unwrap(), device, tensors, integers, settings }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
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

    fn setting(&self, name: &str) -> f32 {
        self.settings[name].as_f64().unwrap() as f32
    }

    fn model(&self) -> PromptedClip<'_> {
        PromptedClip {
            clip: &self.clip,
            start: self.settings["sos"].as_u64().unwrap() as u32,
            placement: Placement::default(),
            classes_at_once: usize::MAX,
        }
    }

    /// The inner loop, exact, with fixed rates.
    fn inner_loop(&self, steps: usize) -> InnerLoop {
        let rates = Rates::both(self.setting("alpha"));
        InnerLoop { steps, rates, ..InnerLoop::default() }
    }

    fn task(&self) -> Task {
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
    fn task_with_new_classes(&self) -> Task {
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

    fn prompt(&self, kind: PromptKind, name: impl Fn(&str) -> String) -> Prompt {
        let part = |modality: &Part| (*modality, self.tensor::<2>(&name(modality.name())));
        kind.parts().iter().map(part).collect()
    }

    fn theta(&self, kind: PromptKind) -> Prompt {
        self.prompt(kind, |part| format!("theta.{part}"))
    }

    fn regulator(&self, kind: PromptKind, prefix: &str, form: RegulatorForm) -> Regulator {
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

fn assert_close(found: &Prompt, expected: &Prompt, what: &str) {
    for (modality, part) in expected.parts() {
        close(found.get(modality).unwrap(), part, &format!("{what} {}", modality.name()));
    }
}

fn close(found: &Tensor<2>, expected: &Tensor<2>, what: &str) {
    let norm = |tensor: Tensor<2>| tensor.square().sum().into_scalar::<f32>().sqrt();
    let deviation = norm(found.clone() - expected.clone()) / norm(expected.clone());
    assert!(deviation < TOLERANCE, "{what}: {deviation:e} off");
}

/// Runs `check` for both cases and the four kinds of prompt.
fn for_every_method(check: impl Fn(&Case, &str, PromptKind)) {
    for case in CASES.map(Case::open) {
        METHODS.iter().for_each(|(method, kind)| check(&case, method, *kind));
    }
}

#[test]
fn prompted_features_are_those_of_pytorch() {
    for case in CASES.map(Case::open) {
        let (task, model) = (case.task(), case.model());
        let (Classes::Sentences(sentences), Images::Pixels(pixels)) = (&task.classes, &task.query_set.images)
        else {
            unreachable!("fixtures have sentences and pixels");
        };
        let by_length = gram_clip::text_tower::Batching::ByLength;
        let text = |prompt: Option<Tensor<2>>| {
            let words: Vec<Vec<u32>> = sentences.iter().map(|sentence| sentence.ids.clone()).collect();
            case.clip.text.forward(model.start, prompt.map(Into::into), &words, by_length).value
        };
        let image = |prompt: Option<Tensor<2>>| {
            case.clip.vision.forward(pixels.clone(), prompt.map(Into::into)).value
        };
        close(&text(None), &case.tensor("text_features.plain"), "plain text");
        close(
            &text(Some(case.tensor("theta.text"))),
            &case.tensor("text_features.prompted"),
            "prompted text",
        );
        close(&image(None), &case.tensor("image_features.plain"), "plain image");
        close(
            &image(Some(case.tensor("theta.visual"))),
            &case.tensor("image_features.prompted"),
            "prompted image",
        );
    }
}

#[test]
fn support_loss_gradient_and_regulated_gradient_are_those_of_pytorch() {
    for_every_method(|case, method, kind| {
        let task = case.task();
        let found = case.model().gradient(&case.theta(kind), &task.classes, &task.support_set);
        let loss = case.tensor::<1>(&format!("{method}.support_loss")).into_scalar::<f32>();
        let found_loss = read_one(found.loss.clone());
        assert!((found_loss - loss).abs() < 1e-4 * loss, "{method}: {found_loss} is not {loss}");
        let expected = case.prompt(kind, |part| format!("{method}.support_gradient.{part}"));
        assert_close(&found.gradient, &expected, method);
        let bent = case.regulator(kind, "phi", RegulatorForm::Paper).regulate(&found.gradient);
        let expected = case.prompt(kind, |part| format!("{method}.regulated_gradient.{part}"));
        assert_close(&bent, &expected, method);
    });
}

#[test]
fn the_hessian_vector_product_is_that_of_double_backward() {
    for_every_method(|case, method, kind| {
        let task = case.task();
        let direction = case.prompt(kind, |part| format!("{method}.direction.{part}"));
        let theta = case.theta(kind);
        let at = Classification { prompt: &theta, classes: &task.classes, set: &task.support_set };
        let found = case.model().hessian_vector_products(&[at], &[direction], None).remove(0);
        let expected = case.prompt(kind, |part| format!("{method}.hessian_vector_product.{part}"));
        assert_close(&found, &expected, method);
    });
}

#[test]
fn what_the_products_of_the_gradient_gave_stands_in_for_half_of_those_of_the_hessian() {
    for_every_method(|case, method, kind| {
        let (task, theta) = (case.task(), case.theta(kind));
        let direction = case.prompt(kind, |part| format!("{method}.direction.{part}"));
        let at = [Classification { prompt: &theta, classes: &task.classes, set: &task.support_set }];
        let (gradients, products) = case.model().gradients_and_products(&at);
        assert_close(&gradients[0].gradient, &case.model().gradients(&at)[0].gradient, method);
        assert!(products.len() >= 6, "{method}: {} products are kept", products.len());
        let found = case.model().hessian_vector_products(&at, &[direction], Some(&products)).remove(0);
        assert!(products.is_empty(), "{method}: {} products are left", products.len());
        assert_eq!(products.refused(), [], "{method}");
        let expected = case.prompt(kind, |part| format!("{method}.hessian_vector_product.{part}"));
        assert_close(&found, &expected, method);
    });
}

#[test]
fn products_of_other_tasks_labels_or_prompts_are_refused_and_the_hessian_is_right_all_the_same() {
    for_every_method(|case, method, kind| {
        let (tasks, theta) = (different_tasks(case), case.theta(kind));
        let relabelled = LabelledImages {
            labels: tasks[0].support_set.labels.clone().flip([0]),
            ..tasks[0].support_set.clone()
        };
        let moved = theta.map(|_, part| part * 1.01);
        let direction = case.prompt(kind, |part| format!("{method}.direction.{part}"));
        let at = |task: &'_ Task| (task.classes.clone(), task.support_set.clone());
        let [one, other] = [at(&tasks[0]), at(&tasks[1])];
        let other_labels = (one.0.clone(), relabelled);
        for (prompt, asked) in [
            (&theta, vec![&other, &one]),
            (&theta, vec![&one, &one]),
            (&theta, vec![&other_labels, &other]),
            (&moved, vec![&one, &other]),
        ] {
            let (_, products) =
                case.model().gradients_and_products(&classifications(&theta, &[&one, &other]));
            let kept = products.len();
            let (asked, directions) =
                (classifications(prompt, &asked), [direction.clone(), direction.clone()]);
            let found = case.model().hessian_vector_products(&asked, &directions, Some(&products));
            assert_eq!(products.refused(), [Refusal::OtherLosses], "{method}");
            assert_eq!(products.len(), kept, "{method}: something was taken");
            let expected = case.model().hessian_vector_products(&asked, &directions, None);
            found.iter().zip(&expected).for_each(|(found, expected)| assert_close(found, expected, method));
        }
    });
}

/// Tasks at one prompt.
fn classifications<'a>(
    prompt: &'a Prompt,
    tasks: &[&'a (Classes, LabelledImages)],
) -> Vec<Classification<'a>> {
    tasks.iter().map(|(classes, set)| Classification { prompt, classes, set }).collect()
}

/// Holds the meta-gradient of a task to what PyTorch has under `tag`.
fn assert_meta_gradient(
    task: &Task,
    case: &Case,
    kind: PromptKind,
    inner: &InnerLoop,
    form: RegulatorForm,
    tag: &str,
) {
    let (theta, phi) = (case.theta(kind), case.regulator(kind, "phi", form));
    let inner = InnerLoop { learn_rates: true, ..*inner };
    let found = inner.meta_gradients(&case.model(), &theta, Some(&phi), std::slice::from_ref(task)).remove(0);
    let loss = case.tensor::<1>(&format!("{tag}.query_loss")).into_scalar::<f32>();
    let reading = found.read();
    assert!((reading.query_loss - loss).abs() < 1e-4 * loss, "{tag}: {} is not {loss}", reading.query_loss);
    assert_close(&found.theta, &case.prompt(kind, |part| format!("{tag}.theta.{part}")), tag);
    let expected = case.regulator(kind, &format!("{tag}.phi"), form);
    let phi = found.phi.unwrap().named();
    for (name, expected) in expected.named() {
        close(&phi[&name], &expected, &format!("{tag} {name}"));
    }
    let Rates { text, visual } = reading.log_rates;
    let found = Tensor::<2>::from_floats([[text, visual]], &case.device);
    close(&found, &case.tensor(&format!("{tag}.log_rates")), &format!("{tag} log_rates"));
}

#[test]
fn meta_gradients_are_those_of_double_backward() {
    for_every_method(|case, method, kind| {
        for steps in [1, 3] {
            for (order, first_order) in [("exact", false), ("first_order", true)] {
                let inner = InnerLoop { first_order, ..case.inner_loop(steps) };
                let tag = format!("{method}.steps{steps}.{order}");
                assert_meta_gradient(&case.task(), case, kind, &inner, RegulatorForm::Paper, &tag);
            }
        }
    });
}

#[test]
fn meta_gradients_of_the_other_forms_of_the_regulator_are_those_of_double_backward() {
    let case = Case::open(CASES[0]);
    for (method, kind) in METHODS.into_iter().filter(|(_, kind)| *kind != PromptKind::Conditional) {
        for (name, form) in [("unit", RegulatorForm::Unit), ("rescaled", RegulatorForm::Rescaled)] {
            assert_meta_gradient(
                &case.task(),
                &case,
                kind,
                &case.inner_loop(1),
                form,
                &format!("{method}.{name}"),
            );
        }
    }
}

#[test]
fn meta_gradients_through_momentum_are_those_of_double_backward() {
    let case = Case::open(CASES[0]);
    for (method, kind) in METHODS {
        for (name, regulated) in [("gradient", Regulated::Gradient), ("velocity", Regulated::Velocity)] {
            let inner = InnerLoop { momentum: case.setting("momentum"), regulated, ..case.inner_loop(3) };
            let tag = format!("{method}.momentum.{name}");
            assert_meta_gradient(&case.task(), &case, kind, &inner, RegulatorForm::Paper, &tag);
        }
    }
}

#[test]
fn meta_gradients_where_new_classes_are_asked_for_are_those_of_double_backward() {
    let case = Case::open(CASES[0]);
    let task = case.task_with_new_classes();
    for (method, kind) in METHODS {
        let tag = format!("{method}.new_classes");
        assert_meta_gradient(&task, &case, kind, &case.inner_loop(1), RegulatorForm::Paper, &tag);
    }
}

#[test]
fn adaptation_with_the_regulated_gradient_is_that_of_pytorch() {
    for_every_method(|case, method, kind| {
        let (task, phi) = (case.task(), case.regulator(kind, "phi", RegulatorForm::Paper));
        let mut theta = case.theta(kind);
        let mut velocity = theta.map(|_, part| part.zeros_like());
        for _ in 0..case.settings["adaptation_steps"].as_u64().unwrap() {
            let g = case.model().gradient(&theta, &task.classes, &task.support_set).gradient;
            velocity = regulated(Some(&phi), &g).add_scaled(&velocity, case.setting("momentum"));
            theta = theta.add_scaled(&velocity, -case.setting("adaptation_rate"));
        }
        assert_close(&theta, &case.prompt(kind, |part| format!("{method}.adapted.{part}")), method);
    });
}

/// Tasks that differ in classes, in their number, and in images.
fn different_tasks(case: &Case) -> Vec<Task> {
    let task = case.task();
    let Classes::Sentences(sentences) = &task.classes else { unreachable!("fixtures have sentences") };
    let reversed = Task {
        classes: Classes::Sentences(sentences.iter().rev().cloned().collect()),
        support_set: task.query_set.clone(),
        query_set: task.support_set.clone(),
        new_classes: None,
    };
    let more = [sentences.clone(), sentences[..1].to_vec()].concat();
    let new_classes = case.task_with_new_classes();
    vec![task.clone(), reversed, new_classes, Task { classes: Classes::Sentences(more), ..task }]
}

#[test]
fn several_tasks_at_once_have_the_gradients_of_one_after_the_other() {
    for_every_method(|case, method, kind| {
        let (tasks, theta, phi) =
            (different_tasks(case), case.theta(kind), case.regulator(kind, "phi", RegulatorForm::Paper));
        let inner = InnerLoop { momentum: 0.5, ..case.inner_loop(2) };
        let together = inner.meta_gradients(&case.model(), &theta, Some(&phi), &tasks);
        for (task, found) in tasks.iter().zip(together) {
            let alone = inner.meta_gradients(&case.model(), &theta, Some(&phi), std::slice::from_ref(task));
            let alone = &alone[0];
            let (read, read_alone) = (found.read(), alone.read());
            let apart = (read.query_loss - read_alone.query_loss).abs();
            assert!(apart < 1e-5 * read_alone.query_loss, "{method}");
            assert_eq!(read.query_accuracy, read_alone.query_accuracy, "{method}");
            assert_close(&found.theta, &alone.theta, method);
            let (found, alone) = (found.phi.unwrap().named(), alone.phi.as_ref().unwrap().named());
            alone.iter().for_each(|(name, alone)| close(&found[name], alone, name));
        }
    });
}
