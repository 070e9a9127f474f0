//! The frozen CLIP model: configuration, tokenizer, preprocessing, signals and towers.
