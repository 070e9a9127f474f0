//! Features of image-text pairs in files, part by part, so that a run that is stopped goes on where it was.
//!
//! The folder holds `features.safetensors` (`image_features` and `text_features`, `[rows, joint width]`, 32-bit,
//! normalised), the same two as `.npy`, `pairs.jsonl` (key, image and caption of every row), `unreadable.jsonl` (what was
//! left out, and why) and `embedding.json` (what made it). Until all is done, the parts lie in `parts/`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use gram_clip::Model;
use gram_clip::checkpoint::float_values;
use gram_data::{ImageFile, Pair};
use gram_eval::image_batches::for_each_batch;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::clustering::{device, text_features, values};
use crate::matrix_file::npy;
use crate::whole_file::write;

/// Pairs of a part: what is lost, at most, when a run is stopped.
const PART: usize = 512;

/// What made the features. A run goes on only if it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The model's name.
    pub model: String,
    /// A checksum (CRC-32) of its two projections: another model under the same name is another model.
    pub projections: String,
    /// Where the pairs come from.
    pub pairs: String,
    /// How many pairs there are.
    pub count: usize,
    /// Side of the images in pixels.
    pub image_size: usize,
}

/// What became of the pairs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Pairs with features.
    pub rows: usize,
    /// Captions that were longer than the model reads, and were cut.
    pub cut_captions: usize,
    /// Pairs whose image cannot be read.
    pub unreadable: usize,
    /// Pairs that an earlier run had done.
    pub resumed: usize,
}

/// Pairs of a part without their features: numbers of the rows, and what could not be read.
#[derive(Default, Serialize, Deserialize)]
struct Part {
    rows: Vec<usize>,
    unreadable: Vec<(usize, String)>,
    cut_captions: usize,
}

/// Writes the features of `pairs` into the folder `out`.
///
/// # Errors
/// If the folder holds features of something else, or a file cannot be read or written.
pub fn embed(
    model: &Model,
    pairs: &[Pair],
    source: &str,
    out: &Path,
    progress: &mut dyn FnMut(usize),
) -> Result<Summary> {
    let provenance = Provenance::new(model, pairs, source)?;
    let parts = out.join("parts");
    fs::create_dir_all(&parts).with_context(|| parts.display().to_string())?;
    provenance.claim(&out.join("embedding.json"))?;
    let mut summary = Summary::default();
    let finished = out.join("features.safetensors").is_file();
    for (index, chunk) in pairs.chunks(PART).enumerate() {
        let path = parts.join(format!("{index:06}.safetensors"));
        if finished || path.is_file() {
            summary.resumed += chunk.len();
        } else {
            write_part(model, chunk, index * PART, &path)?;
        }
        progress((index * PART + chunk.len()).min(pairs.len()));
    }
    if finished {
        let text = fs::read_to_string(out.join("summary.json")).context("summary.json")?;
        return Ok(Summary {
            resumed: summary.resumed,
            ..serde_json::from_str(&text).context("summary.json")?
        });
    }
    join(pairs, &parts, out, &mut summary)?;
    fs::remove_dir_all(&parts).with_context(|| parts.display().to_string())?;
    Ok(summary)
}

impl Provenance {
    fn new(model: &Model, pairs: &[Pair], source: &str) -> Result<Self> {
        Ok(Self {
            model: model.name.clone(),
            projections: checksum(model)?,
            pairs: source.to_owned(),
            count: pairs.len(),
            image_size: model.preprocess.crop as usize,
        })
    }

    /// Writes itself down, or checks that the folder was begun with the same.
    fn claim(&self, path: &Path) -> Result<()> {
        if !path.exists() {
            return write(path, format!("{}\n", serde_json::to_string_pretty(self)?).as_bytes());
        }
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let begun: Self = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if begun != *self {
            bail!(
                "{}: holds features of {} pairs of {} by {} ({}), not of {} pairs of {} by {} ({}): name another folder",
                path.display(),
                begun.count,
                begun.pairs,
                begun.model,
                begun.projections,
                self.count,
                self.pairs,
                self.model,
                self.projections,
            );
        }
        Ok(())
    }
}

/// A checksum (CRC-32) of a model's two projections: another model under the same name is another model.
///
/// # Errors
/// If their values cannot be read.
pub fn checksum(model: &Model) -> Result<String> {
    let clip = &model.clip;
    let mut checksum = crc32fast::Hasher::new();
    for layer in [&clip.text.projection, &clip.vision.projection] {
        checksum.update(&bytes(layer.weight.val())?);
    }
    Ok(format!("{:08x}", checksum.finalize()))
}

