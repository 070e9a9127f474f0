//! Both passes. Their inner loops have a fixed length and no branch, so that the compiler makes them vectors;
//! at run time wide ones are taken where the processor has them.

use std::ops::Range;

use crate::vectors::wide;
use crate::weights::{PLACES, Weights};

/// Rows that are resampled side by side.
const ROWS: usize = 8;
/// Values of these rows at one column, a pixel filled up to four.
const LANES: usize = 4 * ROWS;
/// Values of a row that columns are resampled for side by side.
const BLOCK: usize = 64;
/// What a sum begins with, to be rounded.
const HALF: i32 = 1 << (PLACES - 1);

/// A picture of three values a pixel, or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Pixels<'a> {
    /// Rows, one after the other.
    pub values: &'a [u8],
    /// Values from a row to the next.
    pub stride: usize,
    /// The numbers of the first column and row that are there.
    pub origin: (usize, usize),
}

impl<'a> Pixels<'a> {
    /// The values from a row's column on.
    fn from(&self, row: usize, column: usize) -> &'a [u8] {
        &self.values[(row - self.origin.1) * self.stride + 3 * (column - self.origin.0)..]
    }
}

/// The `rows` of a picture, each resampled across: `[rows, output columns, 3]`.
pub(crate) fn across(picture: Pixels, rows: Range<usize>, weights: &Weights) -> Vec<u8> {
    let reach = weights.reach();
    let line = |row| &picture.from(row, reach.start)[..3 * reach.len()];
    let width = 3 * weights.positions().count();
    let mut bytes = vec![0; rows.len() * width];
    let mut columns = vec![[0; LANES]; reach.len()];
    for (block, first) in bytes.chunks_mut(ROWS * width).zip(rows.clone().step_by(ROWS)) {
        // Where rows end, the last stands in for those that would follow.
        let lines: [&[u8]; ROWS] = std::array::from_fn(|row| line((first + row).min(rows.end - 1)));
        wide(
            #[inline(always)]
            || {
                side_by_side(&lines, &mut columns);
                across_rows(&columns, reach.start, weights, block, width);
            },
        );
    }
    bytes
}

/// Writes pixels of one column next to each other, one column after the other, so that the memory is passed
/// once.
#[inline(always)]
fn side_by_side(lines: &[&[u8]; ROWS], columns: &mut [[u8; LANES]]) {
    let Some((last, others)) = columns.split_last_mut() else { return };
    let end = 3 * others.len();
    for (index, column) in others.iter_mut().enumerate() {
        for (four, line) in column.as_chunks_mut::<4>().0.iter_mut().zip(lines) {
            // Four values are moved at once. The fourth is the next pixel's, and what becomes of it is never
            // looked at.
            if let Some(values) = line[3 * index..].first_chunk::<4>() {
                *four = *values;
            }
        }
    }
    for (four, line) in last.as_chunks_mut::<4>().0.iter_mut().zip(lines) {
        four[..3].copy_from_slice(&line[end..end + 3]);
    }
}

/// Resamples up to [`ROWS`] rows across. `block`: `[rows, width]`.
#[inline(always)]
fn across_rows(columns: &[[u8; LANES]], start: usize, weights: &Weights, block: &mut [u8], width: usize) {
    for (position, (first, weights)) in weights.positions().enumerate() {
        let columns = &columns[first - start..][..weights.len()];
        let values = weighted_sums(|index| columns.get(index), weights).map(rounded);
        for (line, pixel) in block.chunks_exact_mut(width).zip(values.as_chunks::<4>().0) {
            line[3 * position..3 * position + 3].copy_from_slice(&pixel[..3]);
        }
    }
}

/// The `columns` of a picture, resampled down: `[output rows, columns, 3]`.
pub(crate) fn down(picture: Pixels, columns: Range<usize>, weights: &Weights) -> Vec<u8> {
    let width = 3 * columns.len();
    let mut bytes = vec![0; weights.positions().count() * width];
    for (line, (first, weights)) in bytes.chunks_exact_mut(width).zip(weights.positions()) {
        let rows = picture.from(first, columns.start);
        wide(
            #[inline(always)]
            || down_columns(rows, picture.stride, weights, line),
        );
    }
    bytes
}

/// One output row: the weighted sum of rows that begin `stride` values after each other.
#[inline(always)]
fn down_columns(rows: &[u8], stride: usize, weights: &[i32], line: &mut [u8]) {
    let (blocks, rest) = line.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (index, block) in blocks.iter_mut().enumerate() {
        let values = |row: usize| rows[row * stride + index * BLOCK..].first_chunk::<BLOCK>();
        *block = weighted_sums(values, weights).map(rounded);
    }
    let mut sums = [HALF; BLOCK];
    for (row, weight) in weights.iter().enumerate() {
        for (sum, value) in sums.iter_mut().zip(&rows[row * stride + done..][..rest.len()]) {
            *sum += i32::from(*value) * weight;
        }
    }
    rest.iter_mut().zip(sums).for_each(|(value, sum)| *value = rounded(sum));
}

/// Sums of the values that there are for each weight, to be rounded.
///
/// Four weights at a time: of a shorter body the compiler would make vectors along the weights, not along the
/// values, and gather these one by one.
#[inline(always)]
fn weighted_sums<'a, const N: usize>(
    values: impl Fn(usize) -> Option<&'a [u8; N]>,
    weights: &[i32],
) -> [i32; N] {
    let mut sums = [HALF; N];
    let (fours, rest) = weights.as_chunks::<4>();
    for (index, &[first, second, third, fourth]) in fours.iter().enumerate() {
        let place = 4 * index;
        let (Some(one), Some(two), Some(three), Some(four)) =
            (values(place), values(place + 1), values(place + 2), values(place + 3))
        else {
            break;
        };
        sums = std::array::from_fn(|lane| {
            sums[lane]
                + i32::from(one[lane]) * first
                + i32::from(two[lane]) * second
                + i32::from(three[lane]) * third
                + i32::from(four[lane]) * fourth
        });
    }
    for (index, weight) in rest.iter().enumerate() {
        let Some(values) = values(4 * fours.len() + index) else { break };
        sums = std::array::from_fn(|lane| sums[lane] + i32::from(values[lane]) * weight);
    }
    sums
}

/// The whole part of a sum, cut off at 0 and 255.
#[inline(always)]
fn rounded(sum: i32) -> u8 {
    (sum >> PLACES).clamp(0, 255) as u8
}
