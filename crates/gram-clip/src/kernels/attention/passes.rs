//! The four passes, on the CPU.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use gram_resample::vectors::widest;

use super::super::product::multiply;
use super::super::sum;
use super::heads::{Attention, Heads, Read, at, items, onto};
use super::{Kernel, Reverse, Three};

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

/// `<left right>` of a row.
#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum(left.len().min(right.len()), |i| left[i] * right[i])
}
