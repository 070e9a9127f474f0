//! Products of matrices that lie anywhere in memory.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;

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

    /// Columns from one to before another.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn columns(self, start: usize, end: usize) -> Self {
        Self { numbers: &self.numbers[start * self.column_stride..], columns: end - start, ..self }
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

/// Whether this machine has [tiles].
pub(super) fn has_tiles() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return tiles::are_there();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}

/// `A B + b`, on all threads, a row after the other; by [tiles], if they are wanted and there.
pub(super) fn large(left: Matrix<'_>, right: Matrix<'_>, bias: Option<&[f32]>, by_tiles: bool) -> Vec<f32> {
    if by_tiles && has_tiles() {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        return tiles::product(left, right, bias);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1 that are the same each time.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 20_011) as f32 / 10_005.5 - 1.0).collect()
    }

    /// `[rows, columns]` of numbers that lie row by row, or column by column.
    fn matrix(numbers: &[f32], [rows, columns]: [usize; 2], by_rows: bool) -> Matrix<'_> {
        match by_rows {
            true => Matrix::new(numbers, [rows, columns], columns),
            false => Matrix::new(numbers, [columns, rows], rows).turned(),
        }
    }

    #[test]
    fn large_products_are_those_in_f64_however_factors_lie_in_memory() {
        for shape @ [rows, inner, columns] in [
            [1, 40, 50],
            [31, 7, 64],
            [64, 64, 64],
            [97, 70, 33],
            [130, 513, 95],
            [700, 1030, 40],
            [40, 800, 700],
            [64, 0, 32],
            [0, 1030, 40],
            [40, 1030, 0],
        ] {
            let (left, right, bias) =
                (numbers(rows * inner, 1), numbers(inner * columns, 2), numbers(columns, 3));
            for [left_by_rows, right_by_rows] in [[true, true], [true, false], [false, true], [false, false]]
            {
                let left = matrix(&left, [rows, inner], left_by_rows);
                let right = matrix(&right, [inner, columns], right_by_rows);
                let at = |of: Matrix<'_>, row: usize, column: usize| {
                    f64::from(of.numbers[row * of.row_stride + column * of.column_stride])
                };
                for (bias, by_tiles) in [(Some(bias.as_slice()), true), (None, true), (Some(&bias), false)] {
                    let found = large(left, right, bias, by_tiles);
                    assert_eq!(found.len(), rows * columns);
                    for (place, found) in found.into_iter().enumerate() {
                        let (row, column) = (place / columns, place % columns);
                        let terms = (0..inner).map(|i| at(left, row, i) * at(right, i, column));
                        let size: f64 = terms.clone().map(f64::abs).sum();
                        let bias = bias.map_or(0.0, |bias| f64::from(bias[column]));
                        let apart = (f64::from(found) - terms.sum::<f64>() - bias).abs();
                        assert!(apart < 1e-6 * (1.0 + size), "{shape:?}, {place}: {apart} of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_products_do_not_depend_on_threads() {
        let (left, right) = (numbers(300 * 800, 1), numbers(800 * 1100, 2));
        let (left, right) = (matrix(&left, [300, 800], true), matrix(&right, [800, 1100], true));
        let product = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| large(left, right, None, true))
        };
        assert_eq!(product(1), product(3));
    }
}
