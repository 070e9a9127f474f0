//! What datasets are called where several are measured, and where the file of a run lies.

use std::path::{Path, PathBuf};

use gram_features::Dataset;
use gram_report::results::Method;

use super::ProtocolKind;

use crate::error::{Result, require};

/// Gives datasets that share a name names of their own, by the folders that they lie in: `x/set` and `y/set`.
/// `paths` says where each comes from.
///
/// # Errors
/// If one dataset is given twice.
pub fn distinct_names(datasets: &mut [Dataset], paths: &[PathBuf]) -> Result<()> {
    let places: Vec<PathBuf> =
        paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    for (index, place) in places.iter().enumerate() {
        require!(
            !places[..index].contains(place),
            "dataset {}: it is given twice, by --data, --features or --data-root: leave one out",
            paths[index].display()
        );
    }
    let names: Vec<String> = datasets.iter().map(|dataset| dataset.name.clone()).collect();
    for (index, dataset) in datasets.iter_mut().enumerate() {
        let shared: Vec<&PathBuf> = (0..names.len())
            .filter(|other| *other != index && names[*other] == names[index])
            .map(|other| &places[other])
            .collect();
        if !shared.is_empty() {
            dataset.rename(own_ending(&places[index], &shared, &dataset.name));
        }
    }
    Ok(())
}

/// `name` after as many of the folders of `place` as no other place has there.
fn own_ending(place: &Path, others: &[&PathBuf], name: &str) -> String {
    let folders = |place: &Path| -> Vec<String> {
        let parents = place.ancestors().skip(1).filter_map(Path::file_name);
        parents.map(|folder| folder.to_string_lossy().into_owned()).collect()
    };
    let (own, others) = (folders(place), others.iter().map(|other| folders(other)).collect::<Vec<_>>());
    let is_own = |count: &usize| others.iter().all(|other| other.get(..*count) != own.get(..*count));
    match (1..=own.len()).find(is_own) {
        Some(count) => {
            own[..count].iter().rev().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
        }
        // Folders of features have names of their own, whatever the dataset is called.
        None => format!("{}/{name}", place.file_name().unwrap_or_default().to_string_lossy()),
    }
}

/// Checks that no two datasets would share their files.
///
/// # Errors
/// Names the two.
pub fn check(datasets: &[Dataset]) -> Result<()> {
    for (index, dataset) in datasets.iter().enumerate() {
        let same = datasets[..index].iter().find(|other| file_name(&other.name) == file_name(&dataset.name));
        if let Some(other) = same {
            crate::error::refuse!(
                "datasets {} and {}: their runs would have the same files: rename one of their folders",
                other.name,
                dataset.name
            );
        }
    }
    Ok(())
}

/// The file of a run in a bench's folder, without its ending.
pub fn of_run(protocol: ProtocolKind, dataset: &str, shots: usize, seed: u64, method: Method) -> String {
    let (dataset, method) = (file_name(dataset), method.key());
    format!("runs/{shots}-shot/{protocol}/{dataset}/seed-{seed}/{method}")
}

/// A name as that of a folder.
fn file_name(name: &str) -> String {
    let name = name.replace(['/', '\\'], "-");
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use gram_data::LabelledDataset;

    use super::*;

    fn named(paths: &[&str]) -> Result<Vec<String>> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let dataset = |path| LabelledDataset { name: name(path), ..LabelledDataset::default() }.into();
        let mut datasets: Vec<Dataset> = paths.iter().map(dataset).collect();
        distinct_names(&mut datasets, &paths)?;
        Ok(datasets.into_iter().map(|dataset| dataset.name.clone()).collect())
    }

    #[test]
    fn datasets_of_one_name_are_told_apart_by_their_folders() {
        assert_eq!(named(&["x/set", "y/set", "x/other"]).unwrap(), ["x/set", "y/set", "other"]);
        assert_eq!(named(&["a/x/set", "b/x/set"]).unwrap(), ["a/x/set", "b/x/set"]);
        assert_eq!(named(&["set", "x/set"]).unwrap().len(), 2);
    }

    #[test]
    fn features_of_datasets_of_one_name_are_told_apart_by_the_names_of_their_own_folders() {
        let paths = ["work/of-x", "work/of-y"].map(PathBuf::from);
        let dataset = || LabelledDataset { name: "set".into(), ..LabelledDataset::default() }.into();
        let mut datasets: Vec<Dataset> = vec![dataset(), dataset()];
        distinct_names(&mut datasets, &paths).unwrap();
        assert_eq!([&datasets[0].name, &datasets[1].name], ["of-x/set", "of-y/set"]);
    }

    #[test]
    fn a_dataset_that_is_given_twice_is_refused() {
        assert!(named(&["x/set", "x/set"]).unwrap_err().to_string().contains("given twice"));
    }

    #[test]
    fn a_run_stays_inside_the_folder() {
        let run = of_run(ProtocolKind::BaseToNew, "../x", 4, 1, Method::Coop);
        assert_eq!(run, "runs/4-shot/base-to-new/_..-x/seed-1/coop");
    }
}
