//! Products of matrices in f32, with all digits of f32.
//!
//! NVIDIA's cards since Ampere multiply f32 on tensor cores, which round the factors to TF32: 11 bits of 24.
//! burn takes them wherever a card has them, and has no switch. The meta-gradient would be off by as much as
//! it is exact to. So on such a card products in f32 go to the kernels that multiply in f32, which are
//! slower, unless TF32 is [allowed](allow_tf32). Programs that stand in for a card, which tests run on, take
//! long to compile kernels that share memory: their small products get the kernel that does not. Everywhere
//! else, and in other formats, products are burn's.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;

static TF32_IS_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Lets tensor cores round the factors of products in f32, in the whole process, as PyTorch's switch does.
pub(crate) fn allow_tf32(allowed: bool) {
    TF32_IS_ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether tensor cores may round the factors of products in f32.
#[cfg(feature = "gpu")]
fn tf32_is_allowed() -> bool {
    TF32_IS_ALLOWED.load(Ordering::Relaxed)
}

/// Whether products of such a tensor go to the kernels below, and not to burn's.
pub(crate) fn is_ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(feature = "gpu")]
    return whole::kernel(tensor).is_some();
    #[cfg(not(feature = "gpu"))]
    {
        _ = tensor;
        false
    }
}

/// The product of matrices.
///
/// # Shapes
/// - left: `[…, rows, inner]`
/// - right: `[…, inner, columns]`, with the same dimensions in front
/// - output: `[…, rows, columns]`
pub fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "gpu")]
    if let Some(kernel) = whole::kernel(&left) {
        return whole::product(kernel, left, right);
    }
    left.matmul(right)
}

/// `x W + b` over the last dimension of `x`.
///
/// # Shapes
/// - x: `[…, inputs]`
/// - weight: `[inputs, outputs]`
/// - bias: `[outputs]`
/// - output: `[…, outputs]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    #[cfg(feature = "gpu")]
    if let Some(kernel) = whole::kernel(&x) {
        let mut shape = x.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        let y = whole::product(kernel, x.reshape([rows, shape[D - 1]]), weight.clone());
        shape[D - 1] = weight.dims()[1];
        let y = y.reshape(shape);
        return match bias {
            Some(bias) => y + bias.unsqueeze::<D>(),
            None => y,
        };
    }
    burn::tensor::module::linear(x, weight, bias)
}

/// The kernels that multiply in f32.
#[cfg(feature = "gpu")]
mod whole {
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
    use burn::backend::cubecl::dtype_to_storage_type;
    use burn::backend::ops::FloatTensorOps;
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{
        Autodiff, Backend, Cube, Dispatch, DispatchDevice, Flex, TensorMetadata, backend_extension,
    };
    use burn::tensor::{DType, Tensor};
    use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
    use burn_cubecl::kernel::matmul::init_matmul_output;
    use burn_cubecl::tensor::CubeTensor;
    use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
    use cubek::matmul::launch::launch_ref;
    use cubek::matmul::multi_level::Strategy;
    use cubek::matmul::multi_level::routines::TileSizeSelection;
    use cubek::matmul::multi_level::routines::batch::double_unit::DoubleUnitSelectionArgs;
    use cubek::matmul::routine::BlueprintStrategy;
    use cubek::std::InputBinding;

    /// The kernel for products of such a tensor, where burn would round it to TF32, or takes too long on a
    /// program that stands in for a card; none where burn's own will do.
    pub(super) fn kernel<const D: usize>(left: &Tensor<D>) -> Option<Kernel> {
        let device = left.device().without_autodiff();
        let DispatchDevice::Cube(device) = device.as_dispatch() else { return None };
        if left.dtype() != DType::F32 {
            return None;
        }
        let client = device.client();
        let properties = client.properties();
        let rounds = properties.supports_type(ElemType::Float(FloatKind::TF32));
        match properties.identity.physical {
            None => Some(Kernel::Naive),
            Some(_) => (rounds && !super::tf32_is_allowed()).then_some(Kernel::Tiled),
        }
    }

    pub(super) fn product<const D: usize>(kernel: Kernel, left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
        let (left, right) = (left.into_dispatch(), right.into_dispatch());
        Tensor::from_dispatch(<Dispatch as WholeProduct>::whole_product(left, right, kernel))
    }

    /// A kernel that multiplies in f32.
    #[derive(Clone, Copy, Debug)]
    pub(super) enum Kernel {
        /// Tiles in shared memory: fast on a card.
        Tiled,
        /// A number of the output for each unit. It takes all matrices, and is slow for large ones, which go
        /// to burn's.
        Naive,
    }

    /// Multiplications from which compiling a kernel that shares memory pays, where no card computes.
    const LARGE: usize = 1 << 20;

    /// A product whose factors are not rounded.
    #[backend_extension(Flex, Cube, Autodiff)]
    pub(super) trait WholeProduct: Backend {
        /// `A B` in the last two dimensions; all others are equal.
        fn whole_product(
            left: FloatTensor<Self>,
            right: FloatTensor<Self>,
            _kernel: Kernel,
        ) -> FloatTensor<Self> {
            Self::float_matmul(left, right)
        }
    }

    impl WholeProduct for Flex {}

