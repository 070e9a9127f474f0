//! What is clustered, checked, and which of it is kept.

use std::collections::HashSet;

use super::ChcSettings;
use crate::error::ClusterError;
use crate::topic_names::NameFeatures;
use gram_features::Rows;

/// Image-text pairs as numbers, one row a pair.
///
/// # Shapes
/// - image_features: [pairs, joint width]
/// - caption_embeddings: [pairs, caption width]
#[derive(Clone, Copy)]
pub struct ChcInput<'a> {
    /// Names of the pairs, all different.
    pub keys: &'a [String],
    /// What the texts say.
    pub captions: &'a [String],
    /// CLIP's image features; their lengths do not matter.
    pub image_features: &'a dyn Rows,
    /// Cosine similarity of every pair's image and text features; nothing if these are of two models, which
    /// have no space in common.
    pub similarities: Option<&'a [f32]>,
    /// Sentence embeddings of the captions.
    pub caption_embeddings: &'a dyn Rows,
    /// Text features of class names by the model of the image features, where it is at hand: names are then
    /// checked in images, too.
    pub name_features: Option<&'a NameFeatures<'a>>,
}

impl ChcInput<'_> {
    /// Checks lengths, keys and values.
    ///
    /// # Errors
    /// [`ClusterError::Length`], [`ClusterError::DuplicateKey`], [`ClusterError::NotFinite`],
    /// [`ClusterError::Zero`].
    pub fn validate(&self) -> Result<(), ClusterError> {
        let same_length = |what, found| match self.keys.len() {
            expected if expected == found => Ok(()),
            expected => Err(ClusterError::Length { what, found, expected }),
        };
        same_length("captions", self.captions.len())?;
        same_length("image features", self.image_features.shape().0)?;
        let similarities = self.similarities.unwrap_or_default();
        if self.similarities.is_some() {
            same_length("similarities", similarities.len())?;
        }
        same_length("caption embeddings", self.caption_embeddings.shape().0)?;
        let mut seen = HashSet::new();
        if let Some(key) = self.keys.iter().find(|key| !seen.insert(key.as_str())) {
            return Err(ClusterError::DuplicateKey { key: key.clone() });
        }
        if let Some(row) = similarities.iter().position(|value| !value.is_finite()) {
            return Err(ClusterError::NotFinite { what: "similarity", key: self.keys[row].clone() });
        }
        self.check_rows("image features", self.image_features)?;
        self.check_rows("caption embedding", self.caption_embeddings)
    }

    fn check_rows(&self, what: &'static str, rows: &dyn Rows) -> Result<(), ClusterError> {
        let mut values = vec![0.0; rows.shape().1];
        for (row, key) in self.keys.iter().enumerate() {
            rows.read(row, &mut values);
            if values.iter().any(|value| !value.is_finite()) {
                return Err(ClusterError::NotFinite { what, key: key.clone() });
            }
            if values.iter().all(|value| *value == 0.0) {
                return Err(ClusterError::Zero { what, key: key.clone() });
            }
        }
        Ok(())
    }

    /// The rows that pass the similarity filter, in the order of their keys: what follows does not depend on
    /// the order in which pairs are given.
    ///
    /// # Errors
    /// [`ClusterError::TooFewPairs`] if too few are left, [`ClusterError::NoSimilarities`] if pairs are to be
    /// filtered by a similarity that is not known.
    pub(super) fn kept_rows(&self, settings: &ChcSettings) -> Result<Vec<usize>, ClusterError> {
        let given = self.keys.len();
        let mut kept: Vec<usize> = match self.similarities {
            Some(similarities) => {
                let least = least_similarity(similarities, settings);
                (0..given).filter(|row| similarities[*row] >= least).collect()
            }
            None if settings.minimum_similarity.is_some() || settings.similarity_quantile > 0.0 => {
                return Err(ClusterError::NoSimilarities);
            }
            None => (0..given).collect(),
        };
        kept.sort_by_key(|row| &self.keys[*row]);
        let (found, needed) = (kept.len(), settings.needed_pairs());
        if found < needed { Err(ClusterError::TooFewPairs { found, given, needed }) } else { Ok(kept) }
    }
}

/// The similarity below which pairs are left out.
fn least_similarity(similarities: &[f32], settings: &ChcSettings) -> f32 {
    let mut ascending = similarities.to_vec();
    ascending.sort_by(f32::total_cmp);
    let dropped = (f64::from(settings.similarity_quantile) * similarities.len() as f64) as usize;
    let quantile = ascending.get(dropped).copied().unwrap_or(f32::NEG_INFINITY);
    settings.minimum_similarity.map_or(quantile, |least| least.max(quantile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_drops_the_lowest_share_and_what_is_below_the_minimum() {
        let similarities = [0.3, 0.1, 0.2, 0.2, 0.5];
        let least = |minimum_similarity, similarity_quantile| {
            let settings = ChcSettings { minimum_similarity, similarity_quantile, ..ChcSettings::default() };
            least_similarity(&similarities, &settings)
        };
        assert_eq!(least(None, 0.0), 0.1);
        assert_eq!(least(None, 0.39), 0.2);
        assert_eq!(least(None, 0.4), 0.2);
        assert_eq!(least(None, 0.99), 0.5);
        assert_eq!(least(Some(0.25), 0.4), 0.25);
        assert_eq!(least(Some(0.25), 0.7), 0.3);
    }
}
