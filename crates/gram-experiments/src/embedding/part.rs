//! A part: images whose features are computed and written together.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use gram_features::image_batches::{ImageBatch, batches};
use gram_features::matrix::values;
use gram_features::sentence_bert::SentenceBert;
use gram_features::text_features;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use super::{Embedded, Embedding, Precision};
use crate::error::Result;
use crate::whole_file::write;

/// Images that are embedded and written together.
pub(super) struct Part<'a> {
    pub(super) embedded: Embedded<'a>,
    /// Which of what is embedded.
    pub(super) numbers: Range<usize>,
    /// The number in the whole of what is numbered 0 here: the others may be with other machines.
    pub(super) offset: usize,
    pub(super) path: PathBuf,
    /// Whether an earlier run has written it.
    pub(super) is_done: bool,
}

/// What a part's file says beside features: numbers of the rows, and what could not be read.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) rows: Vec<usize>,
    pub(super) unreadable: Vec<(usize, String)>,
    pub(super) cut_captions: usize,
}

impl<'a> Part<'a> {
    /// All images, by parts of a `size` that lie in a `folder`, or did before all was `finished`.
    pub(super) fn all(embedded: Embedded<'a>, size: usize, folder: &Path, finished: bool) -> Vec<Self> {
        let part = |(index, numbers)| {
            let path = file(folder, index);
            Self { embedded, numbers, offset: 0, is_done: finished || path.is_file(), path }
        };
        batches(embedded.len(), size).enumerate().map(part).collect()
    }

    /// What the tower sees at once: numbers of images.
    pub(super) fn batches(&self, at_once: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let first = self.numbers.start;
        batches(self.numbers.len(), at_once).map(move |batch| first + batch.start..first + batch.end)
    }

    /// Takes its own batches from those of all parts, and writes their features and those of the captions.
    pub(super) fn write(
        &self,
        embedding: &Embedding,
        sentence_bert: Option<&SentenceBert>,
        batches: &mut dyn Iterator<Item = ImageBatch>,
    ) -> Result<()> {
        let Embedding { model, precision, .. } = *embedding;
        let (mut contents, mut features) = (Contents::default(), Vec::new());
        for mut batch in batches.take(self.numbers.len().div_ceil(model.compute().images_at_once())) {
            if let Embedded::Dataset(_) = self.embedded {
                batch = batch.complete()?;
            }
            features.extend(batch.features(model));
            contents.unreadable.extend(batch.unreadable);
            contents.rows.extend(batch.rows);
        }
        let captions: Vec<&str> =
            contents.rows.iter().filter_map(|row| self.embedded.caption(*row)).collect();
        let mut tensors = Vec::new();
        let mut add = |name, matrix: &[f32], width: usize| {
            tensors.push((name, vec![matrix.len() / width, width], precision.bytes(matrix)));
        };
        if !features.is_empty() {
            let images = Tensor::cat(features, 0);
            let width = images.dims()[1];
            add("image_features", &values(images)?, width);
        }
        if !captions.is_empty() {
            let (text, cut) = text_features(model, &captions)?;
            contents.cut_captions = cut;
            add("text_features", text.as_slice().unwrap_or_default(), text.ncols());
            if let Some(encoder) = sentence_bert {
                let embedded = encoder.embed(&captions)?;
                add("caption_features", embedded.as_slice().unwrap_or_default(), embedded.ncols());
            }
        }
        contents.rows.iter_mut().for_each(|row| *row += self.offset);
        contents.unreadable.iter_mut().for_each(|(row, _)| *row += self.offset);
        let metadata = HashMap::from([("part".to_owned(), serde_json::to_string(&contents)?)]);
        write(&self.path, &safetensors::serialize(views(precision, &tensors)?, Some(metadata))?)
    }
}

/// The file of a part.
pub(super) fn file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("{index:06}.safetensors"))
}

/// Tensors as they are written.
pub(super) fn views<'a>(
    precision: Precision,
    tensors: &'a [(&str, Vec<usize>, Vec<u8>)],
) -> Result<Vec<(&'a str, TensorView<'a>)>> {
    let view = |(name, shape, bytes): &'a (&str, Vec<usize>, Vec<u8>)| {
        Ok((*name, TensorView::new(precision.dtype(), shape.clone(), bytes)?))
    };
    tensors.iter().map(view).collect()
}
