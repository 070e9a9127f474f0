//! Images on their way to the tower: decoded and prepared on all cores, a batch ahead of it.

use std::sync::mpsc::sync_channel;
use std::thread;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::Preprocess;
use gram_data::ImageFile;
use rayon::prelude::*;

/// Images that pass through the tower at once.
const BATCH: usize = 64;

/// Some of the images, ready for the tower.
pub struct ImageBatch {
    /// Numbers of the images that could be read.
    pub rows: Vec<usize>,
    /// `[rows, 3, side, side]`; [`None`] if no image of the batch could be read.
    pub pixels: Option<Tensor<4>>,
    /// Numbers of the others, and why.
    pub unreadable: Vec<(usize, String)>,
}

/// Does `work` for the images, batch by batch and in order, while the next batch is decoded.
///
/// Not for work that rayon's threads do side by side: all of them would wait for images that none of them decodes.
/// [`each_batch`] is for that.
///
/// # Errors
/// What `work` says.
pub fn for_each_batch<E>(
    images: &[ImageFile],
    preprocess: &Preprocess,
    device: &Device,
    mut work: impl FnMut(ImageBatch) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (send, receive) = sync_channel(1);
        scope.spawn(move || {
            for (index, batch) in images.chunks(BATCH).enumerate() {
                let prepared: Vec<_> = batch.par_iter().map(|image| prepare(image, preprocess)).collect();
                // The other end is gone when the work has failed.
                if send.send((index * BATCH, prepared)).is_err() {
                    return;
                }
            }
        });
        receive
            .into_iter()
            .try_for_each(|(first, prepared)| work(assemble(first, prepared, preprocess, device)))
    })
}

/// Does `work` for the images, batch by batch and in order. Nothing is decoded ahead.
///
/// # Errors
/// What `work` says.
pub fn each_batch<E>(
    images: &[ImageFile],
    preprocess: &Preprocess,
    device: &Device,
    mut work: impl FnMut(ImageBatch) -> Result<(), E>,
) -> Result<(), E> {
    images.chunks(BATCH).enumerate().try_for_each(|(index, batch)| {
        let prepared = batch.par_iter().map(|image| prepare(image, preprocess)).collect();
        work(assemble(index * BATCH, prepared, preprocess, device))
    })
}

fn prepare(image: &ImageFile, preprocess: &Preprocess) -> Result<Vec<f32>, String> {
    let decoded = image.decode().map_err(|error| error.to_string())?;
    preprocess.pixels(&decoded).map_err(|error| format!("{}: {error}", image.name()))
}

fn assemble(
    first: usize,
    prepared: Vec<Result<Vec<f32>, String>>,
    preprocess: &Preprocess,
    device: &Device,
) -> ImageBatch {
    let (mut rows, mut values, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for (row, pixels) in (first..).zip(prepared) {
        match pixels {
            Ok(pixels) => {
                rows.push(row);
                values.extend(pixels);
            }
            Err(problem) => unreadable.push((row, problem)),
        }
    }
    let side = preprocess.crop as usize;
    let tensor = |values| Tensor::from_data(TensorData::new(values, [rows.len(), 3, side, side]), device);
    let pixels = (!rows.is_empty()).then(|| tensor(values));
    ImageBatch { rows, pixels, unreadable }
}
