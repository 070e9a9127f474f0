//! Laws of the towers, on small models of random weights and whatever goes in.
#![allow(clippy::unwrap_used)]

#[path = "fixtures/random_model.rs"]
mod random_model;

use burn::tensor::Tensor;
use gram_clip::layers::indices;
use gram_clip::text_tower::{Batching, Sentences, Text, Token};
use gram_clip::vision_tower::VisualPrompt;
use gram_clip::{Clip, Compute, Signal};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use random_model::{END, Random, SIDE, START, WIDTH, clip, difference, values};

/// Sums of 32-bit products in another order.
const ROUNDING: f32 = 1e-4;

/// The same few cases in every run.
fn few_cases() -> ProptestConfig {
    ProptestConfig { cases: 12, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() }
}

/// Names of one to four tokens.
fn names(most: usize) -> impl Strategy<Value = Vec<Vec<u32>>> {
    vec(vec(0..START, 1..5), 2..most)
}

fn batching() -> impl Strategy<Value = Batching> {
    prop_oneof![Just(Batching::ByLength), Just(Batching::Padded)]
}

/// Names after a context, all behind one prefix that the first `shared` context tokens are part of.
fn sentences(names: &[Vec<u32>], context_tokens: usize, shared: usize) -> Sentences {
    let context = |rows: std::ops::Range<usize>| rows.map(Token::Context);
    let text = |name: &Vec<u32>| {
        let words = name.iter().copied().chain([END]).map(Token::Word);
        Text { prefix: 0, tokens: context(shared..context_tokens).chain(words).collect() }
    };
    let prefix = std::iter::once(Token::Word(START)).chain(context(0..shared)).collect();
    Sentences { prefixes: vec![prefix], texts: names.iter().map(text).collect() }
}

fn text_features(clip: &Clip, names: &[Vec<u32>], context: &Tensor<2>, batching: Batching) -> Tensor<2> {
    let sentences = sentences(names, context.dims()[0], context.dims()[0]);
    clip.text.forward_sentences(&sentences, Some(context.clone().into()), batching).value
}

fn rows(tensor: &Tensor<2>, chosen: &[usize]) -> Tensor<2> {
    tensor.clone().select(0, indices(chosen, &Compute::tested().device()))
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn texts_in_another_order_have_their_features_in_that_order(
        seed: u64,
        (names, order) in names(8).prop_flat_map(|names| {
            let order: Vec<usize> = (0..names.len()).collect();
            (Just(names), Just(order).prop_shuffle())
        }),
        batching in batching(),
    ) {
        let (clip, context) = (clip(seed), Random(seed ^ 1).tensor([3, WIDTH]));
        let permuted: Vec<Vec<u32>> = order.iter().map(|text| names[*text].clone()).collect();
        let found = text_features(&clip, &permuted, &context, batching);
        let expected = rows(&text_features(&clip, &names, &context, batching), &order);
        prop_assert!(difference(found, expected) < ROUNDING);
    }

    #[test]
    fn one_more_text_changes_the_features_of_no_other(seed: u64, names in names(8), batching in batching()) {
        let (clip, context) = (clip(seed), Random(seed ^ 1).tensor([3, WIDTH]));
        let fewer = names.len() - 1;
        let found = text_features(&clip, &names, &context, batching).narrow(0, 0, fewer);
        let expected = text_features(&clip, &names[..fewer], &context, batching);
        prop_assert!(difference(found, expected) < ROUNDING);
    }

    /// The prefix passes the tower once for all texts, or with each text.
    #[test]
    fn a_shared_prefix_changes_nothing(
        seed: u64,
        names in names(6),
        (context_tokens, shared) in (1_usize..6).prop_flat_map(|tokens| (Just(tokens), 0..tokens)),
        batching in batching(),
    ) {
        let (clip, context) = (clip(seed), Random(seed ^ 1).tensor([context_tokens, WIDTH]));
        let features = |shared: usize| {
            let sentences = sentences(&names, context_tokens, shared);
            clip.text.forward_sentences(&sentences, Some(context.clone().into()), batching).value
        };
        prop_assert!(difference(features(context_tokens), features(shared)) < ROUNDING);
    }

    #[test]
    fn a_batch_of_images_in_parts_has_the_same_features(
        seed: u64,
        images in 2_usize..20,
        part in 1_usize..9,
    ) {
        let (clip, mut random) = (clip(seed), Random(seed ^ 1));
        let pixels = random.tensor([images, 3, SIDE, SIDE]);
        let prompt = VisualPrompt { vectors: random.tensor([1, 4, WIDTH]).into(), depth: 2 };
        let features = |pixels: Tensor<4>| clip.vision.forward(pixels, Some(prompt.clone())).value;
        let parts = (0..images).step_by(part).map(|first| {
            features(pixels.clone().narrow(0, first, part.min(images - first)))
        });
        let whole = features(pixels.clone());
        prop_assert!(difference(Tensor::cat(parts.collect(), 0), whole.clone()) < ROUNDING);
        prop_assert!(difference(clip.image_features(pixels.clone(), Some(&prompt)), whole) < ROUNDING);
    }

    /// `D_{a u + b v} f = a D_u f + b D_v f`, whatever else moves.
    #[test]
    fn the_tangent_is_linear_in_the_tangent_that_is_put_in(
        seed: u64,
        names in names(5),
        a in -2.0_f32..2.0,
        b in -2.0_f32..2.0,
    ) {
        let (clip, mut random) = (clip(seed), Random(seed ^ 1));
        let (context, vectors) = (random.tensor::<2>([2, WIDTH]), random.tensor::<2>([2, WIDTH]));
        let [u, v] = [(); 2].map(|()| (random.tensor::<2>([2, WIDTH]), random.tensor::<2>([2, WIDTH])));
        let pixels = random.tensor([3, 3, SIDE, SIDE]);
        let along = |(of_context, of_vectors): (Tensor<2>, Tensor<2>)| {
            let context = Signal::dual(context.clone(), of_context);
            let sentences = sentences(&names, 2, 2);
            let text = clip.text.forward_sentences(&sentences, Some(context), Batching::ByLength);
            let prompt = Signal::dual(vectors.clone(), of_vectors);
            clip.logits(clip.vision.forward(pixels.clone(), Some(prompt.into())), text).tangent.unwrap()
        };
        let both = (u.0.clone() * a + v.0.clone() * b, u.1.clone() * a + v.1.clone() * b);
        let expected = along(u) * a + along(v) * b;
        prop_assert!(values(expected.clone()).iter().any(|number| number.abs() > 1e-3), "nothing moves");
        prop_assert!(difference(along(both), expected) < 5.0 * ROUNDING);
    }
}
