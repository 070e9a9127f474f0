//! Products of matrices that lie anywhere in memory.

use gemm::Parallelism;

/// A matrix of which a row is a piece of memory, or, turned, a column is.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, a row every `stride` numbers.
    pub(super) fn new(numbers: &'a [f32], [rows, columns]: [usize; 2], stride: usize) -> Self {
        assert!(columns <= stride && (rows == 0 || numbers.len() >= (rows - 1) * stride + columns));
        Self { numbers, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The matrix with rows and columns exchanged.
    pub(super) fn turned(self) -> Self {
        let Self { numbers, rows, columns, row_stride, column_stride } = self;
        Self { numbers, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// Rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// Where products of one shape go: a row every `stride` numbers.
pub(super) struct Place<'a> {
    numbers: &'a mut [f32],
    stride: usize,
}

impl<'a> Place<'a> {
    /// From the first number of the first row on.
    pub(super) fn new(numbers: &'a mut [f32], stride: usize) -> Self {
        Self { numbers, stride }
    }

    /// Puts `scale A B` there, on one thread.
    pub(super) fn put(&mut self, scale: f32, left: Matrix<'_>, right: Matrix<'_>) {
        self.write(false, scale, left, right);
    }

    /// Adds `scale A B` to what is there, on one thread.
    pub(super) fn add(&mut self, scale: f32, left: Matrix<'_>, right: Matrix<'_>) {
        self.write(true, scale, left, right);
    }

    fn write(&mut self, adds: bool, scale: f32, left: Matrix<'_>, right: Matrix<'_>) {
        let Self { numbers, stride } = self;
        let (rows, columns) = (left.rows, right.columns);
        assert!(columns <= *stride && (rows == 0 || numbers.len() >= (rows - 1) * *stride + columns));
        // SAFETY: all rows and columns lie within the slice, which is borrowed exclusively and was written
        // before.
        #[allow(unsafe_code)]
        unsafe {
            write(numbers.as_mut_ptr(), *stride, adds, scale, left, right, Parallelism::None);
        }
    }
}

/// `A B + b`, on all threads, a row after the other.
pub(super) fn large(left: Matrix<'_>, right: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let count = left.rows * right.columns;
    // The sum of a single row goes on from the bias, and would have other last digits than among others.
    let before = bias.filter(|_| left.rows > 1);
    let mut numbers = match before {
        Some(bias) => super::memory::rows(left.rows, right.columns, |_, row| row.copy_from_slice(bias)),
        None => Vec::with_capacity(count),
    };
    // SAFETY: there is room for all rows, and where there is no bias, all are written and none is read.
    #[allow(unsafe_code)]
    unsafe {
        write(numbers.as_mut_ptr(), right.columns, before.is_some(), 1.0, left, right, Parallelism::Rayon(0));
        numbers.set_len(count);
    }
    if before.is_none() {
        numbers.iter_mut().zip(bias.unwrap_or_default()).for_each(|(number, bias)| *number += bias);
    }
    numbers
}

/// # Safety
/// `out` must have room for the product, a row every `stride` numbers, and hold numbers if it is added to.
#[allow(unsafe_code)]
unsafe fn write(
    out: *mut f32,
    stride: usize,
    adds: bool,
    scale: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
    threads: Parallelism,
) {
    assert_eq!(left.columns, right.rows, "matrices that do not fit");
    // SAFETY: rows and columns of both factors lie within their slices; the rest is the caller's.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out,
            1,
            stride as isize,
            adds,
            left.numbers.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.numbers.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            // What is there already counts as it is.
            if adds { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}
