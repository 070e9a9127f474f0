//! Cross-modal hierarchical clustering (CHC): image-text pairs into topics, and topics into visual domains.
//!
//! Section 3.2 of the paper, step by step as [`cluster`] takes them:
//!
//! 1. Pairs whose image and caption do not match are left out, by CLIP's own similarity.
//! 2. Caption embeddings are brought to few dimensions by UMAP, where HDBSCAN finds topics and noise.
//! 3. The word of highest cluster-wise TF-IDF says what each topic is about (eq. 3).
//! 4. k-means on CLIP's image features divides the images of each topic into domains.
//! 5. Every topic gets a class name, which captions and images must bear out
//!    ([`topic_names`](crate::topic_names)).
//!
//! Beyond the paper, which says nothing of it: topics with too few images for one domain are dropped before
//! any is named, and topics whose captions have no word after; both are counted, and their pairs have no
//! topic. Last, a two-dimensional layout of the same neighbour graph is made, to look at.
//!
//! A seed gives one result, whatever the number of threads and the order in which pairs are given.
//!
//! Reference: Li et al., "Gradient-Regulated Meta-Prompt Learning for Generalizable Vision-Language Models",
//! ICCV 2023, arXiv 2303.06571.

mod finished_stages;
mod input;
mod lost_pairs;
mod settings;

use std::cmp::Reverse;
use std::fmt;
use std::path::Path;

use gram_data::random::{indexed_stream, stream};
use ndarray::{Array1, Array2, Axis};
use rand::Rng;
use rayon::prelude::*;
use serde::Serialize;

pub use input::ChcInput;
pub use settings::ChcSettings;

use finished_stages::FinishedStages;
use lost_pairs::LostPairs;

use crate::clusters::{ClusteredPair, Clusters, Counts, Topic};
use crate::domains::domains;
use crate::error::ClusterError;
use crate::hdbscan::{Clustering, hdbscan, hdbscan_with_others};
use crate::matrix::normalised_rows;
use crate::nearest_neighbours::NearestNeighbours;
use crate::topic_names::{Images, ScoredTopics, TopicName};
use crate::umap;
use crate::umap::graph::{FuzzyGraph, among};
use gram_features::Rows;

/// Pairs that show what a topic is like.
const NEAREST: usize = 5;

/// A step of the clustering, reported as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Leaving out pairs that do not match.
    Filter,
    /// Finding the nearest captions of every caption.
    Neighbours,
    /// Laying captions out in few dimensions.
    Reduction,
    /// Finding dense groups of captions.
    Topics,
    /// Scoring their words.
    Words,
    /// Dividing them by how their images look.
    Domains,
    /// Naming them.
    Names,
    /// Laying captions out in two dimensions.
    Map,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 8] = [
        Self::Filter,
        Self::Neighbours,
        Self::Reduction,
        Self::Topics,
        Self::Words,
        Self::Domains,
        Self::Names,
        Self::Map,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Filter => "leaving out pairs that do not match",
            Self::Neighbours => "finding neighbouring captions",
            Self::Reduction => "reducing dimensions (UMAP)",
            Self::Topics => "finding topics (HDBSCAN)",
            Self::Words => "scoring words (TF-IDF)",
            Self::Domains => "dividing topics into domains (k-means)",
            Self::Names => "naming topics",
            Self::Map => "drawing the map (UMAP)",
        })
    }
}

