//! How pairs become topics and domains, in one record.

use serde::{Deserialize, Serialize};

use crate::error::ClusterError;
use crate::hdbscan::HdbscanSettings;
use crate::topic_names::TopicWordSettings;
use crate::umap::UmapSettings;

/// The smallest distance of points in the map, as a share of its spread: umap-learn's default, made to be
/// looked at.
const MAP_MINIMUM_DISTANCE: f64 = 0.1;

/// Every setting of cross-modal hierarchical clustering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChcSettings {
    /// The least similarity of image and caption, in [-1, 1]; by default none.
    pub minimum_similarity: Option<f32>,
    /// The share of pairs of lowest similarity to leave out, in [0, 1). Pairs as similar as the first that
    /// stays stay too.
    pub similarity_quantile: f32,
    /// So many pairs are laid out and clustered, evenly apart in the order of their keys, and the others put
    /// where their nearest neighbours among these are; by default all are laid out.
    pub fit_sample: Option<usize>,
    /// How caption embeddings are brought to few dimensions.
    pub umap: UmapSettings,
    /// How topics are found there.
    pub hdbscan: HdbscanSettings,
    /// How topics are named.
    pub topic_words: TopicWordSettings,
    /// The most domains of a topic (U in the paper). 1 or more.
    pub domains: usize,
    /// Whether their number is chosen for each topic, up to `domains`, by how well they part its images.
    pub choose_domains: bool,
    /// The fewest images of a domain; topics with fewer are dropped. 1 or more.
    pub minimum_domain_size: usize,
    /// Images that an episode's support set takes from one domain of a topic; topics without such a domain
    /// are dropped. 0 or more.
    pub support_shots: usize,
    /// Images that its query set takes from all domains, besides; topics with fewer are dropped. 0 or more.
    pub query_shots: usize,
}

impl Default for ChcSettings {
    fn default() -> Self {
        Self {
            minimum_similarity: None,
            similarity_quantile: 0.0,
            fit_sample: None,
            umap: UmapSettings::default(),
            hdbscan: HdbscanSettings::default(),
            topic_words: TopicWordSettings::default(),
            domains: 3,
            choose_domains: false,
            minimum_domain_size: 4,
            support_shots: 4,
            query_shots: 8,
        }
    }
}

impl ChcSettings {
    /// Checks every field's range.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] names the first field out of range.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let check = ClusterError::check_setting;
        if let Some(least) = self.minimum_similarity {
            check((-1.0..=1.0).contains(&least), "minimum_similarity", &least, "in [-1, 1]")?;
        }
        let share = self.similarity_quantile;
        check((0.0..1.0).contains(&share), "similarity_quantile", &share, "at least 0 and below 1")?;
        let enough = self.fit_sample.is_none_or(|sample| sample >= self.needed_pairs());
        check(enough, "fit_sample", &self.fit_sample.unwrap_or(0), "enough pairs to find a topic in")?;
        self.umap.validate()?;
        self.hdbscan.validate()?;
        self.topic_words.validate()?;
        check(self.domains >= 1, "domains", &self.domains, "1 or more")?;
        check(self.minimum_domain_size >= 1, "minimum_domain_size", &self.minimum_domain_size, "1 or more")
    }

    /// The fewest pairs in which a topic can be found: a neighbourhood, and room for two topics to part.
    pub(super) fn needed_pairs(&self) -> usize {
        self.umap.neighbours.max(2 * self.hdbscan.min_cluster_size).max(self.hdbscan.samples() + 1)
    }

    /// How the same graph is laid out in two dimensions for the eye.
    pub(crate) fn map(&self) -> UmapSettings {
        let minimum_distance = MAP_MINIMUM_DISTANCE * self.umap.spread;
        UmapSettings { components: 2, minimum_distance, ..self.umap.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ChcSettings)) -> String {
        let mut settings = ChcSettings::default();
        change(&mut settings);
        settings.validate().map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn the_default_is_valid_and_every_field_has_a_range() {
        assert_eq!(refused(|_| ()), "accepted");
        let expected = "similarity_quantile = 1: must be at least 0 and below 1";
        assert_eq!(refused(|settings| settings.similarity_quantile = 1.0), expected);
        assert!(refused(|settings| settings.minimum_similarity = Some(f32::NAN)).contains("in [-1, 1]"));
        assert!(refused(|settings| settings.umap.neighbours = 1).starts_with("umap.neighbours = 1"));
        assert!(refused(|settings| settings.umap.minimum_distance = 1.0).contains("below umap.spread"));
        assert!(refused(|settings| settings.hdbscan.min_cluster_size = 1).contains("2 or more"));
        assert!(refused(|settings| settings.topic_words.words = 0).contains("topic_words.words = 0"));
        assert!(refused(|settings| settings.domains = 0).starts_with("domains = 0"));
        assert!(refused(|settings| settings.minimum_domain_size = 0).contains("minimum_domain_size"));
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let read = serde_json::from_str::<ChcSettings>(r#"{ "domain": 2 }"#);
        assert!(read.is_err_and(|error| error.to_string().contains("unknown field `domain`")));
        let read = serde_json::from_str::<ChcSettings>(r#"{ "domains": 2 }"#);
        assert_eq!(read.ok(), Some(ChcSettings { domains: 2, ..ChcSettings::default() }));
    }
}
