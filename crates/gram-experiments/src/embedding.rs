//! Features of image-text pairs in files, part by part, so that a run that is stopped goes on where it was.
//!
//! The folder holds `features.safetensors` (`image_features` and `text_features`, `[rows, joint width]`,
//! 16-bit, normalised; with a caption encoder also `caption_features`), the same as `.npy`, `pairs.jsonl`
//! (key, image and caption of every row), `unreadable.jsonl` (what was left out, and why) and
//! `embedding.json` (what made it). Of a labelled dataset there are image features only, and `images.jsonl`
//! (key, class, domain and split of every row) and `dataset.json` (its names) make it a
//! [`Dataset`](gram_features::Dataset) without images. It is a run folder
//! ([`run_folder`](crate::run_folder)); until all is done, the parts lie in `parts/`.

mod embedded;
mod part;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

pub use embedded::Embedded;
use gram_clip::{Model, ModelIdentity};
use gram_data::whole_file::{write_whole_at, write_whole_by};
use gram_data::{Progress, fingerprint};
use gram_features::dataset::{DatasetDescription, IMAGES};
use gram_features::feature_folder::DATASET;
use gram_features::image_batches::with_batches;
use gram_features::pixel_cache::at_model_side;
use gram_features::sentence_bert::SentenceBert;
use half::f16;
use npyz::WriterBuilder;
use part::{Contents, Part, views};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Context, Result, refuse};
use crate::run_folder::{Run, RunFolder, encoder_identity, model_identity};
use crate::whole_file::write;

/// Pairs of a part: what is lost, at most, when a run is stopped.
const PART: usize = 512;

/// How many bits a number has in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 16: half the space, and 3 digits, which is more than features are good for.
    #[default]
    Half,
    /// 32, as they were computed.
    Single,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::Half => Dtype::F16,
            Self::Single => Dtype::F32,
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::Half => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Self::Single => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// What is embedded with, and how it is written.
#[derive(Clone, Copy, Debug)]
pub struct Embedding<'a> {
    /// What sees images and reads captions.
    pub model: &'a Model,
    /// A Sentence-BERT folder that reads captions, too.
    pub sentence_bert: Option<&'a Path>,
    /// How numbers are written.
    pub precision: Precision,
}

/// What made the features, for those who use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The model.
    #[serde(flatten)]
    pub model: ModelIdentity,
    /// Where the pairs come from.
    pub pairs: String,
    /// How many pairs there are.
    pub count: usize,
    /// Side of the images in pixels.
    pub image_size: usize,
    /// The folder of the caption encoder, if there is one.
    #[serde(default)]
    pub sentence_bert: Option<String>,
    /// How numbers are written.
    #[serde(default)]
    pub precision: Precision,
    /// The kind of device that computed them, and in which number format where it is not f32.
    #[serde(default)]
    pub device: Option<String>,
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
    /// Pairs that an earlier run had done. Not in the file, which is the same wherever a run was stopped.
    #[serde(skip)]
    pub resumed: usize,
    /// The part of the time that the tower waited for images to be decoded; none where all was done before.
    /// Not in the file either.
    #[serde(skip)]
    pub waited: Option<f64>,
}

/// Writes features into the folder `out`; with `restart`, what an earlier run left there is deleted.
///
/// # Errors
/// If the folder holds features of something else, a file cannot be read or written, or an image of a
/// labelled dataset cannot be read.
pub fn embed(
    embedding: &Embedding,
    embedded: Embedded,
    source: &str,
    out: &Path,
    restart: bool,
    progress: &dyn Progress,
) -> Result<Summary> {
    let claimed = claim(embedding, embedded, out, restart)?;
    let before: Option<BTreeMap<String, String>> = claimed.find(WRITTEN, &Value::Null)?;
    if let Some(before) = &before {
        let now = written(out);
        if let Some((name, _)) = before.iter().find(|(name, was)| now.get(*name) != Some(*was)) {
            refuse!(
                "{}: it is not what was written there: begin anew with --restart",
                out.join(name).display()
            );
        }
    }
    if let (Embedded::Dataset(dataset), true) = (embedded, before.is_none()) {
        let description = serde_json::to_string_pretty(&DatasetDescription::of(dataset))?;
        write(&out.join(DATASET), format!("{description}\n").as_bytes())?;
    }
    progress.begin("images", embedded.len());
    let summary = embed_in_parts(embedding, embedded, source, out, PART, progress)?;
    if before.is_none() {
        claimed.keep(WRITTEN, &Value::Null, written(out))?;
    }
    Ok(summary)
}

fn claim(embedding: &Embedding, embedded: Embedded, out: &Path, restart: bool) -> Result<RunFolder> {
    let identity = embedding.identity(embedded)?;
    RunFolder::claim(out, &Run { command: "embed", identity: &identity, makes: &MAKES, restart })
}