/// Clusters pairs; `progress` hears of every stage as it begins. With a folder for `finished` stages, a
/// clustering that was stopped goes on after the last of them when it is asked for again.
///
/// # Errors
/// If a setting is out of range, the input has holes, too few pairs pass the filter or there is nothing to
/// filter by, no topic is found, or a stage cannot be written.
pub fn cluster(
    input: &ChcInput,
    settings: &ChcSettings,
    seed: u64,
    finished: Option<&Path>,
    progress: &mut dyn FnMut(Stage),
) -> Result<Clusters, ClusterError> {
    settings.validate()?;
    input.validate()?;

    progress(Stage::Filter);
    let kept = input.kept_rows(settings)?;
    progress(Stage::Neighbours);
    let fitted = Fitted::new(&kept, settings);
    let finished = FinishedStages::new(finished, settings, seed, input, &kept);
    let embeddings = || input.caption_embeddings.select(&fitted.rows);
    let neighbours = finished.of("neighbours", || umap::neighbours(embeddings(), &settings.umap))?;
    let of_others = || {
        let others = input.caption_embeddings;
        umap::neighbours_of_others(embeddings(), others, &fitted.others, &settings.umap)
    };
    let of_others = match fitted.others.is_empty() {
        true => None,
        false => Some(finished.of("others", of_others)?),
    };
    progress(Stage::Reduction);
    let graph = FuzzyGraph::new(&neighbours);
    drop(neighbours);
    let reduced = finished.of("reduction", || umap::embed(&graph, &settings.umap, seed))?;
    progress(Stage::Topics);
    let clustering = finished.of("topics", || fitted.cluster(settings, &reduced, of_others.as_ref()))?;
    drop(reduced);
    progress(Stage::Words);
    let mut hierarchy = Hierarchy::new(input, settings, &kept, &clustering);
    progress(Stage::Domains);
    hierarchy.divide(input.image_features, seed);
    if hierarchy.topics.is_empty() {
        return Err(hierarchy.lost.no_topics(kept.len(), settings));
    }
    progress(Stage::Names);
    let names = hierarchy.names(input, seed)?;
    progress(Stage::Map);
    let map = finished.of("map", || {
        let map = umap::embed(&graph, &settings.map(), stream(seed, "topic map").next_u64());
        fitted.with_others(map, of_others.as_ref())
    })?;

    Ok(hierarchy.into_clusters(input, seed, &kept, &clustering, &map, names))
}

/// Which of the kept pairs are laid out.
struct Fitted {
    /// Rows of the input of those that are.
    rows: Vec<usize>,
    /// Rows of the input of those that are not.
    others: Vec<usize>,
    /// For every kept pair whether it is.
    is_fitted: Vec<bool>,
}

impl Fitted {
    fn new(kept: &[usize], settings: &ChcSettings) -> Self {
        let sample = settings.fit_sample.unwrap_or(kept.len()).min(kept.len());
        let mut is_fitted = vec![false; kept.len()];
        (0..sample).for_each(|index| is_fitted[index * kept.len() / sample] = true);
        let of = |fitted: bool| {
            let pairs = kept.iter().zip(&is_fitted).filter(|(_, is_fitted)| **is_fitted == fitted);
            pairs.map(|(row, _)| *row).collect()
        };
        Self { rows: of(true), others: of(false), is_fitted }
    }

    /// Clusters what is laid out, and says of the others where they belong.
    fn cluster(
        &self,
        settings: &ChcSettings,
        reduced: &Array2<f32>,
        of_others: Option<&NearestNeighbours>,
    ) -> Clustering {
        let Some(of_others) = of_others else { return hdbscan(reduced.view(), &settings.hdbscan) };
        let others = among(of_others, reduced.view());
        let (fitted, others) = hdbscan_with_others(reduced.view(), others.view(), &settings.hdbscan);
        Clustering {
            labels: self.merged(fitted.labels, others.labels),
            strengths: self.merged(fitted.strengths, others.strengths),
            clusters: fitted.clusters,
        }
    }

    /// The layout of all kept pairs.
    fn with_others(&self, fitted: Array2<f32>, of_others: Option<&NearestNeighbours>) -> Array2<f32> {
        let Some(of_others) = of_others else { return fitted };
        let others = among(of_others, fitted.view());
        let rows = |layout: &Array2<f32>| layout.rows().into_iter().map(|row| row.to_owned()).collect();
        let rows: Vec<Array1<f32>> = self.merged(rows(&fitted), rows(&others));
        let mut all = Array2::zeros((rows.len(), fitted.ncols()));
        all.rows_mut().into_iter().zip(rows).for_each(|(mut to, from)| to.assign(&from));
        all
    }

