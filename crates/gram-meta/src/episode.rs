//! Episodes: classification tasks drawn from clustered pairs (section 3.2).
//!
//! An episode has `ways` topics as classes. The support images of each come from one domain of its topic, the
//! query images from all of its domains, and no image is in both: what is learned in one look must hold in
//! others. With `new_ways` the query set also asks for topics that the support set does not show, among
//! themselves, as new classes are asked for at test time: what is learned must not cost what was known. The
//! paper has none.

use gram_cluster::Clusters;
use gram_data::random::{Stream, indexed_stream};
use rand::Rng;
use rand::seq::{IndexedRandom, index};
use serde::{Deserialize, Serialize};

/// How large episodes are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeSettings {
    /// Classes of an episode. 2 or more.
    pub ways: usize,
    /// Support images of a class. 1 or more.
    pub support_shots: usize,
    /// Query images of a class. 1 or more.
    pub query_shots: usize,
    /// Further classes, of which there are query images only. 0 as in the paper, or 2 or more.
    #[serde(default)]
    pub new_ways: usize,
}

/// A topic to draw from.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeTopic {
    /// Number of the topic among all.
    pub topic: usize,
    /// Pairs of every domain, by their number.
    pub domains: Vec<Vec<usize>>,
}

/// The topics that episodes are drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicPool {
    /// The topics.
    pub topics: Vec<EpisodeTopic>,
    /// Topics left out because they are too small.
    pub too_small: usize,
}

/// One image of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shot {
    /// Number of the pair.
    pub pair: usize,
    /// Its class in the episode.
    pub class: usize,
}

/// A meta-training task, by numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Topic of every class.
    pub topics: Vec<usize>,
    /// Support set.
    pub support: Vec<Shot>,
    /// Query set.
    pub query: Vec<Shot>,
    /// Topic of every new class.
    pub new_topics: Vec<usize>,
    /// Their query set, which is told apart among new classes alone.
    pub new_query: Vec<Shot>,
}

/// There are fewer topics than an episode has classes.
#[derive(Debug, thiserror::Error)]
#[error(
    "{found} topics are large enough for {ways}-way episodes{}: {}; lower shots, or cluster more pairs",
    if *new_ways > 0 { format!(" with {new_ways} new classes") } else { String::new() },
    match self.largest_ways() {
        Some(largest) => format!("--ways {largest} is the largest that is possible"),
        None => "no --ways is possible with so few".to_owned(),
    }
)]
pub struct TooFewTopics {
    /// Topics that are large enough.
    pub found: usize,
    /// Classes of an episode.
    pub ways: usize,
    /// New classes of an episode.
    pub new_ways: usize,
}

impl TooFewTopics {
    /// The most classes that episodes can have, with as many new ones; none if there are fewer than two.
    pub fn largest_ways(&self) -> Option<usize> {
        self.found.checked_sub(self.new_ways).filter(|ways| *ways >= 2)
    }
}

impl EpisodeSettings {
    /// Topics of an episode.
    pub fn topics(&self) -> usize {
        self.ways + self.new_ways
    }

    /// Whether a topic can give both sets.
    fn fits(&self, topic: &EpisodeTopic) -> bool {
        let images: usize = topic.domains.iter().map(Vec::len).sum();
        let largest = topic.domains.iter().map(Vec::len).max().unwrap_or(0);
        largest >= self.support_shots && images >= self.support_shots + self.query_shots
    }
}

impl TopicPool {
    /// The topics of `clusters` that are large enough.
    pub fn new(clusters: &Clusters, settings: &EpisodeSettings) -> Self {
        let topics = clusters.members().into_iter().enumerate();
        let all: Vec<EpisodeTopic> = topics.map(|(topic, domains)| EpisodeTopic { topic, domains }).collect();
        let count = all.len();
        let topics: Vec<EpisodeTopic> = all.into_iter().filter(|topic| settings.fits(topic)).collect();
        Self { too_small: count - topics.len(), topics }
    }

    /// Checks that there are topics enough for an episode.
    ///
    /// # Errors
    /// [`TooFewTopics`].
    pub fn check(&self, settings: &EpisodeSettings) -> Result<(), TooFewTopics> {
        let EpisodeSettings { ways, new_ways, .. } = *settings;
        let found = self.topics.len();
        if found < settings.topics() { Err(TooFewTopics { found, ways, new_ways }) } else { Ok(()) }
    }

    /// Divides the topics in two: a `fraction` of them for validation, the rest to learn from. Each topic
    /// draws its place by its own number: a topic more or less moves no other.
    pub fn hold_out(mut self, fraction: f64, seed: u64) -> (Self, Self) {
        let place =
            |topic: &EpisodeTopic| indexed_stream(seed, "validation topics", topic.topic as u64).next_u64();
        self.topics.sort_by_key(place);
        let held_out = (fraction * self.topics.len() as f64).round() as usize;
        let mut validation = self.topics.split_off(self.topics.len() - held_out);
        self.topics.sort_by_key(|topic| topic.topic);
        validation.sort_by_key(|topic| topic.topic);
        (self, Self { topics: validation, too_small: 0 })
    }

