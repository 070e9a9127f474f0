//! The four passes, on the CPU.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use gram_resample::vectors::widest;

use super::super::sum;
use super::heads::{Attention, Heads, Read, each_head};
use super::{Kernel, Reverse, Three};

impl Kernel for Flex {
    fn attention_value(q: FlexTensor, k: FlexTensor, v: FlexTensor, mask: FlexTensor) -> FlexTensor {
        let of = Attention::new((q, k, v), mask);
        let [out] = each_head([&of.q], of.scores(), |item, head, p, [mut out]| {
            of.weights(item, head, p);
            out.put(1.0, of.matrix(p), of.v.of(item, head));
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
        let (of, tangents) = (Attention::new((q, k, v), mask), Read::from((q1, k1, v1)));
        let scores = of.scores();
        let [out] = each_head([&of.q], 2 * scores, |item, head, scratch, [mut out]| {
            let (p, s1) = scratch.split_at_mut(scores);
            of.weights(item, head, p);
            of.moving_scores(&tangents, item, head, s1);
            through_softmax(p, s1, of.keys());
            out.put(1.0, of.matrix(s1), of.v.of(item, head));
            out.add(1.0, of.matrix(p), tangents.v.of(item, head));
        });
        out
    }
}

impl Reverse for Flex {
    fn attention_reverse(of: Three<FlexTensor>, mask: FlexTensor, along: FlexTensor) -> [FlexTensor; 3] {
        let (of, along) = (Attention::new(of, mask), Heads::new(along));
        let (scores, scale) = (of.scores(), of.scale());
        let likes = [&of.q, &of.k, &of.v];
        each_head(likes, 2 * scores, |item, head, scratch, [mut to_q, mut to_k, mut to_v]| {
            let (p, s) = scratch.split_at_mut(scores);
            let (q, k, v) = (of.q.of(item, head), of.k.of(item, head), of.v.of(item, head));
            let along = along.of(item, head);
            of.weights(item, head, p);
            of.place(s).put(1.0, along, v.turned());
            through_softmax(p, s, of.keys());
            let (p, s) = (of.matrix(p), of.matrix(s));
            to_q.put(scale, s, k);
            to_k.put(scale, s.turned(), q);
            to_v.put(1.0, p.turned(), along);
        })
    }

    fn attention_tangent_reverse(
        of: Three<FlexTensor>,
        tangents: Three<FlexTensor>,
        mask: FlexTensor,
        along: FlexTensor,
    ) -> [FlexTensor; 6] {
        let (of, tangents, along) = (Attention::new(of, mask), Read::from(tangents), Heads::new(along));
        let (scores, scale, keys) = (of.scores(), of.scale(), of.keys());
        let likes = [&of.q, &of.k, &of.v, &of.q, &of.k, &of.v];
        each_head(likes, 4 * scores, |item, head, scratch, places| {
            let [mut to_q, mut to_k, mut to_v, mut to_q1, mut to_k1, mut to_v1] = places;
            let (weights, rest) = scratch.split_at_mut(scores);
            let (s1, rest) = rest.split_at_mut(scores);
            let (to_s, to_s1) = rest.split_at_mut(scores);
            let (q, k, v) = (of.q.of(item, head), of.k.of(item, head), of.v.of(item, head));
            let (q1, k1) = (tangents.q.of(item, head), tangents.k.of(item, head));
            let (v1, along) = (tangents.v.of(item, head), along.of(item, head));
            of.weights(item, head, weights);
            of.moving_scores(&tangents, item, head, s1);
            of.place(to_s).put(1.0, along, v1.turned());
            of.place(to_s1).put(1.0, along, v.turned());
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
            to_q.put(scale, s, k);
            to_q.add(scale, s1, k1);
            to_k.put(scale, s.turned(), q);
            to_k.add(scale, s1.turned(), q1);
            to_v.put(1.0, p1.turned(), along);
            to_q1.put(scale, s1, k);
            to_k1.put(scale, s1.turned(), q);
            to_v1.put(1.0, p.turned(), along);
        })
    }
}

/// The derivative of softmax along `moves`, which it replaces, row by row: `P (moves - <P moves>)`. The
/// reverse pass is the same.
fn through_softmax(p: &[f32], moves: &mut [f32], row: usize) {
    for (p, moves) in p.chunks_exact(row).zip(moves.chunks_exact_mut(row)) {
        widest(
            #[inline(always)]
            || {
                let mean = dot(p, moves);
                for (moves, p) in moves.iter_mut().zip(p) {
                    *moves = p * (*moves - mean);
                }
            },
        );
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

/// `<left right>` of a row.
#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum(left.len().min(right.len()), |i| left[i] * right[i])
}
