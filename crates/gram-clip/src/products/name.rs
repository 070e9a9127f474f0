//! Which product it is, and why one is not taken over.

use std::fmt;

use burn::tensor::Tensor;

/// A tower of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tower {
    /// The text tower.
    Text,
    /// The vision tower.
    Vision,
}

/// An affine map of a transformer block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AffineMap {
    /// To the queries.
    Query,
    /// To the keys.
    Key,
    /// To the values.
    Value,
    /// From what the heads gathered.
    Output,
    /// Into the perceptron's hidden layer.
    Expand,
    /// Out of it.
    Contract,
}

/// Which product it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductName {
    /// The tower.
    pub tower: Tower,
    /// What entered the tower ([`Contents`](crate::Contents)): it tells the passes through a tower apart.
    pub input: u128,
    /// The layer, from 0 on.
    pub layer: usize,
    /// The map.
    pub map: AffineMap,
}

impl fmt::Display for ProductName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tower, input, layer, map } = self;
        write!(formatter, "{map:?} of layer {layer} of the {tower:?} tower for input {input:032x}")
    }
}

/// The sizes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductShape {
    /// Rows that are multiplied.
    pub rows: usize,
    /// Columns of these rows.
    pub inputs: usize,
    /// Columns of the product.
    pub outputs: usize,
}

impl ProductShape {
    pub(super) fn new(x: &Tensor<2>, weight: &Tensor<2>) -> Self {
        let ([rows, inputs], [_, outputs]) = (x.dims(), weight.dims());
        Self { rows, inputs, outputs }
    }
}

impl fmt::Display for ProductShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, inputs, outputs } = self;
        write!(formatter, "[{rows}, {inputs}] times [{inputs}, {outputs}]")
    }
}

/// Why something is computed anew instead of taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The products are of other losses.
    #[error(
        "the products were kept on the way to other losses: pass the tasks and prompts of their gradient"
    )]
    OtherLosses,
    /// No product has that name, or two have it.
    #[error("{0}: not one product is kept under this name: pass the towers what was passed for the gradient")]
    Unknown(ProductName),
    /// The product of that name has another shape.
    #[error(
        "{name}: {kept} was kept, {asked} is asked for: pass the towers what was passed for the gradient"
    )]
    Shape {
        /// The product.
        name: ProductName,
        /// What was kept.
        kept: ProductShape,
        /// What was asked for.
        asked: ProductShape,
    },
}
