//! Features of pairs that were computed before: what is clustered without a model.

mod features;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use gram_clip::ModelIdentity;
use gram_clip::checkpoint::map;
use gram_data::{EmbeddingsFolder, Pair, Pairs, SkipCause, Skipped, UniqueKeys, fingerprint, read_text};
use half::f16;
use rayon::prelude::*;
use serde::Deserialize;

use crate::{FeatureError, Rows};

pub use features::Features;

/// The file of a feature folder that describes the dataset.
pub const DATASET: &str = "dataset.json";

/// What is said of a folder without features.
const NO_FEATURES: &str = "holds neither features.safetensors nor img_emb: give a folder that `gram embed` has \
                           finished, or one by `clip-retrieval inference`";

/// Features of pairs, a row each, as `gram embed` wrote them, or clip-retrieval.
pub struct FeatureFolder {
    /// Names of the pairs, no two alike.
    pub keys: Vec<String>,
    /// Their captions.
    pub captions: Vec<String>,
    /// Features of their images, `[pairs, joint width]`.
    pub images: Features,
    /// Features of their captions, `[pairs, joint width]`, or of another width if another model saw them.
    pub texts: Features,
    /// The model they are of; clip-retrieval's folder does not say.
    pub model: Option<ModelIdentity>,
    /// What a caption encoder made of them, `[pairs, width]`, if there was one.
    pub encoded_captions: Option<Features>,
    /// Pairs that are left out, for a feature of theirs is zero, infinite or no number.
    pub skipped: Vec<Skipped>,
    folder: PathBuf,
}

impl FeatureFolder {
    /// Opens a folder. Pairs with a feature that is zero, infinite or no number are left out. A key that
    /// comes again, for keys begin anew in every shard, becomes `key#1`, `key#2`, and so on.
    ///
    /// # Errors
    /// If it holds no features, or files that do not fit together; names the file and the way out.
    pub fn open(folder: &Path) -> Result<Self, FeatureError> {
        if folder.join("img_emb").is_dir() {
            return Self::of_clip_retrieval(folder)?.without_bad_rows();
        }
        let path = folder.join("features.safetensors");
        if !path.is_file() {
            return Err(FeatureError::file(folder, NO_FEATURES));
        }
        let file = map(&path).map_err(|error| FeatureError::file(&path, error))?;
        let wrong = |problem: &str| FeatureError::file(&path, format!("embed the pairs again: {problem}"));
        let tensor = |name: &str| Features::of_tensor(&file, name).map_err(|problem| wrong(&problem));
        let missing = |name: &str| wrong(&format!("{name} is not in it"));
        if folder.join(DATASET).is_file() {
            let problem =
                "these are features of a labelled dataset, without captions: embed pairs with --pairs";
            return Err(FeatureError::file(folder, problem));
        }
        let (keys, captions) = keys_and_captions(&folder.join("pairs.jsonl"))?;
        let images = tensor("image_features")?.ok_or_else(|| missing("image_features"))?;
        let texts = tensor("text_features")?.ok_or_else(|| missing("text_features"))?;
        let encoded_captions = tensor("caption_features")?;
        let rows = [Some(&images), Some(&texts), encoded_captions.as_ref()];
        if rows.into_iter().flatten().any(|features| features.shape().0 != keys.len()) {
            return Err(wrong("it has other rows than pairs.jsonl"));
        }
        let model = model_of(&folder.join("embedding.json"))?;
        let folder = folder.to_owned();
        let skipped = Vec::new();
        Self { keys, captions, images, texts, model, encoded_captions, skipped, folder }.without_bad_rows()
    }

    /// The parts of a folder by clip-retrieval, one below the other.
    fn of_clip_retrieval(folder: &Path) -> Result<Self, FeatureError> {
        let parts = EmbeddingsFolder::open(folder)?;
        let text_width = parts.text_width()?;
        let (mut images, mut texts) = (Vec::new(), Vec::new());
        let (mut keys, mut captions) = (Vec::new(), Vec::new());
        for part in parts.parts() {
            images.extend(part.image_features()?.into_iter().map(f16::from_f32));
            texts.extend(part.text_features()?.into_iter().map(f16::from_f32));
            keys.extend(part.keys()?);
            captions.extend(part.captions()?);
        }
        let mut unique = UniqueKeys::default();
        Ok(Self {
            keys: keys.into_iter().map(|key| unique.unique(key)).collect(),
            captions,
            images: Features::in_memory(images, (parts.rows(), parts.width())),
            texts: Features::in_memory(texts, (parts.rows(), text_width)),
            model: None,
            encoded_captions: None,
            skipped: Vec::new(),
            folder: folder.to_owned(),
        })
    }

