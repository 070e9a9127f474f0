//! The model is the one that transformers computes: features, logits, token ids and pixels.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::{Fixture, MODELS, assert_close, folder, numbers, values};
use gram_clip::checkpoint::{Weights, to_f16_bytes};
use gram_clip::config::ClipConfig;
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, Compute};
use serde::Deserialize;

#[test]
fn features_and_logits_are_those_of_transformers() {
    let device = Compute::tested().device();
    for model in MODELS {
        let fixture = Fixture::open(model);
        let (clip, case) = (&fixture.clip, &fixture.case);
        let image = clip.vision.forward(fixture.pixels(&device), None);
        assert_close(&values(image.value.clone()), &case["image_features"].values, 1e-5, model);
        for texts in [fixture.texts(), fixture.padded_texts()] {
            for batching in [Batching::ByLength, Batching::Padded] {
                let text = clip.text.forward(fixture.start(), None, &texts, batching);
                assert_close(&values(text.value.clone()), &case["text_features"].values, 1e-5, model);
                let logits = clip.logits(image.clone(), text);
                assert_close(&values(logits.value), &case["logits_per_image"].values, 1e-5, model);
            }
        }
    }
}

#[derive(Deserialize)]
struct Tokens {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn token_ids_are_those_of_transformers() {
    for model in MODELS {
        let tokenizer = Fixture::open(model).tokenizer;
        let file = std::fs::read(folder(model).join("tokens.json")).unwrap();
        let expected: Vec<Tokens> = serde_json::from_slice(&file).unwrap();
        assert!(expected.len() > 10);
        for Tokens { text, ids } in expected {
            let mut found = vec![tokenizer.start()];
            found.extend(tokenizer.sentence(&text, 1, 1000).unwrap());
            assert_eq!(found, ids, "{model}: {text:?}");
        }
    }
}

/// transformers lets white shine through, as `gram_data::ImageFile` does.
fn on_white(image: image::DynamicImage) -> image::RgbImage {
    let image = image.into_rgba8();
    image::RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
        image::Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

#[test]
fn pixels_are_those_of_transformers_to_the_bit() {
    for model in MODELS {
        let preprocess = Fixture::open(model).preprocess;
        let expected = numbers(&folder(model).join("preprocessed.safetensors"));
        for picture in ["colour", "alpha", "grey"] {
            let image = on_white(image::open(folder(model).join(format!("{picture}.png"))).unwrap());
            let found: Vec<f64> = preprocess.pixels(&image).unwrap().into_iter().map(f64::from).collect();
            assert_eq!(found, expected[picture].values, "{model}, {picture}");
        }
    }
}

#[test]
fn a_model_is_written_as_it_was_read() {
    for model in MODELS {
        let file = folder(model).join("model.safetensors");
        let written = Fixture::open(model).clip.named_weights();
        let stored = numbers(&file);
        for (name, tensor) in &stored {
            let Some((shape, values)) = written.get(name) else {
                assert!(name.ends_with("position_ids"), "{name} is lost");
                continue;
            };
            assert_eq!(*shape, tensor.shape, "{name}");
            assert!(values.iter().map(|value| f64::from(*value)).eq(tensor.values.iter().copied()), "{name}");
        }
        assert!(written.keys().all(|name| stored.contains_key(name)));
        let config = std::fs::read_to_string(folder(model).join("config.json")).unwrap();
        let mut weights = Weights::parse("copy", to_f16_bytes(&written).unwrap()).unwrap();
        let copy =
            Clip::read(&ClipConfig::parse(&config).unwrap(), &mut weights, &Compute::tested()).unwrap();
        assert_eq!(copy.named_weights(), written);
    }
}
