//! The built-in model and data: they are part of the program, so that it can be tried with nothing else at
//! hand.

use gram_clip::{Clip, ClipTokenizer, Compute, Model, Preprocess};
use gram_data::similar_names::is_it;
use gram_data::{LabelledDataset, Pairs, read_shard};
use gram_pretrain::PretrainConfig;
use gram_prompt::PromptKind;

use crate::OpenError;

/// The built-in model's name.
pub const TINY: &str = "tiny";

/// The labelled datasets, one for each of Unicode's groups.
pub const DATASETS: [&str; 8] =
    ["animals", "food", "travel", "activities", "objects", "smileys", "people", "symbols"];

/// The bytes of a file below `assets`.
macro_rules! asset {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/", $path)).as_slice()
    };
}

/// The small CLIP that `gram pretrain` made.
///
/// # Errors
/// If this program was built from damaged assets.
pub fn tiny(compute: &Compute) -> Result<Model, OpenError> {
    let config = std::str::from_utf8(asset!("tiny/config.json"))?;
    let clip = Clip::from_bytes(config, asset!("tiny/model.safetensors"), &Compute::cpu())?;
    let tokenizer = ClipTokenizer::from_bytes(asset!("tiny/tokenizer.json"))?;
    let preprocess = Preprocess::parse(std::str::from_utf8(asset!("tiny/preprocessor_config.json"))?)?;
    let mut model = Model::new(TINY.into(), clip, tokenizer, preprocess).on(compute)?;
    model.source = Some(TINY.into());
    Ok(model)
}

/// Whether a model is [`tiny`], and not another in a folder of that name.
pub fn is_tiny(model: &Model) -> bool {
    model.source.as_deref() == Some(TINY)
}

/// How it was made.
///
/// # Errors
/// If this program was built from damaged assets.
pub fn pretraining() -> Result<PretrainConfig, OpenError> {
    Ok(PretrainConfig::parse("tiny/pretrain.toml", std::str::from_utf8(asset!("tiny/pretrain.toml"))?)?)
}

/// The image-text pairs for clustering and meta-training.
///
/// # Errors
/// If this program was built from damaged assets.
pub fn pairs() -> Result<Pairs, OpenError> {
    Ok(read_shard("demo", asset!("demo/pairs-00000.tar.gz"))?)
}

/// One of [`DATASETS`].
///
/// # Errors
/// If there is none of that name.
pub fn dataset(name: &str) -> Result<LabelledDataset, OpenError> {
    let archive = match name {
        "animals" => asset!("demo/animals.tar.gz"),
        "food" => asset!("demo/food.tar.gz"),
        "travel" => asset!("demo/travel.tar.gz"),
        "activities" => asset!("demo/activities.tar.gz"),
        "objects" => asset!("demo/objects.tar.gz"),
        "smileys" => asset!("demo/smileys.tar.gz"),
        "people" => asset!("demo/people.tar.gz"),
        "symbols" => asset!("demo/symbols.tar.gz"),
        other => {
            return Err(OpenError::Refused(format!(
                "demo:{other}: no dataset of that name is built in, choose one of {}{}",
                DATASETS.join(", "),
                is_it(other, DATASETS)
            )));
        }
    };
    Ok(LabelledDataset::from_archive(name, archive)?)
}

/// A meta-trained start that is part of the program.
pub struct ShippedStart {
    /// Its file below `assets`.
    pub name: &'static str,
    /// The prompt file.
    pub file: &'static [u8],
    /// What was measured as it was made, a JSON line for every outer step.
    pub metrics: &'static str,
}

/// The start of a visual or joint prompt, made by `gram meta-train` at full length. A textual one takes a
/// minute: the demo makes it anew.
///
/// # Errors
/// If none is shipped.
pub fn start(kind: PromptKind) -> Result<ShippedStart, OpenError> {
    let shipped =
        |name, file, metrics| Ok(ShippedStart { name, file, metrics: std::str::from_utf8(metrics)? });
    match kind {
        PromptKind::Textual | PromptKind::Conditional => {
            Err(OpenError::Refused(format!("no {kind} initialisation is shipped: meta-train one")))
        }
        PromptKind::Visual => shipped(
            "starts/vpt.safetensors",
            asset!("starts/vpt.safetensors"),
            asset!("starts/vpt.metrics.jsonl"),
        ),
        PromptKind::Joint => shipped(
            "starts/joint.safetensors",
            asset!("starts/joint.safetensors"),
            asset!("starts/joint.metrics.jsonl"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dataset_is_there_with_all_its_domains() {
        for name in DATASETS {
            let dataset = dataset(name).unwrap();
            assert_eq!((dataset.name.as_str(), dataset.classes.len()), (name, 40));
            assert!(dataset.domains.len() >= 2, "{name}");
        }
    }

    #[test]
    fn the_pairs_are_all_there() {
        let pairs = pairs().unwrap();
        assert_eq!((pairs.pairs.len(), pairs.skipped.len()), (4000, 0));
    }

    #[test]
    fn a_misspelt_dataset_is_told_the_names() {
        assert!(dataset("animal").unwrap_err().to_string().ends_with("symbols; is it `animals`?"));
    }
}
