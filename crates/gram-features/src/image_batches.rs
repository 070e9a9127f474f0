//! Images on their way to the tower, the one way: decoded and prepared on all cores, a batch ahead of it.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

use burn::tensor::{Device, Tensor};
use gram_clip::{Model, Preprocess};
use gram_data::ImageFile;
use image::RgbImage;
use rayon::prelude::*;

use crate::FeatureError;
use crate::pixel_cache::{at_model_side, pixels};

/// Images of the first of growing batches.
const FIRST_BATCH: usize = 8;
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

impl ImageBatch {
    /// Normalised features of the images through the frozen tower, `[rows, joint width]`; [`None`] if no
    /// image of the batch could be read.
    pub fn features(&self, model: &Model) -> Option<Tensor<2>> {
        self.pixels.clone().map(|pixels| model.clip.image_features(pixels, None))
    }

    /// The batch, if all of its images could be read: where every image counts.
    ///
    /// # Errors
    /// [`FeatureError::Unreadable`] names the first that cannot.
    pub fn complete(self) -> Result<Self, FeatureError> {
        match self.unreadable.into_iter().next() {
            Some((_, problem)) => Err(FeatureError::Unreadable(problem)),
            None => Ok(Self { unreadable: Vec::new(), ..self }),
        }
    }
}

/// The numbers of so many images in batches.
pub fn batches(images: usize, size: usize) -> impl Iterator<Item = Range<usize>> + Send {
    (0..images).step_by(size.max(1)).map(move |first| first..images.min(first + size.max(1)))
}

/// The same in batches that grow from 8 to `largest`: the first results come soon, the rest costs no more.
pub fn growing_batches(images: usize, largest: usize) -> impl Iterator<Item = Range<usize>> + Send {
    let (mut first, mut size) = (0, FIRST_BATCH.min(largest.max(1)));
    std::iter::from_fn(move || {
        let batch = first..images.min(first + size);
        (first, size) = (batch.end, largest.min(2 * size));
        (!batch.is_empty()).then_some(batch)
    })
}

/// Does `work` for the images, batch by batch and in order, while the next batches are decoded.
///
/// # Errors
/// What `work` says.
pub fn for_each_batch<E>(
    images: &[ImageFile],
    batches: impl Iterator<Item = Range<usize>> + Send,
    preprocess: &Preprocess,
    device: &Device,
    mut work: impl FnMut(ImageBatch) -> Result<(), E>,
) -> Result<(), E> {
    let decode = |number: usize| at_model_side(&images[number], preprocess);
    with_batches(batches, &decode, preprocess, device, |batches| {
        for batch in batches {
            work(batch)?;
        }
        Ok(())
    })
}

/// Gives `work` the batches in order, and decodes the next ones whatever `work` does meanwhile. A batch is
/// the numbers of its images, and `decode` brings one of them to the model's side.
///
/// A thread of rayon's decodes its batches itself: were all of these threads to wait for images, nobody would
/// be left to decode them.
pub fn with_batches<T>(
    batches: impl Iterator<Item = Range<usize>> + Send,
    decode: &(impl Fn(usize) -> Result<RgbImage, FeatureError> + Sync),
    preprocess: &Preprocess,
    device: &Device,
    work: impl FnOnce(&mut dyn Iterator<Item = ImageBatch>) -> T,
) -> T {
    let decoded = |numbers: Range<usize>| {
        (numbers.start, numbers.into_par_iter().map(decode).collect::<Vec<Result<RgbImage, FeatureError>>>())
    };
    let assembled = |(first, images)| assemble(first, images, preprocess, device);
    if rayon::current_thread_index().is_some() {
        return work(&mut batches.map(decoded).map(assembled));
    }
    thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING);
        scope.spawn(move || {
            // The other end is gone when the work has failed.
            batches.map(decoded).try_for_each(|batch| send.send(batch))
        });
        work(&mut receive.into_iter().map(assembled))
    })
}

/// Normalised features of so many images through the frozen tower, `[images, joint width]`, on the model's
/// device, in batches. `decode` brings an image to the model's side.
///
/// # Errors
/// [`FeatureError`] for the first image that cannot be read.
pub fn frozen_features(
    model: &Model,
    images: usize,
    decode: &(impl Fn(usize) -> Result<RgbImage, FeatureError> + Sync),
) -> Result<Tensor<2>, FeatureError> {
    let (device, size) = (model.device(), model.compute().images_at_once());
    let none = Tensor::zeros([0, model.clip.config.projection_dim], &device);
    with_batches(batches(images, size), decode, &model.preprocess, &device, |batches| {
        let parts = batches.map(|batch| Ok(batch.complete()?.features(model)));
        let parts: Vec<Option<Tensor<2>>> = parts.collect::<Result<_, FeatureError>>()?;
        let parts: Vec<Tensor<2>> = parts.into_iter().flatten().collect();
        Ok(if parts.is_empty() { none } else { Tensor::cat(parts, 0) })
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

    /// Finds no image.
    fn nowhere(_: usize) -> Result<RgbImage, FeatureError> {
        at_model_side(&ImageFile::Path("nowhere.png".into()), &Preprocess::clip(8))
    }

    #[test]
    fn batches_cover_all_images_and_the_last_may_be_smaller() {
        assert_eq!(batches(5, 2).collect::<Vec<_>>(), [0..2, 2..4, 4..5]);
        assert_eq!(batches(0, 2).count(), 0);
        let sizes = |images| growing_batches(images, 64).map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(sizes(200), [8, 16, 32, 64, 64, 16]);
        assert_eq!(growing_batches(10, 64).collect::<Vec<_>>(), [0..8, 8..10]);
        assert_eq!(growing_batches(0, 64).count(), 0);
    }

    #[test]
    fn threads_of_a_pool_decode_for_themselves_and_none_waits_for_ever() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let numbers = pool.install(|| {
            let (preprocess, device) = (Preprocess::clip(8), Device::flex());
            with_batches(batches(5, 2), &nowhere, &preprocess, &device, |batches| {
                batches.flat_map(|batch| batch.unreadable).map(|(number, _)| number).collect::<Vec<_>>()
            })
        });
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn two_batches_are_decoded_ahead_whatever_the_work_does_and_no_more() {
        let (begin, begun) = channel();
        let batches = super::batches(6, 1).inspect(move |numbers| begin.send(numbers.start).unwrap());
        with_batches(batches, &nowhere, &Preprocess::clip(8), &Device::flex(), |batches| {
            let number = |batch: ImageBatch| batch.unreadable[0].0;
            assert_eq!(batches.next().map(number), Some(0));
            assert_eq!([(); 3].map(|()| begun.recv().unwrap()), [0, 1, 2]);
            assert!(begun.try_recv().is_err());
            assert_eq!(batches.map(number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        });
    }
}
