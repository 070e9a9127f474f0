//! The pairs in the middle of every topic, which show best what it is about.

use std::collections::{HashMap, HashSet};

use gram_cluster::Clusters;
use gram_data::Pairs;

use super::thumbnails;

/// Topics whose nearest pairs have pictures: the largest.
const PICTURED_TOPICS: usize = 200;

/// Caption and picture, if there is one, of every such pair, by its key.
pub(super) fn pictured<'a>(
    clusters: &'a Clusters,
    pairs: &Pairs,
) -> HashMap<&'a str, (&'a str, Option<String>)> {
    let wanted: HashSet<&str> =
        clusters.topics.iter().flat_map(|topic| &topic.nearest).map(String::as_str).collect();
    let largest = clusters.topics.iter().take(PICTURED_TOPICS);
    let keys: Vec<&str> = largest.flat_map(|topic| &topic.nearest).map(String::as_str).collect();
    let mut pictures = thumbnails::of_keys(&keys, pairs);
    let nearest = clusters.pairs.iter().filter(|pair| wanted.contains(pair.key.as_str()));
    nearest
        .map(|pair| (pair.key.as_str(), (pair.caption.as_str(), pictures.remove(pair.key.as_str()))))
        .collect()
}
