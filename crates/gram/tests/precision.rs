//! Towers in 16 bits on the demo: gradients near those of f32, and accuracy within what the seed of the shots
//! changes.
#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Tensor, TensorData};
use gram::{ClassSubset, Clip, Compute, Dataset, Precision, Tuner};
use gram_clip::layers::indices;
use gram_data::Split;
use gram_features::Images;
use gram_prompt::{Classes, LabelledImages, Part, Placement, Prompt, PromptKind, PromptedClip};

const FORMATS: [Precision; 2] = [Precision::Bf16, Precision::F16];

fn tiny(precision: Precision) -> Clip {
    Clip::open_on("tiny", &Compute::cpu().in_precision(precision).unwrap()).unwrap()
}

/// A prompt of random vectors, the same whatever the model's format.
fn prompt(kind: PromptKind, model: &Clip) -> Prompt {
    let draw = |part: &Part| {
        let shape = [2, part.width(&model.clip)];
        (*part, Prompt::random(*part, shape, 0.05, 7, &model.device()))
    };
    kind.parts().iter().map(draw).collect()
}

/// Some images of all classes, as pixels.
fn images(dataset: &Dataset, model: &Clip) -> LabelledImages {
    let device = model.device();
    let chosen: Vec<usize> = (0..dataset.images.len()).step_by(dataset.images.len() / 24).collect();
    let pixels = chosen.iter().map(|place| {
        let image = dataset.images[*place].image.decode().unwrap();
        model.preprocess.pixels(&image).unwrap()
    });
    let side = model.preprocess.crop as usize;
    let all: Vec<f32> = pixels.flatten().collect();
    let pixels = Tensor::from_data(TensorData::new(all, [chosen.len(), 3, side, side]), &device);
    let labels: Vec<usize> = chosen.iter().map(|place| dataset.images[*place].class).collect();
    LabelledImages { images: Images::Pixels(pixels), labels: indices(&labels, &device) }
}

#[test]
fn gradients_of_towers_in_16_bits_are_within_a_fiftieth_of_those_in_32() {
    let food = Dataset::open("demo:food").unwrap();
    let template = "a picture of a {}".parse::<gram_prompt::Template>().unwrap();
    let gradient = |kind: PromptKind, precision: Precision| {
        let model = tiny(precision);
        let name = |name: &String| template.name(name, 2, &model.clip, &model.tokenizer).unwrap();
        let classes = Classes::Sentences(food.classes.iter().map(name).collect());
        let clip = PromptedClip::new(&model, Placement::default());
        let found = clip.gradient(&prompt(kind, &model), &classes, &images(&food, &model));
        assert!(found.gradient.parts().all(|(_, part)| part.dtype() == DType::F32));
        found.gradient
    };
    for kind in [PromptKind::Textual, PromptKind::Visual, PromptKind::Joint] {
        let expected = gradient(kind, Precision::F32);
        for precision in FORMATS {
            let off = gradient(kind, precision).add_scaled(&expected, -1.0).norm() / expected.norm();
            assert!((1e-5..2e-2).contains(&off), "{kind} {precision}: {off}");
        }
    }
}

#[test]
fn accuracy_in_16_bits_is_that_of_f32_within_what_the_seed_changes() {
    let food = Dataset::open("demo:food").unwrap();
    let test = food.select(Split::Test, ClassSubset::All, None);
    let images: Vec<_> = test.iter().map(|place| food.images[*place].image.clone()).collect();
    let accuracy = |precision: Precision, seed: u64| {
        let model = tiny(precision);
        let prompt = Tuner::coop(&model).shots(4).epochs(5).seed(seed).fit(&food).unwrap();
        let found = prompt.classifier(food.classes.clone()).unwrap().classify(&images).unwrap();
        let right = found
            .iter()
            .zip(&test)
            .filter(|(found, place)| found.class == food.classes[food.images[**place].class]);
        100.0 * right.count() as f64 / test.len() as f64
    };
    let of_seeds: Vec<f64> = (1..=4).map(|seed| accuracy(Precision::F32, seed)).collect();
    let largest = of_seeds.iter().fold(0.0_f64, |most, one| most.max((one - of_seeds[0]).abs()));
    assert!(largest > 0.0, "the seed changes nothing: {of_seeds:?}");
    for precision in FORMATS {
        let off = (accuracy(precision, 1) - of_seeds[0]).abs();
        assert!(off <= largest, "{precision}: {off} points off, seeds {largest}");
    }
}
