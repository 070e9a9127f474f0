//! Features of pairs that were computed before: what is clustered without a model.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gram_clip::ModelIdentity;
use gram_clip::checkpoint::{Bytes, map};
use gram_cluster::Rows;
use gram_data::{EmbeddingsFolder, fingerprint};
use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

/// Features of pairs, a row each, as `gram embed` wrote them, or clip-retrieval.
pub struct FeatureFolder {
    /// Names of the pairs.
    pub keys: Vec<String>,
    /// Their captions.
    pub captions: Vec<String>,
    /// Features of their images, `[pairs, joint width]`.
    pub images: Features,
    /// Features of their captions, `[pairs, joint width]`.
    pub texts: Features,
    /// The model they are of; clip-retrieval's folder does not say.
    pub model: Option<ModelIdentity>,
    /// What a caption encoder made of them, `[pairs, width]`, if there was one.
    pub encoded_captions: Option<Features>,
}

/// A matrix.
pub struct Features {
    values: Values,
    shape: (usize, usize),
}

/// Where its numbers are.
enum Values {
    /// In a file of 16- or 32-bit numbers, of which only what is read is loaded.
    File { file: Bytes, range: Range<usize>, half: bool },
    /// In memory.
    Memory(Vec<f16>),
}

impl FeatureFolder {
    /// Opens a folder.
    ///
    /// # Errors
    /// If it holds no features, or files that do not fit together; names the file and the way out.
    pub fn open(folder: &Path) -> Result<Self> {
        if folder.join("img_emb").is_dir() {
            return Self::of_clip_retrieval(folder);
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
            rows.into_iter().flatten().all(|features| features.shape.0 == keys.len()),
            "{}: it has other rows than pairs.jsonl: embed the pairs again",
            path.display()
        );
        let model = model_of(&folder.join("embedding.json"))?;
        Ok(Self { keys, captions, images, texts, model, encoded_captions })
    }

    /// The parts of a folder by clip-retrieval, one below the other.
    fn of_clip_retrieval(folder: &Path) -> Result<Self> {
        let parts = EmbeddingsFolder::open(folder)?;
        let shape = (parts.rows(), parts.width());
        let (mut images, mut texts) = (Vec::new(), Vec::new());
        let (mut keys, mut captions) = (Vec::new(), Vec::new());
        for part in parts.parts() {
            images.extend(part.image_features()?.into_iter().map(f16::from_f32));
            texts.extend(part.text_features()?.into_iter().map(f16::from_f32));
            keys.extend(part.keys()?);
            captions.extend(part.captions()?);
        }
        let [images, texts] =
            [images, texts].map(|values| Features { values: Values::Memory(values), shape });
        Ok(Self { keys, captions, images, texts, model: None, encoded_captions: None })
    }

    /// What topics are found in: encoded captions, or the features of the captions.
    pub fn caption_embeddings(&self) -> &Features {
        self.encoded_captions.as_ref().unwrap_or(&self.texts)
    }

    /// Bytes of features that are held in memory: those of clip-retrieval's parts, but nothing of a file, of which only what
    /// is read is loaded.
    pub fn bytes_in_memory(&self) -> usize {
        let matrices = [Some(&self.images), Some(&self.texts), self.encoded_captions.as_ref()];
        let of = |features: &Features| match &features.values {
            Values::Memory(values) => size_of_val(values.as_slice()),
            Values::File { .. } => 0,
        };
        matrices.into_iter().flatten().map(of).sum()
    }

    /// The cosine similarity of every pair's image and caption features.
    pub fn similarities(&self) -> Vec<f32> {
        let width = self.images.shape.1;
        let (mut image, mut text) = (vec![0.0; width], vec![0.0; width]);
        let of = |row: usize| {
            self.images.read(row, &mut image);
            self.texts.read(row, &mut text);
            let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
            dot(&image, &text) / (dot(&image, &image) * dot(&text, &text)).sqrt()
        };
        (0..self.keys.len()).map(of).collect()
    }
}

/// The model that the description of a folder names.
fn model_of(path: &Path) -> Result<Option<ModelIdentity>> {
    if !path.is_file() {
        return Ok(None);
    }
    let told = || format!("{}: embed the pairs again", path.display());
    let text = fs::read(path).with_context(told)?;
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

fn keys_and_captions(path: &PathBuf) -> Result<(Vec<String>, Vec<String>)> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let row = |(index, line): (usize, &str)| {
        let row: Row = serde_json::from_str(line)
            .with_context(|| format!("{}, line {}: embed the pairs again", path.display(), index + 1))?;
        anyhow::Ok((row.key, row.caption))
    };
    text.lines().enumerate().map(row).collect()
}

impl Features {
    /// A matrix of a safetensors file; none if it is not in it.
    fn of_tensor(file: &Bytes, name: &str) -> Result<Option<Self>> {
        let bytes: &[u8] = (**file).as_ref();
        let (header, metadata) = SafeTensors::read_metadata(bytes)?;
        let Some(info) = metadata.info(name) else { return Ok(None) };
        let [rows, columns] = *info.shape else { bail!("{name} is no matrix") };
        let half = match info.dtype {
            Dtype::F16 => true,
            Dtype::F32 => false,
            other => bail!("{name} is of {other:?}, not of 16- or 32-bit numbers"),
        };
        let data = header + size_of::<u64>();
        let range = data + info.data_offsets.0..data + info.data_offsets.1;
        ensure!(
            range.len() == rows * columns * if half { 2 } else { 4 } && bytes.len() >= range.end,
            "{name} is cut short"
        );
        Ok(Some(Self { values: Values::File { file: file.clone(), range, half }, shape: (rows, columns) }))
    }
}

impl Rows for Features {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        let width = self.shape.1;
        let numbers = row * width..(row + 1) * width;
        match &self.values {
            Values::Memory(values) => {
                into.iter_mut().zip(&values[numbers]).for_each(|(to, from)| *to = from.to_f32());
            }
            Values::File { file, range, half } => {
                let bytes = &(**file).as_ref()[range.clone()];
                let size = if *half { 2 } else { 4 };
                let row = bytes[numbers.start * size..numbers.end * size].chunks_exact(size);
                into.iter_mut().zip(row).for_each(|(to, from)| {
                    *to = match from {
                        [one, two] => f16::from_le_bytes([*one, *two]).to_f32(),
                        [one, two, three, four] => f32::from_le_bytes([*one, *two, *three, *four]),
                        _ => 0.0,
                    };
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let similarities = features.similarities();
        assert!(similarities.iter().all(|cosine| (-1.001..=1.001).contains(cosine)), "{similarities:?}");
    }
}
