//! Which row of features is which image's.

use std::collections::HashMap;

use gram_data::LabelledDataset;

/// The rows of the images of a dataset, by their keys: as they are, or, where another tool wrote them,
/// without ending, without the folders before the name, or with further folders that all of them lie in. A
/// row's key may lack something or have more before it; it never says something else.
///
/// # Errors
/// Names the first image that has no row, or several.
pub(super) fn matched(
    dataset: &LabelledDataset,
    keys: &[String],
    are_ours: bool,
) -> Result<Vec<usize>, String> {
    let exact = by_keys(dataset, keys, |key| key, "");
    if are_ours || exact.is_ok() {
        return exact.map_err(with_way_out);
    }
    let shortened: [fn(&str) -> &str; 3] = [without_ending, last, |key| without_ending(last(key))];
    let short = shortened.into_iter().find_map(|short| by_keys(dataset, keys, short, "").ok());
    let inside = || {
        let below = shared_folders(keys).into_iter();
        below
            .flat_map(|folder| {
                [by_keys(dataset, keys, |key| key, folder), by_keys(dataset, keys, without_ending, folder)]
            })
            .find_map(Result::ok)
    };
    short.or_else(inside).map_or_else(|| exact.map_err(with_way_out), Ok)
}

fn with_way_out(problem: String) -> String {
    format!("{problem}: give the features of these images, or embed them with `gram embed --data`")
}

/// The rows whose keys, without the `folder` that they begin with, are those of the images as `short` makes
/// them.
fn by_keys(
    dataset: &LabelledDataset,
    keys: &[String],
    short: impl Fn(&str) -> &str,
    folder: &str,
) -> Result<Vec<usize>, String> {
    let mut rows: HashMap<&str, Result<usize, ()>> = HashMap::new();
    for (row, key) in keys.iter().enumerate() {
        let key = key.strip_prefix(folder).unwrap_or(key);
        rows.entry(key).and_modify(|found| *found = Err(())).or_insert(Ok(row));
    }
    let mut used = vec![false; keys.len()];
    let rows = dataset.images.iter().map(|image| {
        let row = match rows.get(short(&image.key)) {
            Some(Ok(row)) => *row,
            Some(Err(())) => return Err(format!("image {}: several rows have its key", image.key)),
            None => return Err(format!("image {}: no row has its key", image.key)),
        };
        match std::mem::replace(&mut used[row], true) {
            true => Err(format!("image {}: its row is another image's, too", image.key)),
            false => Ok(row),
        }
    });
    rows.collect()
}

/// The folders that all keys lie in, with the `/` at their end: `/home/flowers/` and those above it.
fn shared_folders(keys: &[String]) -> Vec<&str> {
    let Some(first) = keys.first() else { return Vec::new() };
    let ends = first.match_indices('/').map(|(end, _)| &first[..=end]);
    ends.take_while(|folder| keys.iter().all(|key| key.starts_with(folder))).collect()
}

fn last(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, last)| last)
}

fn without_ending(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((name, ending)) if !name.is_empty() && !ending.contains('/') => name,
        _ => key,
    }
}
