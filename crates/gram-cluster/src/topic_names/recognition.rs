//! CLIP's own check of names: does the frozen model see a topic's name in its images?

use std::collections::BTreeMap;
use std::error::Error;

use gram_data::random::indexed_stream;
use ndarray::{Array2, ArrayView1};
use rand::seq::{IndexedRandom, index};
use rayon::prelude::*;

use super::candidates::Candidate;
use super::{Images, TopicName};

/// Names that a topic's name competes with.
const OTHERS: usize = 19;
/// Images of a topic that are looked at.
const IMAGES: usize = 100;
/// Names whose similarities are computed at a time.
const BLOCK: usize = 256;

/// Text features of class names in a sentence, normalised, `[names, joint width]`.
pub type NameFeatures<'a> =
    dyn Fn(&[String]) -> Result<Array2<f32>, Box<dyn Error + Send + Sync>> + Sync + 'a;

/// Names, each once, with their features.
struct Known {
    places: BTreeMap<String, usize>,
    features: Array2<f32>,
}

impl Known {
    fn new(
        names: impl Iterator<Item = String>,
        features: &NameFeatures,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut places: BTreeMap<String, usize> = names.map(|name| (name, 0)).collect();
        places.values_mut().enumerate().for_each(|(place, of_name)| *of_name = place);
        let names: Vec<String> = places.keys().cloned().collect();
        let features = features(&names)?;
        Ok(Self { places, features })
    }

    fn of(&self, name: &str) -> ArrayView1<'_, f32> {
        self.features.row(self.places[name])
    }
}

/// Of every topic and every name it could have, the share of its images whose features are closer to the name
/// than to the names of [`OTHERS`] topics that may be in an episode with it.
pub(super) fn of(
    named: &[TopicName],
    candidates: &[&[Candidate]],
    images: &Images,
) -> Result<Vec<Vec<f64>>, Box<dyn Error + Send + Sync>> {
    let all = named.iter().map(|topic| topic.name.clone());
    let asked =
        candidates.iter().flat_map(|of_topic| of_topic.iter().map(|candidate| candidate.name.clone()));
    let known = Known::new(all.chain(asked), images.names)?;
    let share = |(topic, candidates): (usize, &&[Candidate])| -> Vec<f64> {
        let mut random = indexed_stream(images.seed, "recognition of names", topic as u64);
        let far: Vec<usize> = (0..named.len())
            .filter(|other| *other != topic && !named[topic].overlaps.contains(other))
            .collect();
        let others: Vec<usize> = far.sample(&mut random, OTHERS).copied().collect();
        let members = images.members[topic];
        let amount = members.len().min(IMAGES);
        let rows: Vec<usize> = index::sample(&mut random, members.len(), amount)
            .into_iter()
            .map(|place| members[place])
            .collect();
        let seen = images.features.select(&rows);
        let dot = |image: ArrayView1<f32>, name: &str| image.dot(&known.of(name));
        let closest_other: Vec<f32> = seen
            .rows()
            .into_iter()
            .map(|image| {
                others.iter().map(|other| dot(image, &named[*other].name)).fold(f32::NEG_INFINITY, f32::max)
            })
            .collect();
        let of_name = |candidate: &Candidate| {
            let right = seen.rows().into_iter().zip(&closest_other);
            let right = right.filter(|(image, other)| dot(*image, &candidate.name) > **other).count();
            right as f64 / amount.max(1) as f64
        };
        candidates.iter().map(of_name).collect()
    };
    Ok(candidates.par_iter().enumerate().map(share).collect())
}

/// The least share that a name needs with so many topics: `minimum` among [`OTHERS`], more among fewer, as
/// chance is.
pub(super) fn least_share(minimum: f64, topics: usize) -> f64 {
    (minimum * (OTHERS + 1) as f64 / topics.clamp(1, OTHERS + 1) as f64).min(1.0)
}

/// Adds to every topic's overlaps those whose names have features that are too much alike.
pub(super) fn set_overlaps(
    named: &mut [TopicName],
    features: &NameFeatures,
    maximum_similarity: f64,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let names: Vec<String> = named.iter().map(|topic| topic.name.clone()).collect();
    let known = Known::new(names.iter().cloned(), features)?;
    let rows: Vec<usize> = names.iter().map(|name| known.places[name]).collect();
    let ordered = known.features.select(ndarray::Axis(0), &rows);
    for begin in (0..named.len()).step_by(BLOCK) {
        let block = ordered.slice(ndarray::s![begin..(begin + BLOCK).min(named.len()), ..]);
        let similarities = block.dot(&ordered.t());
        for (offset, similarities) in similarities.rows().into_iter().enumerate() {
            let topic = begin + offset;
            let alike = similarities
                .iter()
                .enumerate()
                .filter(|(other, cosine)| *other != topic && f64::from(**cosine) > maximum_similarity);
            named[topic].overlaps.extend(alike.map(|(other, _)| other));
            named[topic].overlaps.sort_unstable();
            named[topic].overlaps.dedup();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_share_grows_as_chance_does_where_there_are_few_topics() {
        assert_eq!([2, 4, 20, 300].map(|topics| least_share(0.05, topics)), [0.5, 0.25, 0.05, 0.05]);
        assert_eq!((least_share(0.0, 3), least_share(0.5, 2)), (0.0, 1.0));
    }
}
