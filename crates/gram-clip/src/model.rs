//! A model as people have it: towers, tokenizer and preprocessing under one name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;

use crate::checkpoint::{Layout, Weights};
use crate::clip::Clip;
use crate::compute::Compute;
use crate::config::ClipConfig;
use crate::error::ClipError;
use crate::fingerprint::Fingerprint;
use crate::open_clip;
use crate::preprocess::{Centre, Preprocess};
use crate::sizes::config_of;
use crate::tokenizer::ClipTokenizer;

/// The usual names of weights, the first found counts.
const WEIGHTS: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
];
/// How other checkpoints end.
const ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];

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
    /// What it was opened by, where that opens it again.
    pub source: Option<String>,
    /// Of its weights, once it has been asked for.
    fingerprint: Arc<OnceLock<Fingerprint>>,
    /// What had to be assumed because no file says it, a line each.
    pub notes: Vec<String>,
}

impl Model {
    /// A model called `name`.
    pub fn new(name: String, clip: Clip, tokenizer: ClipTokenizer, preprocess: Preprocess) -> Self {
        Self {
            name,
            clip,
            tokenizer,
            preprocess,
            source: None,
            fingerprint: Arc::default(),
            notes: Vec::new(),
        }
    }

    /// Where and how it computes.
    pub fn compute(&self) -> &Compute {
        &self.clip.compute
    }

    /// Where its weights live, and what it computes on.
    pub fn device(&self) -> Device {
        self.compute().device()
    }

    /// The fingerprint of its weights, computed once for it and all copies of it. Those for images of other
    /// sizes have that of the model they come from.
    ///
    /// # Errors
    /// [`ClipError::Device`] if the device does not hand out a weight.
    pub fn fingerprint(&self) -> Result<Fingerprint, ClipError> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(*known);
        }
        let computed = Fingerprint::of(&self.clip)?;
        Ok(*self.fingerprint.get_or_init(|| computed))
    }

    /// Opens a checkpoint: a file, or a folder with one. What lies beside the weights counts too: Hugging
    /// Face's `config.json`, `tokenizer.json`, `processor_config.json` and `preprocessor_config.json`, or
    /// open_clip's `open_clip_config.json`. Without a configuration the sizes are read off the tensors. The
    /// folder's name, or the file's, is the model's.
    ///
    /// # Errors
    /// [`ClipError`] names the file that is missing or wrong.
    pub fn open(path: &Path, compute: &Compute) -> Result<Self, ClipError> {
        let Opened { folder, mut weights, config, preprocess, notes } = Opened::new(path)?;
        let tokenizer = ClipTokenizer::open(folder, config.text_config.vocab_size)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let clip = Clip::read(&config, &mut weights, &Compute::cpu())?;
        Self { notes, ..Self::new(name, clip, tokenizer, preprocess) }.on(compute)
    }

    /// The model on another device, or with towers in another number format. Its fingerprint is that of the
    /// weights as they were.
    ///
    /// # Errors
    /// [`ClipError::Device`] if a weight cannot be read.
    pub fn on(mut self, compute: &Compute) -> Result<Self, ClipError> {
        if *compute != self.clip.compute {
            self.fingerprint()?;
            self.clip = self.clip.on(compute);
        }
        Ok(self)
    }

    /// The model for images of `side` pixels: position embeddings are interpolated. Its weights are those
    /// that it was opened with, and so is its fingerprint.
    ///
    /// # Errors
    /// [`ClipError::Config`] if patches do not fill such an image.
    pub fn at_image_size(mut self, side: usize) -> Result<Self, ClipError> {
        self.fingerprint()?;
        self.clip.vision = self.clip.vision.at_image_size(side)?;
        self.clip.config.vision_config.image_size = side;
        let bytes_of_image = self.clip.config.vision_config.bytes_of_image();
        self.clip.compute = self.clip.compute.sized_for(bytes_of_image);
        self.preprocess = self.preprocess.at_side(side as u32);
        Ok(self)
    }
}

