//! Images to features through the frozen vision tower.

use gram_clip::Model;
use gram_data::ImageFile;
use ndarray::Array2;

use crate::FeatureError;
use crate::image_batches::{batches, with_batches};
use crate::matrix::values;
use crate::pixel_cache::at_model_side;

/// What a model sees in images.
#[derive(Clone, Debug)]
pub struct SeenImages {
    /// The numbers of the images that can be read.
    pub rows: Vec<usize>,
    /// Their normalised features, `[rows, joint width]`.
    pub features: Array2<f32>,
    /// The numbers of the others, and why they cannot.
    pub unreadable: Vec<(usize, String)>,
}

/// Sees images through `model`, a few batches at a time. `progress` hears how many are done, unreadable ones
/// among them.
///
/// # Errors
/// [`FeatureError::NoneReadable`] if no image can be read; names the first.
pub fn image_features(
    model: &Model,
    images: &[&ImageFile],
    progress: &mut dyn FnMut(usize),
) -> Result<SeenImages, FeatureError> {
    let (mut rows, mut numbers, mut unreadable) = (Vec::with_capacity(images.len()), Vec::new(), Vec::new());
    progress(0);
    let decode = |number: usize| at_model_side(images[number], &model.preprocess);
    let batches = batches(images.len(), model.compute().images_at_once());
    with_batches(batches, &decode, &model.preprocess, &model.device(), |batches| {
        for batch in batches {
            if let Some(features) = batch.features(model) {
                numbers.extend(values(features)?);
            }
            rows.extend(batch.rows);
            unreadable.extend(batch.unreadable);
            progress(rows.len() + unreadable.len());
        }
        Ok::<_, FeatureError>(())
    })?;
    if rows.is_empty() {
        let first = unreadable.first().map_or("there are none", |(_, problem)| problem).to_owned();
        return Err(FeatureError::NoneReadable { images: images.len(), first });
    }
    let features = Array2::from_shape_vec((rows.len(), model.clip.config.projection_dim), numbers)
        .map_err(|error| FeatureError::Device(error.to_string()))?;
    Ok(SeenImages { rows, features, unreadable })
}
