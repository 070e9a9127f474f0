//! Contrastive training of a small CLIP from image-text pairs.