impl Clip {
    /// Opens the towers of a checkpoint, as [`Model::open`] does, without a tokenizer.
    ///
    /// # Errors
    /// [`ClipError`] names the file that is missing or wrong.
    pub fn open(path: &Path, compute: &Compute) -> Result<Self, ClipError> {
        let Opened { mut weights, config, .. } = Opened::new(path)?;
        Self::read(&config, &mut weights, compute)
    }
}

/// A checkpoint whose files are found and described, before its tensors are read.
struct Opened<'a> {
    folder: &'a Path,
    weights: Weights,
    config: ClipConfig,
    preprocess: Preprocess,
    notes: Vec<String>,
}

impl<'a> Opened<'a> {
    fn new(path: &'a Path) -> Result<Self, ClipError> {
        let (folder, file) = match path.is_dir() {
            true => (path, find_weights(path)?),
            false => (path.parent().unwrap_or(Path::new("")), path.to_owned()),
        };
        let weights = Weights::open(&file)?;
        let (config, preprocess, notes) = describe(folder, &weights)?;
        Ok(Self { folder, weights, config, preprocess, notes })
    }
}

/// The weights in a folder.
fn find_weights(folder: &Path) -> Result<PathBuf, ClipError> {
    if let Some(name) = WEIGHTS.iter().find(|name| folder.join(name).is_file()) {
        return Ok(folder.join(name));
    }
    let failed = |source| ClipError::File { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && ENDINGS.contains(&ending.as_str()) {
            names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    names.sort();
    match names.as_slice() {
        [] => Err(ClipError::NoWeights { folder: folder.to_owned() }),
        [name] => Ok(folder.join(name)),
        _ => Err(ClipError::ManyWeights { folder: folder.to_owned(), names }),
    }
}

/// Sizes and preprocessing, from the files that go with the layout of the weights, or from the tensors; and
/// what had to be assumed.
fn describe(folder: &Path, weights: &Weights) -> Result<(ClipConfig, Preprocess, Vec<String>), ClipError> {
    let read = |name: &str| match fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClipError::File { path: folder.join(name), source }),
    };
    if let Layout::OpenAi(_) = weights.layout()
        && let Some(text) = read(open_clip::FILE)?
    {
        let described = open_clip::parse(&text)?;
        return Ok((described.model, described.preprocess, Vec::new()));
    }
    let (config, assumed) = match (weights.layout(), read("config.json")?) {
        (Layout::HuggingFace, Some(text)) => (ClipConfig::parse(&text)?, None),
        _ => config_of(weights)?,
    };
    let side = config.vision_config.image_size;
    let (file, preprocess) = preprocess(weights.layout(), side as u32, read)?;
    if preprocess.crop as usize != side {
        let expected = format!("the image_size of the model, {side}");
        let (key, value) = ("crop_size".into(), preprocess.crop.to_string());
        return Err(ClipError::Config { file, key, value, expected });
    }
    Ok((config, preprocess, assumed.into_iter().collect()))
}

/// How images are prepared, and the file that says so; as transformers, it takes `processor_config.json`
/// first, where that speaks of images. Without a file, CLIP's settings, with the crop of the library that the
/// layout is of.
fn preprocess(
    layout: Layout,
    side: u32,
    read: impl Fn(&str) -> Result<Option<String>, ClipError>,
) -> Result<(&'static str, Preprocess), ClipError> {
    if let Some(text) = read("processor_config.json")?
        && let Some(preprocess) = Preprocess::parse_processor(&text)?
    {
        return Ok(("processor_config.json", preprocess));
    }
    let file = "preprocessor_config.json";
    Ok((
        file,
        match (read(file)?, layout) {
            (Some(text), _) => Preprocess::parse(&text)?,
            (None, Layout::OpenAi(_)) => Preprocess { centre: Centre::Even, ..Preprocess::clip(side) },
            (None, Layout::HuggingFace) => Preprocess::clip(side),
        },
    ))
}
