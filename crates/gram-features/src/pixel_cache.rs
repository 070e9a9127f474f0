//! Pixels of many images in bounded memory: what has no room is decoded again whenever it is asked for.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::Preprocess;
use gram_data::ImageFile;
use image::RgbImage;
use rayon::prelude::*;

use crate::FeatureError;

/// Bytes of pixels that are kept where nothing else is said: 7,000 images of 224 pixels.
pub const USUAL_ROOM: usize = 1 << 30;

/// Images that are decoded before progress hears of them.
const DECODED_AT_ONCE: usize = 64;

/// Images at the model's side, 8 bits a channel, whatever their own size.
///
/// Those that come first are kept while there is room; the others are decoded each time. Episodes draw images
/// evenly, so no choice of which to keep would find more of them there. No number depends on the room.
#[derive(Clone, Debug)]
pub struct PixelCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Vec<ImageFile>,
    preprocess: Preprocess,
    kept: Vec<OnceLock<RgbImage>>,
    /// Images that may still be kept.
    room: AtomicUsize,
}

impl PixelCache {
    /// Of `files`, with so many bytes for pixels. Nothing is decoded yet.
    pub fn new(files: Vec<ImageFile>, preprocess: Preprocess, room: usize) -> Self {
        let kept = files.iter().map(|_| OnceLock::new()).collect();
        let room = AtomicUsize::new(room / bytes_of_image(&preprocess));
        Self { shared: Arc::new(Shared { files, preprocess, kept, room }) }
    }

    /// Decodes as many images as there is room for, on all cores, so that most of what cannot be read is
    /// known before the work begins. `progress` hears how many are done.
    ///
    /// # Errors
    /// [`FeatureError`] names an image that cannot be read.
    pub fn fill(&self, mut progress: impl FnMut(usize)) -> Result<(), FeatureError> {
        let all: Vec<usize> = (0..self.len().min(self.shared.room.load(Ordering::Relaxed))).collect();
        let mut done = 0;
        for some in all.chunks(DECODED_AT_ONCE) {
            some.par_iter().try_for_each(|image| self.image(*image).map(drop))?;
            done += some.len();
            progress(done);
        }
        Ok(())
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.shared.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shared.files.is_empty()
    }

    /// Images that are kept at the moment.
    pub fn kept(&self) -> usize {
        self.shared.kept.iter().filter(|image| image.get().is_some()).count()
    }

    /// Normalised pixels of the chosen images, `[chosen, 3, side, side]`.
    ///
    /// # Errors
    /// [`FeatureError`] names an image that cannot be read.
    pub fn pixels(&self, chosen: &[usize], device: &Device) -> Result<Tensor<4>, FeatureError> {
        let images = chosen.par_iter().map(|image| self.image(*image)).collect::<Result<Vec<_>, _>>()?;
        Ok(pixels(images.iter().map(AsRef::as_ref), &self.shared.preprocess, device))
    }

    /// An image at the model's side.
    fn image(&self, number: usize) -> Result<Cow<'_, RgbImage>, FeatureError> {
        let Shared { files, preprocess, kept, room } = &*self.shared;
        if let Some(image) = kept[number].get() {
            return Ok(Cow::Borrowed(image));
        }
        let image = at_model_side(&files[number], preprocess)?;
        let one_less = |room: usize| room.checked_sub(1);
        if room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            return Ok(Cow::Owned(image));
        }
        let mut was_first = false;
        let image = kept[number].get_or_init(|| {
            was_first = true;
            image
        });
        if !was_first {
            // Another thread kept it meanwhile.
            room.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Cow::Borrowed(image))
    }
}

/// Bytes of an image at the model's side.
fn bytes_of_image(preprocess: &Preprocess) -> usize {
    3 * (preprocess.crop as usize).pow(2).max(1)
}

/// An image at the model's side: decoded, resized and cropped at once, so that at full size there are as many
/// as threads.
///
/// # Errors
/// [`FeatureError`] names the image.
pub fn at_model_side(file: &ImageFile, preprocess: &Preprocess) -> Result<RgbImage, FeatureError> {
    let decoded = file.decode()?;
    let resized = preprocess.resized(&decoded);
    resized.map_err(|source| FeatureError::Clip { image: file.name().into_owned(), source })
}

/// Normalised pixels of `images`, which have the side of `preprocess`: `[images, 3, side, side]`.
pub fn pixels<'a>(
    images: impl ExactSizeIterator<Item = &'a RgbImage>,
    preprocess: &Preprocess,
    device: &Device,
) -> Tensor<4> {
    let (count, side) = (images.len(), preprocess.crop as usize);
    let mut values = Vec::with_capacity(count * 3 * side * side);
    images.for_each(|image| values.extend(preprocess.normalised(image)));
    Tensor::from_data(TensorData::new(values, [count, 3, side, side]), device)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use image::Rgb;

    use super::*;

    /// Four pictures of four sizes.
    fn pictures(folder: &Path) -> Vec<ImageFile> {
        let picture = |number: u32| {
            let path = folder.join(format!("{number}.png"));
            let of = |x, y| Rgb([(x * y) as u8, (x + number) as u8, y as u8]);
            RgbImage::from_fn(30 + 11 * number, 40, of).save(&path).unwrap();
            ImageFile::Path(path)
        };
        (0..4).map(picture).collect()
    }

    fn values(cache: &PixelCache, chosen: &[usize]) -> Vec<f32> {
        cache.pixels(chosen, &Device::flex()).unwrap().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn pixels_are_the_same_whatever_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let (files, preprocess) = (pictures(folder.path()), Preprocess::clip(8));
        let of_one = 3 * 8 * 8;
        let expected: Vec<f32> = [3, 0, 3]
            .iter()
            .flat_map(|image: &usize| preprocess.pixels(&files[*image].decode().unwrap()).unwrap())
            .collect();
        for (room, kept) in [(0, 0), (of_one - 1, 0), (3 * of_one - 1, 2), (usize::MAX, 4)] {
            let cache = PixelCache::new(files.clone(), preprocess.clone(), room);
            let mut heard = 0;
            cache.fill(|done| heard = done).unwrap();
            assert_eq!((heard, cache.kept()), (kept, kept), "{room}");
            assert_eq!(values(&cache, &[3, 0, 3]), expected, "{room}");
            assert_eq!(cache.kept(), kept, "{room}");
        }
    }

    #[test]
    fn room_goes_to_what_is_asked_for_first_and_clones_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PixelCache::new(pictures(folder.path()), Preprocess::clip(8), 2 * 3 * 8 * 8);
        let expected = values(&cache, &[2, 3, 0]);
        assert_eq!(cache.clone().kept(), 2);
        // The one that has no room is read anew: without its file there is an error that names it.
        (0..4).for_each(|number| fs::remove_file(folder.path().join(format!("{number}.png"))).unwrap());
        let readable: Vec<bool> =
            (0..4).map(|image| cache.pixels(&[image], &Device::flex()).is_ok()).collect();
        assert_eq!(readable.iter().filter(|readable| **readable).count(), 2);
        let kept: Vec<usize> = [2, 3, 0].into_iter().filter(|image| readable[*image]).collect();
        assert_eq!(kept.len(), 2);
        for (place, image) in [2, 3, 0].into_iter().enumerate().filter(|(_, image)| readable[*image]) {
            assert_eq!(values(&cache, &[image]), expected[place * 192..(place + 1) * 192]);
        }
        let error = cache.pixels(&[1], &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("1.png: "), "{error}");
    }
}
