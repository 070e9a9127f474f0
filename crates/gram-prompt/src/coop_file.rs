//! CoOp's and CoCoOp's own files, `prompt_learner/model.pth.tar-N`, read and written.
//!
//! A file is a dictionary of `torch.save`; its `state_dict` has the context tokens as `ctx`, `[context tokens, width]`, or
//! `[classes, context tokens, width]` where each class has its own (CSC), and for CoCoOp the net as
//! `meta_net.linear{1|2}.{weight|bias}`. What else is in it is passed over: `token_prefix` and `token_suffix`, which follow
//! from the class names, the optimiser, the epoch. It does not say which model it is for, nor which classes, nor where
//! they stand: at the end, as is CoOp's default. Reference: CoOp's `trainers/coop.py` and `trainers/cocoop.py`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::ModelIdentity;
use gram_clip::checkpoint::{Named, read_tensors, to_torch_bytes};

use crate::placement::{ClassPosition, Placement};
use crate::prompt::{Part, Prompt, PromptKind};
use crate::prompt_file::{Header, PromptFile, PromptFileError, VERSION, check_rows};

/// What is said to have written the file.
pub(crate) const PROGRAM: &str = "CoOp";
/// CoOp's sentence: the context, the name and a full stop.
const TEMPLATE: &str = "{}.";
/// What a file that does not say its model is said to be made for.
const MODEL: &str = "a model that CoOp's file does not name";
/// The context tokens.
const CONTEXT: &str = "ctx";

/// Reads the bytes of the file called `path`.
///
/// # Errors
/// [`PromptFileError::Coop`] if it holds no context, or tensors that do not fit one another.
pub fn read(path: &Path, bytes: &[u8], device: &Device) -> Result<PromptFile, PromptFileError> {
    let wrong = |problem: String| PromptFileError::Coop { path: path.to_owned(), problem };
    let mut tensors = read_tensors(&path.display().to_string(), bytes)
        .map_err(|error| wrong(without_path(path, &error)))?;
    let kind = match tensors.keys().any(|name| name.starts_with("meta_net.")) {
        true => PromptKind::Conditional,
        false => PromptKind::Textual,
    };
    let mut placement = Placement::default();
    let mut prompt = Prompt::none();
    for part in kind.parts() {
        let name = if *part == Part::Text { CONTEXT } else { part.name() };
        let missing =
            format!("no tensor `{name}`: it is not the prompt of CoOp (prompt_learner/model.pth.tar-N)");
        let (shape, values) = tensors.remove(name).ok_or_else(|| wrong(missing))?;
        let shape = match (part, &shape[..]) {
            (Part::Text, &[contexts, tokens, width]) if kind == PromptKind::Textual => {
                placement.contexts = contexts;
                [contexts * tokens, width]
            }
            (Part::HiddenBias | Part::ShiftBias, &[width]) => [1, width],
            (_, &[rows, width]) => [rows, width],
            _ => return Err(wrong(format!("tensor `{name}` is {shape:?}"))),
        };
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return Err(wrong(format!("tensor `{name}` is empty or holds a value that is not finite")));
        }
        let tensor = Tensor::from_data(TensorData::new(values, shape), device);
        prompt = prompt.with([(*part, tensor)].into_iter().collect());
    }
    let header = Header {
        regulator_form: Default::default(),
        version: VERSION,
        program: PROGRAM.into(),
        model: ModelIdentity::named(MODEL),
        clusters: None,
        kind,
        placement,
        template: TEMPLATE.into(),
        classes: Vec::new(),
        settings: serde_json::Value::Null,
        command: String::new(),
    };
    check_rows(&header, &prompt).map_err(wrong)?;
    Ok(PromptFile { header, prompt, regulator: BTreeMap::new() })
}

/// The bytes of a file that CoOp's or CoCoOp's `load_model` reads.
///
/// # Errors
/// [`PromptFileError::Coop`] if the prompt is not a textual one, or its sentence is not CoOp's.
pub fn write(path: &Path, file: &PromptFile) -> Result<Vec<u8>, PromptFileError> {
    let wrong = |problem: String| PromptFileError::Coop { path: path.to_owned(), problem };
    let Header { kind, placement, .. } = file.header;
    if kind.has(Part::Visual) {
        return Err(wrong(format!("a prompt of {kind}: CoOp's file holds textual ones only")));
    }
    let after = file.header.template.rsplit("{}").next().unwrap_or_default();
    if after != "." {
        return Err(wrong(format!(
            "its sentence ends with `{after}` after the name, CoOp's with a full stop"
        )));
    }
    if kind == PromptKind::Conditional && placement.class_position != ClassPosition::End {
        return Err(wrong("its names do not stand at the end, where CoCoOp's do".into()));
    }
    let named = |(part, tensor): (Part, &Tensor<2>)| {
        let [rows, width] = tensor.dims();
        let (name, shape) = match part {
            Part::Text if placement.is_class_specific() => {
                (CONTEXT, vec![placement.contexts, rows / placement.contexts, width])
            }
            Part::Text => (CONTEXT, vec![rows, width]),
            Part::HiddenBias | Part::ShiftBias => (part.name(), vec![width]),
            _ => (part.name(), vec![rows, width]),
        };
        (name.to_owned(), (shape, tensor.to_data().try_to_vec().unwrap_or_default()))
    };
    let tensors: Named = file.prompt.parts().map(named).collect();
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
        file.prompt.get(Part::Text).unwrap().to_data().try_to_vec().unwrap()
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
    fn a_context_for_each_class_and_cocoop_s_net_are_read_and_written_again() {
        let device = Device::default();
        for (name, kind, contexts) in [
            ("class-specific.pth.tar-50", PromptKind::Textual, 3),
            ("cocoop.pth.tar-10", PromptKind::Conditional, 1),
        ] {
            let (path, bytes) = fixture(name);
            let file = PromptFile::parse(&path, &bytes, &device).unwrap();
            assert_eq!((file.header.kind, file.header.placement.contexts), (kind, contexts), "{name}");
            let again = read(Path::new("out"), &write(Path::new("out"), &file).unwrap(), &device).unwrap();
            assert_eq!(again.header, file.header);
            assert_eq!(again.prompt.add_scaled(&file.prompt, -1.0).norm(), 0.0);
            let expected: f32 = (0..4).map(|index| (index as f64).sin() as f32).sum();
            let first = file.prompt.get(Part::Text).unwrap().clone().slice([0..1, 0..4]).sum();
            assert!((first.into_scalar::<f32>() - expected).abs() < 1e-6, "{name}");
        }
    }

    #[test]
    fn a_file_without_a_context_is_refused_by_name() {
        let device = Device::default();
        let (path, bytes) = fixture("no-context.pth.tar-50");
        let error = PromptFile::parse(&path, &bytes, &device).unwrap_err().to_string();
        assert!(error.contains("no-context.pth.tar-50") && error.contains("no tensor `ctx`"), "{error}");
    }
}
