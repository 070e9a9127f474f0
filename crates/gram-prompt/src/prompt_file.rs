//! The prompt file: safetensors with a JSON header that says what made it, enough to predict with.
//!
//! Tensors: `prompt.text` `[contexts * context tokens, width]`, `prompt.visual` `[depth * vectors, width]`,
//! the matrices of CoCoOp's net (`prompt.meta_net.linear1.weight` `[hidden, joint width]`, …), and for a GRAM
//! start the regulator's `regulator.{text|visual}.{gamma_weight|gamma_bias|beta_weight|beta_bias}`. The
//! file's metadata holds one key, `gram`: a [`Header`] in JSON. All values are 32-bit.

mod error;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::{Named, float_values, is_torch, to_f32_bytes_with_header};
use gram_clip::{Model, ModelIdentity};
use gram_data::whole_file::write_whole;
use safetensors::tensor::{SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::coop_file;
use crate::placement::{ClassPosition, Placement};
use crate::prompt::{LARGEST, Part, Prompt, PromptKind};

pub use error::PromptFileError;

/// The version of the format.
pub const VERSION: u32 = 1;

/// What made a prompt, and what it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// The model it was made for.
    #[serde(flatten)]
    pub model: ModelIdentity,
    /// The model whose features made the topics and domains that a start was meta-trained on, where that is
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<ModelIdentity>,
    /// The towers it speaks to.
    pub kind: PromptKind,
    /// Where its vectors enter.
    #[serde(default)]
    pub placement: Placement,
    /// The sentence around a name; its words before the name are replaced by the context tokens, if there
    /// are any.
    pub template: String,
    /// How its regulator is applied, if it has one.
    #[serde(default)]
    pub regulator_form: RegulatorForm,
    /// Names of the classes it was tuned on; none for a meta-trained start.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Every setting in force, the seed among them.
    pub settings: serde_json::Value,
    /// The command that made it.
    pub command: String,
}

/// How a regulator (eqs. 5, 6) is applied to a gradient `g`; `|x|` is the root of the mean square of all
/// numbers of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegulatorForm {
    /// `R(g)`: the paper's.
    #[default]
    Paper,
    /// `|g| R(g / |g|)`: it sees the direction and leaves the size.
    Unit,
    /// `R(g) |g| / |R(g)|`: what it gives has the size of the gradient.
    Rescaled,
}

impl RegulatorForm {
    /// All three.
    pub const ALL: [RegulatorForm; 3] = [Self::Paper, Self::Unit, Self::Rescaled];
}

/// A prompt with its header and, for a GRAM start, the regulator's tensors `[rows, columns]` by name.
#[derive(Clone, Debug)]
pub struct PromptFile {
    /// What made it.
    pub header: Header,
    /// The vectors.
    pub prompt: Prompt,
    /// The regulator's tensors under their names in the file, without `regulator.`; empty if there is none.
    pub regulator: BTreeMap<String, Tensor<2>>,
    /// Whose file it is.
    pub source: Source,
}

/// Whose file a prompt is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// One of gram's own, which says everything.
    #[default]
    Gram,
    /// One of CoOp's or CoCoOp's, which does not say where its class names stand.
    Coop {
        /// Where whoever reads it says that they stand.
        class_position: Option<ClassPosition>,
    },
}

