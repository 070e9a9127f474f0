//! CoOp's and CoCoOp's own files, `prompt_learner/model.pth.tar-N`, read and written.
//!
//! A file is a dictionary of `torch.save`; its `state_dict` has the context tokens as `ctx`, `[context
//! tokens, width]`, or `[classes, context tokens, width]` where each class has its own (CSC), and for CoCoOp
//! the net as `meta_net.linear{1|2}.{weight|bias}`. `token_prefix` and `token_suffix`, which follow from the
//! class names, are passed over, and so is what lies beside the `state_dict`: optimiser, scheduler, epoch.
//! Any other key of it is of another method, and refused by name. It does not say which model it is for, nor
//! which classes, nor where they stand: whoever reads it says so ([`PromptFile::with_class_position`]), and
//! the end is assumed, CoOp's default. Reference: CoOp's `trainers/coop.py` and `trainers/cocoop.py`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::ModelIdentity;
use gram_clip::checkpoint::{Contents, Named, Unread, read_contents, to_torch_bytes};

use crate::placement::{ClassPosition, Placement};
use crate::prompt::{Part, Prompt, PromptKind};
use crate::prompt_file::{Header, PromptFile, PromptFileError, Source, VERSION, check_rows, check_values};

/// What is said to have written the file.
const PROGRAM: &str = "CoOp";
/// CoOp's sentence: the context, the name and a full stop.
const TEMPLATE: &str = "{}.";
/// What a file that does not say its model is said to be made for.
const MODEL: &str = "a model that CoOp's file does not name";
/// The context tokens.
const CONTEXT: &str = "ctx";
/// What CoOp keeps beside the context, and computes anew from the class names.
const PASSED_OVER: [&str; 2] = ["token_prefix", "token_suffix"];
/// Methods whose files look like CoOp's, by a part of a key that only they have: from the code of each.
const OTHER_METHODS: [(&str, &str); 5] = [
    ("compound_prompt", "MaPLe"),
    ("ZS_image_encoder", "PromptSRC"),
    ("bias_vectors", "KgCoOp"),
    ("VPT", "a method that prompts the towers' layers, as IVLP and VPT do"),
    ("image_encoder.", "a method that keeps the whole model"),
];
/// Keys that a message names.
const KEYS: usize = 4;

/// Reads the bytes of the file called `path`.
///
/// # Errors
/// [`PromptFileError::Coop`] if it holds no context, a key that is not CoOp's, or tensors that do not fit one
/// another.
pub fn read(path: &Path, bytes: &[u8], device: &Device) -> Result<PromptFile, PromptFileError> {
    let wrong = |problem: String| PromptFileError::Coop { path: path.to_owned(), problem };
    let contents = read_contents(&path.display().to_string(), bytes)
        .map_err(|error| wrong(without_path(path, &error)))?;
    only_coop_s(&contents).map_err(wrong)?;
    let mut tensors = contents.tensors;
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
        check_values(&values).map_err(|problem| wrong(format!("tensor `{name}` {problem}")))?;
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
    Ok(PromptFile {
        header,
        prompt,
        regulator: BTreeMap::new(),
        source: Source::Coop { class_position: None },
    })
}

