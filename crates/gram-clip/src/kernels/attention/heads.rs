//! Heads in memory, their scores, and where what is made of them goes.

use std::ops::Deref;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;
use gram_resample::vectors::widest;
use rayon::prelude::*;

use super::super::exponential::exp;
use super::super::memory::tensor;
use super::super::product::{Matrix, Place};
use super::super::{LANES, sum};
use super::Three;

/// A tensor `[batch, heads, positions, width of a head]` whose rows are pieces of memory.
pub(super) struct Heads {
    tensor: FlexTensor,
}

impl Heads {
    pub(super) fn new(tensor: FlexTensor) -> Self {
        let layout = tensor.layout();
        let lies_in_rows = layout.strides()[3] == 1 && layout.strides().iter().all(|stride| *stride >= 0);
        // Rows that lie within each other, as those of what is repeated, are no matrix.
        let is_apart = layout.strides()[2] >= layout.shape()[3] as isize;
        Self { tensor: if lies_in_rows && is_apart { tensor } else { tensor.to_contiguous() } }
    }

    /// `[batch, heads, positions, width of a head]`
    pub(super) fn shape(&self) -> [usize; 4] {
        let shape = self.tensor.layout().shape();
        [shape[0], shape[1], shape[2], shape[3]]
    }

    /// `[positions, width of a head]` of one head of one item.
    pub(super) fn of(&self, item: usize, head: usize) -> Matrix<'_> {
        let layout = self.tensor.layout();
        let [by_item, by_head, by_row] = [0, 1, 2].map(|dimension| layout.strides()[dimension] as usize);
        let [_, _, rows, width] = self.shape();
        let start = layout.start_offset() + item * by_item + head * by_head;
        Matrix::new(&self.tensor.storage()[start..], [rows, width], by_row)
    }
}

/// Numbers that are added to the scores.
pub(super) struct Mask {
    tensor: FlexTensor,
}

impl Mask {
    /// Adds those of a row of scores.
    pub(super) fn add(&self, item: usize, row: usize, scores: &mut [f32]) {
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
pub(super) struct Read {
    /// Queries.
    pub(super) q: Heads,
    /// Keys.
    pub(super) k: Heads,
    /// Values.
    pub(super) v: Heads,
}

impl From<Three<FlexTensor>> for Read {
    fn from((q, k, v): Three<FlexTensor>) -> Self {
        Self { q: Heads::new(q), k: Heads::new(k), v: Heads::new(v) }
    }
}

/// What attention is computed from.
pub(super) struct Attention {
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
    pub(super) fn new(read: Three<FlexTensor>, mask: FlexTensor) -> Self {
        let read = Read::from(read);
        let ([batch, _, queries, _], [_, _, keys, _]) = (read.q.shape(), read.k.shape());
        let shape = mask.layout().shape();
        let fits = [batch, 1].contains(&shape[0]) && [queries, 1].contains(&shape[2]);
        assert!(fits && shape[1] == 1 && shape[3] == keys, "a mask of other scores: {shape:?}");
        let lies_in_rows = mask.layout().strides()[3] == 1;
        let mask = Mask { tensor: if lies_in_rows { mask } else { mask.to_contiguous() } };
        Self { read, mask }
    }

    /// `1 / sqrt(width of a head)`
    pub(super) fn scale(&self) -> f32 {
        (self.q.shape()[3] as f32).powf(-0.5)
    }

    /// Numbers of the scores of a head.
    pub(super) fn scores(&self) -> usize {
        self.q.shape()[2] * self.k.shape()[2]
    }

    /// Positions of keys: the length of a row of scores.
    pub(super) fn keys(&self) -> usize {
        self.k.shape()[2]
    }

    /// Scores as a matrix.
    pub(super) fn matrix<'a>(&self, scores: &'a [f32]) -> Matrix<'a> {
        Matrix::new(scores, [self.q.shape()[2], self.keys()], self.keys())
    }

    /// Where scores are computed.
    pub(super) fn place<'a>(&self, scores: &'a mut [f32]) -> Place<'a> {
        Place::new(scores, self.keys())
    }

    /// `P`, into `scores`.
    pub(super) fn weights(&self, item: usize, head: usize, scores: &mut [f32]) {
        let keys = self.keys();
        let (q, k) = (self.q.of(item, head), self.k.of(item, head));
        self.place(scores).put(self.scale(), q, k.turned());
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            self.mask.add(item, row, scores);
            widest(
                #[inline(always)]
                || softmax(scores),
            );
        }
    }

    /// `S'`, into `scores`.
    pub(super) fn moving_scores(&self, tangents: &Read, item: usize, head: usize, scores: &mut [f32]) {
        let (q, k) = (self.q.of(item, head), self.k.of(item, head));
        let (q1, k1) = (tangents.q.of(item, head), tangents.k.of(item, head));
        self.place(scores).put(self.scale(), q1, k.turned());
        self.place(scores).add(self.scale(), q, k1.turned());
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

/// Tensors like `likes`, filled head by head: `work` gets the numbers of an item and a head, room for
/// `scratch` numbers, and for each tensor the place of that head, `[positions, width of a head]`. Where
/// there is no score, they are zero.
pub(super) fn each_head<const N: usize>(
    likes: [&Heads; N],
    scratch: usize,
    work: impl Fn(usize, usize, &mut [f32], [Place<'_>; N]) + Sync,
) -> [FlexTensor; N] {
    let shapes = likes.map(Heads::shape);
    let mut filled = shapes.map(|shape| vec![0.0_f32; shape.iter().product()]);
    let [batch, heads, _, width] = shapes[0];
    // Each thread takes an item with all its heads, or a head where items are too few.
    let by_items = batch >= rayon::current_num_threads();
    let (together, stride) = if by_items { (heads, heads * width) } else { (1, width) };
    if scratch > 0 && filled.iter().all(|numbers| !numbers.is_empty()) {
        let pieces = batch * heads / together;
        let mut parts = filled.each_mut().map(|numbers| {
            let length = numbers.len() / pieces;
            numbers.chunks_exact_mut(length)
        });
        let of_pieces: Vec<[&mut [f32]; N]> =
            (0..pieces).map(|_| parts.each_mut().map(|part| part.next().unwrap_or_default())).collect();
        let room = || vec![0.0_f32; scratch];
        of_pieces.into_par_iter().enumerate().for_each_init(room, |scratch, (piece, mut outs)| {
            for own in 0..together {
                let head = piece * together + own;
                let places = outs.each_mut().map(|out| Place::new(&mut out[own * width..], stride));
                work(head / heads, head % heads, scratch, places);
            }
        });
    }
    let mut shapes = shapes.into_iter();
    filled.map(|numbers| {
        let [batch, heads, positions, width] = shapes.next().unwrap_or_default();
        match by_items {
            true => tensor(numbers, Shape::new([batch, positions, heads, width])).transpose(1, 2),
            false => tensor(numbers, Shape::new([batch, heads, positions, width])),
        }
    })
}
