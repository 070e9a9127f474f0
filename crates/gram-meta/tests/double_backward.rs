//! Every number of GRAM against PyTorch's double backward in float64 (`fixtures/make_fixtures.py`).
#![allow(clippy::unwrap_used)]

mod case;

use std::path::PathBuf;

use burn::tensor::Tensor;
use case::{CASES, Case, METHODS, apart};
use gram_clip::products::Refusal;
use gram_clip::scalars::read_one;
use gram_clip::{Compute, Precision};
use gram_features::Images;
use gram_meta::meta_gradient::regulated;
use gram_meta::{InnerLoop, Regulated, Task};
use gram_prompt::{Classes, Classification, LabelledImages, Prompt, PromptKind, Rates, RegulatorForm};

/// Largest deviation allowed on any device, relative to the norm of what is compared. Values are 32-bit here.
const TOLERANCE: f32 = 1e-4;

/// A fixture on a device.
fn open(name: &str, compute: &Compute) -> Case {
    Case::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), compute)
}

/// Both fixtures on the device that is tested.
fn cases() -> [Case; 2] {
    CASES.map(|name| open(name, &Compute::tested()))
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
    for_every_method_on(&Compute::tested(), check);
}

fn for_every_method_on(compute: &Compute, check: impl Fn(&Case, &str, PromptKind)) {
    for case in CASES.map(|name| open(name, compute)) {
        METHODS.iter().for_each(|(method, kind)| check(&case, method, *kind));
    }
}

#[test]
fn prompted_features_are_those_of_pytorch() {
    for case in cases() {
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
    for_every_method_on(&Compute::cpu(), |case, method, kind| {
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
    for_every_method_on(&Compute::cpu(), |case, method, kind| {
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
    let query_loss = reading.query_loss;
    assert!((query_loss - loss).abs() < TOLERANCE * loss, "{tag}: {query_loss} is not {loss}");
    for (part, expected) in case.prompt(kind, |part| format!("{tag}.theta.{part}")).parts() {
        close(found.theta.get(part).unwrap(), expected, &format!("{tag} {}", part.name()));
    }
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
    let case = open(CASES[0], &Compute::tested());
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
    let case = open(CASES[0], &Compute::tested());
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
    let case = open(CASES[0], &Compute::tested());
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
            assert!(apart < 0.1 * TOLERANCE * read_alone.query_loss, "{method}");
            assert_eq!(read.query_accuracy, read_alone.query_accuracy, "{method}");
            assert_close(&found.theta, &alone.theta, method);
            let (found, alone) = (found.phi.unwrap().named(), alone.phi.as_ref().unwrap().named());
            alone.iter().for_each(|(name, alone)| close(&found[name], alone, name));
        }
    });
}

#[test]
fn gradients_of_towers_in_16_bits_are_near_those_in_32() {
    // The towers here are 16 to 24 numbers wide, so that few roundings cancel.
    for (precision, largest) in [(Precision::Bf16, 5e-2), (Precision::F16, 1e-2)] {
        // A device that cannot compute in it says so when it is asked to.
        let rounded = Compute::cpu().in_precision(precision).unwrap();
        for name in CASES {
            let (case, whole) = (open(name, &rounded), open(name, &Compute::cpu()));
            for (method, kind) in METHODS {
                let (task, theta) = (case.task(), case.theta(kind));
                let gradient = |case: &Case| case.model().gradient(&theta, &task.classes, &task.support_set);
                let (found, expected) = (gradient(&case), gradient(&whole));
                let off = apart(&found.gradient, &expected.gradient);
                assert!(off < largest, "{name}, {method}, {precision}: {off}");
                assert!(off > 1e-5, "{name}, {method}, {precision}: nothing was rounded");
                let losses = (read_one(found.loss), read_one(expected.loss));
                assert!((losses.0 - losses.1).abs() < 2e-2 * losses.1, "{name}, {method}: {losses:?}");
            }
        }
    }
}
