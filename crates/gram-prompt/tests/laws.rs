//! Laws of prompted classification, on small models of random weights, for every kind of prompt and place of
//! the name.
#![allow(clippy::unwrap_used)]

#[path = "../../gram-clip/tests/fixtures/random_model.rs"]
mod random_model;

use burn::tensor::Tensor;
use gram_clip::layers::indices;
use gram_clip::scalars::read_one;
use gram_clip::{Clip, Compute, Products};
use gram_features::Images;
use gram_prompt::{
    ClassPosition, ClassSentence, Classes, Classification, LabelledImages, Part, Placement, Prompt,
    PromptKind, PromptedClip,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use random_model::{END, JOINT_WIDTH, Random, SIDE, START, WIDTH, clip, difference};

/// Sums of 32-bit products in another order.
const ROUNDING: f32 = 1e-4;

/// The same few cases in every run.
fn few_cases() -> ProptestConfig {
    ProptestConfig { cases: 12, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() }
}

/// A model, a prompt of some kind, classes and images.
#[derive(Clone, Debug)]
struct World {
    seed: u64,
    kind: PromptKind,
    class_position: ClassPosition,
    /// Tokens of the classes' names.
    names: Vec<Vec<u32>>,
    images: usize,
}

fn world() -> impl Strategy<Value = World> {
    let positions = vec![ClassPosition::End, ClassPosition::Middle, ClassPosition::Front];
    let parts = (
        any::<u64>(),
        prop::sample::select(PromptKind::ALL.to_vec()),
        prop::sample::select(positions),
        vec(vec(0..START, 1..5), 2..7),
        2_usize..7,
    );
    parts.prop_map(|(seed, kind, class_position, names, images)| World {
        seed,
        kind,
        class_position,
        names,
        images,
    })
}

/// A world, and an order of its classes.
fn world_and_order() -> impl Strategy<Value = (World, Vec<usize>)> {
    world().prop_flat_map(|world| {
        let order: Vec<usize> = (0..world.names.len()).collect();
        (Just(world), Just(order).prop_shuffle())
    })
}

impl World {
    fn model<'a>(&self, clip: &'a Clip) -> PromptedClip<'a> {
        let placement = Placement { class_position: self.class_position, contexts: 1, visual_depth: 2 };
        PromptedClip { clip, start: START, placement, classes_at_once: usize::MAX }
    }

    /// A point in the space of prompts: the prompt, or a direction.
    fn point(&self, seed: u64) -> Prompt {
        let mut random = Random(self.seed ^ seed);
        let of_part = |part: &Part| {
            let shape = match part {
                Part::Text => [3, WIDTH],
                Part::Visual => [4, WIDTH],
                Part::HiddenWeight => [1, JOINT_WIDTH],
                Part::HiddenBias => [1, 1],
                Part::ShiftWeight => [WIDTH, 1],
                Part::ShiftBias => [1, WIDTH],
            };
            (*part, random.tensor(shape))
        };
        self.kind.parts().iter().map(of_part).collect()
    }

    fn classes(&self, names: &[Vec<u32>]) -> Classes {
        let sentence =
            |name: &Vec<u32>| ClassSentence { ids: [&name[..], &[END]].concat(), name: name.len() };
        Classes::Sentences(names.iter().map(sentence).collect())
    }

    fn pixels(&self) -> Tensor<4> {
        Random(self.seed ^ 2).tensor([self.images, 3, SIDE, SIDE])
    }

    fn set(&self) -> LabelledImages {
        let labels: Vec<usize> = (0..self.images).map(|image| image % self.names.len()).collect();
        LabelledImages {
            images: Images::Pixels(self.pixels()),
            labels: indices(&labels, &Compute::tested().device()),
        }
    }

    fn logits(&self, clip: &Clip, names: &[Vec<u32>], pixels: Tensor<4>) -> Tensor<2> {
        self.model(clip).logits(&self.point(1), &self.classes(names), &Images::Pixels(pixels))
    }

    /// The Hessian of the loss at the prompt, times a direction.
    fn hessian_vector_product(&self, clip: &Clip, direction: &Prompt, keep: bool) -> Prompt {
        let (prompt, classes, set) = (self.point(1), self.classes(&self.names), self.set());
        let at = [Classification { prompt: &prompt, classes: &classes, set: &set }];
        let model = self.model(clip);
        let products: Option<Products> = keep.then(|| model.gradients_and_products(&at).1);
        model.hessian_vector_products(&at, std::slice::from_ref(direction), products.as_ref()).remove(0)
    }
}