    /// Leaves out the pairs of which a feature has no direction.
    fn without_bad_rows(mut self) -> Result<Self, FeatureError> {
        let problems: Vec<Option<String>> = (0..self.keys.len())
            .into_par_iter()
            .with_min_len(256)
            .map_init(Vec::new, |values, row| self.problem(row, values))
            .collect();
        let kept: Vec<usize> = (0..problems.len()).filter(|row| problems[*row].is_none()).collect();
        if kept.len() == problems.len() {
            return Ok(self);
        }
        let skipped = self.keys.iter().zip(&problems).filter_map(|(key, problem)| {
            let detail = Some(problem.clone()?);
            Some(Skipped { name: key.clone(), cause: SkipCause::BadFeature, detail })
        });
        self.skipped = skipped.collect();
        if kept.is_empty() {
            let first = self.skipped.first().map(Skipped::to_string).unwrap_or_default();
            let problem =
                format!("no pair has features that are numbers; first {first}: embed the pairs again");
            return Err(FeatureError::file(&self.folder, problem));
        }
        let select = |all: Vec<String>| {
            let kept_all = all.into_iter().zip(&problems).filter(|(_, problem)| problem.is_none());
            kept_all.map(|(text, _)| text).collect()
        };
        (self.keys, self.captions) = (select(self.keys), select(self.captions));
        let all = [Some(&mut self.images), Some(&mut self.texts), self.encoded_captions.as_mut()];
        all.into_iter().flatten().for_each(|features| features.keep(&kept));
        Ok(self)
    }

    /// What is wrong with a row of features, if anything is.
    fn problem(&self, row: usize, values: &mut Vec<f32>) -> Option<String> {
        let all = [
            ("image feature", Some(&self.images)),
            ("text feature", Some(&self.texts)),
            ("caption feature", self.encoded_captions.as_ref()),
        ];
        all.into_iter().find_map(|(what, features)| {
            let features = features?;
            values.resize(features.shape().1, 0.0);
            features.read(row, values);
            if values.iter().any(|value| !value.is_finite()) {
                return Some(format!("its {what} is not finite"));
            }
            values.iter().all(|value| *value == 0.0).then(|| format!("its {what} is all zeros"))
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// What topics are found in: encoded captions, or the features of the captions.
    pub fn caption_embeddings(&self) -> &Features {
        self.encoded_captions.as_ref().unwrap_or(&self.texts)
    }

    /// Bytes of features that are held in memory: those of clip-retrieval's parts, but nothing of a file, of
    /// which only what is read is loaded.
    pub fn bytes_in_memory(&self) -> usize {
        let matrices = [Some(&self.images), Some(&self.texts), self.encoded_captions.as_ref()];
        matrices.into_iter().flatten().map(Features::bytes_in_memory).sum()
    }

    /// The cosine similarity of every pair's image and caption features; nothing if the two are of different
    /// widths, for then two models saw them, which have no space in common.
    pub fn similarities(&self) -> Option<Vec<f32>> {
        let width = self.images.shape().1;
        if self.texts.shape().1 != width {
            return None;
        }
        let (mut image, mut text) = (vec![0.0; width], vec![0.0; width]);
        let of = |row: usize| {
            self.images.read(row, &mut image);
            self.texts.read(row, &mut text);
            let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
            dot(&image, &text) / (dot(&image, &image) * dot(&text, &text)).sqrt()
        };
        Some((0..self.keys.len()).map(of).collect())
    }

    /// The rows of the pairs with these keys, of those that are here. A key of clip-retrieval lacks the name
    /// of the shard: its row is that of the one key that ends in it, if there is only one.
    pub fn rows_of<'a>(&self, keys: impl Iterator<Item = &'a str> + Clone) -> HashMap<&'a str, usize> {
        rows_of(&self.keys, keys)
    }

    /// Matches the features with the pairs that they are of, by their keys; the pairs may be more. Keys of
    /// clip-retrieval lack the name of the shard, which is then added.
    ///
    /// # Errors
    /// If a key names none of the pairs, or one with another caption: they are of other pairs. Names the
    /// first.
    pub fn match_with(&mut self, pairs: &Pairs) -> Result<(), FeatureError> {
        let by_key: HashMap<&str, &Pair> = pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair)).collect();
        let by_name = by_name(pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair)));
        let (mut missing, mut others) = (Vec::new(), Vec::new());
        for (key, caption) in self.keys.iter_mut().zip(&self.captions) {
            let inside = || by_name.get(key.as_str()).copied().flatten();
            match by_key.get(key.as_str()).copied().or_else(inside) {
                None => missing.push(key.clone()),
                Some(pair) if pair.caption.trim() != caption.trim() => others.push((key.clone(), pair)),
                Some(pair) => key.clone_from(&pair.key),
            }
        }
        let refused = |problem: String| Err(FeatureError::file(&self.folder, problem));
        let way_out = "give the pairs that the features were computed of, or embed these";
        if let Some(first) = missing.first() {
            return refused(format!(
                "{} of {} keys name none of the {} pairs, first `{first}`: {way_out}",
                missing.len(),
                self.keys.len(),
                pairs.pairs.len()
            ));
        }
        if let Some((key, pair)) = others.first() {
            return refused(format!(
                "{} of {} pairs have another caption, first `{key}`, which is now `{}`: {way_out}",
                others.len(),
                self.keys.len(),
                pair.caption
            ));
        }
        Ok(())
    }
}

