//! Cross-modal hierarchical clustering: captions into topics, images into domains.
