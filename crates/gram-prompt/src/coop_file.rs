//! CoOp's own files, `prompt_learner/model.pth.tar-N`, read and written.
//!
//! A file is a dictionary of `torch.save`; its `state_dict` has the context tokens as `ctx`, `[context tokens, width]`.
//! What else is in it is passed over: `token_prefix` and `token_suffix`, which follow from the class names, the optimiser,
//! the epoch. It does not say which model it is for, nor which classes. Reference: CoOp's `trainers/coop.py`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::{Named, read_tensors, to_torch_bytes};

use crate::prompt::{Modality, Prompt, PromptKind};
use crate::prompt_file::{Header, PromptFile, PromptFileError, VERSION};

/// CoOp's sentence: the context, the name and a full stop.
const TEMPLATE: &str = "{}.";
/// What a file that does not say its model is said to be made for.
const MODEL: &str = "a model that CoOp's file does not name";

/// Reads the bytes of the file called `path`.
///
/// # Errors
/// [`PromptFileError::Coop`] if it holds no context, one for each class, or an image-conditioned one.
pub fn read(path: &Path, bytes: &[u8], device: &Device) -> Result<PromptFile, PromptFileError> {
    let wrong = |problem: String| PromptFileError::Coop { path: path.to_owned(), problem };
    let mut tensors = read_tensors(&path.display().to_string(), bytes)
        .map_err(|error| wrong(without_path(path, &error)))?;
    if tensors.keys().any(|name| name.starts_with("meta_net.")) {
        return Err(wrong(
            "a prompt of CoCoOp, which depends on the image: gram does not compute these yet".into(),
        ));
    }
    let no_context = "no tensor `ctx`: it is not the prompt of CoOp (prompt_learner/model.pth.tar-N)";
    let (shape, values) = tensors.remove("ctx").ok_or_else(|| wrong(no_context.into()))?;
    let shape: [usize; 2] = shape.try_into().map_err(|shape| {
        wrong(format!(
            "`ctx` is {shape:?}: a context for each class (CSC) is not supported, tune one for all"
        ))
    })?;
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err(wrong("`ctx` is empty or holds a value that is not finite".into()));
    }
    let context = Tensor::from_data(TensorData::new(values, shape), device);
    let header = Header {
        version: VERSION,
        program: "CoOp".into(),
        model: MODEL.into(),
        kind: PromptKind::Textual,
        template: TEMPLATE.into(),
        classes: Vec::new(),
        settings: serde_json::Value::Null,
        command: String::new(),
    };
    let prompt: Prompt = [(Modality::Text, context)].into_iter().collect();
    Ok(PromptFile { header, prompt, regulator: BTreeMap::new() })
}

/// The bytes of a file that CoOp's `load_model` reads.
///
/// # Errors
/// [`PromptFileError::Coop`] if the prompt is not a textual one, or its sentence is not CoOp's.
pub fn write(path: &Path, file: &PromptFile) -> Result<Vec<u8>, PromptFileError> {
    let wrong = |problem: String| PromptFileError::Coop { path: path.to_owned(), problem };
    let (PromptKind::Textual, Some(context)) = (file.header.kind, file.prompt.get(Modality::Text)) else {
        return Err(wrong(format!("a {:?} prompt: CoOp's file holds textual ones only", file.header.kind)));
    };
    let after = file.header.template.rsplit("{}").next().unwrap_or_default();
    if after != "." {
        return Err(wrong(format!(
            "its sentence ends with `{after}` after the name, CoOp's with a full stop"
        )));
    }
    let values = context.to_data().try_to_vec().unwrap_or_default();
    let tensors = Named::from([("ctx".to_owned(), (context.dims().to_vec(), values))]);
    to_torch_bytes("model", &tensors, 0).map_err(|error| wrong(error.to_string()))
}

fn without_path(path: &Path, error: &gram_clip::ClipError) -> String {
    error.to_string().trim_start_matches(&format!("{}: ", path.display())).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> (std::path::PathBuf, Vec<u8>) {
        let path =
            std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/coop").join(name);
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }

    /// `ctx` of the fixtures: `sin(index)`, 4 tokens of width 8.
    fn expected() -> Vec<f32> {
        (0..32).map(|index| (index as f64).sin() as f32).collect()
    }

    fn context(file: &PromptFile) -> Vec<f32> {
        file.prompt.get(Modality::Text).unwrap().to_data().try_to_vec().unwrap()
    }

    #[test]
    fn coop_s_file_is_read_with_its_context_alone() {
        let device = Device::default();
        for name in ["model.pth.tar-50", "legacy.pth.tar-50"] {
            let (path, bytes) = fixture(name);
            let file = PromptFile::parse(&path, &bytes, &device).unwrap();
            assert_eq!((file.header.template.as_str(), file.header.kind), ("{}.", PromptKind::Textual));
            assert_eq!(context(&file), expected());
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let device = Device::default();
        let (path, bytes) = fixture("model.pth.tar-50");
        let file = read(&path, &bytes, &device).unwrap();
        let written = write(Path::new("out"), &file).unwrap();
        assert_eq!(context(&read(Path::new("out"), &written, &device).unwrap()), expected());
        // The file that PyTorch itself has read back: the script beside the fixtures keeps it.
        assert!(written == fixture("written.pth.tar-0").1);
    }

    #[test]
    fn prompts_of_other_kinds_are_refused_by_file() {
        let device = Device::default();
        for (name, problem) in [
            ("cocoop.pth.tar-10", "depends on the image"),
            ("class-specific.pth.tar-50", "a context for each class"),
            ("no-context.pth.tar-50", "no tensor `ctx`"),
        ] {
            let (path, bytes) = fixture(name);
            let error = PromptFile::parse(&path, &bytes, &device).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(problem), "{error}");
        }
    }
}