fn write_part(model: &Model, pairs: &[Pair], first: usize, path: &Path) -> Result<()> {
    let images: Vec<ImageFile> = pairs.iter().map(|pair| pair.image.clone()).collect();
    let (mut part, mut features) = (Part::default(), Vec::new());
    for_each_batch(&images, &model.preprocess, &device(model), |batch| {
        part.unreadable.extend(batch.unreadable.into_iter().map(|(row, problem)| (first + row, problem)));
        part.rows.extend(batch.rows.iter().map(|row| first + row));
        features.extend(batch.pixels.map(|pixels| model.clip.vision.features(pixels, None)));
        anyhow::Ok(())
    })?;
    let captions: Vec<&str> = part.rows.iter().map(|row| pairs[row - first].caption.as_str()).collect();
    let mut tensors = Vec::new();
    if !captions.is_empty() {
        let (text, cut) = text_features(model, &captions)?;
        part.cut_captions = cut;
        let shape = vec![text.nrows(), text.ncols()];
        let text: Vec<u8> = text.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors = vec![
            ("image_features", shape.clone(), bytes(Tensor::cat(features, 0))?),
            ("text_features", shape, text),
        ];
    }
    let metadata = HashMap::from([("part".to_owned(), serde_json::to_string(&part)?)]);
    write(path, &serialize(&tensors, Some(metadata))?)
}

/// Joins the parts into the files that stay.
fn join(pairs: &[Pair], parts: &Path, out: &Path, summary: &mut Summary) -> Result<()> {
    let (mut rows, mut unreadable) = (String::new(), String::new());
    let (mut image, mut text, mut width) = (Vec::new(), Vec::new(), 0);
    for index in 0..pairs.len().div_ceil(PART) {
        let path = parts.join(format!("{index:06}.safetensors"));
        let told = || format!("{}: remove it and give the command again", path.display());
        let file = fs::read(&path).with_context(told)?;
        let (_, header) = SafeTensors::read_metadata(&file).with_context(told)?;
        let part = header.metadata().as_ref().and_then(|metadata| metadata.get("part")).with_context(told)?;
        let part: Part = serde_json::from_str(part).with_context(told)?;
        for row in &part.rows {
            let pair = pairs.get(*row).with_context(told)?;
            let line =
                serde_json::json!({"key": pair.key, "image": pair.image.name(), "caption": pair.caption});
            rows += &format!("{line}\n");
        }
        for (row, problem) in &part.unreadable {
            let pair = pairs.get(*row).with_context(told)?;
            unreadable += &format!("{}\n", serde_json::json!({"key": pair.key, "problem": problem}));
        }
        summary.rows += part.rows.len();
        summary.unreadable += part.unreadable.len();
        summary.cut_captions += part.cut_captions;
        let tensors = SafeTensors::deserialize(&file).with_context(told)?;
        for (name, all) in [("image_features", &mut image), ("text_features", &mut text)] {
            if let Ok(view) = tensors.tensor(name) {
                width = view.shape()[1];
                all.extend(float_values(&view).with_context(told)?);
            }
        }
    }
    if summary.rows == 0 {
        bail!("none of {} images can be read: see {}", pairs.len(), out.join("unreadable.jsonl").display());
    }
    write(&out.join("pairs.jsonl"), rows.as_bytes())?;
    write(&out.join("unreadable.jsonl"), unreadable.as_bytes())?;
    for (name, values) in [("image_features", &image), ("text_features", &text)] {
        write(&out.join(format!("{name}.npy")), &npy(values, [summary.rows, width])?)?;
    }
    let shape = vec![summary.rows, width];
    let raw = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensors = [("image_features", shape.clone(), raw(&image)), ("text_features", shape, raw(&text))];
    write(&out.join("summary.json"), serde_json::to_string(&summary)?.as_bytes())?;
    // Last: where this file is, all is done.
    write(&out.join("features.safetensors"), &serialize(&tensors, None)?)
}

fn serialize(
    tensors: &[(&str, Vec<usize>, Vec<u8>)],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize(views, metadata)?)
}

fn bytes<const D: usize>(tensor: Tensor<D>) -> Result<Vec<u8>> {
    Ok(values(tensor)?.iter().flat_map(|value| value.to_le_bytes()).collect())
}
