//! Episodes, the gradient regulating function, the exact meta-gradient and meta-training.
