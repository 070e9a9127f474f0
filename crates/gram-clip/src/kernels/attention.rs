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
//! Queries, keys, values and what is made of them are `[batch, heads, positions, width of a head]`. What is
//! made lies in memory as `[batch, positions, heads, width of a head]`, which the layers around it want.

use std::ops::Deref;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};
use gram_resample::vectors::widest;
use rayon::prelude::*;

use super::exponential::exp;
use super::memory::tensor;
use super::product::{Matrix, Target, multiply};
use super::{LANES, sum};

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

/// A tensor `[batch, heads, positions, width of a head]` whose rows are pieces of memory.
struct Heads {
    tensor: FlexTensor,
}

impl Heads {
    fn new(tensor: FlexTensor) -> Self {
        let layout = tensor.layout();
        let lies_in_rows = layout.strides()[3] == 1 && layout.strides().iter().all(|stride| *stride >= 0);
        // Rows that lie within each other, as those of what is repeated, are no matrix.
        let is_apart = layout.strides()[2] >= layout.shape()[3] as isize;
        Self { tensor: if lies_in_rows && is_apart { tensor } else { tensor.to_contiguous() } }
    }

    /// `[batch, heads, positions, width of a head]`
    fn shape(&self) -> [usize; 4] {
        let shape = self.tensor.layout().shape();
        [shape[0], shape[1], shape[2], shape[3]]
    }

    /// `[positions, width of a head]` of one head of one item.
    fn of(&self, item: usize, head: usize) -> Matrix<'_> {
        let layout = self.tensor.layout();
        let [by_item, by_head, by_row] = [0, 1, 2].map(|dimension| layout.strides()[dimension] as usize);
        let [_, _, rows, width] = self.shape();
        let start = layout.start_offset() + item * by_item + head * by_head;
        Matrix::new(&self.tensor.storage()[start..], [rows, width], by_row)
    }
}

/// Numbers that are added to the scores.
struct Mask {
    tensor: FlexTensor,
}

impl Mask {
    /// Adds those of a row of scores.
    fn add(&self, item: usize, row: usize, scores: &mut [f32]) {
        let (layout, numbers) = (self.tensor.layout(), self.tensor.storage::<f32>());
        let place = |dimension: usize, number: usize| {
            let is_one = layout.shape()[dimension] == 1;
            if is_one { 0 } else { number * layout.strides()[dimension] as usize }
        };
        let start = layout.start_offset() + place(0, item) + place(2, row);
        for (score, added) in scores.iter_mut().zip(&numbers[start..]) {
            *score += added;
        }
    }
}

/// Queries, keys and values; or the tangents of all three.
struct Read {
    q: Heads,
    k: Heads,
    v: Heads,
}

impl From<Three<FlexTensor>> for Read {
    fn from((q, k, v): Three<FlexTensor>) -> Self {
        Self { q: Heads::new(q), k: Heads::new(k), v: Heads::new(v) }
    }
}

/// What attention is computed from.
struct Attention {
    read: Read,
    mask: Mask,
}

impl Deref for Attention {
    type Target = Read;

    fn deref(&self) -> &Read {
        &self.read
    }
}

impl Attention {
    fn new(read: Three<FlexTensor>, mask: FlexTensor) -> Self {
        let lies_in_rows = mask.layout().strides()[3] == 1;
        let mask = Mask { tensor: if lies_in_rows { mask } else { mask.to_contiguous() } };
        Self { read: read.into(), mask }
    }

    /// `1 / sqrt(width of a head)`
    fn scale(&self) -> f32 {
        (self.q.shape()[3] as f32).powf(-0.5)
    }

    /// Numbers of the scores of a head.
    fn scores(&self) -> usize {
        self.q.shape()[2] * self.k.shape()[2]
    }

    /// Positions of keys: the length of a row of scores.
    fn keys(&self) -> usize {
        self.k.shape()[2]
    }

    /// Scores as a matrix.
    fn matrix<'a>(&self, scores: &'a [f32]) -> Matrix<'a> {
        Matrix::new(scores, [self.q.shape()[2], self.keys()], self.keys())
    }

    /// Where scores are computed, or added.
    fn target<'a>(&self, scores: &'a mut [f32], adds: bool) -> Target<'a> {
        Target { numbers: scores, stride: self.keys(), adds }
    }

    /// `P`, into `scores`.
    fn weights(&self, item: usize, head: usize, scores: &mut [f32]) {
        let keys = self.keys();
        let (q, k) = (self.q.of(item, head), self.k.of(item, head));
        multiply(self.target(scores, false), self.scale(), q, k.turned());
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            self.mask.add(item, row, scores);
            widest(
                #[inline(always)]
                || softmax(scores),
            );
        }
    }

    /// `S'`, into `scores`.
    fn moving_scores(&self, tangents: &Read, item: usize, head: usize, scores: &mut [f32]) {
        let (q, k) = (self.q.of(item, head), self.k.of(item, head));
        let (q1, k1) = (tangents.q.of(item, head), tangents.k.of(item, head));
        multiply(self.target(scores, false), self.scale(), q1, k.turned());
        multiply(self.target(scores, true), self.scale(), q, k1.turned());
    }
}

