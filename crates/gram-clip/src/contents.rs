//! What tells one input from another: a hash of its bits.

use std::hash::Hash;

use burn::tensor::{Tensor, TensorData};
use xxhash_rust::xxh3::Xxh3Default;

/// Takes in what something is computed from, and tells it from everything else by 128 bits of XXH3. Of a
/// tensor the shape and every bit count. It is for comparisons within a run: what is hashed may change with
/// every release.
#[derive(Clone, Default)]
pub struct Contents(Xxh3Default);

impl Contents {
    /// Takes in a value.
    pub fn value(&mut self, value: &(impl Hash + ?Sized)) {
        value.hash(&mut self.0);
    }

    /// Takes in the values of a tensor, whatever it is recorded for.
    pub fn tensor<const D: usize>(&mut self, tensor: &Tensor<D>) {
        self.data(&tensor.clone().inner().into_data());
    }

    /// Takes in shape, type and numbers.
    pub fn data(&mut self, data: &TensorData) {
        self.value(&format!("{:?} {:?}", data.shape(), data.dtype()));
        self.0.update(data.as_bytes());
    }

    /// What tells all that was taken in from other contents.
    pub fn digest(&self) -> u128 {
        self.0.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Compute;

    fn digest(contents: impl FnOnce(&mut Contents)) -> u128 {
        let mut all = Contents::default();
        contents(&mut all);
        all.digest()
    }

    #[test]
    fn every_number_the_shape_and_the_order_count() {
        let device = Compute::tested().device();
        let rows = |rows: [[f32; 2]; 2]| Tensor::<2>::from_floats(rows, &device);
        let of = |tensor: &Tensor<2>| digest(|contents| contents.tensor(tensor));
        let one = rows([[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(of(&one), of(&one.clone().autodiff().require_grad()));
        assert_ne!(of(&one), of(&rows([[3.0, 4.0], [1.0, 2.0]])));
        assert_ne!(of(&one), of(&rows([[1.0, 2.0], [3.0, 4.000_001]])));
        assert_ne!(of(&one), of(&one.clone().reshape([1, 4])));
    }

    #[test]
    fn a_view_of_a_tensor_is_what_it_shows() {
        let device = Compute::tested().device();
        let turned = Tensor::<2>::from_floats([[1.0, 3.0], [2.0, 4.0]], &device).transpose();
        let plain = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
        let of = |tensor: &Tensor<2>| digest(|contents| contents.tensor(tensor));
        assert_eq!(of(&turned), of(&plain));
    }
}
