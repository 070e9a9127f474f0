//! What clustering gives: every pair's place in the hierarchy, and what each topic is about.

mod corrections;
mod file;
mod table;
mod warnings;

use std::collections::HashMap;

use gram_clip::ModelIdentity;
use gram_data::fingerprint::{Fingerprinting, digits};
use serde::{Deserialize, Serialize};

use crate::chc::ChcSettings;
use crate::topic_names::LeftOut;

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
    /// Its class name in episodes.
    pub name: String,
    /// The topic word: its word of highest TF-IDF (eq. 3), whichever other topics have it.
    pub word: String,
    /// The word of the name that says what the topic is about.
    pub main_word: String,
    /// The share of its captions that say the name, in [0, 1].
    pub coverage: f64,
    /// The share of its images that CLIP gives to the name among names of 19 other topics, where that was
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recognition: Option<f64>,
    /// Why it is in no episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// The topics that cannot be in one episode with it: of one word, or of names that CLIP cannot tell
    /// apart.
    pub overlaps: Vec<usize>,
    /// Its words of highest TF-IDF with their scores, best first.
    pub words: Vec<(String, f64)>,
    /// Keys of the pairs whose captions are nearest to the middle of all.
    pub nearest: Vec<String>,
    /// Images of every domain, larger domains first.
    pub domains: Vec<usize>,
    /// Images of all domains.
    pub size: usize,
}

impl Topic {
    /// A topic of that name, which all of its captions say, with domains of so many images.
    pub fn named(name: &str, domains: Vec<usize>) -> Self {
        Self {
            name: name.to_owned(),
            word: name.to_owned(),
            main_word: name.to_owned(),
            coverage: 1.0,
            recognition: None,
            left_out: None,
            overlaps: Vec::new(),
            words: Vec::new(),
            nearest: Vec::new(),
            size: domains.iter().sum(),
            domains,
        }
    }
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
    /// Topics dropped for having no word at all.
    pub unnamed_topics: usize,
    /// Topics dropped because they cannot give an episode both a support set from one domain and a query
    /// set.
    #[serde(default)]
    pub unfit_topics: usize,
    /// Pairs of dropped topics.
    pub dropped: usize,
    /// Topics, not dropped, that no episode has: no name is true of them.
    #[serde(default)]
    pub topics_in_no_episode: usize,
    /// Topics, not dropped, whose name another topic has, too.
    #[serde(default)]
    pub ambiguous_topics: usize,
}

impl Clusters {
    /// What tells these topics and domains from others: 32 hexadecimal digits over the pairs' keys and
    /// places, and the topics' names and whether episodes have them.
    pub fn fingerprint(&self) -> String {
        let mut all = Fingerprinting::default();
        let place = |place: Option<usize>| place.map_or(0, |place| place + 1);
        all.number(self.pairs.len());
        for pair in &self.pairs {
            all.text(&pair.key);
            all.number(place(pair.topic));
            all.number(place(pair.domain));
        }
        for topic in &self.topics {
            all.text(&topic.name);
            all.number(usize::from(topic.left_out.is_some()));
            all.number(topic.overlaps.len());
            topic.overlaps.iter().for_each(|other| all.number(*other));
        }
        digits(all.finish())
    }

    /// How many topics are left out for this cause.
    pub fn topics_left_out(&self, cause: LeftOut) -> usize {
        self.topics.iter().filter(|topic| topic.left_out == Some(cause)).count()
    }

    /// Counts the topics that no name is true of, and those that share theirs.
    pub(crate) fn count_names(&mut self) {
        self.counts.topics_in_no_episode = [LeftOut::NoName, LeftOut::Coverage, LeftOut::Recognition]
            .map(|cause| self.topics_left_out(cause))
            .into_iter()
            .sum();
        let there: Vec<&Topic> = self.topics.iter().filter(|topic| topic.size > 0).collect();
        let mut names: HashMap<&str, usize> = HashMap::new();
        there.iter().for_each(|topic| *names.entry(&topic.name).or_default() += 1);
        self.counts.ambiguous_topics = there.iter().filter(|topic| names[topic.name.as_str()] > 1).count();
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
