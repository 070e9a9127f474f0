//! Images on their way to the tower: decoded and prepared on all cores, a batch ahead of it.

use std::sync::mpsc::sync_channel;
use std::thread;

use burn::tensor::{Device, Tensor};
use gram_clip::Preprocess;
use gram_data::ImageFile;
use image::RgbImage;
use rayon::prelude::*;

use crate::FeatureError;
use crate::pixel_cache::{at_model_side, pixels};

/// Images that pass through the tower at once.
pub const BATCH: usize = 64;
/// Batches that wait for the tower, beside the one that is being decoded: 10 MB each for images of 224
/// pixels, whatever the size of their files' images.
const WAITING: usize = 1;

/// Some of the images, ready for the tower.
pub struct ImageBatch {
    /// Numbers of the images that could be read.
    pub rows: Vec<usize>,
    /// `[rows, 3, side, side]`; [`None`] if no image of the batch could be read.
    pub pixels: Option<Tensor<4>>,
    /// Numbers of the others, and why.
    pub unreadable: Vec<(usize, String)>,
}

/// Does `work` for the images, batch by batch and in order, while the next batches are decoded.
///
/// Not for work that rayon's threads do side by side: all of them would wait for images that none of them
/// decodes. [`each_batch`] is for that.
///
/// # Errors
/// What `work` says.
pub fn for_each_batch<E>(
    images: &[ImageFile],
    preprocess: &Preprocess,
    device: &Device,
    mut work: impl FnMut(ImageBatch) -> Result<(), E>,
) -> Result<(), E> {
    let batches = images.chunks(BATCH).enumerate();
    let batches = batches.map(|(index, batch)| (index * BATCH, batch.iter().collect()));
    with_batches(batches, preprocess, device, |batches| {
        for batch in batches {
            work(batch)?;
        }
        Ok(())
    })
}

/// Gives `work` the batches in order, and decodes the next ones whatever `work` does meanwhile. What is to be
/// a batch is given as the number of its first image and its images.
///
/// For the same work as [`for_each_batch`].
pub fn with_batches<'a, T>(
    batches: impl Iterator<Item = (usize, Vec<&'a ImageFile>)> + Send,
    preprocess: &Preprocess,
    device: &Device,
    work: impl FnOnce(&mut dyn Iterator<Item = ImageBatch>) -> T,
) -> T {
    thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING);
        scope.spawn(move || {
            for (first, images) in batches {
                let prepared: Vec<_> =
                    images.par_iter().map(|image| at_model_side(image, preprocess)).collect();
                // The other end is gone when the work has failed.
                if send.send((first, prepared)).is_err() {
                    return;
                }
            }
        });
        let assembled = |(first, prepared)| assemble(first, prepared, preprocess, device);
        work(&mut receive.into_iter().map(assembled))
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
        let prepared = batch.par_iter().map(|image| at_model_side(image, preprocess)).collect();
        work(assemble(index * BATCH, prepared, preprocess, device))
    })
}

fn assemble(
    first: usize,
    prepared: Vec<Result<RgbImage, FeatureError>>,
    preprocess: &Preprocess,
    device: &Device,
) -> ImageBatch {
    let (mut rows, mut images, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for (row, image) in (first..).zip(prepared) {
        match image {
            Ok(image) => {
                rows.push(row);
                images.push(image);
            }
            Err(problem) => unreadable.push((row, problem.to_string())),
        }
    }
    let pixels = (!rows.is_empty()).then(|| pixels(images.iter(), preprocess, device));
    ImageBatch { rows, pixels, unreadable }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn two_batches_are_decoded_ahead_whatever_the_work_does_and_no_more() {
        let images = vec![ImageFile::Path("nowhere.png".into()); 6];
        let (begin, begun) = channel();
        let batches = images.iter().enumerate().map(|(first, image)| (first, vec![image]));
        let batches = batches.inspect(move |(first, _)| begin.send(*first).unwrap());
        with_batches(batches, &Preprocess::clip(8), &Device::default(), |batches| {
            let number = |batch: ImageBatch| batch.unreadable[0].0;
            assert_eq!(batches.next().map(number), Some(0));
            assert_eq!([(); 3].map(|()| begun.recv().unwrap()), [0, 1, 2]);
            assert!(begun.try_recv().is_err());
            assert_eq!(batches.map(number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        });
    }
}
