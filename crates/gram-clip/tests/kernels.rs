//! What the CPU computes in f32 in one pass is what the same operations give in tensors of f64.
#![allow(clippy::unwrap_used)]

use burn::module::Param;
use burn::tensor::{DType, Device, Distribution, Tensor};
use gram_clip::layers::{LayerNorm, Linear};
use gram_clip::signal::{Activation, leaf};
use gram_clip::{Signal, attention};

const WIDTH: usize = 37;

fn random(shape: [usize; 4]) -> Tensor<4> {
    Tensor::random(shape, Distribution::Normal(0.3, 1.5), &Device::flex())
}

/// Value and tangent, and the derivatives of a weighted sum of both for all values and all tangents.
fn everything(
    inputs: &[[Tensor<4>; 2]],
    turns: &[Tensor<4>; 2],
    format: DType,
    operation: &dyn Fn(Vec<Signal<4>>) -> Signal<4>,
) -> Vec<Tensor<4>> {
    let on_leaf = |tensor: &Tensor<4>| leaf(tensor.clone().cast(format));
    let leaves: Vec<[Tensor<4>; 2]> = inputs.iter().map(|input| input.each_ref().map(on_leaf)).collect();
    let dual = |[value, tangent]: &[Tensor<4>; 2]| Signal::dual(value.clone(), tangent.clone());
    let out = operation(leaves.iter().map(dual).collect());
    let tangent = out.tangent.expect("it moves");
    let [of_value, of_tangent] = turns.each_ref().map(|turn| turn.clone().cast(format));
    let loss = (out.value.clone() * of_value).sum() + (tangent.clone() * of_tangent).sum();
    let gradients = loss.backward();
    let derivatives = leaves.iter().flatten().map(|leaf| leaf.grad(&gradients).expect("a derivative"));
    [out.value.inner(), tangent.inner()].into_iter().chain(derivatives).collect()
}

fn assert_is_that_of_tensors(
    name: &str,
    shapes: &[[usize; 4]],
    out: [usize; 4],
    operation: &dyn Fn(Vec<Signal<4>>) -> Signal<4>,
) {
    let inputs: Vec<_> = shapes.iter().map(|shape| [random(*shape), random(*shape)]).collect();
    let turns = [random(out), random(out)];
    let [found, expected] =
        [DType::F32, DType::F64].map(|format| everything(&inputs, &turns, format, operation));
    for (place, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let most = expected.clone().abs().max().into_scalar::<f64>();
        let apart = (found.cast(DType::F64) - expected).abs().max().into_scalar::<f64>();
        assert!(apart < 5e-6 * (1.0 + most), "{name}, {place}: {apart} of {most}");
    }
}

#[test]
fn activations_and_their_derivatives_are_those_of_tensors() {
    for activation in [Activation::QuickGelu, Activation::Gelu] {
        let shape = [2, 3, 5, WIDTH];
        assert_is_that_of_tensors(&format!("{activation:?}"), &[shape], shape, &|mut signals| {
            signals.remove(0).activation(activation)
        });
    }
}

#[test]
fn layer_norm_and_its_derivatives_are_those_of_tensors() {
    let [weight, bias] = [random([1, 1, 1, WIDTH]), random([1, 1, 1, WIDTH])];
    let shape = [2, 3, 5, WIDTH];
    assert_is_that_of_tensors("layer norm", &[shape], shape, &|mut signals| {
        let signal = signals.remove(0);
        let of = |tensor: &Tensor<4>| tensor.clone().cast(signal.value.dtype()).reshape([WIDTH]);
        let [weight, bias] = [&weight, &bias].map(|tensor| Param::from_tensor(of(tensor)));
        signal.layer_norm(&LayerNorm { weight, bias, epsilon: 1e-5 })
    });
}