    /// What is known of both, in the order of the kept pairs.
    fn merged<T>(&self, fitted: Vec<T>, others: Vec<T>) -> Vec<T> {
        let (mut fitted, mut others) = (fitted.into_iter(), others.into_iter());
        let next = |is_fitted: &bool| if *is_fitted { fitted.next() } else { others.next() };
        self.is_fitted.iter().filter_map(next).collect()
    }
}

/// Topics as they take shape.
struct Hierarchy<'a> {
    settings: &'a ChcSettings,
    words: ScoredTopics,
    topics: Vec<FoundTopic>,
    counts: Counts,
    lost: LostPairs,
}

struct FoundTopic {
    /// Its topic word.
    word: String,
    /// Its number among those whose words are scored.
    scored: usize,
    /// Rows of the input, in the order of their keys.
    members: Vec<usize>,
    /// Rows of the input by domain.
    domains: Vec<Vec<usize>>,
}

impl<'a> Hierarchy<'a> {
    /// Scores the words of the clusters that are large enough to be divided.
    fn new(input: &ChcInput, settings: &'a ChcSettings, kept: &[usize], clustering: &Clustering) -> Self {
        let mut members = vec![vec![]; clustering.clusters];
        let mut counts = Counts { filtered: input.keys.len() - kept.len(), ..Counts::default() };
        for (row, label) in kept.iter().zip(&clustering.labels) {
            match label {
                Some(cluster) => members[*cluster].push(*row),
                None => counts.noise += 1,
            }
        }
        members.retain(|rows| rows.len() >= settings.minimum_domain_size);
        counts.small_topics = clustering.clusters - members.len();
        let large_pairs: usize = members.iter().map(Vec::len).sum();

        let captions: Vec<Vec<&str>> = members
            .iter()
            .map(|rows| rows.iter().map(|row| input.captions[*row].as_str()).collect())
            .collect();
        let words = ScoredTopics::new(&captions, &settings.topic_words);
        let large_topics = members.len();
        let with_word = |(scored, members)| {
            words.word(scored).map(|word| FoundTopic { word, scored, members, domains: vec![] })
        };
        let mut topics: Vec<FoundTopic> = members.into_iter().enumerate().filter_map(with_word).collect();
        counts.unnamed_topics = large_topics - topics.len();
        let named_pairs: usize = topics.iter().map(|topic| topic.members.len()).sum();
        counts.dropped = kept.len() - counts.noise - named_pairs;
        let lost = LostPairs {
            noise: counts.noise,
            small: [kept.len() - counts.noise - large_pairs, counts.small_topics],
            unnamed: [large_pairs - named_pairs, counts.unnamed_topics],
            unfit: [0; 2],
        };
        topics.sort_by(|one, other| {
            let place = |topic: &FoundTopic| (Reverse(topic.members.len()), topic.word.clone(), topic.scored);
            place(one).cmp(&place(other))
        });
        Self { settings, words, topics, counts, lost }
    }

    /// Divides every topic by how its images look.
    fn divide(&mut self, image_features: &dyn Rows, seed: u64) {
        let ChcSettings { domains: most, choose_domains, minimum_domain_size, .. } = *self.settings;
        self.topics.par_iter_mut().enumerate().for_each(|(index, topic)| {
            let images = image_features.select(&topic.members);
            let mut random = indexed_stream(seed, "domains", index as u64);
            // Never without a domain: small topics are gone already.
            let found = domains(images.view(), most, choose_domains, minimum_domain_size, &mut random)
                .unwrap_or_default();
            let rows = |domain: Vec<usize>| domain.into_iter().map(|image| topic.members[image]).collect();
            topic.domains = found.into_iter().map(rows).collect();
        });
        let ChcSettings { support_shots, query_shots, .. } = *self.settings;
        let before = self.topics.len();
        let dropped = &mut self.counts.dropped;
        let dropped_before = *dropped;
        self.topics.retain(|topic| {
            let largest = topic.domains.iter().map(Vec::len).max().unwrap_or(0);
            let fit = largest >= support_shots && topic.members.len() >= support_shots + query_shots;
            *dropped += if fit { 0 } else { topic.members.len() };
            fit
        });
        self.counts.unfit_topics = before - self.topics.len();
        self.lost.unfit = [self.counts.dropped - dropped_before, self.counts.unfit_topics];
    }

