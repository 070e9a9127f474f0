//! What makes a clustering a poor one to learn from, and what to change.

use super::Clusters;

/// The share of the clustered pairs from which on one topic is too large.
const LARGEST_TOPIC: f64 = 0.25;
/// The share of pairs without a topic from which on too few are learned from.
const MOST_NOISE: f64 = 0.7;
/// The share of topics that cannot give an episode both sets from which on that is to be looked at.
const MOST_UNFIT: f64 = 0.3;
/// The fewest topics: an episode has eight, and some are held out.
const FEWEST_TOPICS: usize = 12;
/// The share of topics that no name is true of from which on names are to be looked at.
const MOST_UNNAMED: f64 = 0.3;

impl Clusters {
    /// One line for each reason to doubt these clusters, with what to change.
    pub fn warnings(&self) -> Vec<String> {
        let kept = self.pairs.len() - self.counts.filtered;
        let in_topics: usize = self.topics.iter().map(|topic| topic.size).sum();
        let share = |part: usize, all: usize| if all > 0 { part as f64 / all as f64 } else { 0.0 };
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let hdbscan = &self.settings.hdbscan;
        let size = hdbscan.min_cluster_size;
        let mut warnings = Vec::new();
        let topics = self.topics.iter().filter(|topic| topic.size > 0);
        if let Some(largest) = topics.clone().max_by_key(|topic| topic.size) {
            let largest_share = share(largest.size, in_topics);
            // Two or three topics are few, not uneven.
            if largest_share > LARGEST_TOPIC && topics.clone().count() >= FEWEST_TOPICS {
                warnings.push(format!(
                    "{} of the clustered pairs are one topic, `{}`: give better caption embeddings (--sentence-bert), or \
                     lower umap.neighbours (now {})",
                    percent(largest_share),
                    largest.name,
                    self.settings.umap.neighbours
                ));
            }
        }
        let found = topics.clone().count();
        let unfit = self.counts.unfit_topics;
        let is_unfit = share(unfit, found + unfit) > MOST_UNFIT;
        if found < FEWEST_TOPICS {
            let instead =
                if is_unfit { String::new() } else { format!(", or lower --min-cluster-size (now {size})") };
            warnings.push(format!(
                "only {found} topics, while an episode has eight and others are held out: give more pairs{instead}"
            ));
        }
        if is_unfit {
            let (support, query) = (self.settings.support_shots, self.settings.query_shots);
            warnings.push(format!(
                "{unfit} topics were dropped because they have no {support} support images of one domain and {query} \
                 query images besides: give more pairs, or lower support_shots and query_shots in --config"
            ));
        }
        let noise = share(self.counts.noise, kept);
        if noise > MOST_NOISE {
            warnings.push(format!(
                "{} of the pairs are in no topic: lower hdbscan.min_samples (now {}), or --min-cluster-size (now {size})",
                percent(noise),
                hdbscan.samples()
            ));
        }
        let unnamed = share(self.counts.topics_in_no_episode, found);
        if unnamed > MOST_UNNAMED {
            warnings.push(format!(
                "no name is true of {} of the topics: see clusters.html for what they are, and name, merge or drop them in \
                 topics.toml",
                percent(unnamed)
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chc::ChcSettings;
    use crate::clusters::{ClusteredPair, Counts, Topic};

    fn clusters(sizes: &[usize], noise: usize) -> Clusters {
        let topics: Vec<Topic> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| Topic::named(&format!("topic {number}"), vec![*size]))
            .collect();
        let all = sizes.iter().sum::<usize>() + noise;
        Clusters {
            pairs: (0..all).map(|pair| ClusteredPair::filtered(&pair.to_string(), "", 0.5)).collect(),
            topics,
            layout: vec![None; all],
            counts: Counts { noise, ..Counts::default() },
            settings: ChcSettings::default(),
            seed: 1,
            model: None,
        }
    }

    #[test]
    fn a_poor_clustering_is_said_to_be_one_and_a_good_one_is_not() {
        assert_eq!(clusters(&[20; 30], 300).warnings(), Vec::<String>::new());
        let mut uneven = [20; 30];
        uneven[3] = 400;
        let [warning] = clusters(&uneven, 0).warnings().try_into().unwrap();
        assert!(warning.starts_with("41 % of the clustered pairs are one topic, `topic 3`"), "{warning}");
        let [warning] = clusters(&[300, 20], 0).warnings().try_into().unwrap();
        assert!(warning.starts_with("only 2 topics"), "{warning}");
        let mut unfit = clusters(&[300, 20], 0);
        unfit.counts.unfit_topics = 8;
        let [few, warning] = unfit.warnings().try_into().unwrap();
        assert!(few.ends_with("give more pairs"), "{few}");
        assert!(
            warning.starts_with("8 topics were dropped because they have no 4 support images"),
            "{warning}"
        );
        let [warning] = clusters(&[10; 12], 400).warnings().try_into().unwrap();
        assert!(warning.starts_with("77 % of the pairs are in no topic"), "{warning}");
        let mut unnamed = clusters(&[20; 30], 0);
        unnamed.counts.topics_in_no_episode = 12;
        let [warning] = unnamed.warnings().try_into().unwrap();
        assert!(warning.starts_with("no name is true of 40 % of the topics"), "{warning}");
    }
}