#[test]
fn attention_and_its_derivatives_are_those_of_tensors() {
    let (heads, head) = (2, 9);
    // A single item is divided among threads by its heads.
    for (batch, queries, keys) in [(3, 7, 7), (3, 1, 19), (3, 5, 33), (1, 5, 8)] {
        // As the towers have them: positions before heads in memory.
        let shapes = [queries, keys, keys].map(|positions| [batch, positions, heads, head]);
        let hidden = Tensor::<4>::random([batch, 1, queries, keys], Distribution::Default, &Device::flex());
        let one = hidden.clone().narrow(0, 0, 1) * -3.0;
        let of_each = hidden.greater_elem(0.8).float() * -1e9;
        for mask in [None, Some(one), Some(of_each)] {
            let name = format!("attention of {queries} to {keys}, {:?}", mask.as_ref().map(Tensor::dims));
            assert_is_that_of_tensors(&name, &shapes, [batch, heads, queries, head], &|signals| {
                let format = signals[0].value.dtype();
                let turned =
                    signals.into_iter().map(|signal| signal.linear_map(|tensor| tensor.swap_dims(1, 2)));
                let Ok([queries, keys, values]) = <[_; 3]>::try_from(turned.collect::<Vec<_>>()) else {
                    unreachable!("three inputs")
                };
                let mask = mask.clone().map(|mask| mask.cast(format));
                attention(queries, keys, values, mask)
            });
        }
    }
}

#[test]
fn hidden_positions_get_no_weight_at_all() {
    let [q, k, v] = [random([1, 1, 2, 4]), random([1, 1, 3, 4]), random([1, 1, 3, 4])];
    let mask = Tensor::<4>::from_floats([[[[0.0, -1e9, -1e9], [0.0, 0.0, -1e9]]]], &Device::flex());
    let found = attention(q.into(), k.into(), v.clone().into(), Some(mask)).value.narrow(2, 0, 1);
    assert_eq!(found.into_data(), v.narrow(2, 0, 1).into_data());
}

#[test]
fn affine_layers_and_their_derivatives_are_those_of_tensors() {
    let weight = random([1, 1, WIDTH, 11]);
    // One row, few, and so many that the reverse pass goes another way.
    for rows in [1, 30, 450] {
        for (bias, of_images) in [(Some(random([1, 1, 1, 11])), false), (None, false), (None, true)] {
            let (shape, out) = ([1, 1, rows, WIDTH], [1, 1, rows, 11]);
            assert_is_that_of_tensors("affine layer", &[shape], out, &|mut signals| {
                let signal = signals.remove(0);
                let format = signal.value.dtype();
                let weight = Param::from_tensor(weight.clone().cast(format).reshape([WIDTH, 11]));
                let bias = bias.clone().map(|bias| Param::from_tensor(bias.cast(format).reshape([11])));
                let layer = Linear::new(weight, bias);
                signal.linear(&if of_images { layer.of_images() } else { layer })
            });
        }
    }
}

#[test]
fn a_learned_bias_beside_a_frozen_weight_gets_its_gradient() {
    let bias = leaf(random([1, 1, 1, 11]).reshape([11]));
    let weight = Param::from_tensor(random([1, 1, WIDTH, 11]).reshape([WIDTH, 11]));
    let layer = Linear::new(weight, Some(Param::from_tensor(bias.clone())));
    let gradients = Signal::from(leaf(random([1, 2, 3, WIDTH]))).linear(&layer).value.sum().backward();
    assert_eq!(
        bias.grad(&gradients).unwrap().into_data(),
        Tensor::<1>::full([11], 6.0, &Device::flex()).into_data()
    );
}

#[test]
fn attention_over_nothing_is_zero() {
    for [queries, keys] in [[3, 0], [0, 3]] {
        let of = |positions: usize| Signal::from(Tensor::<4>::zeros([2, 2, positions, 4], &Device::flex()));
        let found = attention(of(queries), of(keys), of(keys), None).value;
        assert_eq!(found.dims(), [2, 2, queries, 4]);
        assert!(found.into_data().iter::<f32>().all(|number| number == 0.0));
    }
}