/// What has keys, by these without the name of the shard before them; nothing where a name is that of
/// several.
fn by_name<'a, T: Copy>(keyed: impl Iterator<Item = (&'a str, T)>) -> HashMap<&'a str, Option<T>> {
    let mut named = HashMap::new();
    for (key, value) in keyed {
        if let Some((_, name)) = key.split_once('/') {
            named.entry(name).and_modify(|known| *known = None).or_insert(Some(value));
        }
    }
    named
}

/// The rows of a folder with keys `of_folder` by the keys of clustered pairs, of those that it has. Other
/// tools write keys without the shard before them: such a row is that of the one key that ends in it, if
/// there is only one.
fn rows_of<'a>(of_folder: &[String], keys: impl Iterator<Item = &'a str> + Clone) -> HashMap<&'a str, usize> {
    let rows: HashMap<&str, usize> = of_folder.iter().map(String::as_str).zip(0..).collect();
    let by_name = by_name(keys.clone().map(|key| (key, ())));
    let row = |key: &'a str| {
        let without_shard = || {
            let (_, name) = key.split_once('/')?;
            // A name that comes again in the folder is numbered there.
            let is_one =
                by_name.get(name) == Some(&Some(())) && !rows.contains_key(format!("{name}#1").as_str());
            rows.get(name).copied().filter(|_| is_one)
        };
        Some((key, rows.get(key).copied().or_else(without_shard)?))
    };
    keys.filter_map(row).collect()
}

/// The model that the description of a folder names.
pub(crate) fn model_of(path: &Path) -> Result<Option<ModelIdentity>, FeatureError> {
    if !path.is_file() {
        return Ok(None);
    }
    let wrong = |problem: String| FeatureError::file(path, format!("embed the pairs again: {problem}"));
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| wrong(error.to_string()))
}

/// The file of `gram embed` with fingerprints of what it wrote.
const WRITTEN: &str = "written.json";

/// Checks that the files of a folder are those that `gram embed` wrote there.
///
/// # Errors
/// Names the first that was changed since, or what is missing where it did not finish.
pub(crate) fn check_written(folder: &Path) -> Result<(), FeatureError> {
    #[derive(Deserialize)]
    struct Written {
        made: BTreeMap<String, String>,
    }
    let path = folder.join(WRITTEN);
    if !path.is_file() {
        return Err(FeatureError::file(folder, "`gram embed` did not finish here: give that command again"));
    }
    let written: Written = serde_json::from_str(&read_text(&path)?)
        .map_err(|error| FeatureError::file(&path, format!("embed again with --restart: {error}")))?;
    for (name, was) in &written.made {
        let path = folder.join(name);
        let now = fingerprint::of_files(folder, std::slice::from_ref(&path));
        // Copies for other programs need not be kept.
        if !name.ends_with(".npy") && now.ok().as_ref() != Some(was) {
            let problem = "it is not what `gram embed` wrote: embed again with --restart";
            return Err(FeatureError::file(&path, problem));
        }
    }
    Ok(())
}

/// A matrix of the file of features in a folder.
pub(crate) fn matrix_of(folder: &Path, name: &str) -> Result<Features, FeatureError> {
    let path = folder.join("features.safetensors");
    if !path.is_file() {
        return Err(FeatureError::file(folder, NO_FEATURES));
    }
    let file = map(&path).map_err(|error| FeatureError::file(&path, error))?;
    let wrong = |problem: String| FeatureError::file(&path, format!("embed again: {problem}"));
    let features = Features::of_tensor(&file, name).map_err(wrong)?;
    features.ok_or_else(|| wrong(format!("{name} is not in it")))
}

/// The fingerprint of what is read of a folder.
///
/// # Errors
/// If a file cannot be read.
pub fn fingerprint(folder: &Path) -> Result<String, FeatureError> {
    let own = ["features.safetensors", "pairs.jsonl"].map(|name| folder.join(name));
    Ok(match own.iter().all(|path| path.is_file()) {
        true => fingerprint::of_files(folder, &own)?,
        false => fingerprint::of_folder(folder)?,
    })
}

#[derive(Deserialize)]
struct Row {
    key: String,
    caption: String,
}

fn keys_and_captions(path: &Path) -> Result<(Vec<String>, Vec<String>), FeatureError> {
    let text = read_text(path)?;
    let row = |(index, line): (usize, &str)| {
        let row: Row = serde_json::from_str(line).map_err(|error| {
            FeatureError::file(path, format!("line {}: embed the pairs again: {error}", index + 1))
        })?;
        Ok((row.key, row.caption))
    };
    text.lines().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests;
