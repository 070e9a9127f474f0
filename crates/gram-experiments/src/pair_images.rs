//! What a prompt sees of image-text pairs: features that are computed now or were before, or pixels.

use std::collections::HashMap;

use gram_clip::Model;
use gram_cluster::Clusters;
use gram_data::{Pair, Pairs, Progress};
use gram_features::feature_folder::{self, FeatureFolder};
use gram_features::matrix::tensor;
use gram_features::rows::{check_model, directions};
use gram_features::{ImageStore, Rows};
use gram_prompt::{Part, PromptKind};

use crate::clustering::{features_of, pixel_cache};
use crate::error::{Context, Result, refused, require};
use crate::meta_training::keys;

/// Images of pairs, and what tells the pairs from others.
#[derive(Clone, Debug)]
pub struct PairImages {
    /// The images.
    pub store: ImageStore,
    /// The fingerprint of the pairs ([`Pairs::fingerprint`]).
    pub fingerprint: String,
}

/// Where what a prompt sees of pairs comes from.
#[derive(Clone, Copy)]
pub enum PairSource<'a> {
    /// Their images.
    Images(&'a Pairs),
    /// The features of their images, which were computed before.
    Features(&'a FeatureFolder),
}

impl<'a> From<&'a Pairs> for PairSource<'a> {
    fn from(pairs: &'a Pairs) -> Self {
        Self::Images(pairs)
    }
}

impl<'a> From<&'a FeatureFolder> for PairSource<'a> {
    fn from(folder: &'a FeatureFolder) -> Self {
        Self::Features(folder)
    }
}

/// Checks that pairs are those that were clustered, by their keys and captions.
///
/// # Errors
/// Names the first that has another caption.
pub fn check_captions<'a>(clusters: &Clusters, source: impl Into<PairSource<'a>>) -> Result<()> {
    let captions: HashMap<&str, &str> = match source.into() {
        PairSource::Images(pairs) => {
            pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair.caption.as_str())).collect()
        }
        PairSource::Features(folder) => {
            let rows = folder.rows_of(clusters.pairs.iter().map(|pair| pair.key.as_str()));
            rows.into_iter().map(|(key, row)| (key, folder.captions[row].as_str())).collect()
        }
    };
    for pair in &clusters.pairs {
        // One that is not there is named when its image is asked for.
        let found = captions.get(pair.key.as_str()).copied().unwrap_or(&pair.caption);
        require!(
            found.trim() == pair.caption.trim(),
            "pair {}: its caption is `{found}`, and was `{}` when the pairs were clustered: give the pairs that were \
             clustered, or cluster these",
            pair.key,
            pair.caption
        );
    }
    Ok(())
}

/// The images of the pairs with these keys: pixels if a visual prompt is learned, with `room` bytes for those
/// that are kept, features otherwise.
///
/// # Errors
/// If a pair is not there, its image cannot be read, or its features are of another model or serve no visual
/// prompt.
pub fn images_of<'a>(
    model: &Model,
    keys: &[String],
    source: impl Into<PairSource<'a>>,
    kind: PromptKind,
    room: usize,
    progress: &dyn Progress,
) -> Result<PairImages> {
    let pairs = match source.into() {
        PairSource::Images(pairs) => pairs,
        PairSource::Features(folder) => return computed_before(model, keys, folder, kind),
    };
    let chosen = Pairs { pairs: pairs_of(keys, pairs)?, ..Pairs::default() };
    let fingerprint = chosen.fingerprint();
    let store = store_of(model, &chosen.pairs, kind, room, progress)?;
    Ok(PairImages { store, fingerprint })
}

fn store_of(
    model: &Model,
    chosen: &[Pair],
    kind: PromptKind,
    room: usize,
    progress: &dyn Progress,
) -> Result<ImageStore> {
    if kind.has(Part::Visual) {
        return Ok(ImageStore::Pixels(pixel_cache(model, chosen.iter(), room, progress)?));
    }
    let seen = features_of(model, chosen, progress)?;
    require!(seen.unreadable.is_empty(), "{}", seen.unreadable[0].1);
    Ok(ImageStore::Features(tensor(&seen.features, &model.device())))
}

/// The images of clustered pairs, as [`images_of`] gives them.
///
/// # Errors
/// As [`check_captions`] and [`images_of`].
pub fn images_of_clusters<'a>(
    model: &Model,
    clusters: &Clusters,
    source: impl Into<PairSource<'a>>,
    kind: PromptKind,
    room: usize,
    progress: &dyn Progress,
) -> Result<PairImages> {
    let source = source.into();
    check_captions(clusters, source)?;
    images_of(model, &keys(clusters), source, kind, room, progress)
}

/// The features of the pairs with these keys from a folder, normalised.
fn computed_before(
    model: &Model,
    keys: &[String],
    folder: &FeatureFolder,
    kind: PromptKind,
) -> Result<PairImages> {
    let place = folder.path().display().to_string();
    require!(
        !kind.has(Part::Visual),
        "{place}: a visual prompt needs images, not features: give the pairs' images with --pairs"
    );
    check_model(folder.model.as_ref(), folder.images.shape().1, model, folder.path())?;
    let rows = folder.rows_of(keys.iter().map(String::as_str));
    let row = |key: &String| {
        rows.get(key.as_str()).copied().with_context(|| {
            format!(
                "{place}: pair {key} was clustered, and has no usable features there: embed the same pairs"
            )
        })
    };
    let chosen = keys.iter().map(row).collect::<Result<Vec<usize>>>()?;
    let features = directions(&folder.images, &chosen, &|place| keys[place].clone())
        .map_err(|problem| refused!("{place}: {problem}"))?;
    let fingerprint = feature_folder::fingerprint(folder.path())?;
    Ok(PairImages { store: ImageStore::Features(tensor(&features, &model.device())), fingerprint })
}

/// The pairs with these keys.
pub(crate) fn pairs_of(keys: &[String], pairs: &Pairs) -> Result<Vec<Pair>> {
    let by_key: HashMap<&str, &Pair> = pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair)).collect();
    let find = |key: &String| {
        let pair = by_key.get(key.as_str()).map(|pair| (*pair).clone());
        pair.with_context(|| {
            format!("pair {key} is asked for, but is not given: give the pairs that were clustered")
        })
    };
    keys.iter().map(find).collect()
}