    /// Draws an episode.
    ///
    /// # Errors
    /// [`TooFewTopics`].
    pub fn sample(&self, settings: &EpisodeSettings, random: &mut Stream) -> Result<Episode, TooFewTopics> {
        self.check(settings)?;
        let EpisodeSettings { ways, .. } = *settings;
        let found = self.topics.len();
        let mut episode = Episode::default();
        for (class, chosen) in index::sample(random, found, settings.topics()).into_iter().enumerate() {
            let topic = &self.topics[chosen];
            let (support, query) = draw_shots(topic, settings, random);
            let shots = |pairs: Vec<usize>, class| pairs.into_iter().map(move |pair| Shot { pair, class });
            match class.checked_sub(ways) {
                None => {
                    episode.topics.push(topic.topic);
                    episode.support.extend(shots(support, class));
                    episode.query.extend(shots(query, class));
                }
                Some(class) => {
                    episode.new_topics.push(topic.topic);
                    episode.new_query.extend(shots(query, class));
                }
            }
        }
        Ok(episode)
    }
}

/// Support images from one domain, query images from what is left of all domains.
fn draw_shots(
    topic: &EpisodeTopic,
    settings: &EpisodeSettings,
    random: &mut Stream,
) -> (Vec<usize>, Vec<usize>) {
    let large: Vec<&Vec<usize>> =
        topic.domains.iter().filter(|domain| domain.len() >= settings.support_shots).collect();
    let domain = large.choose(random).map_or(&[][..], |domain| domain.as_slice());
    let support: Vec<usize> = domain.sample(random, settings.support_shots).copied().collect();
    let rest: Vec<usize> =
        topic.domains.iter().flatten().copied().filter(|pair| !support.contains(pair)).collect();
    let query = rest.sample(random, settings.query_shots).copied().collect();
    (support, query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::stream;
    use std::collections::HashSet;

    const SETTINGS: EpisodeSettings =
        EpisodeSettings { ways: 3, support_shots: 2, query_shots: 4, new_ways: 0 };

    /// Six topics with two domains of five.
    fn pool() -> TopicPool {
        let domain =
            |topic: usize, domain: usize| (0..5).map(|pair| topic * 10 + domain * 5 + pair).collect();
        let topics =
            (0..6).map(|topic| EpisodeTopic { topic, domains: vec![domain(topic, 0), domain(topic, 1)] });
        TopicPool { topics: topics.collect(), too_small: 0 }
    }

    #[test]
    fn support_is_of_one_domain_and_no_image_is_in_both_sets() {
        let mut seen = HashSet::new();
        for seed in 0..50 {
            let episode = pool().sample(&SETTINGS, &mut stream(seed, "episodes")).unwrap();
            assert_eq!((episode.support.len(), episode.query.len()), (6, 12));
            for class in 0..3 {
                let of = |shots: &[Shot]| -> Vec<usize> {
                    shots.iter().filter(|shot| shot.class == class).map(|shot| shot.pair).collect()
                };
                let (support, query) = (of(&episode.support), of(&episode.query));
                assert_eq!(support.iter().map(|pair| pair / 5).collect::<HashSet<_>>().len(), 1);
                assert!(support.iter().chain(&query).all(|pair| pair / 10 == episode.topics[class]));
                assert!(query.iter().all(|pair| !support.contains(pair)));
                seen.extend(query.iter().map(|pair| pair / 5 % 2));
            }
        }
        assert_eq!(seen.len(), 2, "queries come from both domains");
    }

    #[test]
    fn new_classes_are_asked_for_and_never_supported() {
        let settings = EpisodeSettings { new_ways: 2, ..SETTINGS };
        for seed in 0..50 {
            let episode = pool().sample(&settings, &mut stream(seed, "episodes")).unwrap();
            assert_eq!((episode.topics.len(), episode.new_topics.len()), (3, 2));
            assert!(episode.new_topics.iter().all(|topic| !episode.topics.contains(topic)));
            assert_eq!((episode.support.len(), episode.query.len(), episode.new_query.len()), (6, 12, 8));
            let own = |shot: &Shot| shot.pair / 10 == episode.new_topics[shot.class];
            assert!(episode.new_query.iter().all(own));
        }
        let error = pool().sample(&EpisodeSettings { new_ways: 4, ..SETTINGS }, &mut stream(1, "episodes"));
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("6 topics are large enough for 3-way episodes with 4 new classes:"),
            "{error}"
        );
    }

    #[test]
    fn held_out_topics_are_never_learned_from() {
        let (learned, validation) = pool().hold_out(0.34, 1);
        assert_eq!((learned.topics.len(), validation.topics.len()), (4, 2));
        let learned: HashSet<usize> = learned.topics.iter().map(|topic| topic.topic).collect();
        assert!(validation.topics.iter().all(|topic| !learned.contains(&topic.topic)));
    }

    #[test]
    fn too_few_topics_are_an_error() {
        let settings = EpisodeSettings { ways: 7, ..SETTINGS };
        let error = pool().sample(&settings, &mut stream(1, "episodes")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("6 topics are large enough for 7-way episodes: --ways 6 is the largest")
        );
        let settings = EpisodeSettings { ways: 3, new_ways: 5, ..SETTINGS };
        assert_eq!(
            pool().check(&settings).unwrap_err().to_string(),
            "6 topics are large enough for 3-way episodes with 5 \
            new classes: no --ways is possible with so few; lower shots, or cluster more pairs"
        );
    }
}