#[inline(always)]
fn softmax(row: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = row.split_at(row.len() - row.len() % LANES);
    for part in whole.chunks_exact(LANES) {
        for (most, score) in lanes.iter_mut().zip(part) {
            *most = if *score > *most { *score } else { *most };
        }
    }
    let most = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    for score in row.iter_mut() {
        *score = exp(*score - most);
    }
    let scale = 1.0 / sum(row.len(), |i| row[i]);
    for score in row {
        *score *= scale;
    }
}

/// `<left right>` of a row.
#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum(left.len().min(right.len()), |i| left[i] * right[i])
}

/// Tensors like `likes`, filled item by item: `work` gets the number of an item, scratch of so many numbers,
/// and for each tensor the item's memory, `[positions, heads, width of a head]`.
fn items<const N: usize>(
    likes: [&Heads; N],
    scratch: usize,
    work: impl Fn(usize, &mut [f32], [&mut [f32]; N]) + Sync,
) -> [FlexTensor; N] {
    let shapes = likes.map(Heads::shape);
    let mut filled = shapes.map(|shape| vec![0.0_f32; shape.iter().product()]);
    let batch = shapes[0][0];
    let mut parts = filled.each_mut().map(|numbers| {
        let length = (numbers.len() / batch.max(1)).max(1);
        numbers.chunks_exact_mut(length)
    });
    let of_items: Vec<[&mut [f32]; N]> =
        (0..batch).map(|_| parts.each_mut().map(|part| part.next().unwrap_or_default())).collect();
    of_items
        .into_par_iter()
        .enumerate()
        .for_each_init(|| vec![0.0_f32; scratch], |scratch, (item, outs)| work(item, scratch, outs));
    let mut shapes = shapes.into_iter();
    filled.map(|numbers| {
        let [batch, heads, positions, width] = shapes.next().unwrap_or_default();
        tensor(numbers, Shape::new([batch, positions, heads, width])).transpose(1, 2)
    })
}

/// The place of a head in an item's memory.
fn at<'a>(out: &'a mut [f32], like: &Heads, head: usize) -> Target<'a> {
    let [_, heads, _, width] = like.shape();
    Target { numbers: &mut out[head * width..], stride: heads * width, adds: false }
}

/// The same, where something is there already.
fn onto<'a>(out: &'a mut [f32], like: &Heads, head: usize) -> Target<'a> {
    Target { adds: true, ..at(out, like, head) }
}

impl Kernel for Flex {
    fn attention_value(q: FlexTensor, k: FlexTensor, v: FlexTensor, mask: FlexTensor) -> FlexTensor {
        let of = Attention::new((q, k, v), mask);
        let [out] = items([&of.q], of.scores(), |item, p, [out]| {
            for head in 0..of.q.shape()[1] {
                of.weights(item, head, p);
                multiply(at(out, &of.q, head), 1.0, of.matrix(p), of.v.of(item, head));
            }
        });
        out
    }

    fn attention_tangent(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        q1: FlexTensor,
        k1: FlexTensor,
        v1: FlexTensor,
        mask: FlexTensor,
    ) -> FlexTensor {
        let (of, along) = (Attention::new((q, k, v), mask), Read::from((q1, k1, v1)));
        let scores = of.scores();
        let [out] = items([&of.q], 2 * scores, |item, scratch, [out]| {
            let (p, s1) = scratch.split_at_mut(scores);
            for head in 0..of.q.shape()[1] {
                of.weights(item, head, p);
                of.moving_scores(&along, item, head, s1);
                for (p, s1) in p.chunks_exact(of.keys()).zip(s1.chunks_exact_mut(of.keys())) {
                    widest(
                        #[inline(always)]
                        || {
                            let mean = dot(p, s1);
                            for (s1, p) in s1.iter_mut().zip(p) {
                                *s1 = p * (*s1 - mean);
                            }
                        },
                    );
                }
                multiply(at(out, &of.q, head), 1.0, of.matrix(s1), of.v.of(item, head));
                multiply(onto(out, &of.q, head), 1.0, of.matrix(p), along.v.of(item, head));
            }
        });
        out
    }
}

