//! A model is known by its weights: one fingerprint in every file that it is published in, another for every
//! change.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fixtures::{MODELS, folder};
use gram_clip::checkpoint::to_f32_bytes;
use gram_clip::signal::Activation;
use gram_clip::{Clip, ClipConfig, Compute, Fingerprint, Model};

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

fn fingerprint(path: &Path) -> Fingerprint {
    Fingerprint::of(&Clip::open(path, &Compute::tested()).unwrap()).unwrap()
}

/// The fixture's weights under its configuration, either of them changed.
fn changed(weights: &gram_clip::checkpoint::Named, config: &ClipConfig) -> Fingerprint {
    let (config, weights) = (serde_json::to_string(config).unwrap(), to_f32_bytes(weights).unwrap());
    Fingerprint::of(&Clip::from_bytes(&config, &weights, &Compute::tested()).unwrap()).unwrap()
}

#[test]
fn the_same_weights_have_one_fingerprint_in_every_format_of_a_file() {
    for same in [
        &["hugging-face/sharded", "hugging-face/bin", "hugging-face/legacy-bin"][..],
        &["hugging-face/half", "hugging-face/slow-tokenizer"],
        &["openai/model.pt", "openai/state-dict.pt"],
    ] {
        let found: BTreeSet<Fingerprint> = same.iter().map(|name| fingerprint(&checkpoint(name))).collect();
        assert_eq!(found.len(), 1, "{same:?}: {found:?}");
    }
    let others = ["sharded", "half", "bfloat"].map(|name| checkpoint("hugging-face").join(name));
    let others = others.into_iter().chain([checkpoint("openai/model.pt")]);
    let others =
        others.chain(["quick-gelu", "gelu", "custom-text"].map(|name| checkpoint("open-clip").join(name)));
    let others: BTreeSet<Fingerprint> = others.map(|path| fingerprint(&path)).collect();
    assert_eq!(others.len(), 7, "{others:?}");
}

#[test]
fn the_same_weights_have_one_fingerprint_under_the_names_of_openai_open_clip_and_hugging_face() {
    let openai = Clip::open(&checkpoint("openai/model.pt"), &Compute::tested()).unwrap();
    let expected = Fingerprint::of(&openai).unwrap();

    // OpenAI's names, described by the file of open_clip.
    let (text, vision) = (&openai.config.text_config, &openai.config.vision_config);
    let described = serde_json::json!({"model_cfg": {
        "embed_dim": openai.config.projection_dim, "quick_gelu": true,
        "vision_cfg": {"image_size": vision.image_size, "layers": vision.num_hidden_layers,
            "width": vision.hidden_size, "patch_size": vision.patch_size},
        "text_cfg": {"context_length": text.max_position_embeddings, "vocab_size": text.vocab_size,
            "width": text.hidden_size, "heads": text.num_attention_heads, "layers": text.num_hidden_layers},
    }});
    let open_clip = tempfile::tempdir().unwrap();
    fs::write(open_clip.path().join("open_clip_config.json"), described.to_string()).unwrap();
    fs::copy(checkpoint("openai/state-dict.pt"), open_clip.path().join("open_clip_pytorch_model.bin"))
        .unwrap();
    assert_eq!(fingerprint(open_clip.path()), expected);

    // Hugging Face's names; old configurations say 2 for the end of a text, newer ones its id.
    let hugging_face = tempfile::tempdir().unwrap();
    let weights = to_f32_bytes(&openai.named_weights()).unwrap();
    fs::write(hugging_face.path().join("model.safetensors"), weights).unwrap();
    for eos_token_id in [2, text.vocab_size as u32 - 1] {
        let mut config = openai.config.clone();
        config.text_config.eos_token_id = eos_token_id;
        fs::write(hugging_face.path().join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(fingerprint(hugging_face.path()), expected, "eos_token_id {eos_token_id}");
    }
}

#[test]
fn one_changed_value_in_any_tensor_of_any_tower_gives_another_fingerprint() {
    let clip = Clip::open(&folder(MODELS[0]), &Compute::tested()).unwrap();
    let (config, weights) = (clip.config.clone(), clip.named_weights());
    let whole = Fingerprint::of(&clip).unwrap();
    assert_eq!(changed(&weights, &config), whole);
    let mut found = BTreeSet::from([whole]);
    for name in weights.keys() {
        let mut weights = weights.clone();
        let values = &mut weights.get_mut(name).unwrap().1;
        let last = values.last_mut().unwrap();
        // The smallest change that there is: the last bit.
        *last = f32::from_bits(last.to_bits() ^ 1);
        assert!(found.insert(changed(&weights, &config)), "{name}");
    }
    assert_eq!(found.len(), weights.len() + 1);
}

#[test]
fn what_changes_how_the_towers_compute_changes_the_fingerprint() {
    let clip = Clip::open(&folder(MODELS[0]), &Compute::tested()).unwrap();
    let weights = clip.named_weights();
    let changes: [fn(&mut ClipConfig); 7] = [
        |config| config.text_config.hidden_act = Activation::Gelu,
        |config| config.vision_config.hidden_act = Activation::Gelu,
        |config| config.text_config.num_attention_heads *= 2,
        |config| config.vision_config.num_attention_heads *= 2,
        |config| config.text_config.layer_norm_eps = 1e-6,
        |config| config.vision_config.layer_norm_eps = 1e-6,
        |config| config.text_config.eos_token_id = 7,
    ];
    let mut found = BTreeSet::from([Fingerprint::of(&clip).unwrap()]);
    for (number, change) in changes.iter().enumerate() {
        let mut config = clip.config.clone();
        change(&mut config);
        assert!(found.insert(changed(&weights, &config)), "change {number}");
    }
}

#[test]
fn a_model_for_images_of_another_size_keeps_its_fingerprint_and_its_name_is_no_part_of_it() {
    let model = Model::open(&checkpoint("hugging-face/bin"), &Compute::tested()).unwrap();
    let expected = fingerprint(&checkpoint("hugging-face/bin"));
    let mut larger = model.clone().at_image_size(48).unwrap();
    larger.name = "another name".into();
    assert_eq!((model.fingerprint().unwrap(), larger.fingerprint().unwrap()), (expected, expected));
    assert_ne!(Fingerprint::of(&larger.clip).unwrap(), expected);
}

#[test]
fn a_fingerprint_is_what_its_definition_gives_in_another_program() {
    let file = fs::read(folder("fingerprints.json")).unwrap();
    let expected: BTreeMap<String, Fingerprint> = serde_json::from_slice(&file).unwrap();
    assert_eq!(expected.len(), MODELS.len());
    for (model, expected) in expected {
        assert_eq!(fingerprint(&folder(&model)), expected, "{model}");
    }
}

#[test]
fn a_fingerprint_is_sixteen_hexadecimal_digits_in_files_and_nothing_else_is_one() {
    let fingerprint = fingerprint(&folder(MODELS[0]));
    let text = fingerprint.to_string();
    assert!(text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit()), "{text}");
    assert_eq!(serde_json::to_value(fingerprint).unwrap(), text.as_str());
    assert_eq!(text.parse(), Ok(fingerprint));
    for wrong in ["", "123", "+123456789abcdef", "0123456789abcdefa", "0123456789abcdeg"] {
        assert!(wrong.parse::<Fingerprint>().unwrap_err().contains("16 hexadecimal digits"), "{wrong}");
    }
}
