//! Topics as they take shape: words, domains, names.

use std::cmp::Reverse;
use std::ops::Range;

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::lost_pairs::LostPairs;
use super::pieces::topics_of_pieces;
use super::stages::Stages;
use super::{ChcInput, ChcSettings};
use crate::clusters::{ClusteredPair, Clusters, Counts, Topic};
use crate::error::ClusterError;
use crate::hdbscan::Clustering;
use crate::matrix::normalised_rows;
use crate::topic_names::{Images, ScoredTopics, TopicName};

/// Pairs that show what a topic is like.
const NEAREST: usize = 5;

/// Topics as they take shape.
pub(super) struct Hierarchy<'a> {
    settings: &'a ChcSettings,
    words: ScoredTopics,
    pub(super) topics: Vec<FoundTopic>,
    counts: Counts,
    pub(super) lost: LostPairs,
}

pub(super) struct FoundTopic {
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
    pub(super) fn new(
        input: &ChcInput,
        settings: &'a ChcSettings,
        kept: &[usize],
        clustering: &Clustering,
    ) -> Self {
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

    /// Rows of the input by topic.
    pub(super) fn members(&self) -> Vec<&[usize]> {
        self.topics.iter().map(|topic| topic.members.as_slice()).collect()
    }

    /// Divides every topic by how its images look.
    pub(super) fn divide(&mut self, stages: &Stages) -> Result<(), ClusterError> {
        let members = self.members();
        let divide =
            |(piece, topics): (usize, Range<usize>)| stages.domains(piece, topics.start, &members[topics]);
        let pieces: Vec<Vec<Vec<usize>>> =
            topics_of_pieces(&members).into_par_iter().enumerate().map(divide).collect::<Result<_, _>>()?;
        for (topic, domains) in self.topics.iter_mut().zip(pieces.into_iter().flatten()) {
            topic.domains = vec![vec![]; domains.iter().max().map_or(0, |largest| largest + 1)];
            topic.members.iter().zip(domains).for_each(|(row, domain)| topic.domains[domain].push(*row));
        }
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
        Ok(())
    }

    /// Names the topics.
    pub(super) fn names(&self, input: &ChcInput, seed: u64) -> Result<Vec<TopicName>, ClusterError> {
        let scored: Vec<usize> = self.topics.iter().map(|topic| topic.scored).collect();
        let images = input.name_features.map(|names| Images {
            features: input.image_features,
            members: self.members(),
            names,
            seed,
        });
        let named = self.words.names(&scored, &self.settings.topic_words, images.as_ref());
        named.map_err(|source| ClusterError::Names { source })
    }

    pub(super) fn into_clusters(
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