impl PromptFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`PromptFileError`].
    pub fn save(&self, path: &Path) -> Result<(), PromptFileError> {
        let wrong = |error: &dyn std::fmt::Display| format(path, error.to_string());
        let prompts = self.prompt.parts().map(|(part, tensor)| (format!("prompt.{}", part.name()), tensor));
        let regulator = self.regulator.iter().map(|(name, part)| (format!("regulator.{name}"), part));
        let tensors: Named = prompts.chain(regulator).map(|(name, part)| (name, numbers(part))).collect();
        let header = serde_json::to_string(&self.header).map_err(|error| wrong(&error))?;
        let bytes = to_f32_bytes_with_header(&tensors, header).map_err(|error| wrong(&error))?;
        let failed = |source| PromptFileError::File { path: path.to_owned(), source };
        write_whole(path, &bytes).map_err(failed)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`PromptFileError`] names the file and what is wrong with it.
    pub fn load(path: &Path, device: &Device) -> Result<Self, PromptFileError> {
        if path.is_dir() {
            return Err(PromptFileError::Folder { path: path.to_owned(), such_as: prompt_in(path) });
        }
        let bytes =
            fs::read(path).map_err(|source| PromptFileError::File { path: path.to_owned(), source })?;
        Self::parse(path, &bytes, device)
    }

    /// Reads the bytes of the file called `path`, which may also be one of CoOp's ([`coop_file`]).
    ///
    /// # Errors
    /// As [`PromptFile::load`].
    pub fn parse(path: &Path, bytes: &[u8], device: &Device) -> Result<Self, PromptFileError> {
        if is_torch(bytes) {
            return coop_file::read(path, bytes, device);
        }
        let wrong = |error: &dyn std::fmt::Display| format(path, error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| wrong(&error))?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get("gram"));
        let header = header.ok_or_else(|| wrong(&"no header `gram`"))?;
        let header: Header = serde_json::from_str(header).map_err(|error| wrong(&error))?;
        if header.version != VERSION {
            return Err(wrong(&format!("version {}, this program reads {VERSION}", header.version)));
        }
        let parsed = SafeTensors::deserialize(bytes).map_err(|error| wrong(&error))?;
        let (mut parts, mut regulator) = (Vec::new(), BTreeMap::new());
        for (name, view) in parsed.tensors() {
            let tensor =
                matrix(&view, device).map_err(|problem| wrong(&format!("tensor `{name}` {problem}")))?;
            let part = name
                .strip_prefix("prompt.")
                .and_then(|name| Part::ALL.into_iter().find(|part| part.name() == name));
            match (part, name.strip_prefix("regulator.")) {
                (Some(part), _) => parts.push((part, tensor)),
                (None, Some(name)) => _ = regulator.insert(name.to_owned(), tensor),
                (None, None) => return Err(wrong(&format!("tensor `{name}` is unknown"))),
            }
        }
        let prompt: Prompt = parts.into_iter().collect();
        if let Some(missing) = header.kind.parts().iter().find(|part| prompt.get(**part).is_none()) {
            return Err(wrong(&format!("no tensor `prompt.{}`", missing.name())));
        }
        check_rows(&header, &prompt).map_err(|problem| wrong(&problem))?;
        Ok(Self { header, prompt, regulator, source: Source::Gram })
    }

    /// The prompt with its class names where `given` says; as it is if that says nothing. CoOp's files do not
    /// say where the names stand, so that it must be said beside them; gram's own and CoCoOp's do.
    ///
    /// # Errors
    /// [`PromptFileError::ClassPosition`] if the file, called `path`, says another position.
    pub fn with_class_position(
        mut self,
        path: &Path,
        given: Option<ClassPosition>,
    ) -> Result<Self, PromptFileError> {
        let Some(given) = given.filter(|_| self.header.kind.has(Part::Text)) else { return Ok(self) };
        let found = self.header.placement.class_position;
        match &mut self.source {
            Source::Coop { class_position } if self.header.kind == PromptKind::Textual => {
                *class_position = Some(given);
                self.header.placement.class_position = given;
            }
            _ if found != given => {
                return Err(PromptFileError::ClassPosition { path: path.to_owned(), found, given });
            }
            _ => {}
        }
        Ok(self)
    }

    /// Checks that the prompt is for a model: for its weights, where the file says for which, and for its
    /// sizes.
    ///
    /// # Errors
    /// [`PromptFileError::OtherModel`], [`PromptFileError::Model`] and [`PromptFileError::Depth`] name the
    /// model it was made for, and this one.
    pub fn check_model(&self, path: &Path, model: &Model) -> Result<(), PromptFileError> {
        let path = || path.to_owned();
        let identity = model.identity();
        let identity = identity.map_err(|source| PromptFileError::Fingerprint { path: path(), source })?;
        let made_for = &self.header.model;
        made_for.check(&identity).map_err(|source| PromptFileError::OtherModel { path: path(), source })?;
        let (found, model_name) = (made_for.name.clone(), model.name.clone());
        for (part, tensor) in self.prompt.parts() {
            let (width, expected) = (tensor.dims()[1], part.width(&model.clip));
            if width != expected {
                let (path, part) = (path(), part.name());
                return Err(PromptFileError::Model { path, found, model: model_name, part, width, expected });
            }
        }
        let (depth, layers) = (self.header.placement.visual_depth, model.clip.vision.blocks.len());
        if depth > layers {
            return Err(PromptFileError::Depth { path: path(), found, model: model_name, depth, layers });
        }
        Ok(())
    }

    /// The model it was made for, if the file says so: CoOp's does not.
    pub fn made_for(&self) -> Option<&ModelIdentity> {
        (self.source == Source::Gram).then_some(&self.header.model)
    }

    /// What the file does not say and whoever uses it should know, in a sentence without the file's name:
    /// which weights it is for, and of CoOp's where class names stand.
    pub fn doubt(&self) -> Option<String> {
        let checked = "only widths and layers are checked";
        match (self.header.model.fingerprint, self.source) {
            (_, Source::Coop { class_position }) => {
                let assumed = match (self.header.kind, class_position) {
                    (PromptKind::Textual, None) => {
                        "; nor does it say where class names stand: the end is assumed, --class-position says another"
                    }
                    _ => "",
                };
                Some(format!("CoOp's file carries no fingerprint of its model: {checked}{assumed}"))
            }
            (Some(_), Source::Gram) => None,
            (None, Source::Gram) => Some(format!(
                "made for {} by gram {}, which kept no fingerprint of a model: {checked}",
                self.header.model, self.header.program
            )),
        }
    }
}