    impl WholeProduct for Cube {
        fn whole_product(left: CubeTensor, right: CubeTensor, kernel: Kernel) -> CubeTensor {
            let columns = right.shape()[right.rank() - 1];
            if matches!(kernel, Kernel::Naive) && left.shape().num_elements() * columns >= LARGE {
                return Self::float_matmul(left, right);
            }
            let out = init_matmul_output(&left, &right, left.dtype);
            let tile_size = TileSizeSelection::MaxTileSize;
            let tiled = BlueprintStrategy::Inferred(DoubleUnitSelectionArgs { tile_size });
            let launched = match kernel {
                // What does not fit tiles goes to the kernel that takes everything.
                Kernel::Tiled => launch(Strategy::DoubleUnit(tiled), &left, &right, &out)
                    .or_else(|_| launch(Strategy::Naive, &left, &right, &out)),
                Kernel::Naive => launch(Strategy::Naive, &left, &right, &out),
            };
            match launched {
                Ok(()) => out,
                Err(error) => panic!("no kernel multiplies these matrices in f32: {error:?}"),
            }
        }
    }

    fn launch(
        strategy: Strategy,
        left: &CubeTensor,
        right: &CubeTensor,
        out: &CubeTensor,
    ) -> Result<(), MatmulSetupError> {
        let f32 = dtype_to_storage_type(DType::F32);
        let mut elements = MatmulElems::from_globals(&MatmulGlobalElems { lhs: f32, rhs: f32, out: f32 });
        let of = |tensor: &CubeTensor| InputBinding::new(tensor.clone().binding(), f32);
        launch_ref(&strategy.into(), &out.client, of(left), of(right), out.clone().binding(), &mut elements)
    }

    impl<B: WholeProduct, C: CheckpointStrategy> WholeProduct for Autodiff<B, C> {
        fn whole_product(
            left: FloatTensor<Self>,
            right: FloatTensor<Self>,
            kernel: Kernel,
        ) -> FloatTensor<Self> {
            let (nodes, asked) = ([left.node(), right.node()], [left.is_tracked(), right.is_tracked()]);
            let (left, right) = (left.into_primitive(), right.into_primitive());
            let value = B::whole_product(left.clone(), right.clone(), kernel);
            // The derivative for one needs the other.
            let needed = (asked[1].then_some(left), asked[0].then_some(right), kernel);
            match Product.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(tracked) => tracked.finish(needed, value),
                OpsKind::UnTracked(untracked) => untracked.finish(value),
            }
        }
    }

    /// The reverse pass: `dA = dY B^T`, `dB = A^T dY`.
    #[derive(Debug)]
    struct Product;

    impl<B: WholeProduct> Backward<B, 2> for Product {
        type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, Kernel);

        fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let along = gradients.consume::<B>(&ops.node);
            let (left, right, kernel) = ops.state;
            let turned = |tensor: FloatTensor<B>| {
                let rank = tensor.shape().num_dims();
                B::float_swap_dims(tensor, rank - 2, rank - 1)
            };
            let [of_left, of_right] = ops.parents;
            if let (Some(node), Some(right)) = (of_left, right) {
                gradients.register::<B>(node.id, B::whole_product(along.clone(), turned(right), kernel));
            }
            if let (Some(node), Some(left)) = (of_right, left) {
                gradients.register::<B>(node.id, B::whole_product(turned(left), along, kernel));
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use burn::tensor::{Device, Distribution};

        use super::*;
        use crate::compute::Compute;
        use crate::signal::leaf;

        const KERNELS: [Kernel; 2] = [Kernel::Tiled, Kernel::Naive];

        /// On a card with tensor cores 2^-12 would be rounded away.
        #[test]
        fn every_kernel_keeps_all_digits_of_f32() {
            let device = Compute::tested().device();
            let digits = 1.0 + 2.0_f32.powi(-12);
            let left = Tensor::<2>::eye(40, &device) * digits;
            let right = Tensor::<2>::random([40, 33], Distribution::Uniform(1.0, 2.0), &device);
            let expected: Vec<f32> = (right.clone() * digits).into_data().try_to_vec().unwrap();
            for kernel in KERNELS {
                let found = product(kernel, left.clone(), right.clone()).into_data();
                assert_eq!(found.try_to_vec::<f32>().unwrap(), expected, "{kernel:?}");
            }
        }

        /// On the CPU, which rounds nothing.
        #[test]
        fn whole_products_and_their_derivatives_are_those_of_the_cpu() {
            let device = Compute::tested().device();
            let random =
                |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Default, &Device::flex());
            for [batch, rows, inner, columns] in
                [[1, 1, 3, 1], [2, 5, 7, 3], [3, 70, 33, 65], [1, 600, 300, 100]]
            {
                let (left, right) = (random([batch, rows, inner]), random([batch, inner, columns]));
                let turn = random([batch, rows, columns]);
                let through = |device: &Device, multiply: &dyn Fn(Tensor<3>, Tensor<3>) -> Tensor<3>| {
                    let on = |tensor: &Tensor<3>| tensor.clone().to_device(device);
                    let (left, right) = (leaf(on(&left)), leaf(on(&right)));
                    let product = multiply(left.clone(), right.clone());
                    let gradients = (product.clone() * on(&turn)).sum().backward();
                    [Some(product.inner()), left.grad(&gradients), right.grad(&gradients)]
                        .map(|tensor| tensor.unwrap().to_device(&Device::flex()))
                };
                let expected = through(&Device::flex(), &Tensor::matmul);
                for kernel in KERNELS {
                    let found = through(&device, &|left, right| product(kernel, left, right));
                    for (found, expected) in found.into_iter().zip(&expected) {
                        let off = (found - expected.clone()).abs().max() / expected.clone().abs().max();
                        assert!(off.into_scalar::<f32>() < 1e-5, "{kernel:?}");
                    }
                }
            }
        }
    }
}
