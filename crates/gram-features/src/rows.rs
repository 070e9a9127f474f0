//! Feature vectors, one a row, wherever they lie.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// A matrix whose rows can be read: in memory, or in a file of which only what is read is loaded.
pub trait Rows: Sync {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Reads a row into `into`, which is as wide as the rows are.
    fn read(&self, row: usize, into: &mut [f32]);

    /// Some of the rows, `[rows, columns]`, as 32-bit numbers in memory.
    fn select(&self, rows: &[usize]) -> Array2<f32> {
        let mut selected = Array2::zeros((rows.len(), self.shape().1));
        let each = selected.axis_iter_mut(Axis(0)).zip(rows).collect::<Vec<_>>();
        each.into_par_iter().with_min_len(256).for_each(|(mut into, row)| {
            if let Some(into) = into.as_slice_mut() {
                self.read(*row, into);
            }
        });
        selected
    }
}

impl Rows for Array2<f32> {
    fn shape(&self) -> (usize, usize) {
        self.dim()
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        self.view().read(row, into);
    }
}

impl Rows for ArrayView2<'_, f32> {
    fn shape(&self) -> (usize, usize) {
        self.dim()
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        into.iter_mut().zip(self.row(row)).for_each(|(to, from)| *to = *from);
    }
}
