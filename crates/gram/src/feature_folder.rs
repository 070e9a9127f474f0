//! Features of pairs that were computed before: what is clustered without a model.

mod features;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gram_clip::ModelIdentity;
use gram_clip::checkpoint::map;
use gram_cluster::Rows;
use gram_data::{EmbeddingsFolder, Pair, Pairs, SkipCause, Skipped, UniqueKeys, fingerprint, read_text};
use half::f16;
use rayon::prelude::*;
use serde::Deserialize;

pub use features::Features;

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
    /// Opens a folder. Pairs with a feature that is zero, infinite or no number are left out. A key that comes again, for
    /// keys begin anew in every shard, becomes `key#1`, `key#2`, and so on.
    ///
    /// # Errors
    /// If it holds no features, or files that do not fit together; names the file and the way out.
    pub fn open(folder: &Path) -> Result<Self> {
        if folder.join("img_emb").is_dir() {
            return Self::of_clip_retrieval(folder)?.without_bad_rows();
        }
        let path = folder.join("features.safetensors");
        if !path.is_file() {
            bail!(
                "{}: holds neither features.safetensors nor img_emb: give a folder that `gram embed` has finished, or \
                 one by `clip-retrieval inference`",
                folder.display()
            );
        }
        let file = map(&path)?;
        let told = || format!("{}: embed the pairs again", path.display());
        let tensor = |name: &str| Features::of_tensor(&file, name).with_context(told);
        let (keys, captions) = keys_and_captions(&folder.join("pairs.jsonl"))?;
        let images = tensor("image_features")?.with_context(told)?;
        let texts = tensor("text_features")?.with_context(told)?;
        let encoded_captions = tensor("caption_features")?;
        let rows = [Some(&images), Some(&texts), encoded_captions.as_ref()];
        ensure!(
            rows.into_iter().flatten().all(|features| features.shape().0 == keys.len()),
            "{}: it has other rows than pairs.jsonl: embed the pairs again",
            path.display()
        );
        let model = model_of(&folder.join("embedding.json"))?;
        let folder = folder.to_owned();
        let skipped = Vec::new();
        Self { keys, captions, images, texts, model, encoded_captions, skipped, folder }.without_bad_rows()
    }

    /// The parts of a folder by clip-retrieval, one below the other.
    fn of_clip_retrieval(folder: &Path) -> Result<Self> {
        let parts = EmbeddingsFolder::open(folder)?;
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
            texts: Features::in_memory(texts, (parts.rows(), parts.text_width())),
            model: None,
            encoded_captions: None,
            skipped: Vec::new(),
            folder: folder.to_owned(),
        })
    }

    /// Leaves out the pairs of which a feature has no direction.
    fn without_bad_rows(mut self) -> Result<Self> {
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
        ensure!(
            !kept.is_empty(),
            "{}: no pair has features that are numbers; first {}: embed the pairs again",
            self.folder.display(),
            self.skipped.first().map(Skipped::to_string).unwrap_or_default()
        );
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

    /// What topics are found in: encoded captions, or the features of the captions.
    pub fn caption_embeddings(&self) -> &Features {
        self.encoded_captions.as_ref().unwrap_or(&self.texts)
    }

    /// Bytes of features that are held in memory: those of clip-retrieval's parts, but nothing of a file, of which only what
    /// is read is loaded.
    pub fn bytes_in_memory(&self) -> usize {
        let matrices = [Some(&self.images), Some(&self.texts), self.encoded_captions.as_ref()];
        matrices.into_iter().flatten().map(Features::bytes_in_memory).sum()
    }

    /// The cosine similarity of every pair's image and caption features; nothing if the two are of different widths, for
    /// then two models saw them, which have no space in common.
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

    /// Matches the features with the pairs that they are of, by their keys; the pairs may be more. Keys of clip-retrieval lack
    /// the name of the shard, which is then added.
    ///
    /// # Errors
    /// If a key names none of the pairs, or one with another caption: they are of other pairs. Names the first.
    pub fn match_with(&mut self, pairs: &Pairs) -> Result<()> {
        let by_key: HashMap<&str, &Pair> = pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair)).collect();
        let by_name = by_name(pairs);
        let (mut missing, mut others) = (Vec::new(), Vec::new());
        for (key, caption) in self.keys.iter_mut().zip(&self.captions) {
            let inside = || by_name.get(key.as_str()).copied().flatten();
            match by_key.get(key.as_str()).copied().or_else(inside) {
                None => missing.push(key.clone()),
                Some(pair) if pair.caption.trim() != caption.trim() => others.push((key.clone(), pair)),
                Some(pair) => key.clone_from(&pair.key),
            }
        }
        let folder = self.folder.display();
        let way_out = "give the pairs that the features were computed of, or embed these";
        if let Some(first) = missing.first() {
            bail!(
                "{folder}: {} of {} keys name none of the {} pairs, first `{first}`: {way_out}",
                missing.len(),
                self.keys.len(),
                pairs.pairs.len()
            );
        }
        if let Some((key, pair)) = others.first() {
            bail!(
                "{folder}: {} of {} pairs have another caption, first `{key}`, which is now `{}`: {way_out}",
                others.len(),
                self.keys.len(),
                pair.caption
            );
        }
        Ok(())
    }
}