impl Reverse for Flex {
    fn attention_reverse(of: Three<FlexTensor>, mask: FlexTensor, along: FlexTensor) -> [FlexTensor; 3] {
        let (of, along) = (Attention::new(of, mask), Heads::new(along));
        let (scores, scale) = (of.scores(), of.scale());
        items([&of.q, &of.k, &of.v], 2 * scores, |item, scratch, [to_q, to_k, to_v]| {
            let (p, s) = scratch.split_at_mut(scores);
            for head in 0..of.q.shape()[1] {
                let (q, k, v) = (of.q.of(item, head), of.k.of(item, head), of.v.of(item, head));
                let along = along.of(item, head);
                of.weights(item, head, p);
                multiply(of.target(s, false), 1.0, along, v.turned());
                for (p, s) in p.chunks_exact(of.keys()).zip(s.chunks_exact_mut(of.keys())) {
                    widest(
                        #[inline(always)]
                        || {
                            let mean = dot(p, s);
                            for (s, p) in s.iter_mut().zip(p) {
                                *s = p * (*s - mean);
                            }
                        },
                    );
                }
                let (p, s) = (of.matrix(p), of.matrix(s));
                multiply(at(to_q, &of.q, head), scale, s, k);
                multiply(at(to_k, &of.k, head), scale, s.turned(), q);
                multiply(at(to_v, &of.v, head), 1.0, p.turned(), along);
            }
        })
    }

    fn attention_tangent_reverse(
        of: Three<FlexTensor>,
        tangents: Three<FlexTensor>,
        mask: FlexTensor,
        along: FlexTensor,
    ) -> [FlexTensor; 6] {
        let (of, moving, along) = (Attention::new(of, mask), Read::from(tangents), Heads::new(along));
        let (scores, scale, keys) = (of.scores(), of.scale(), of.keys());
        let likes = [&of.q, &of.k, &of.v, &of.q, &of.k, &of.v];
        items(likes, 4 * scores, |item, scratch, [to_q, to_k, to_v, to_q1, to_k1, to_v1]| {
            let (weights, rest) = scratch.split_at_mut(scores);
            let (s1, rest) = rest.split_at_mut(scores);
            let (to_s, to_s1) = rest.split_at_mut(scores);
            for head in 0..of.q.shape()[1] {
                let (q, k, v) = (of.q.of(item, head), of.k.of(item, head), of.v.of(item, head));
                let (q1, k1) = (moving.q.of(item, head), moving.k.of(item, head));
                let v1 = moving.v.of(item, head);
                let along = along.of(item, head);
                of.weights(item, head, weights);
                of.moving_scores(&moving, item, head, s1);
                multiply(of.target(to_s, false), 1.0, along, v1.turned());
                multiply(of.target(to_s1, false), 1.0, along, v.turned());
                let rows = weights.chunks_exact(keys).zip(s1.chunks_exact_mut(keys));
                let to_rows = to_s.chunks_exact_mut(keys).zip(to_s1.chunks_exact_mut(keys));
                for ((p, s1), (to_s, to_s1)) in rows.zip(to_rows) {
                    widest(
                        #[inline(always)]
                        || reverse_row(p, s1, to_s, to_s1),
                    );
                }
                let p1 = of.matrix(s1);
                let (p, s, s1) = (of.matrix(weights), of.matrix(to_s), of.matrix(to_s1));
                multiply(at(to_q, &of.q, head), scale, s, k);
                multiply(onto(to_q, &of.q, head), scale, s1, k1);
                multiply(at(to_k, &of.k, head), scale, s.turned(), q);
                multiply(onto(to_k, &of.k, head), scale, s1.turned(), q1);
                multiply(at(to_v, &of.v, head), 1.0, p1.turned(), along);
                multiply(at(to_q1, &of.q, head), scale, s1, k);
                multiply(at(to_k1, &of.k, head), scale, s1.turned(), q);
                multiply(at(to_v1, &of.v, head), 1.0, p.turned(), along);
            }
        })
    }
}

/// Of a row: `S'` becomes `P'`, `dy v'^T` becomes `dS`, and `dP'` becomes `dS'`.
#[inline(always)]
fn reverse_row(p: &[f32], s1: &mut [f32], to_s: &mut [f32], to_s1: &mut [f32]) {
    let length = p.len();
    let (s1, to_s, to_s1) = (&mut s1[..length], &mut to_s[..length], &mut to_s1[..length]);
    let (mean, mean_to) = (dot(p, s1), dot(p, to_s1));
    for i in 0..length {
        to_s[i] += to_s1[i] * (s1[i] - mean) - mean_to * s1[i];
    }
    let mean_s = dot(p, to_s);
    for i in 0..length {
        s1[i] = p[i] * (s1[i] - mean);
        to_s1[i] = p[i] * (to_s1[i] - mean_to);
        to_s[i] = p[i] * (to_s[i] - mean_s);
    }
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
        match OfValue.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish(((q, k, v), mask), value),
            OpsKind::UnTracked(untracked) => untracked.finish(value),
        }
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
        let (of, along) = ((q.clone(), k.clone(), v.clone()), (q1.clone(), k1.clone(), v1.clone()));
        let value = B::attention_tangent(q, k, v, q1, k1, v1, mask.clone());
        match OfTangent.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish((of, along, mask), value),
            OpsKind::UnTracked(untracked) => untracked.finish(value),
        }
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
