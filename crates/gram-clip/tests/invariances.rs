//! What saves work changes no number: shared prefixes, grouping, cutting off, computing only what is read.
#![allow(clippy::unwrap_used)]

mod fixtures;

use burn::tensor::{Int, Tensor};
use fixtures::{Fixture, MODELS, assert_close, values, wave};
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences, Text, Token};
use gram_clip::vision_tower::VisualPrompt;
use gram_clip::{Compute, Signal};

const ROUNDING: f64 = 1e-5;

fn fixtures() -> Vec<(&'static str, Fixture)> {
    MODELS.map(|model| (model, Fixture::open(model))).into()
}

/// The texts that leave room for two tokens more.
fn short_texts(fixture: &Fixture) -> Vec<Vec<u32>> {
    let most = fixture.clip.config.text_config.max_position_embeddings - 3;
    let texts: Vec<_> = fixture.texts().into_iter().filter(|ids| ids.len() <= most).collect();
    assert!(texts.len() >= 5);
    texts
}

fn text_features(
    fixture: &Fixture,
    context: Option<Tensor<2>>,
    texts: &[Vec<u32>],
    batching: Batching,
) -> Vec<f64> {
    values(fixture.clip.text.forward(fixture.start(), context.map(Signal::from), texts, batching).value)
}

#[test]
fn a_shared_prefix_gives_the_features_of_the_same_words_written_out() {
    for (model, fixture) in fixtures() {
        let words =
            [fixture.tokenizer.encode("cat").unwrap()[0], fixture.tokenizer.encode("hill").unwrap()[0]];
        let texts = short_texts(&fixture);
        let written: Vec<Vec<u32>> = texts.iter().map(|ids| [&words[..], ids].concat()).collect();
        for batching in [Batching::ByLength, Batching::Padded] {
            let shared = text_features(&fixture, Some(fixture.clip.text.embed(&words)), &texts, batching);
            let plain = text_features(&fixture, None, &written, batching);
            assert_close(&shared, &plain, ROUNDING, model);
            let without = text_features(&fixture, None, &texts, batching);
            assert!(shared.iter().zip(&without).any(|(a, b)| (a - b).abs() > 0.05), "the words say nothing");
        }
    }
}

#[test]
fn grouping_by_length_and_padding_give_the_same_features() {
    for (model, fixture) in fixtures() {
        let context = Some(wave([2, 32], 0.4, &Compute::tested().device()));
        let texts = short_texts(&fixture);
        let grouped = text_features(&fixture, context.clone(), &texts, Batching::ByLength);
        let padded = text_features(&fixture, context.clone(), &texts, Batching::Padded);
        let alone =
            texts.chunks(1).flat_map(|text| text_features(&fixture, context.clone(), text, Batching::Padded));
        assert_close(&grouped, &padded, ROUNDING, model);
        assert_close(&grouped, &alone.collect::<Vec<_>>(), ROUNDING, model);
    }
}

#[test]
fn tokens_after_the_end_change_nothing() {
    for (model, fixture) in fixtures() {
        let texts = fixture.texts();
        let followed: Vec<Vec<u32>> =
            texts.iter().map(|ids| [&ids[..], &[5, fixture.tokenizer.end(), 9]].concat()).collect();
        for batching in [Batching::ByLength, Batching::Padded] {
            let cut = text_features(&fixture, None, &texts, batching);
            assert_eq!(text_features(&fixture, None, &followed, batching), cut, "{model}");
        }
    }
}

#[test]
fn classes_in_another_order_give_their_logits_in_that_order() {
    for (model, fixture) in fixtures() {
        let device = Compute::tested().device();
        let image = fixture.clip.vision.forward(fixture.pixels(&device), None);
        let logits = |texts: &[Vec<u32>]| {
            let text = fixture.clip.text.forward(fixture.start(), None, texts, Batching::ByLength);
            fixture.clip.logits(image.clone(), text).value
        };
        let texts = fixture.texts();
        let order = [4, 0, 6, 2, 5, 1, 3];
        let permuted: Vec<Vec<u32>> = order.iter().map(|class| texts[*class].clone()).collect();
        let columns = Tensor::<1, Int>::from_data(order.map(|class| class as i64), &device);
        let expected = values(logits(&texts).select(1, columns));
        assert_close(&values(logits(&permuted)), &expected, ROUNDING, model);
    }
}

#[test]
fn computing_some_rows_of_a_layer_gives_what_all_give_there() {
    for (model, fixture) in fixtures() {
        let block = &fixture.clip.text.blocks[0];
        let x = wave([2, 5, 32], 0.1, &Compute::tested().device());
        let all = block.forward(x.clone().into()).value;
        let first = block.forward_first(x.into()).value;
        assert_close(&values(first), &values(all.narrow(1, 0, 1)), ROUNDING, model);
    }
}

#[test]
fn several_contexts_at_once_give_the_features_of_one_after_the_other() {
    for (model, fixture) in fixtures() {
        let (device, start) = (Compute::tested().device(), fixture.start());
        let contexts =
            [wave([2, 32], 0.4, &device), wave([2, 32], -0.7, &device), wave([2, 32], 0.2, &device)];
        let texts = short_texts(&fixture);
        // Each context has texts of its own, and they differ in length and number.
        let own = [&texts[..2], &texts[1..], &texts[3..4]];
        let set = |texts: &&[Vec<u32>]| Sentences {
            prefixes: vec![vec![Token::Word(start), Token::Context(0), Token::Context(1)]],
            texts: texts
                .iter()
                .map(|ids| Text { prefix: 0, tokens: ids.iter().copied().map(Token::Word).collect() })
                .collect(),
        };
        let together = Sentences::stack(own.iter().map(set), 2);
        for batching in [Batching::ByLength, Batching::Padded] {
            let stacked = Signal::from(Tensor::cat(contexts.to_vec(), 0));
            let found = values(fixture.clip.text.forward_sentences(&together, Some(stacked), batching).value);
            let one = |(context, texts): (&Tensor<2>, &&[Vec<u32>])| {
                text_features(&fixture, Some(context.clone()), texts, batching)
            };
            let expected: Vec<f64> = contexts.iter().zip(&own).flat_map(one).collect();
            assert_close(&found, &expected, ROUNDING, model);
        }
    }
}

