//! Products with a frozen weight in 16 bits: the factors are rounded to the weight's number format, the sums
//! are in f32, and so is what comes out.
//!
//! The reverse pass is the same: `dx = dy W^T` with `dy` rounded, in half precision after it is scaled.
//! burn's own product would round every sum to 16 bits as well.

#[cfg(feature = "gpu")]
use burn::backend::Cube;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, FloatDType, Tensor};

/// `x W` over the last dimension of `x`, in f32.
///
/// # Shapes
/// - x: `[…, inputs]`, in f32
/// - weight: `[inputs, outputs]`, in 16 bits
/// - output: `[…, outputs]`
pub(crate) fn rounded_product<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    let mut shape = x.dims();
    let rows = shape[..D - 1].iter().product::<usize>();
    let x = x.reshape([rows, shape[D - 1]]);
    shape[D - 1] = weight.dims()[1];
    let product = <Dispatch as RoundedProduct>::rounded_product(x.into_dispatch(), weight.into_dispatch());
    Tensor::<2>::from_dispatch(product).reshape(shape)
}

/// A product with a weight in 16 bits that nothing is asked of.
///
/// # Shapes
/// - x: `[rows, inputs]`, in f32
/// - weight: `[inputs, outputs]`, in 16 bits
/// - output: `[rows, outputs]`, in f32
#[backend_extension(Flex, Cube: cfg(feature = "gpu"), Autodiff)]
pub(crate) trait RoundedProduct: Backend {
    /// `x W`.
    fn rounded_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = Self::float_cast(x, format_of(&weight));
        Self::float_matmul(Self::float_cast(x, FloatDType::F32), Self::float_cast(weight, FloatDType::F32))
    }
}

fn format_of(weight: &impl TensorMetadata) -> FloatDType {
    match weight.dtype() {
        DType::BF16 => FloatDType::BF16,
        DType::F16 => FloatDType::F16,
        _ => FloatDType::F32,
    }
}

impl RoundedProduct for Flex {}

#[cfg(feature = "gpu")]
impl RoundedProduct for Cube {
    fn rounded_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        use burn::backend::ops::FloatTensorOps;
        use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};

        let rounded = Self::float_cast(x, format_of(&weight));
        let product = matmul(rounded, weight, None, MatmulStrategy::default(), DType::F32);
        product.unwrap_or_else(|error| panic!("no kernel multiplies these matrices in 16 bits: {error:?}"))
    }
}

impl<B: RoundedProduct, C: CheckpointStrategy> RoundedProduct for Autodiff<B, C> {
    fn rounded_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (node, weight) = (x.node(), weight.into_primitive());
        let value = B::rounded_product(x.into_primitive(), weight.clone());
        match Rounded.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish(weight, value),
            OpsKind::UnTracked(untracked) => untracked.finish(value),
        }
    }
}

/// The reverse pass `dx = dy W^T`.
#[derive(Debug)]
struct Rounded;

impl<B: RoundedProduct> Backward<B, 1> for Rounded {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let along = gradients.consume::<B>(&ops.node);
        let [Some(x)] = ops.parents else { return };
        let weight = B::float_transpose(ops.state);
        if format_of(&weight) == FloatDType::BF16 {
            return gradients.register::<B>(x.id, B::rounded_product(along, weight));
        }
        // Half precision ends at 6e-8, and derivatives lie there: the largest is made one meanwhile.
        let largest = B::float_max(B::float_abs(along.clone()));
        let largest = B::float_reshape(largest, [1, 1].into());
        let largest = B::float_add_scalar(largest, f32::MIN_POSITIVE.into());
        let product = B::rounded_product(B::float_div(along, largest.clone()), weight);
        gradients.register::<B>(x.id, B::float_mul(product, largest));
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::compute::{Compute, Precision};
    use crate::signal::leaf;

    #[test]
    fn factors_are_rounded_and_sums_are_not() {
        for precision in [Precision::Bf16, Precision::F16] {
            // Not every GPU knows both; the CPU does.
            let compute = match Compute::tested().in_precision(precision) {
                Err(_) if !Compute::tested().is_cpu() => continue,
                compute => compute.unwrap(),
            };
            let device = compute.device();
            let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Default, &device);
            let round = |tensor: Tensor<2>| tensor.cast(precision.float());
            let (x, weight, turn) = (random([9, 70]), round(random([70, 11])), random([9, 11]));
            let x = leaf(x);
            let product = rounded_product(x.clone(), weight.clone());
            let gradients = (product.clone() * turn.clone()).sum().backward();
            let whole = |tensor: Tensor<2>| round(tensor).cast(FloatDType::F32);
            let expected = whole(x.clone().inner()).matmul(whole(weight.clone()));
            let largest = match precision {
                Precision::F16 => turn.clone().abs().max().unsqueeze::<2>(),
                _ => Tensor::ones([1, 1], &device),
            };
            let along = whole(turn / largest.clone()).matmul(whole(weight).transpose()) * largest;
            for (found, expected) in [(product.inner(), expected), (x.grad(&gradients).unwrap(), along)] {
                let off = (found - expected.clone()).abs().max() / expected.abs().max();
                assert!(off.into_scalar::<f32>() < 1e-5, "{precision}");
            }
        }
    }
}
