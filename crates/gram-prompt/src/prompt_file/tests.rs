//! The way through a file, and files that are refused.

use gram_clip::Compute;

use super::*;

fn file(device: &Device) -> PromptFile {
    let prompt = [(Part::Text, Prompt::random(Part::Text, [4, 8], 0.02, 3, device))];
    PromptFile {
        header: Header {
            version: VERSION,
            program: "0.1.0".into(),
            model: ModelIdentity::named("tiny"),
            clusters: None,
            kind: PromptKind::Textual,
            placement: Placement::default(),
            template: "a photo of a {}.".into(),
            regulator_form: RegulatorForm::Unit,
            classes: vec!["cat".into()],
            settings: serde_json::json!({"seed": 3}),
            command: "gram adapt".into(),
        },
        prompt: prompt.into_iter().collect(),
        regulator: BTreeMap::from([("text.gamma_bias".into(), Tensor::ones([1, 8], device))]),
        source: Source::Gram,
    }
}

#[test]
fn a_prompt_survives_the_way_through_its_file() {
    let (device, folder) = (Compute::tested().device(), tempfile::tempdir().unwrap());
    let (path, written) = (folder.path().join("prompt.safetensors"), file(&device));
    written.save(&path).unwrap();
    let read = PromptFile::load(&path, &device).unwrap();
    assert_eq!(read.header, written.header);
    assert_eq!(read.prompt.add_scaled(&written.prompt, -1.0).norm(), 0.0);
    assert_eq!(read.regulator.keys().collect::<Vec<_>>(), ["text.gamma_bias"]);
}

#[test]
fn a_file_that_says_where_its_names_stand_is_not_told_otherwise() {
    let (path, file) = (Path::new("prompt.safetensors"), file(&Compute::tested().device()));
    assert!(file.clone().with_class_position(path, None).is_ok());
    for given in [None, Some(ClassPosition::End)] {
        assert!(file.clone().with_class_position(path, given).is_ok());
    }
    let error = file.with_class_position(path, Some(ClassPosition::Middle)).unwrap_err().to_string();
    let told = "prompt.safetensors: its class names stand at the end, not at the middle";
    assert!(error.starts_with(told), "{error}");
}

#[test]
fn what_is_no_prompt_file_is_refused_by_name() {
    let (device, path) = (Compute::tested().device(), Path::new("x.safetensors"));
    let error = PromptFile::parse(path, b"garbage", &device).unwrap_err().to_string();
    assert!(error.starts_with("x.safetensors: "), "{error}");
    let other = safetensors::serialize(Vec::<(&str, TensorView)>::new(), None).unwrap();
    let error = PromptFile::parse(path, &other, &device).unwrap_err().to_string();
    assert!(error.contains("no header `gram`"), "{error}");
}

#[test]
fn a_value_that_no_tuning_makes_is_refused_with_its_tensor() {
    let (device, folder) = (Compute::tested().device(), tempfile::tempdir().unwrap());
    let path = folder.path().join("prompt.safetensors");
    for (value, told) in [(1e38, "holds 1e38"), (-2e4, "holds -2e4"), (f32::NAN, "not finite")] {
        let mut odd = file(&device);
        odd.regulator.insert("text.gamma_bias".into(), Tensor::full([1, 8], value, &device));
        odd.save(&path).unwrap();
        let error = PromptFile::load(&path, &device).unwrap_err().to_string();
        assert!(error.contains("prompt.safetensors: tensor `regulator.text.gamma_bias` "), "{error}");
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_file_without_the_vectors_of_its_kind_is_refused() {
    let (device, folder) = (Compute::tested().device(), tempfile::tempdir().unwrap());
    let path = folder.path().join("prompt.safetensors");
    let mut joint = file(&device);
    joint.header.kind = PromptKind::Joint;
    joint.save(&path).unwrap();
    let error = PromptFile::load(&path, &device).unwrap_err().to_string();
    assert!(error.contains("no tensor `prompt.visual`"), "{error}");
}
