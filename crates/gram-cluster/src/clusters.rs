//! What clustering gives: every pair's place in the hierarchy, and what each topic is about.

mod file;
mod table;

use gram_clip::ModelIdentity;
use gram_data::fingerprint::{Fingerprinting, digits};
use serde::{Deserialize, Serialize};

use crate::chc::ChcSettings;

/// Topics and domains of a set of image-text pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Every pair given, in the order given.
    pub pairs: Vec<ClusteredPair>,
    /// The topics, largest first, equal sizes in alphabetical order.
    pub topics: Vec<Topic>,
    /// Where every pair lies on the map; `None` if it was filtered out.
    pub layout: Vec<Option<[f32; 2]>>,
    /// What was left out on the way.
    pub counts: Counts,
    /// How the pairs were clustered.
    pub settings: ChcSettings,
    /// The seed they were clustered with.
    pub seed: u64,
    /// The model whose features of the images made the domains, where it is known.
    pub model: Option<ModelIdentity>,
}

/// One pair and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusteredPair {
    /// Its name.
    pub key: String,
    /// Its text.
    pub caption: String,
    /// Index of its topic; `None` if it was filtered out, is noise, or its topic was dropped.
    pub topic: Option<usize>,
    /// Index of its domain within the topic.
    pub domain: Option<usize>,
    /// How strongly it belongs to its topic, in [0, 1]; 0 without one.
    pub strength: f64,
    /// CLIP's similarity of its image and text; no number if the two were seen by different models.
    pub similarity: f32,
    /// Whether it passed the similarity filter.
    pub kept: bool,
}

impl ClusteredPair {
    /// A pair without a place.
    pub(crate) fn filtered(key: &str, caption: &str, similarity: f32) -> Self {
        let (key, caption) = (key.to_owned(), caption.to_owned());
        Self { key, caption, topic: None, domain: None, strength: 0.0, similarity, kept: false }
    }
}

/// One topic: a class of the episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// The word that names it and no other topic.
    pub label: String,
    /// Its words of highest TF-IDF with their scores, best first.
    pub words: Vec<(String, f64)>,
    /// Images of every domain, larger domains first.
    pub domains: Vec<usize>,
    /// Images of all domains.
    pub size: usize,
}

/// What did not become part of a topic. `filtered + noise + dropped` pairs have no topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Pairs whose image and caption do not match.
    pub filtered: usize,
    /// Pairs in no dense group.
    pub noise: usize,
    /// Topics dropped for having fewer images than one domain needs.
    pub small_topics: usize,
    /// Topics dropped for having no word of their own.
    pub unnamed_topics: usize,
    /// Topics dropped because they cannot give an episode both a support set from one domain and a query
    /// set.
    #[serde(default)]
    pub unfit_topics: usize,
    /// Pairs of dropped topics.
    pub dropped: usize,
    /// Topics, not dropped, whose first word names another topic.
    #[serde(default)]
    pub ambiguous_topics: usize,
}

impl Clusters {
    /// What tells these topics and domains from others: 32 hexadecimal digits over the pairs' keys and
    /// places, and the topics' labels.
    pub fn fingerprint(&self) -> String {
        let mut all = Fingerprinting::default();
        let place = |place: Option<usize>| place.map_or(0, |place| place + 1);
        all.number(self.pairs.len());
        for pair in &self.pairs {
            all.text(&pair.key);
            all.number(place(pair.topic));
            all.number(place(pair.domain));
        }
        self.topics.iter().for_each(|topic| all.text(&topic.label));
        digits(all.finish())
    }

    /// The pairs of every domain of every topic: `members()[topic][domain]` are indices into `pairs`,
    /// ascending.
    pub fn members(&self) -> Vec<Vec<Vec<usize>>> {
        let mut members: Vec<Vec<Vec<usize>>> =
            self.topics.iter().map(|topic| vec![vec![]; topic.domains.len()]).collect();
        for (index, pair) in self.pairs.iter().enumerate() {
            if let (Some(topic), Some(domain)) = (pair.topic, pair.domain) {
                members[topic][domain].push(index);
            }
        }
        members
    }
}
