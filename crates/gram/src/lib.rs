//! The front door of gram: prompts for frozen CLIP models, from a program.

pub mod classifier;
