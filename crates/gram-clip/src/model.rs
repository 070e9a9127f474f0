//! A model as people have it: towers, tokenizer and preprocessing under one name.

use std::path::Path;

use burn::tensor::Device;

use crate::clip::Clip;
use crate::error::ClipError;
use crate::preprocess::Preprocess;
use crate::tokenizer::ClipTokenizer;

/// A CLIP model, ready to read images and texts.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is called in files and messages.
    pub name: String,
    /// The towers.
    pub clip: Clip,
    /// Text to tokens.
    pub tokenizer: ClipTokenizer,
    /// Images to pixels.
    pub preprocess: Preprocess,
}

impl Model {
    /// Opens a folder in Hugging Face's layout; the folder's name is the model's.
    ///
    /// # Errors
    /// [`ClipError`] names the file that is missing or wrong.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, ClipError> {
        Ok(Self {
            name: folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
            clip: Clip::open(folder, device)?,
            tokenizer: ClipTokenizer::open(folder)?,
            preprocess: Preprocess::open(folder)?,
        })
    }
}