/// Pairs by what their keys are without the name of the shard before them; nothing where that names several.
fn by_name(pairs: &Pairs) -> HashMap<&str, Option<&Pair>> {
    let mut named = HashMap::new();
    for pair in &pairs.pairs {
        if let Some((_, name)) = pair.key.split_once('/') {
            named.entry(name).and_modify(|known| *known = None).or_insert(Some(pair));
        }
    }
    named
}

/// The model that the description of a folder names.
fn model_of(path: &Path) -> Result<Option<ModelIdentity>> {
    if !path.is_file() {
        return Ok(None);
    }
    let told = || format!("{}: embed the pairs again", path.display());
    let text = std::fs::read(path).with_context(told)?;
    serde_json::from_slice(&text).map(Some).with_context(told)
}

/// The fingerprint of what is read of a folder.
///
/// # Errors
/// If a file cannot be read.
pub fn fingerprint(folder: &Path) -> Result<String> {
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

fn keys_and_captions(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let text = read_text(path)?;
    let row = |(index, line): (usize, &str)| {
        let row: Row = serde_json::from_str(line)
            .with_context(|| format!("{}, line {}: embed the pairs again", path.display(), index + 1))?;
        anyhow::Ok((row.key, row.caption))
    };
    text.lines().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_clip_retrieval_is_one_matrix_of_all_its_parts() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gram-data/tests/fixtures/embeddings");
        let parts = EmbeddingsFolder::open(&folder).unwrap();
        let features = FeatureFolder::open(&folder).unwrap();
        assert_eq!(features.images.shape(), (parts.rows(), parts.width()));
        let last = parts.parts().last().unwrap();
        let expected = last.text_features().unwrap();
        let read = features.texts.select(&[parts.rows() - 1]);
        let row = &expected[expected.len() - parts.width()..];
        assert!(read.iter().zip(row).all(|(found, expected)| (found - expected).abs() < 1e-3));
        assert_eq!(features.keys.last(), last.keys().unwrap().last());
        let similarities = features.similarities().unwrap();
        assert!(similarities.iter().all(|cosine| (-1.001..=1.001).contains(cosine)), "{similarities:?}");
    }

    /// A folder as `gram embed` writes it: image features, caption features of another width if they are given, keys and
    /// captions.
    fn written(images: &[Vec<f32>], texts: &[Vec<f32>], pairs: &[(String, String)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |rows: &[Vec<f32>]| {
            rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
        };
        let (image_bytes, text_bytes) = (bytes(images), bytes(texts));
        let view = |rows: &[Vec<f32>], bytes| {
            safetensors::tensor::TensorView::new(
                safetensors::Dtype::F32,
                vec![rows.len(), rows[0].len()],
                bytes,
            )
        };
        let tensors = [
            ("image_features", view(images, &image_bytes).unwrap()),
            ("text_features", view(texts, &text_bytes).unwrap()),
        ];
        let file = safetensors::serialize(tensors, None).unwrap();
        std::fs::write(folder.path().join("features.safetensors"), file).unwrap();
        let line = |(key, caption): &(String, String)| {
            format!("{}\n", serde_json::json!({"key": key, "image": key, "caption": caption}))
        };
        std::fs::write(folder.path().join("pairs.jsonl"), pairs.iter().map(line).collect::<String>())
            .unwrap();
        folder
    }

    fn named(keys: &[&str]) -> Vec<(String, String)> {
        keys.iter().map(|key| ((*key).to_owned(), format!("caption of {key}"))).collect()
    }

    /// The pairs of these keys and captions.
    fn pairs(named: &[(String, String)]) -> Pairs {
        let pair = |(key, caption): &(String, String)| Pair {
            key: key.clone(),
            caption: caption.clone(),
            image: gram_data::ImageFile::Path("nowhere.png".into()),
            metadata: None,
        };
        Pairs { pairs: named.iter().map(pair).collect(), ..Pairs::default() }
    }

    #[test]
    fn a_row_without_a_direction_is_left_out_and_named() {
        let images = [[1.0, 2.0], [0.0, 0.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]].map(Vec::from);
        let texts =
            [[1.0, 0.0], [1.0, 0.0], [f32::NAN, 0.0], [f32::INFINITY, 1.0], [1.0, 0.0]].map(Vec::from);
        let folder = written(&images, &texts, &named(&["a", "b", "c", "d", "e"]));
        let features = FeatureFolder::open(folder.path()).unwrap();
        assert_eq!(features.keys, ["a", "e"]);
        assert_eq!(features.captions, ["caption of a", "caption of e"]);
        assert_eq!(features.images.shape(), (2, 2));
        assert_eq!(features.images.select(&[1]).row(0).to_vec(), [7.0, 8.0]);
        let told: Vec<String> = features.skipped.iter().map(Skipped::to_string).collect();
        let expected = [
            "b: its image feature is all zeros",
            "c: its text feature is not finite",
            "d: its text feature is not finite",
        ];
        assert_eq!(told, expected);
        let folder = written(&images[1..2], &texts[1..2], &named(&["b"]));
        let error = FeatureFolder::open(folder.path()).err().unwrap().to_string();
        assert!(
            error.contains("no pair has features that are numbers; first b: its image feature"),
            "{error}"
        );
    }

    #[test]
    fn features_of_other_pairs_are_refused() {
        let rows = [[1.0, 2.0], [3.0, 4.0]].map(Vec::from);
        let own = named(&["a", "b"]);
        let folder = written(&rows, &rows, &own);
        let matched = |given: &[(String, String)]| {
            FeatureFolder::open(folder.path())
                .unwrap()
                .match_with(&pairs(given))
                .map_err(|error| error.to_string())
        };
        assert!(matched(&named(&["c", "b", "a"])).is_ok());
        let error = matched(&named(&["b", "c"])).unwrap_err();
        assert!(error.contains("1 of 2 keys name none of the 2 pairs, first `a`: give the pairs"), "{error}");
        let other = [own[0].clone(), ("b".to_owned(), "another".to_owned())];
        let error = matched(&other).unwrap_err();
        assert!(
            error.contains("1 of 2 pairs have another caption, first `b`, which is now `another`"),
            "{error}"
        );
    }

    #[test]
    fn keys_of_clip_retrieval_are_found_without_the_name_of_the_shard() {
        let rows = [[1.0, 2.0], [3.0, 4.0]].map(Vec::from);
        let folder = written(&rows, &rows, &named(&["a", "b"]));
        let mut features = FeatureFolder::open(folder.path()).unwrap();
        let shards = |keys: [&str; 2]| {
            let mut given = named(&["a", "b"]);
            given.iter_mut().zip(keys).for_each(|(pair, key)| pair.0 = key.to_owned());
            pairs(&given)
        };
        features.match_with(&shards(["00000/a", "00001/b"])).unwrap();
        assert_eq!(features.keys, ["00000/a", "00001/b"]);
    }

    #[test]
    fn captions_that_another_model_saw_are_clustered_but_not_compared_with_images() {
        let names = ["tiger", "teapot", "rocket"];
        let named: Vec<(String, String)> =
            (0..90).map(|row| (format!("{row:03}"), format!("a photo of a {}", names[row % 3]))).collect();
        let near = |row: usize, corners: usize, width: usize| -> Vec<f32> {
            let noise = |column: usize| ((row * 31 + column * 17) % 7) as f32 / 50.0;
            let one = |column| if column == row % corners { 1.0 + noise(column) } else { noise(column) };
            (0..width).map(one).collect()
        };
        let images: Vec<Vec<f32>> = (0..90).map(|row| near(row, 2, 8)).collect();
        let texts: Vec<Vec<f32>> = (0..90).map(|row| near(row, 3, 6)).collect();
        let folder = written(&images, &texts, &named);
        let features = FeatureFolder::open(folder.path()).unwrap();
        assert_eq!(features.similarities(), None);
        let settings = gram_cluster::ChcSettings { domains: 2, ..Default::default() };
        let cluster =
            |settings| crate::clustering::cluster_features(&features, settings, 1, None, &mut |_| ());
        assert_eq!(cluster(&settings).unwrap().topics.len(), 3);
        let filtered = gram_cluster::ChcSettings { similarity_quantile: 0.1, ..settings };
        let error = cluster(&filtered).unwrap_err().to_string();
        assert!(error.contains("their similarity cannot be computed"), "{error}");
    }
}
