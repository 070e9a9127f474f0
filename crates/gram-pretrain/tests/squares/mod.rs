//! A world of coloured squares, and a model small enough to learn it in a moment.

use std::io::Cursor;
use std::path::Path;

use gram_data::random::{indexed_stream, normal};
use gram_data::{ImageFile, LabelledDataset, LabelledImage, Pair, Split};
use gram_pretrain::{Metric, PretrainConfig, PretrainError, Pretraining};
use image::{ImageFormat, Rgb, RgbImage};

const COLOURS: [(&str, [u8; 3]); 8] = [
    ("black", [10, 10, 10]),
    ("blue", [20, 40, 220]),
    ("cyan", [20, 220, 220]),
    ("green", [20, 200, 40]),
    ("magenta", [220, 30, 220]),
    ("red", [220, 30, 30]),
    ("white", [245, 245, 245]),
    ("yellow", [230, 220, 30]),
];
const SIZES: [(&str, u32); 2] = [("large", 14), ("small", 8)];
const SIDE: u32 = 16;

pub const CONFIG: &str = r#"
seed = 3
vocabulary = 600

[training]
epochs = 12
batch_size = 16
learning_rate = 1e-2
warmup_steps = 6
weight_decay = 0.1
smallest_crop = 0.9
longest_caption = 10
checkpoint_steps = 7

[model]
projection_dim = 16

[model.text_config]
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 16

[model.vision_config]
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
image_size = 16
patch_size = 8
"#;

/// A noisy square in the middle of grey.
fn square(colour: [u8; 3], size: u32, index: u64) -> ImageFile {
    let mut random = indexed_stream(5, "squares", index);
    let inside = |at: u32| (2 * at + 1).abs_diff(SIDE) < size;
    let image = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let colour = if inside(x) && inside(y) { colour } else { [128; 3] };
        Rgb(colour.map(|value| (f32::from(value) + 6.0 * normal(&mut random)).clamp(0.0, 255.0) as u8))
    });
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    ImageFile::Bytes { name: format!("square {index}"), bytes: bytes.into() }
}

/// 64 pairs: every colour in both sizes, four times.
pub fn pairs() -> Vec<Pair> {
    let kinds = || COLOURS.iter().flat_map(|colour| SIZES.iter().map(move |size| (*colour, *size)));
    let pair = |(index, ((colour, rgb), (size, pixels)))| Pair {
        key: format!("{index}"),
        image: square(rgb, pixels, index as u64),
        caption: format!("a picture of a {colour} square, {size}"),
        metadata: None,
    };
    (0..4).flat_map(|_| kinds()).enumerate().map(pair).collect()
}

/// 32 other squares: the colours are the classes, the sizes the domains.
pub fn held_out() -> LabelledDataset {
    let image = |index: usize| LabelledImage {
        key: format!("{index}"),
        image: square(COLOURS[index % 8].1, SIZES[index / 8 % 2].1, 1000 + index as u64),
        class: index % 8,
        domain: Some(index / 8 % 2),
        split: Split::Test,
    };
    LabelledDataset {
        name: "squares".into(),
        classes: COLOURS.map(|(colour, _)| format!("{colour} square")).into(),
        domains: SIZES.map(|(size, _)| size.to_owned()).into(),
        images: (0..32).map(image).collect(),
        ..LabelledDataset::default()
    }
}

/// Trains in `out`; what the run reported.
pub fn pretrain(
    config: &str,
    pairs: &[Pair],
    out: &Path,
    observe: impl Fn(&Metric),
) -> Result<Vec<Metric>, PretrainError> {
    let config = PretrainConfig::parse("squares.toml", config)?;
    let mut metrics = Vec::new();
    let held_out = [held_out()];
    let run = Pretraining { config, pairs, held_out: &held_out, out };
    run.run(&gram_clip::Compute::cpu(), &mut |metric| {
        observe(metric);
        metrics.push(metric.clone());
    })?;
    Ok(metrics)
}