fn format(path: &Path, problem: String) -> PromptFileError {
    PromptFileError::Format { path: path.to_owned(), problem }
}

/// Checks that rows are as many as the placement and the other matrices say.
pub(crate) fn check_rows(header: &Header, prompt: &Prompt) -> Result<(), String> {
    let Placement { contexts, visual_depth, .. } = header.placement;
    for (part, groups) in [(Part::Text, contexts), (Part::Visual, visual_depth)] {
        let rows = prompt.get(part).map_or(0, |tensor| tensor.dims()[0]);
        if groups == 0 || !rows.is_multiple_of(groups) {
            return Err(format!(
                "tensor `prompt.{}` has {rows} rows, which are not {groups} equal parts",
                part.name()
            ));
        }
    }
    if contexts > 1 && !header.classes.is_empty() && header.classes.len() != contexts {
        return Err(format!("{contexts} contexts for {} classes", header.classes.len()));
    }
    let shape = |part| prompt.get(part).map(|tensor: &Tensor<2>| tensor.dims());
    if let (Some([hidden, _]), Some(bias), Some([shift, inputs]), Some(shift_bias)) =
        (shape(Part::HiddenWeight), shape(Part::HiddenBias), shape(Part::ShiftWeight), shape(Part::ShiftBias))
        && (bias != [1, hidden] || inputs != hidden || shift_bias != [1, shift])
    {
        return Err("the matrices of `prompt.meta_net` do not fit one another".into());
    }
    Ok(())
}

/// A matrix's shape and numbers.
pub fn numbers(matrix: &Tensor<2>) -> (Vec<usize>, Vec<f32>) {
    (matrix.dims().to_vec(), matrix.to_data().try_to_vec().unwrap_or_default())
}

/// Checks that tuning can have made the values of a tensor; says what is wrong after the tensor's name.
pub(crate) fn check_values(values: &[f32]) -> Result<(), String> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err("is empty or holds a value that is not finite".into());
    }
    match values.iter().find(|value| value.abs() > LARGEST) {
        Some(value) => Err(format!("holds {value:e}, and no tuning makes a value beyond {LARGEST}")),
        None => Ok(()),
    }
}

/// A matrix of numbers that tuning can have made.
fn matrix(view: &TensorView, device: &Device) -> Result<Tensor<2>, String> {
    let shape: [usize; 2] =
        view.shape().try_into().map_err(|_| format!("is {:?}, not a matrix", view.shape()))?;
    let values = float_values(view).ok_or_else(|| format!("is of type {:?}", view.dtype()))?;
    check_values(&values)?;
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A prompt in a folder, as an example: gram's own, or the last one in the folder of a run of CoOp's.
fn prompt_in(folder: &Path) -> String {
    let in_folder = |folder: PathBuf, is_one: fn(&str) -> bool| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut found: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| is_one(&name(path))).collect();
        // By length first, so that a later epoch is the later name.
        found.sort_by_key(|path| (name(path).len(), name(path)));
        found.pop()
    };
    let found = in_folder(folder.join("prompt_learner"), |name| name.starts_with("model"))
        .or_else(|| {
            in_folder(folder.to_owned(), |name| name.starts_with("model") && name.contains(".pth.tar"))
        })
        .or_else(|| in_folder(folder.to_owned(), |name| name.ends_with(".safetensors")));
    found.map_or_else(String::new, |path| format!(", such as {}", path.display()))
}

#[cfg(test)]
mod tests;
