//! Tensors of the CPU as slices of f32.

use std::mem::MaybeUninit;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use gram_resample::vectors::widest;
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const ROWS_AT_ONCE: usize = 16;

/// All numbers of a tensor that lie in order.
pub(super) fn numbers(tensor: &FlexTensor) -> &[f32] {
    let (start, count) = (tensor.layout().start_offset(), tensor.layout().num_elements());
    &tensor.storage()[start..start + count]
}

/// The length of the last dimension.
pub(super) fn row_length(tensor: &FlexTensor) -> usize {
    let shape = tensor.layout().shape();
    shape[shape.num_dims() - 1]
}

/// A tensor in order from its numbers.
pub(super) fn tensor(numbers: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(numbers), Layout::contiguous(shape), DType::F32)
}

/// Numbers of so many rows of a length, which `work` fills: it gets the number of a row, and the row.
pub(super) fn rows(count: usize, length: usize, work: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let all = count * length;
    let mut numbers: Vec<f32> = Vec::with_capacity(all);
    numbers.spare_capacity_mut()[..all].par_chunks_mut((length * ROWS_AT_ONCE).max(1)).enumerate().for_each(
        |(chunk, rows)| {
            rows.fill(MaybeUninit::new(0.0));
            // SAFETY: all of them have just been written.
            #[allow(unsafe_code)]
            let rows = unsafe { rows.assume_init_mut() };
            for (row, numbers) in rows.chunks_exact_mut(length).enumerate() {
                work(chunk * ROWS_AT_ONCE + row, numbers);
            }
        },
    );
    // SAFETY: every chunk was written.
    #[allow(unsafe_code)]
    unsafe {
        numbers.set_len(all);
    }
    numbers
}

/// A tensor like the first input: `work` fills each row from the same rows of all inputs, in vectors, for
/// which it must be inlined.
pub(super) fn each_row<const N: usize>(
    inputs: [FlexTensor; N],
    work: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) -> FlexTensor {
    let shape = inputs[0].layout().shape().clone();
    let inputs = inputs.map(|input| input.to_contiguous());
    let (length, all) = (row_length(&inputs[0]), inputs.each_ref().map(numbers));
    let count = shape.num_elements() / length.max(1);
    let filled = rows(count, length, |row, out| {
        widest(
            #[inline(always)]
            || {
                // As long as the row that is filled, which spares the loops a look at every number.
                let length = out.len();
                work(all.map(|numbers| &numbers[row * length..][..length]), out);
            },
        );
    });
    tensor(filled, shape)
}
