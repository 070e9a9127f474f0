//! Where pairs were lost on their way into topics, and what helps.

use super::ChcSettings;
use crate::error::ClusterError;

/// Pairs that are in no topic, by cause; of groups of pairs also how many there were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LostPairs {
    /// In no dense group.
    pub(super) noise: usize,
    /// In groups that are too small for a domain.
    pub(super) small: [usize; 2],
    /// In groups that no word is left for.
    pub(super) unnamed: [usize; 2],
    /// In groups that cannot give an episode both a support set from one domain and a query set.
    pub(super) unfit: [usize; 2],
}

impl LostPairs {
    /// That no topic is left of so many pairs, and what to do about what took most of them.
    pub(super) fn no_topics(&self, pairs: usize, settings: &ChcSettings) -> ClusterError {
        let Self { noise, small, unnamed, unfit } = *self;
        let advice = self.advice(settings);
        ClusterError::NoTopics { pairs, noise, small, unnamed, unfit, advice }
    }

    fn advice(&self, settings: &ChcSettings) -> String {
        let ChcSettings { hdbscan, minimum_domain_size, support_shots, query_shots, .. } = settings;
        let advice = [
            (self.unnamed[0], {
                "captions of different groups need words that differ: see whether topic_words.stop_words and \
                 topic_words.caption_words take them away, let two words name a topic (--phrases), or give captions \
                 that say what is shown"
                    .to_owned()
            }),
            (
                self.unfit[0],
                format!(
                    "give more pairs, or lower support_shots (now {support_shots}), query_shots (now {query_shots}) or \
                     domains (now {})",
                    settings.domains
                ),
            ),
            (
                self.small[0],
                format!("give more pairs, or lower minimum_domain_size (now {minimum_domain_size})"),
            ),
            (
                self.noise,
                format!(
                    "give more pairs, or lower hdbscan.min_cluster_size (now {})",
                    hdbscan.min_cluster_size
                ),
            ),
        ];
        // Of causes that took as many, the last: groups come first, and then what becomes of them.
        let most = advice.into_iter().max_by_key(|(pairs, _)| *pairs);
        most.map(|(_, advice)| advice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_about_what_took_most_pairs() {
        let told = |lost: LostPairs| lost.no_topics(100, &ChcSettings::default()).to_string();
        let some = LostPairs { noise: 10, small: [20, 7], unnamed: [15, 1], unfit: [5, 1] };
        let message = told(some);
        let counts = "no topic found among 100 pairs: 10 are in no dense group, 20 in groups too small for a domain (7), 15 \
                      in groups without a word (1), 5 in groups that cannot give an episode both sets (1): ";
        assert!(message.starts_with(counts), "{message}");
        assert!(message.ends_with("lower minimum_domain_size (now 4)"), "{message}");
        assert!(told(LostPairs { noise: 60, ..some }).contains("lower hdbscan.min_cluster_size (now "));
        assert!(told(LostPairs { unnamed: [60, 3], ..some }).contains("let two words name a topic"));
        assert!(
            told(LostPairs { unfit: [60, 3], ..some })
                .contains("lower support_shots (now 4), query_shots (now 8)")
        );
        assert!(told(LostPairs::default()).contains("lower hdbscan.min_cluster_size"));
    }
}
