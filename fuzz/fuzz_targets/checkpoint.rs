//! Weights: safetensors, what `torch.save` writes, and TorchScript, told apart by content.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gram_clip::checkpoint::read_anything(bytes));
