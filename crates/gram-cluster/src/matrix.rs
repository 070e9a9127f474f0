//! The few matrix steps that nearest neighbours and k-means share. Matrices are row-major, one point a row.
//!
//! Products run on one thread each: callers run fixed blocks of rows side by side, so that no sum depends on
//! the number of threads.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2};

/// How many products a block of rows may hold: 4 Mi values, 16 MB.
const BLOCK_VALUES: usize = 1 << 22;

/// How many rows to multiply at once so that a block of products with `columns` columns stays small.
pub(crate) fn block_rows(columns: usize) -> usize {
    (BLOCK_VALUES / columns.max(1)).clamp(16, 256)
}

/// `left @ right^T` into `product`: `left` [m, d], `right` [n, d], `product` [m, n].
#[allow(unsafe_code)]
pub(crate) fn dot_products(left: ArrayView2<f32>, right: ArrayView2<f32>, mut product: ArrayViewMut2<f32>) {
    let ((rows, inner), (columns, width)) = (left.dim(), right.dim());
    assert!(inner == width && product.dim() == (rows, columns), "matrices of other shapes");
    let (of_left, of_right) = (left.strides(), right.strides());
    let [row_stride, column_stride] = [product.strides()[0], product.strides()[1]];
    // SAFETY: the three views are valid for their dimensions and strides, and the one that is written is
    // borrowed exclusively. What it held is not read.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            product.as_mut_ptr(),
            column_stride,
            row_stride,
            false,
            left.as_ptr(),
            of_left[1],
            of_left[0],
            right.as_ptr(),
            // Transposed: what is a row of `right` is a column of the product's right side.
            of_right[0],
            of_right[1],
            0.0_f32,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The squared length of every row.
pub(crate) fn squared_norms(points: ArrayView2<f32>) -> Vec<f32> {
    points.rows().into_iter().map(|row| row.dot(&row)).collect()
}

/// The squared Euclidean distance of two rows, difference by difference (no cancellation).
pub(crate) fn squared_distance(left: ArrayView1<f32>, right: ArrayView1<f32>) -> f64 {
    left.iter().zip(right).map(|(l, r)| f64::from(l - r) * f64::from(l - r)).sum()
}

/// Every row divided by its length; rows of zeros stay zero.
pub fn normalised_rows(points: ArrayView2<f32>) -> Array2<f32> {
    normalised(points.into_owned())
}

/// [`normalised_rows`] in place, row-major.
pub(crate) fn normalised(points: Array2<f32>) -> Array2<f32> {
    let mut normalised = match points.is_standard_layout() {
        true => points,
        false => points.as_standard_layout().into_owned(),
    };
    for mut row in normalised.rows_mut() {
        let length = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.mapv_inplace(|value| (f64::from(value) / length) as f32);
        }
    }
    normalised
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn products_are_those_of_the_definition_for_any_strides() {
        let left = Array2::from_shape_fn((7, 5), |(i, j)| (i * 5 + j) as f32);
        let right = Array2::from_shape_fn((5, 9), |(i, j)| (i as f32) - (j as f32)).reversed_axes();
        let mut wide = Array2::zeros((7, 12));
        let mut product = wide.slice_mut(ndarray::s![.., 1..10]);
        dot_products(left.view(), right.view(), product.view_mut());
        assert_eq!(product, left.dot(&right.t()));
        assert!(wide.column(0).iter().chain(wide.column(10)).all(|value| *value == 0.0));
    }

    #[test]
    fn normalised_rows_have_length_one_and_zero_stays_zero() {
        let rows = normalised_rows(array![[3.0, 4.0], [0.0, 0.0]].view());
        assert_eq!(rows, array![[0.6, 0.8], [0.0, 0.0]]);
    }
}