    /// Names the topics.
    fn names(&self, input: &ChcInput, seed: u64) -> Result<Vec<TopicName>, ClusterError> {
        let scored: Vec<usize> = self.topics.iter().map(|topic| topic.scored).collect();
        let images = input.name_features.map(|names| Images {
            features: input.image_features,
            members: self.topics.iter().map(|topic| topic.members.as_slice()).collect(),
            names,
            seed,
        });
        let named = self.words.names(&scored, &self.settings.topic_words, images.as_ref());
        named.map_err(|source| ClusterError::Names { source })
    }

    fn into_clusters(
        self,
        input: &ChcInput,
        seed: u64,
        kept: &[usize],
        clustering: &Clustering,
        map: &Array2<f32>,
        names: Vec<TopicName>,
    ) -> Clusters {
        let mut pairs: Vec<ClusteredPair> = (0..input.keys.len())
            .map(|row| {
                let similarity = input.similarities.map_or(f32::NAN, |similarities| similarities[row]);
                ClusteredPair::filtered(&input.keys[row], &input.captions[row], similarity)
            })
            .collect();
        let mut layout = vec![None; pairs.len()];
        for (point, row) in kept.iter().enumerate() {
            pairs[*row].kept = true;
            layout[*row] = Some([map[[point, 0]], map[[point, 1]]]);
        }
        for (index, topic) in self.topics.iter().enumerate() {
            for (domain, rows) in topic.domains.iter().enumerate() {
                rows.iter()
                    .for_each(|row| (pairs[*row].topic, pairs[*row].domain) = (Some(index), Some(domain)));
            }
        }
        for (row, strength) in kept.iter().zip(&clustering.strengths) {
            pairs[*row].strength = if pairs[*row].topic.is_some() { *strength } else { 0.0 };
        }
        let mut settings = self.settings.clone();
        // Those that were found, where none was given.
        settings.topic_words.languages = self.words.languages();
        let named = self.topics.into_par_iter().zip(names);
        let topics = named.map(|(topic, name)| topic.finish(name, input)).collect();
        let mut clusters =
            Clusters { pairs, topics, layout, counts: self.counts, settings, seed, model: None };
        clusters.count_names();
        clusters
    }
}

impl FoundTopic {
    fn finish(self, named: TopicName, input: &ChcInput) -> Topic {
        let TopicName { word, words, name, main_word, coverage, recognition, left_out, overlaps } = named;
        let nearest = nearest(&input.caption_embeddings.select(&self.members));
        Topic {
            name,
            word,
            main_word,
            coverage,
            recognition,
            left_out,
            overlaps,
            words,
            nearest: nearest.into_iter().map(|place| input.keys[self.members[place]].clone()).collect(),
            domains: self.domains.iter().map(Vec::len).collect(),
            size: self.members.len(),
        }
    }
}

/// The rows that point most nearly where all of them do together, nearest first.
fn nearest(rows: &Array2<f32>) -> Vec<usize> {
    let rows = normalised_rows(rows.view());
    let middle = rows.sum_axis(Axis(0));
    let mut places: Vec<(f32, usize)> =
        rows.rows().into_iter().map(|row| row.dot(&middle)).zip(0..).collect();
    places.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    places.into_iter().take(NEAREST).map(|(_, place)| place).collect()
}
