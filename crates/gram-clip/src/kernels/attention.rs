//! Attention over all heads, its tangent, and the reverse passes of both. The scores of one head of one item
//! stay in the cache; none are kept for the reverse pass, which computes them again.
//!
//! With `P = softmax(s q k^T + mask)`, `s = 1 / sqrt(width of a head)` and `<X>` for the sums of rows, each
//! repeated along its row:
//!
//! - the value is `P v`;
//! - the tangent is `P' v + P v'` with `P' = P (S' - <P S'>)`, `S' = s (q' k^T + q k'^T)`;
//! - the reverse pass of the value: `dP = dy v^T`, `dS = P (dP - <P dP>)`, `dq = s dS k`, `dk = s dS^T q`,
//!   `dv = P^T dy`;
//! - that of the tangent: `dP' = dy v^T`, `dS' = P (dP' - <P dP'>)`,
//!   `dP = dy v'^T + dP' (S' - <P S'>) - <P dP'> S'`, and `dS` from `dP` as above; `dq' = s dS' k`,
//!   `dk' = s dS'^T q`, `dv' = P^T dy`, `dq = s (dS k + dS' k')`, `dk = s (dS^T q + dS'^T q')`,
//!   `dv = P'^T dy`.
//!
//! In code, `q1`, `s1`, `p1` are `q'`, `S'`, `P'`, and `along` is `dy`.
//!
//! Queries, keys, values and what is made of them are `[batch, heads, positions, width of a head]`. What is
//! made of several items lies in memory as `[batch, positions, heads, width of a head]`, which the layers
//! around it want.

mod heads;
mod passes;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use super::finish;

/// Queries, keys and values, each `[batch, heads, positions, width of a head]`.
type Three<T> = (T, T, T);

/// `softmax(q k^T / sqrt(d) + mask) v`.
///
/// # Shapes
/// - mask: `[batch or 1, 1, positions of queries or 1, positions of keys]`, of which nothing is asked
pub(crate) fn attention(of: [Tensor<4>; 3], mask: Option<Tensor<4>>) -> Tensor<4> {
    let mask = mask.unwrap_or_else(|| nothing_hidden(&of)).into_dispatch();
    let [q, k, v] = of.map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Kernel>::attention_value(q, k, v, mask))
}

/// How [`attention`] moves where queries, keys and values move along `tangents`.
pub(crate) fn attention_tangent(
    of: [Tensor<4>; 3],
    tangents: [Tensor<4>; 3],
    mask: Option<Tensor<4>>,
) -> Tensor<4> {
    let mask = mask.unwrap_or_else(|| nothing_hidden(&of)).into_dispatch();
    let ([q, k, v], [q1, k1, v1]) = (of.map(Tensor::into_dispatch), tangents.map(Tensor::into_dispatch));
    Tensor::from_dispatch(<Dispatch as Kernel>::attention_tangent(q, k, v, q1, k1, v1, mask))
}

/// A mask that changes no score.
fn nothing_hidden([_, keys, _]: &[Tensor<4>; 3]) -> Tensor<4> {
    Tensor::zeros([1, 1, 1, keys.dims()[2]], &keys.device().without_autodiff())
}

#[backend_extension(Flex, Autodiff)]
trait Kernel: Backend {
    /// The value.
    fn attention_value(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The tangent.
    fn attention_tangent(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        q1: FloatTensor<Self>,
        k1: FloatTensor<Self>,
        v1: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// What only reverse passes compute.
trait Reverse: Kernel {
    /// What the reverse pass of the value sends to queries, keys and values.
    fn attention_reverse(
        of: Three<FloatTensor<Self>>,
        mask: FloatTensor<Self>,
        along: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];

    /// What the reverse pass of the tangent sends to queries, keys and values, and then to their tangents.
    fn attention_tangent_reverse(
        of: Three<FloatTensor<Self>>,
        tangents: Three<FloatTensor<Self>>,
        mask: FloatTensor<Self>,
        along: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 6];
}

impl<B: Reverse, C: CheckpointStrategy> Kernel for Autodiff<B, C> {
    fn attention_value(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let [q, k, v] = [q, k, v].map(|tensor| tensor.into_primitive());
        let mask = mask.into_primitive();
        let value = B::attention_value(q.clone(), k.clone(), v.clone(), mask.clone());
        finish(OfValue.prepare::<C>(nodes).compute_bound().stateful(), ((q, k, v), mask), value)
    }

    fn attention_tangent(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        q1: FloatTensor<Self>,
        k1: FloatTensor<Self>,
        v1: FloatTensor<Self>,
        mask: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node(), q1.node(), k1.node(), v1.node()];
        let [q, k, v, q1, k1, v1] = [q, k, v, q1, k1, v1].map(|tensor| tensor.into_primitive());
        let mask = mask.into_primitive();
        let (of, tangents) = ((q.clone(), k.clone(), v.clone()), (q1.clone(), k1.clone(), v1.clone()));
        let value = B::attention_tangent(q, k, v, q1, k1, v1, mask.clone());
        finish(OfTangent.prepare::<C>(nodes).compute_bound().stateful(), (of, tangents, mask), value)
    }
}

#[derive(Debug)]
struct OfValue;

impl<B: Reverse> Backward<B, 3> for OfValue {
    type State = (Three<FloatTensor<B>>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (of, mask) = ops.state;
        for (node, derivative) in ops.parents.into_iter().zip(B::attention_reverse(of, mask, along)) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, derivative);
            }
        }
    }
}

#[derive(Debug)]
struct OfTangent;

impl<B: Reverse> Backward<B, 6> for OfTangent {
    type State = (Three<FloatTensor<B>>, Three<FloatTensor<B>>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 6>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let (of, tangents, mask) = ops.state;
        let derivatives = B::attention_tangent_reverse(of, tangents, mask, along);
        for (node, derivative) in ops.parents.into_iter().zip(derivatives) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, derivative);
            }
        }
    }
}