/// Claims the folder `out`, and tells which images have no features yet, part by part. Several machines may
/// write these parts with [`embed_part`]; [`embed`] then joins them.
///
/// # Errors
/// If the folder holds features of something else.
pub fn parts_left(embedding: &Embedding, embedded: Embedded, out: &Path) -> Result<Vec<Range<usize>>> {
    let _claimed = claim(embedding, embedded, out, false)?;
    let parts = Part::all(embedded, PART, &out.join(PARTS), out.join(FEATURES).is_file());
    Ok(parts.into_iter().filter(|part| !part.is_done).map(|part| part.numbers).collect())
}

/// Writes one of the [`parts_left`]: `embedded` is its images, and `first` the number of the first one.
///
/// # Errors
/// If a file cannot be read or written, or an image of a labelled dataset cannot be read.
pub fn embed_part(
    embedding: &Embedding,
    embedded: Embedded,
    first: usize,
    out: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let path = part::file(&out.join(PARTS), first / PART);
    let part = Part { embedded, numbers: 0..embedded.len(), offset: first, path, is_done: false };
    write_parts(embedding, embedding.encoder()?.as_ref(), embedded, &[part], progress)?;
    Ok(())
}

/// The fingerprints of the files that stay, by their names.
fn written(out: &Path) -> BTreeMap<String, String> {
    let stays = MAKES.iter().filter(|name| ![WRITTEN, "left_out.jsonl"].contains(name));
    let of = |name: &&str| {
        let path = out.join(name);
        Some(((*name).to_owned(), fingerprint::of_files(out, &[path.is_file().then_some(path)?]).ok()?))
    };
    stays.filter_map(of).collect()
}

/// What an embedding makes in its folder.
const MAKES: [&str; 13] = [
    WRITTEN,
    PARTS,
    "embedding.json",
    FEATURES,
    "image_features.npy",
    "text_features.npy",
    "caption_features.npy",
    "pairs.jsonl",
    IMAGES,
    DATASET,
    "unreadable.jsonl",
    "left_out.jsonl",
    SUMMARY,
];
/// Parts, until all is done.
const PARTS: &str = "parts";
/// The file that is written last.
const FEATURES: &str = "features.safetensors";
const SUMMARY: &str = "summary.json";
/// What was written, to know it again.
const WRITTEN: &str = "written.json";

/// [`embed`], by parts of so many images, in a folder that is claimed.
fn embed_in_parts(
    embedding: &Embedding,
    embedded: Embedded,
    source: &str,
    out: &Path,
    size: usize,
    progress: &dyn Progress,
) -> Result<Summary> {
    let folder = out.join(PARTS);
    let finished = out.join(FEATURES).is_file();
    let parts = Part::all(embedded, size, &folder, finished);
    let done_before = parts.iter().filter(|part| part.is_done).map(|part| part.numbers.len());
    let mut summary = Summary { resumed: done_before.sum(), ..Summary::default() };
    if finished {
        let path = out.join(SUMMARY);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let told: Summary = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        progress.reach(embedded.len(), "");
        summary = Summary { resumed: told.rows + told.unreadable, ..told };
    } else {
        let sentence_bert = embedding.encoder()?;
        summary.waited = write_parts(embedding, sentence_bert.as_ref(), embedded, &parts, progress)?;
        let provenance = Provenance::new(embedding, embedded.len(), source)?;
        let text = format!("{}\n", serde_json::to_string_pretty(&provenance)?);
        write(&out.join("embedding.json"), text.as_bytes())?;
        join(embedding.precision, embedded, &parts, out, &mut summary)?;
    }
    // A run that was stopped between its last file and this left them.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(summary),
    }
}

impl Embedding<'_> {
    /// The caption encoder, if there is one.
    fn encoder(&self) -> Result<Option<SentenceBert>> {
        let open = |folder: &Path| {
            let told = || format!("Sentence-BERT model {}", folder.display());
            SentenceBert::open(folder, &self.model.device()).with_context(told)
        };
        self.sentence_bert.map(open).transpose()
    }

    /// What decides the features.
    fn identity(&self, embedded: Embedded) -> Result<serde_json::Value> {
        let mut identity = json!({
            "model": model_identity(self.model)?,
            "pairs": embedded.fingerprint(),
            "caption_encoder": encoder_identity(self.sentence_bert)?,
            "precision": self.precision,
        });
        if let Embedded::Dataset(dataset) = embedded {
            identity["dataset"] = json!(DatasetDescription::of(dataset));
        }
        Ok(identity)
    }
}

