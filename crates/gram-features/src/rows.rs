//! Feature vectors, one a row, wherever they lie.

use std::path::Path;

use gram_clip::{Model, ModelIdentity};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::Deserialize;

use crate::FeatureError;

/// A matrix whose rows can be read: in memory, or in a file of which only what is read is loaded.
pub trait Rows: Sync {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Reads a row into `into`, which is as wide as the rows are.
    fn read(&self, row: usize, into: &mut [f32]);

    /// Some of the rows, `[rows, columns]`, as 32-bit numbers in memory.
    fn select(&self, rows: &[usize]) -> Array2<f32> {
        let mut selected = Array2::zeros((rows.len(), self.shape().1));
        let each = selected.axis_iter_mut(Axis(0)).zip(rows).collect::<Vec<_>>();
        each.into_par_iter().with_min_len(256).for_each(|(mut into, row)| {
            if let Some(into) = into.as_slice_mut() {
                self.read(*row, into);
            }
        });
        selected
    }
}

impl Rows for Array2<f32> {
    fn shape(&self) -> (usize, usize) {
        self.dim()
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        self.view().read(row, into);
    }
}

impl Rows for ArrayView2<'_, f32> {
    fn shape(&self) -> (usize, usize) {
        self.dim()
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        into.iter_mut().zip(self.row(row)).for_each(|(to, from)| *to = *from);
    }
}

/// How far from 1 the length of a normalised feature may be, in 16 bits.
const NEARLY: f32 = 0.01;

/// Chosen rows of features as directions, `[chosen, columns]`: normalised, where they are not but for the
/// rounding of their format. `name` says what the image of a place among the chosen is called.
///
/// # Errors
/// Names the first whose row is zero or not finite.
pub fn directions(
    features: &dyn Rows,
    chosen: &[usize],
    name: &dyn Fn(usize) -> String,
) -> Result<Array2<f32>, String> {
    let mut rows = Array2::zeros((chosen.len(), features.shape().1));
    for (place, (row, mut into)) in chosen.iter().zip(rows.rows_mut()).enumerate() {
        let Some(values) = into.as_slice_mut() else { continue };
        features.read(*row, values);
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(format!("{}: its feature is zero or not finite: compute it again", name(place)));
        }
        if (norm - 1.0).abs() > NEARLY {
            let scale = 1.0 / norm;
            values.iter_mut().for_each(|value| *value *= scale);
        }
    }
    Ok(rows)
}

/// Checks that features of so many numbers, which lie at `place`, are of `model`; where they do not say of
/// which model they are, that is said.
///
/// # Errors
/// [`FeatureError::File`] if they are of another model, or of another width.
pub fn check_model(
    own: Option<&ModelIdentity>,
    width: usize,
    model: &Model,
    place: &Path,
) -> Result<(), FeatureError> {
    match own {
        Some(own) => {
            let identity = model.identity().map_err(|error| FeatureError::file(place, error))?;
            own.check(&identity).map_err(|error| FeatureError::file(place, error))?;
        }
        None => log::warn!(
            "{}: it does not say which model its features are of: only their width is checked",
            place.display()
        ),
    }
    let side = model.preprocess.crop as usize;
    if let Some(seen) = image_size_of(place).filter(|seen| *seen != side) {
        let problem = format!(
            "images were embedded at {seen} pixels, and {} sees {side}: embed them without --image-size",
            model.name
        );
        return Err(FeatureError::file(place, problem));
    }
    let expected = model.clip.config.projection_dim;
    if width != expected {
        let problem = format!(
            "features of {width} numbers, but {} has features of {expected}: name their model with --model",
            model.name
        );
        return Err(FeatureError::file(place, problem));
    }
    Ok(())
}

/// The side of the images in pixels at which `gram embed` wrote the folder at `place`, if it did.
fn image_size_of(place: &Path) -> Option<usize> {
    #[derive(Deserialize)]
    struct Embedding {
        image_size: usize,
    }
    let text = std::fs::read(place.join("embedding.json")).ok()?;
    serde_json::from_slice::<Embedding>(&text).ok().map(|embedding| embedding.image_size)
}
