//! Labelled datasets as commands open them: what is left out of them, and what is missing in them, is said
//! once.

use std::path::Path;

use crate::output::{self, shown};
use anyhow::{Result, bail};
use gram_data::{ClassSubset, LabelledDataset, Shortfall, Split};
use gram_features::Dataset;
use gram_hub::model::{open_dataset, open_labels};

/// Names of what is left out that are shown.
const SHOWN: usize = 3;

/// The dataset of that name on the command line.
pub fn open(name: &str) -> Result<LabelledDataset> {
    let dataset = open_dataset(name)?;
    tell_left_out(&dataset);
    Ok(dataset)
}

/// A dataset from its images, from a folder of features by `gram embed --data`, or from labels with features
/// of their images beside them.
pub fn open_with_features(data: Option<&str>, features: Option<&Path>) -> Result<Dataset> {
    match (data, features) {
        (Some(name), None) => Ok(open(name)?.into()),
        (None, Some(folder)) => Ok(Dataset::of_features(folder)?),
        (Some(name), Some(features)) => {
            let labels = open_labels(name)?;
            tell_left_out(&labels);
            Ok(Dataset::from(labels).with_features(features, LabelledDataset::is_table(Path::new(name)))?)
        }
        (None, None) => bail!("name the dataset with --data, or the features of one with --features"),
    }
}

/// Says what lies among a dataset's folders and is no image of a class.
pub fn tell_left_out(dataset: &LabelledDataset) {
    let left_out = &dataset.left_out;
    if left_out.is_empty() {
        return;
    }
    let names: Vec<String> = left_out.iter().take(SHOWN).map(shown).collect();
    let others = match left_out.len() - names.len() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let (name, count) = (shown(&dataset.name), left_out.len());
    output::note(format!("{name}: {count} left out, no images of a class: {}{others}", names.join(", ")));
}

/// Says for how many classes fewer images are there than shots are asked for. Of several draws, each from a
/// subset of the classes and, if it is given, a domain, the one with the smallest class.
pub fn tell_shortfall(dataset: &LabelledDataset, draws: &[(ClassSubset, Option<usize>)], shots: usize) {
    if dataset.select(Split::Train, ClassSubset::All, None).is_empty() {
        return;
    }
    let found = draws.iter().filter_map(|(classes, domain)| Shortfall::of(dataset, *classes, *domain, shots));
    if let Some(shortfall) = found.min_by_key(|shortfall| shortfall.fewest) {
        output::note(shown(shortfall));
    }
}