#[test]
fn visual_prompt_vectors_in_another_order_give_the_same_features() {
    for (model, fixture) in fixtures() {
        let device = Compute::tested().device();
        let prompt = wave([3, 48], 0.2, &device);
        let features = |prompt: Tensor<2>| {
            values(fixture.clip.vision.forward(fixture.pixels(&device), Some(prompt.into())).value)
        };
        let other = prompt.clone().select(0, Tensor::from_ints([2, 0, 1], &device));
        assert_close(&features(other), &features(prompt), ROUNDING, model);
    }
}

/// Without gradients and tangents the fused operations run, with either of them the plain ones.
#[test]
fn gradients_and_tangents_change_no_value() {
    for (model, fixture) in fixtures() {
        let device = Compute::tested().device();
        let (context, prompt) = (wave([2, 32], 0.4, &device), wave([3, 48], 0.2, &device));
        let direction = |like: &Tensor<2>| wave(like.dims(), 1.7, &device);
        let features = |modes: [fn(Tensor<2>, Tensor<2>) -> Signal<2>; 2]| {
            let context = modes[0](context.clone(), direction(&context));
            let prompt: Signal<2> = modes[1](prompt.clone(), direction(&prompt));
            let texts = short_texts(&fixture);
            let text = fixture.clip.text.forward(fixture.start(), Some(context), &texts, Batching::ByLength);
            let image = fixture.clip.vision.forward(fixture.pixels(&device), Some(prompt.into()));
            let logits = values(fixture.clip.logits(image.clone(), text.clone()).value);
            [values(text.value), values(image.value), logits].concat()
        };
        let plain: fn(Tensor<2>, Tensor<2>) -> Signal<2> = |value, _| value.into();
        let recorded: fn(Tensor<2>, Tensor<2>) -> Signal<2> = |value, _| leaf(value).into();
        let dual: fn(Tensor<2>, Tensor<2>) -> Signal<2> = Signal::dual;
        let both: fn(Tensor<2>, Tensor<2>) -> Signal<2> =
            |value, direction| Signal::dual(leaf(value), direction);
        let expected = features([plain, plain]);
        for modes in [[recorded, recorded], [recorded, plain], [dual, dual], [both, both]] {
            assert_close(&features(modes), &expected, ROUNDING, model);
        }
    }
}

/// Context between, before and behind the words, as the same words written out.
#[test]
fn context_anywhere_in_a_sentence_gives_the_features_of_the_same_words_written_out() {
    for (model, fixture) in fixtures() {
        let (clip, start) = (&fixture.clip, fixture.start());
        let words =
            [fixture.tokenizer.encode("cat").unwrap()[0], fixture.tokenizer.encode("hill").unwrap()[0]];
        let context = Signal::from(clip.text.embed(&words));
        let (word, learned) = (Token::Word, Token::Context);
        let text = |ids: &[u32]| ids.iter().copied().map(Token::Word).collect::<Vec<_>>();
        let texts = short_texts(&fixture);
        for (first, second) in [(0, 1), (1, 1), (1, 0)] {
            let placed = |ids: &Vec<u32>| Text {
                prefix: 0,
                tokens: [vec![learned(first)], text(&ids[..1]), vec![learned(second)], text(&ids[1..])]
                    .concat(),
            };
            let sentences =
                Sentences { prefixes: vec![vec![word(start)]], texts: texts.iter().map(placed).collect() };
            let written: Vec<Vec<u32>> = texts
                .iter()
                .map(|ids| [&[words[first], ids[0], words[second]], &ids[1..]].concat())
                .collect();
            let found = clip.text.forward_sentences(&sentences, Some(context.clone()), Batching::ByLength);
            let expected = text_features(&fixture, None, &written, Batching::ByLength);
            assert_close(&values(found.value), &expected, ROUNDING, model);
        }
    }
}

#[test]
fn a_deep_visual_prompt_whose_later_vectors_change_differs_only_where_it_is_deep() {
    for (model, fixture) in fixtures() {
        let device = Compute::tested().device();
        let layers = fixture.clip.vision.blocks.len();
        let features = |vectors: Tensor<2>, depth: usize| {
            let prompt = VisualPrompt { vectors: vectors.unsqueeze::<3>().into(), depth };
            values(fixture.clip.vision.forward(fixture.pixels(&device), Some(prompt)).value)
        };
        let vectors = wave([2 * layers, 48], 0.2, &device);
        let changed = Tensor::cat(
            vec![vectors.clone().narrow(0, 0, 2), vectors.clone().narrow(0, 2, 2 * layers - 2) * -1.0],
            0,
        );
        let shallow = features(vectors.clone().narrow(0, 0, 2), 1);
        let (deep, other) = (features(vectors, layers), features(changed, layers));
        let differs = |one: &[f64], other: &[f64]| one.iter().zip(other).any(|(a, b)| (a - b).abs() > 1e-3);
        assert!(differs(&shallow, &deep) && differs(&deep, &other), "{model}");
    }
}
