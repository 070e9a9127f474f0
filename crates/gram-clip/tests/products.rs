//! What is kept of the products of a gradient's pass is taken by name: passes may come in another order, and
//! what is not the same is refused and computed anew.
#![allow(clippy::unwrap_used)]

mod fixtures;

use burn::tensor::Tensor;
use fixtures::{Fixture, MODELS, assert_close, values, wave};
use gram_clip::products::Refusal;
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences, Text, Token};
use gram_clip::{Compute, Contents, Products, Signal};

/// Sums of 32-bit products in another order.
const ROUNDING: f64 = 1e-4;

/// Classes in two parts of one shape, and a loss that is the sum of one of each.
struct Parts {
    fixture: Fixture,
    parts: [Sentences; 2],
}

impl Parts {
    fn open(model: &str) -> Self {
        let fixture = Fixture::open_on(model, &Compute::cpu());
        let word = |text: &str| fixture.tokenizer.encode(text).unwrap()[0];
        let most = fixture.clip.config.text_config.max_position_embeddings - 4;
        let texts: Vec<_> = fixture.texts().into_iter().filter(|ids| ids.len() <= most).take(3).collect();
        let after = |first: u32| {
            let text = |ids: &Vec<u32>| {
                let ids = std::iter::once(first).chain(ids.iter().copied());
                Text { prefix: 0, tokens: ids.map(Token::Word).collect() }
            };
            let prefix = vec![Token::Word(fixture.start()), Token::Context(0), Token::Context(1)];
            Sentences { prefixes: vec![prefix], texts: texts.iter().map(text).collect() }
        };
        let parts = [after(word("cat")), after(word("hill"))];
        Self { fixture, parts }
    }

    fn context(&self) -> Tensor<2> {
        wave([2, 32], 0.4, &Compute::cpu().device())
    }

    /// The loss `[1]` of parts that pass the tower in some order; each weighs its features in its own way.
    fn loss(&self, order: &[usize], context: &Signal<2>, products: Option<&Products>) -> Signal<1> {
        let of_part = |part: &usize| {
            let (sentences, context) = (&self.parts[*part], Some(context.clone()));
            let text = &self.fixture.clip.text;
            let features = text.forward_keeping(sentences, context, Batching::ByLength, products);
            let weights = wave(features.value.dims(), 0.3 + *part as f64, &Compute::cpu().device());
            features.multiply(weights.into()).linear_map(|tensor| tensor.sum())
        };
        order.iter().map(of_part).reduce(Signal::plus).unwrap()
    }

    /// What is kept on the way to the gradient of the parts' loss at a context.
    fn kept(&self, order: &[usize], context: Tensor<2>) -> Products {
        let products = Products::towards(&Contents::default());
        let loss = self.loss(order, &leaf(context).into(), Some(&products));
        products.learn(&loss.value.backward());
        products
    }

    /// The Hessian of the parts' loss times a direction.
    fn hessian_vector_product(&self, order: &[usize], products: Option<&Products>) -> Vec<f64> {
        let context = leaf(self.context());
        let moved = Signal::dual(context.clone(), wave([2, 32], 1.7, &Compute::cpu().device()));
        let gradients = self.loss(order, &moved, products).tangent.unwrap().backward();
        values(context.grad(&gradients).unwrap())
    }

    /// Holds a Hessian with what is kept to the one without; nothing of it may be taken.
    fn assert_refused(&self, order: &[usize], products: &Products, what: &str) {
        let before = products.len();
        let found = self.hessian_vector_product(order, Some(products));
        assert_close(&found, &self.hessian_vector_product(order, None), ROUNDING, what);
        assert_eq!(products.len(), before, "{what}: something was taken");
        let refused = products.refused();
        assert!(refused.len() >= 6, "{what}: {} refusals", refused.len());
        assert!(refused.iter().all(|refusal| matches!(refusal, Refusal::Unknown(_))), "{what}");
    }
}

#[test]
fn parts_in_another_order_take_their_own_products() {
    for model in MODELS {
        let parts = Parts::open(model);
        let products = parts.kept(&[0, 1], parts.context());
        let kept = products.len();
        assert!(kept >= 12, "{model}: {kept} products are kept");
        let found = parts.hessian_vector_product(&[1, 0], Some(&products));
        assert!(products.is_empty() && products.refused().is_empty(), "{model}");
        assert_close(&found, &parts.hessian_vector_product(&[0, 1], None), ROUNDING, model);
    }
}

#[test]
fn products_of_another_part_are_refused_though_they_have_the_same_shape() {
    for model in MODELS {
        let parts = Parts::open(model);
        let products = parts.kept(&[0], parts.context());
        parts.assert_refused(&[1], &products, model);
        let curved = parts.hessian_vector_product(&[0], None);
        let other = parts.hessian_vector_product(&[1], None);
        assert!(
            curved.iter().zip(other).any(|(one, other)| (one - other).abs() > 0.1),
            "{model}: nothing to see"
        );
    }
}

#[test]
fn products_at_another_context_are_refused() {
    for model in MODELS {
        let parts = Parts::open(model);
        let products = parts.kept(&[0], parts.context() + 0.01);
        parts.assert_refused(&[0], &products, model);
    }
}

#[test]
fn of_two_passes_that_cannot_be_told_apart_nothing_is_kept() {
    for model in MODELS {
        let parts = Parts::open(model);
        let products = parts.kept(&[0, 0], parts.context());
        assert!(products.is_empty(), "{model}");
        parts.assert_refused(&[0, 0], &products, model);
    }
}
