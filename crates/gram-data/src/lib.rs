//! Image-text pairs and labelled datasets: shards, manifests, looks, splits and few-shot sampling.

pub mod random;