/// Checks that every tensor is one of CoOp's or CoCoOp's. Objects beside them are no part of a prompt.
fn only_coop_s(contents: &Contents) -> Result<(), String> {
    let net =
        PromptKind::Conditional.parts().iter().map(|part| part.name()).filter(|name| name.contains('.'));
    let known: Vec<&str> = net.chain([CONTEXT]).chain(PASSED_OVER).collect();
    // An object in the place of a tensor, of the dictionary of tensors, or of the whole.
    let within = |path: &str| ["", "state_dict"].contains(&path) || known.contains(&path);
    if let Some((path, what)) = contents.unread.iter().find(|(path, _)| within(path)) {
        return Err(what.reason(path));
    }
    let unread = contents.unread.iter().filter(|(_, what)| matches!(what, Unread::Tensor(_)));
    let found = contents.tensors.keys().chain(unread.map(|(key, _)| key));
    let others: Vec<&str> = found.map(String::as_str).filter(|key| !known.contains(key)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let method = OTHER_METHODS
        .iter()
        .find(|(part, _)| others.iter().any(|key| key.contains(part)))
        .map_or("another method", |(_, method)| method);
    let more = others.len().saturating_sub(KEYS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let keys: Vec<String> =
        others.iter().take(KEYS).map(|key| format!("`{}`", key.escape_default())).collect();
    Err(format!(
        "no key of CoOp's or CoCoOp's: {}{more}: it is the prompt of {method}, which gram does not read",
        keys.join(", ")
    ))
}

/// The bytes of a file that CoOp's or CoCoOp's `load_model` reads.
///
/// # Errors
/// [`PromptFileError::Coop`] if the prompt is not a textual one, or its prompt template is not CoOp's.
pub fn write(path: &Path, file: &PromptFile) -> Result<Vec<u8>, PromptFileError> {
    let wrong = |problem: String| PromptFileError::Coop { path: path.to_owned(), problem };
    let Header { kind, placement, .. } = file.header;
    if kind.has(Part::Visual) {
        return Err(wrong(format!("a prompt of {kind}: CoOp's file holds textual ones only")));
    }
    let after = file.header.template.rsplit("{}").next().unwrap_or_default();
    if after != "." {
        return Err(wrong(format!(
            "its prompt template is `{}`, and CoOp's has a full stop and nothing else behind the name: tune it with \
             such a --template, or export it --to classifier",
            file.header.template
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

/// What CoOp's or CoCoOp's configuration must say for a written file to mean the same there, as `KEY VALUE`
/// pairs.
pub fn settings(header: &Header, prompt: &Prompt) -> Vec<(String, String)> {
    let Placement { class_position, contexts, .. } = header.placement;
    let conditional = header.kind == PromptKind::Conditional;
    let section = if conditional { "TRAINER.COCOOP" } else { "TRAINER.COOP" };
    let rows = prompt.get(Part::Text).map_or(0, |context| context.dims()[0]);
    let mut settings = vec![("N_CTX", (rows / contexts.max(1)).to_string())];
    if !conditional {
        settings.push(("CLASS_TOKEN_POSITION", class_position.to_string()));
        settings.push(("CSC", if contexts > 1 { "True" } else { "False" }.to_owned()));
    }
    // Words there would set the number of tokens, and switch CSC off.
    settings.push(("CTX_INIT", "\"\"".to_owned()));
    settings.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)).collect()
}

fn without_path(path: &Path, error: &gram_clip::ClipError) -> String {
    error.to_string().trim_start_matches(&format!("{}: ", path.display())).to_owned()
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;

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
        let device = Compute::tested().device();
        for name in ["model.pth.tar-50", "legacy.pth.tar-50", "warm-up.pth.tar-50"] {
            let (path, bytes) = fixture(name);
            let file = PromptFile::parse(&path, &bytes, &device).unwrap();
            assert_eq!((file.header.template.as_str(), file.header.kind), ("{}.", PromptKind::Textual));
            assert_eq!(context(&file), expected());
        }
    }

    #[test]
    fn the_prompt_of_another_method_is_refused_by_its_keys() {
        for (name, keys, method) in [
            (
                "maple.pth.tar-5",
                "`compound_prompt_projections.0.bias`, `compound_prompt_projections.0.weight`, \
                 `compound_prompts_text.0`, `proj.bias` and 1 more",
                "MaPLe",
            ),
            ("maple-whole.pth.tar-5", "`image_encoder.proj`, `prompt_learner.", "MaPLe"),
            ("promptsrc.pth.tar-5", "`prompt_learner.ZS_image_encoder.proj`", "PromptSRC"),
            ("kgcoop.pth.tar-5", "`bias_vectors`", "KgCoOp"),
            ("unknown.pth.tar-5", "`temperature`", "another method"),
        ] {
            let (path, bytes) = fixture(name);
            let error =
                PromptFile::parse(&path, &bytes, &Compute::tested().device()).unwrap_err().to_string();
            let (prefix, told) = error.split_once(": no key of CoOp's or CoCoOp's: ").unwrap();
            assert!(prefix.ends_with(name) && told.contains(keys), "{error}");
            assert!(told.contains(&format!("it is the prompt of {method}, which")), "{error}");
        }
    }

    #[test]
    fn class_names_stand_where_the_reader_says_and_what_the_file_leaves_out_is_noted() {
        let device = Compute::tested().device();
        let (path, bytes) = fixture("model.pth.tar-50");
        let file = || PromptFile::parse(&path, &bytes, &device).unwrap();
        let doubt = file().doubt().unwrap();
        assert!(doubt.contains("carries no fingerprint of its model"), "{doubt}");
        assert!(doubt.contains("the end is assumed") && !doubt.contains('\n'), "{doubt}");
        let middle = file().with_class_position(&path, Some(ClassPosition::Middle)).unwrap();
        assert_eq!(middle.header.placement.class_position, ClassPosition::Middle);
        assert!(!middle.doubt().unwrap().contains("assumed"));
        // CoCoOp's names stand at the end, in its code.
        let (path, bytes) = fixture("cocoop.pth.tar-10");
        let file = || PromptFile::parse(&path, &bytes, &device).unwrap();
        assert!(!file().doubt().unwrap().contains("assumed"));
        assert!(file().with_class_position(&path, Some(ClassPosition::End)).is_ok());
        let error = file().with_class_position(&path, Some(ClassPosition::Front)).unwrap_err().to_string();
        assert!(
            error.contains("its class names stand at the end, not at the front: leave --class"),
            "{error}"
        );
    }

    #[test]
    fn coop_s_configuration_says_what_its_file_does_not() {
        let (path, bytes) = fixture("class-specific.pth.tar-50");
        let file = PromptFile::parse(&path, &bytes, &Compute::tested().device()).unwrap();
        let file = file.with_class_position(&path, Some(ClassPosition::Front)).unwrap();
        let told = settings(&file.header, &file.prompt);
        let expected =
            [("N_CTX", "4"), ("CLASS_TOKEN_POSITION", "front"), ("CSC", "True"), ("CTX_INIT", "\"\"")];
        let expected = expected.map(|(key, value)| (format!("TRAINER.COOP.{key}"), value.to_owned()));
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let device = Compute::tested().device();
        let (path, bytes) = fixture("model.pth.tar-50");
        let file = read(&path, &bytes, &device).unwrap();
        let written = write(Path::new("out"), &file).unwrap();
        assert_eq!(context(&read(Path::new("out"), &written, &device).unwrap()), expected());
        // The file that PyTorch itself has read back: the script beside the fixtures keeps it.
        assert!(written == fixture("written.pth.tar-0").1);
    }

    #[test]
    fn a_context_for_each_class_and_cocoop_s_net_are_read_and_written_again() {
        let device = Compute::tested().device();
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
        let device = Compute::tested().device();
        let (path, bytes) = fixture("no-context.pth.tar-50");
        let error = PromptFile::parse(&path, &bytes, &device).unwrap_err().to_string();
        assert!(error.contains("no-context.pth.tar-50") && error.contains("no tensor `ctx`"), "{error}");
    }
}
