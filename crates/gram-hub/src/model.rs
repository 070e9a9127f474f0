//! Models, pairs and datasets by the name they have on the command line: built in, or a path.

use std::path::Path;

use gram_clip::{Compute, Model, ModelIdentity};
use gram_data::similar_names::is_it_beside;
use gram_data::{
    Benchmark, DataError, LabelledDataset, Pairs, Progress, are_numbers, read_pairs, read_pairs_with_metadata,
};

use crate::{OpenError, assets, hub};

/// What the built-in data is called.
pub const DEMO: &str = "demo";

/// The model `tiny`; a folder or file with a checkpoint of Hugging Face, open_clip or OpenAI; a short name
/// such as `ViT-B/16`, or an id on the hub. What lies on disk under that name comes first. What had to be
/// assumed of it is said on standard error.
///
/// # Errors
/// If it is none of those, or a file of it is missing or wrong.
pub fn open_model(
    name_or_path: &str,
    compute: &Compute,
    progress: &dyn Progress,
) -> Result<Model, OpenError> {
    let path = Path::new(name_or_path);
    if name_or_path == assets::TINY {
        return assets::tiny(compute);
    }
    if path.exists() {
        let mut model = opened(path, name_or_path, compute)?;
        model.source = Some(name_or_path.to_owned());
        return Ok(model);
    }
    let Some(id) = hub::model_id(name_or_path) else {
        return Err(OpenError::Refused(format!(
            "model {name_or_path} does not exist: name a checkpoint of Hugging Face, open_clip or OpenAI (a folder or a \
             file), an id on the hub such as `openai/clip-vit-base-patch16`, or `{}`, which is built in{}",
            assets::TINY,
            is_it_beside(path)
        )));
    };
    let folder = hub::fetch(id, progress)?;
    let mut model = opened(&folder, id, compute)?;
    (model.name, model.source) = (id.to_owned(), Some(name_or_path.to_owned()));
    Ok(model)
}

/// The model at a path, which is called `name` in messages; what had to be assumed of it is said.
fn opened(path: &Path, name: &str, compute: &Compute) -> Result<Model, OpenError> {
    let model = Model::open(path, compute).map_err(OpenError::of(format!("model {name}")))?;
    model.notes.iter().for_each(|note| log::warn!("{note}"));
    Ok(model)
}

/// The model that is given, or, where none is, the one that a file was made with; `tiny` where there is no
/// such file.
///
/// # Errors
/// As [`open_model`]; where the model of a file cannot be opened any more, names both.
pub fn open_model_or_own(
    given: Option<&str>,
    made_with: Option<(&Path, ModelIdentity)>,
    compute: &Compute,
    progress: &dyn Progress,
) -> Result<Model, OpenError> {
    match (given, made_with) {
        (Some(given), _) => open_model(given, compute, progress),
        (None, Some((path, own))) => {
            let what =
                format!("{}: made with {own}, which cannot be opened: pass it with --model", path.display());
            open_model(own.opened_by(), compute, progress).map_err(OpenError::of(what))
        }
        (None, None) => open_model(assets::TINY, compute, progress),
    }
}

/// Whether data of this name are built in.
pub fn is_built_in(name: &str) -> bool {
    name == DEMO || name.starts_with("demo:")
}

/// Says once that `tiny` knows no photographs, where it is to see what a user brings.
pub fn note_what_tiny_knows(model: &Model, is_a_user_s: bool) {
    if assets::is_tiny(model) && is_a_user_s {
        log::warn!(
            "the built-in model `tiny` knows emoji and icons only: for other images pass --model, such as \
             --model ViT-B/16",
        );
    }
}

/// Says that topics and domains are of another model than the prompt will be. They are groups of pairs, which
/// any model may learn from: this is no error.
///
/// # Errors
/// If the model's fingerprint cannot be computed.
pub fn note_other_clusters(model: &Model, path: &Path, made_with: &ModelIdentity) -> Result<(), OpenError> {
    let own = model.identity()?;
    if made_with.check(&own).is_err() {
        log::warn!("{}: topics and domains as {made_with} sees them, for a prompt of {own}", path.display());
    }
    Ok(())
}

/// The pairs `demo`, or those of a shard, a folder of shards or a manifest.
///
/// # Errors
/// If it is none of those, cannot be read, or holds no pair.
pub fn open_pairs(name_or_path: &str) -> Result<Pairs, OpenError> {
    open_pairs_by(name_or_path, read_pairs)
}

/// As [`open_pairs`], with what else their source says of them.
///
/// # Errors
/// As [`open_pairs`].
pub fn open_pairs_with_metadata(name_or_path: &str) -> Result<Pairs, OpenError> {
    open_pairs_by(name_or_path, read_pairs_with_metadata)
}

fn open_pairs_by(
    name_or_path: &str,
    read: impl FnOnce(&Path) -> Result<Pairs, DataError>,
) -> Result<Pairs, OpenError> {
    match name_or_path {
        DEMO => assets::pairs(),
        path => {
            let what = format!("pairs {path} (`{DEMO}` is built in{})", is_it_beside(Path::new(path)));
            read(Path::new(path)).map_err(OpenError::of(what))
        }
    }
}

/// A dataset `demo:NAME`, or a folder, a manifest or an archive.
///
/// # Errors
/// If it is none of those, or cannot be read.
pub fn open_dataset(name_or_path: &str) -> Result<LabelledDataset, OpenError> {
    dataset_by(name_or_path, |path| LabelledDataset::open(path))
}

/// As [`open_dataset`], where images that a table names need not be there, for their features are.
///
/// # Errors
/// As [`open_dataset`].
pub fn open_labels(name_or_path: &str) -> Result<LabelledDataset, OpenError> {
    dataset_by(name_or_path, |path| LabelledDataset::open_labels(path))
}

fn dataset_by(
    name_or_path: &str,
    read: impl FnOnce(&Path) -> Result<LabelledDataset, DataError>,
) -> Result<LabelledDataset, OpenError> {
    if let Some(name) = name_or_path.strip_prefix("demo:") {
        return assets::dataset(name);
    }
    let path = Path::new(name_or_path);
    let beside = is_it_beside(path);
    let what =
        format!("dataset {name_or_path} (`demo:{}` and others are built in{beside})", assets::DATASETS[0]);
    let dataset = read(path).map_err(|error| match Benchmark::below(path).first() {
        Some((_, one)) => OpenError::Refused(format!(
            "{name_or_path}: this is a folder of datasets: name one of them, such as {}",
            one.display()
        )),
        None => OpenError::of(what)(error),
    })?;
    if are_numbers(&dataset.classes) {
        log::warn!("dataset {name_or_path}: its classes are numbers, and CLIP is asked for them as names");
    }
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_named_with_the_way_out() {
        let error = open_model("nowhere", &Compute::cpu(), &()).unwrap_err().to_string();
        assert!(error.starts_with("model nowhere does not exist") && error.contains("`tiny`"), "{error}");
    }

    #[test]
    fn what_is_no_data_is_named() {
        assert!(format!("{:#}", open_pairs("nowhere").unwrap_err()).starts_with("pairs nowhere"));
        assert!(format!("{:#}", open_dataset("nowhere").unwrap_err()).starts_with("dataset nowhere"));
    }
}
