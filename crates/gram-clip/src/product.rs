//! Products of matrices in f32, with all digits of f32.
//!
//! NVIDIA's cards since Ampere multiply f32 on tensor cores, which round the factors to TF32: 11 bits of 24.
//! burn takes them wherever a card has them, and has no switch. The meta-gradient would be off by as much as
//! it is exact to. So on such a card products in f32 go to the kernels that multiply in f32, which are slower,
//! unless TF32 is [allowed](allow_tf32). Programs that stand in for a card, which tests run on, take 25 ms for
//! a small product by kernels that share memory: they get the kernel that does not. Everywhere else, and in
//! other formats, products are burn's.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;

static TF32_IS_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Lets tensor cores round the factors of products in f32, in the whole process, as PyTorch's switch does.
pub fn allow_tf32(allowed: bool) {
    TF32_IS_ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether tensor cores may round the factors of products in f32.
pub fn tf32_is_allowed() -> bool {
    TF32_IS_ALLOWED.load(Ordering::Relaxed)
}

/// Whether burn's products of such tensors are not ours.
pub(crate) fn is_ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(feature = "gpu")]
    return whole::is_ours(tensor);
    #[cfg(not(feature = "gpu"))]
    {
        _ = tensor;
        false
    }
}

/// The product of matrices in the last two dimensions; all others are equal.
pub fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "gpu")]
    if is_ours(&left) {
        return whole::product(left, right);
    }
    left.matmul(right)
}

/// `x W` over the last dimension of `x`.
///
/// # Shapes
/// - x: `[…, inputs]`
/// - weight: `[inputs, outputs]`
/// - output: `[…, outputs]`
pub(crate) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    #[cfg(feature = "gpu")]
    if is_ours(&x) {
        let mut shape = x.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        let y = whole::product(x.reshape([rows, shape[D - 1]]), weight.clone());
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
    use burn_cubecl::cubecl::client::Client;
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

    /// Whether burn would round such tensors to TF32, or takes too long on a program that stands in for a
    /// card.
    pub(super) fn is_ours<const D: usize>(left: &Tensor<D>) -> bool {
        let device = left.device().without_autodiff();
        let DispatchDevice::Cube(device) = device.as_dispatch() else { return false };
        let client = device.client();
        let rounds = client.properties().supports_type(ElemType::Float(FloatKind::TF32));
        left.dtype() == DType::F32 && ((rounds && !super::tf32_is_allowed()) || is_software(&client))
    }

    fn is_software(client: &Client) -> bool {
        client.properties().identity.physical.is_none()
    }

    pub(super) fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
        let (left, right) = (left.into_dispatch(), right.into_dispatch());
        Tensor::from_dispatch(<Dispatch as WholeProduct>::whole_product(left, right))
    }

    /// A product whose factors are not rounded.
    #[backend_extension(Flex, Cube, Autodiff)]
    pub(super) trait WholeProduct: Backend {
        /// `A B` in the last two dimensions; all others are equal.
        fn whole_product(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
            Self::float_matmul(left, right)
        }
    }

    impl WholeProduct for Flex {}

    impl WholeProduct for Cube {
        fn whole_product(left: CubeTensor, right: CubeTensor) -> CubeTensor {
            let out = init_matmul_output(&left, &right, left.dtype);
            let tile_size = TileSizeSelection::MaxTileSize;
            let units =
                Strategy::DoubleUnit(BlueprintStrategy::Inferred(DoubleUnitSelectionArgs { tile_size }));
            // What does not fit the fast kernel's tiles goes to the one that takes everything.
            let launched = match is_software(&left.client) {
                true => launch(Strategy::Naive, &left, &right, &out),
                false => launch(units, &left, &right, &out)
                    .or_else(|_| launch(Strategy::Naive, &left, &right, &out)),
            };
            if launched.is_err() {
                return Self::float_matmul(left, right);
            }
            out
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
        fn whole_product(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
            let nodes = [left.node(), right.node()];
            let (left, right) = (left.into_primitive(), right.into_primitive());
            let value = B::whole_product(left.clone(), right.clone());
            match Product.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(tracked) => tracked.finish((left, right), value),
                OpsKind::UnTracked(untracked) => untracked.finish(value),
            }
        }
    }

    /// The reverse pass: `dA = dY B^T`, `dB = A^T dY`.
    #[derive(Debug)]
    struct Product;

    impl<B: WholeProduct> Backward<B, 2> for Product {
        type State = (FloatTensor<B>, FloatTensor<B>);

        fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let along = gradients.consume::<B>(&ops.node);
            let (left, right) = ops.state;
            let turned = |tensor: FloatTensor<B>| {
                let rank = tensor.shape().num_dims();
                B::float_swap_dims(tensor, rank - 2, rank - 1)
            };
            let [of_left, of_right] = ops.parents;
            if let Some(node) = of_left {
                gradients.register::<B>(node.id, B::whole_product(along.clone(), turned(right)));
            }
            if let Some(node) = of_right {
                gradients.register::<B>(node.id, B::whole_product(turned(left), along));
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use burn::tensor::Distribution;

        use super::*;
        use crate::compute::Compute;
        use crate::signal::leaf;

        #[test]
        fn whole_products_and_their_derivatives_are_burn_s() {
            let device = Compute::tested().device();
            let random = |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Default, &device);
            for [batch, rows, inner, columns] in [[1, 1, 3, 1], [2, 5, 7, 3], [3, 70, 33, 65]] {
                let (left, right) = (random([batch, rows, inner]), random([batch, inner, columns]));
                let turn = random([batch, rows, columns]);
                let through = |multiply: fn(Tensor<3>, Tensor<3>) -> Tensor<3>| {
                    let (left, right) = (leaf(left.clone()), leaf(right.clone()));
                    let product = multiply(left.clone(), right.clone());
                    let gradients = (product.clone() * turn.clone()).sum().backward();
                    [Some(product.inner()), left.grad(&gradients), right.grad(&gradients)].map(Option::unwrap)
                };
                let expected = through(Tensor::matmul);
                for (found, expected) in through(product).into_iter().zip(expected) {
                    found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
                }
            }
        }
    }
}