/// The largest difference of two points, part by part, as [`random_model::difference`] has it.
fn apart(found: &Prompt, expected: &Prompt) -> f32 {
    let of_part =
        |(part, expected): (Part, &Tensor<2>)| difference(found.get(part).unwrap().clone(), expected.clone());
    expected.parts().map(of_part).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn classes_in_another_order_have_their_logits_in_that_order((world, order) in world_and_order()) {
        let clip = clip(world.seed);
        let permuted: Vec<Vec<u32>> = order.iter().map(|class| world.names[*class].clone()).collect();
        let expected = world.logits(&clip, &world.names, world.pixels());
        let expected = expected.select(1, indices(&order, &Compute::tested().device()));
        prop_assert!(difference(world.logits(&clip, &permuted, world.pixels()), expected) < ROUNDING);
    }

    #[test]
    fn one_more_class_changes_the_logits_of_no_other(world in world(), name in vec(0..START, 1..5)) {
        let clip = clip(world.seed);
        let more = [&world.names[..], &[name]].concat();
        let found = world.logits(&clip, &more, world.pixels()).narrow(1, 0, world.names.len());
        prop_assert!(difference(found, world.logits(&clip, &world.names, world.pixels())) < ROUNDING);
    }

    #[test]
    fn a_batch_of_images_in_two_parts_has_the_same_logits(
        world in world(),
        at in any::<prop::sample::Index>(),
    ) {
        let (clip, pixels) = (clip(world.seed), world.pixels());
        let first = 1 + at.index(world.images - 1);
        let parts = [(0, first), (first, world.images - first)];
        let logits = |(first, count): (usize, usize)| {
            world.logits(&clip, &world.names, pixels.clone().narrow(0, first, count))
        };
        let found = Tensor::cat(parts.map(logits).to_vec(), 0);
        prop_assert!(difference(found, logits((0, world.images))) < ROUNDING);
    }

    #[test]
    fn classes_in_parts_have_the_gradient_of_all_at_once(world in world(), at_once in 1_usize..4) {
        let clip = clip(world.seed);
        let (prompt, classes, set) = (world.point(1), world.classes(&world.names), world.set());
        let model = world.model(&clip);
        let whole = model.gradient(&prompt, &classes, &set);
        let parts = PromptedClip { classes_at_once: at_once, ..model }.gradient(&prompt, &classes, &set);
        let (loss, expected) = (read_one(parts.loss), read_one(whole.loss));
        prop_assert!((loss - expected).abs() < ROUNDING * expected.max(1.0));
        prop_assert_eq!(read_one(parts.accuracy), read_one(whole.accuracy));
        prop_assert!(apart(&parts.gradient, &whole.gradient) < ROUNDING);
    }

    /// `H (a u + b v) = a H u + b H v`.
    #[test]
    fn the_product_with_the_hessian_is_linear_in_the_direction(
        world in world(),
        a in -2.0_f32..2.0,
        b in -2.0_f32..2.0,
    ) {
        let (clip, u, v) = (clip(world.seed), world.point(3), world.point(4));
        let product = |direction: &Prompt| world.hessian_vector_product(&clip, direction, false);
        let both = u.map(|_, part| part * a).add_scaled(&v, b);
        let expected = product(&u).map(|_, part| part * a).add_scaled(&product(&v), b);
        prop_assert!(apart(&product(&both), &expected) < 10.0 * ROUNDING);
    }

    /// `v . H u = u . H v`: the Hessian is symmetric.
    #[test]
    fn the_hessian_is_symmetric(world in world()) {
        let (clip, u, v) = (clip(world.seed), world.point(3), world.point(4));
        let product = |direction: &Prompt| world.hessian_vector_product(&clip, direction, false);
        let (one, other) = (product(&u).dot(&v), product(&v).dot(&u));
        prop_assert!((one - other).abs() < 10.0 * ROUNDING * one.abs().max(1.0), "{} is not {}", one, other);
    }

    #[test]
    fn products_that_are_kept_change_no_hessian(world in world()) {
        let (clip, direction) = (clip(world.seed), world.point(3));
        let found = world.hessian_vector_product(&clip, &direction, true);
        let expected = world.hessian_vector_product(&clip, &direction, false);
        prop_assert!(apart(&found, &expected) < 10.0 * ROUNDING);
    }
}