/// Writes the parts that are not done; the part of the time that the tower waited for images.
fn write_parts(
    embedding: &Embedding,
    sentence_bert: Option<&SentenceBert>,
    embedded: Embedded,
    parts: &[Part],
    progress: &dyn Progress,
) -> Result<Option<f64>> {
    let Embedding { model, .. } = *embedding;
    let (clock, mut waited) = (Instant::now(), Duration::ZERO);
    let decode = |number: usize| at_model_side(embedded.image(number), &model.preprocess);
    // One stream for all parts: images of the next one are decoded while the captions of this one are read.
    let batches = parts
        .iter()
        .filter(|part| !part.is_done)
        .flat_map(|part| part.batches(model.compute().images_at_once()));
    with_batches(batches, &decode, &model.preprocess, &model.device(), |batches| {
        let mut timed = std::iter::from_fn(|| {
            let asked = Instant::now();
            let batch = batches.next();
            waited += asked.elapsed();
            batch
        });
        parts.iter().try_for_each(|part| -> Result<()> {
            if !part.is_done {
                part.write(embedding, sentence_bert, &mut timed)?;
            }
            progress.reach(part.numbers.end, "");
            Ok(())
        })
    })?;
    let was_something_left = parts.iter().any(|part| !part.is_done);
    Ok(was_something_left.then(|| waited.as_secs_f64() / clock.elapsed().as_secs_f64()))
}

impl Provenance {
    fn new(embedding: &Embedding, count: usize, source: &str) -> Result<Self> {
        let Embedding { model, sentence_bert, precision } = *embedding;
        Ok(Self {
            model: model.identity()?,
            pairs: source.to_owned(),
            count,
            image_size: model.preprocess.crop as usize,
            sentence_bert: sentence_bert.map(|folder| folder.display().to_string()),
            precision,
            device: Some(model.compute().identity()),
        })
    }
}

/// Joins the parts into the files that stay.
fn join(
    precision: Precision,
    embedded: Embedded,
    parts: &[Part],
    out: &Path,
    summary: &mut Summary,
) -> Result<()> {
    let (mut rows, mut unreadable) = (String::new(), String::new());
    let mut tensors: Vec<(&str, Vec<usize>, Vec<u8>)> =
        TENSORS.iter().map(|name| (*name, vec![0, 0], Vec::new())).collect();
    for part in parts {
        let told = || format!("{}: remove it and give the command again", part.path.display());
        let file = fs::read(&part.path).with_context(told)?;
        let (_, header) = SafeTensors::read_metadata(&file).with_context(told)?;
        let written =
            header.metadata().as_ref().and_then(|metadata| metadata.get("part")).with_context(told)?;
        let contents: Contents = serde_json::from_str(written).with_context(told)?;
        for row in &contents.rows {
            rows += &format!("{}\n", embedded.row(*row).with_context(told)?);
        }
        for (row, problem) in &contents.unreadable {
            let key = &embedded.row(*row).with_context(told)?["key"];
            unreadable += &format!("{}\n", json!({"key": key, "problem": embedded.by_origin(problem)}));
        }
        summary.rows += contents.rows.len();
        summary.unreadable += contents.unreadable.len();
        summary.cut_captions += contents.cut_captions;
        let of_part = SafeTensors::deserialize(&file).with_context(told)?;
        for (name, shape, bytes) in &mut tensors {
            if let Ok(view) = of_part.tensor(name) {
                *shape = vec![shape[0] + view.shape()[0], view.shape()[1]];
                bytes.extend_from_slice(view.data());
            }
        }
    }
    if summary.rows == 0 {
        refuse!(
            "none of {} images can be read: see {}",
            embedded.len(),
            out.join("unreadable.jsonl").display()
        );
    }
    tensors.retain(|(_, shape, _)| shape[0] > 0);
    write(&out.join(embedded.rows_file()), rows.as_bytes())?;
    write(&out.join("unreadable.jsonl"), unreadable.as_bytes())?;
    for (name, shape, bytes) in &tensors {
        write_npy(precision, &out.join(format!("{name}.npy")), shape, bytes)?;
    }
    write(&out.join(SUMMARY), serde_json::to_string(&summary)?.as_bytes())?;
    // Last: where this file is, all is done. From tensor to file, without a copy of all of them.
    let path = out.join(FEATURES);
    let views = views(precision, &tensors)?;
    let written = write_whole_at(&path, |partial| {
        safetensors::serialize_to_file(views, None, partial).map_err(std::io::Error::other)
    });
    written.with_context(|| path.display().to_string())
}

/// What the files hold, the last with a caption encoder only.
const TENSORS: [&str; 3] = ["image_features", "text_features", "caption_features"];

/// Writes a matrix as NumPy does.
fn write_npy(precision: Precision, path: &Path, shape: &[usize], bytes: &[u8]) -> Result<()> {
    let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
    let written = write_whole_by(path, |file| -> std::io::Result<()> {
        match precision {
            Precision::Half => {
                let options = npyz::WriteOptions::<f16>::new().default_dtype().shape(&shape);
                let mut writer = options.writer(file).begin_nd()?;
                writer.extend(bytes.chunks_exact(2).map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]])))?;
                writer.finish()
            }
            Precision::Single => {
                let options = npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape);
                let mut writer = options.writer(file).begin_nd()?;
                let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                writer.extend(bytes.chunks_exact(4).map(value))?;
                writer.finish()
            }
        }
    });
    written.with_context(|| path.display().to_string())
}
