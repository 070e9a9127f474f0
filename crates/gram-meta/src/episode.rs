//! Episodes: classification tasks drawn from clustered pairs (section 3.2).
//!
//! An episode has `ways` topics as classes. The support images of each come from one domain of its topic, the
//! query images from all of its domains, and no image is in both: what is learned in one domain must hold
//! in others. Topics that cannot be told apart by their names (of one word, or too much alike to CLIP) are
//! never in one episode, and topics that no name is true of in none. With `new_ways` the query set also asks
//! for topics that the support set does not show, among themselves, as new classes are asked for at test
//! time: what is learned must not cost what was known. The paper has none.

use std::collections::HashMap;

use gram_cluster::{Clusters, LeftOut};
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
    /// How topics are drawn.
    #[serde(default)]
    pub topic_draw: TopicDraw,
    /// Where query images come from.
    #[serde(default)]
    pub query_domains: QueryDomains,
}

/// How the topics of an episode are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopicDraw {
    /// All alike.
    #[default]
    Even,
    /// Large topics more often, in proportion to their images.
    BySize,
}

/// Which domains of a topic the query images come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryDomains {
    /// All, as in the paper.
    #[default]
    All,
    /// All but that of the support images. Topics of one domain are then too small.
    Others,
}

/// A topic to draw from.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeTopic {
    /// Number of the topic among all.
    pub topic: usize,
    /// Pairs of every domain, by their number.
    pub domains: Vec<Vec<usize>>,
    /// Numbers of the topics that cannot be in one episode with it.
    pub overlaps: Vec<usize>,
}

/// The topics that episodes are drawn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicPool {
    /// The topics.
    pub topics: Vec<EpisodeTopic>,
    /// Topics left out because they are too small.
    pub too_small: usize,
    /// Topics left out because no name is true of them.
    pub unnamed: usize,
    /// Topics dropped by hand.
    pub dropped: usize,
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
    "{found} topics are large enough and can be told apart for {ways}-way episodes{}: {}; lower shots, or cluster more pairs",
    if *new_ways > 0 { format!(" with {new_ways} new classes") } else { String::new() },
    match self.largest_ways() {
        Some(largest) => format!("--ways {largest} is the largest that is possible"),
        None if *new_ways > 0 => format!("lower `new_ways`, as no --ways is possible beside {new_ways} new classes"),
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
        topic.domains.iter().any(|domain| self.can_support(domain, images))
    }

    /// Whether a domain of a topic with so many images can give the support images, and leaves enough to
    /// query.
    fn can_support(&self, domain: &[usize], images: usize) -> bool {
        let spent = match self.query_domains {
            QueryDomains::All => self.support_shots,
            QueryDomains::Others => domain.len(),
        };
        domain.len() >= self.support_shots && images >= spent + self.query_shots
    }
}

impl TopicPool {
    /// The topics of `clusters` that have a name and are large enough.
    pub fn new(clusters: &Clusters, settings: &EpisodeSettings) -> Self {
        let named = |topic: &usize| clusters.topics[*topic].left_out.is_none();
        let topics = clusters.members().into_iter().enumerate().map(|(topic, domains)| {
            let overlaps = clusters.topics[topic].overlaps.clone();
            EpisodeTopic { topic, domains, overlaps }
        });
        let (named, unnamed): (Vec<EpisodeTopic>, Vec<EpisodeTopic>) =
            topics.partition(|one| named(&one.topic));
        let count = named.len();
        let topics: Vec<EpisodeTopic> = named.into_iter().filter(|topic| settings.fits(topic)).collect();
        let [dropped, merged] =
            [LeftOut::Dropped, LeftOut::Merged].map(|cause| clusters.topics_left_out(cause));
        let unnamed = unnamed.len() - dropped - merged;
        Self { too_small: count - topics.len(), unnamed, dropped, topics }
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
        (self, Self { topics: validation, ..Self::default() })
    }

    /// The places of an episode's topics. Where one overlaps with others, another is drawn in its place.
    fn draw(&self, settings: &EpisodeSettings, random: &mut Stream) -> Result<Vec<usize>, TooFewTopics> {
        let (found, wanted) = (self.topics.len(), settings.topics());
        let drawn: Vec<usize> = match settings.topic_draw {
            TopicDraw::Even => index::sample(random, found, wanted).into_vec(),
            TopicDraw::BySize => {
                let size =
                    |topic: usize| self.topics[topic].domains.iter().map(Vec::len).sum::<usize>() as f64;
                // Sizes are positive and finite: nothing can be wrong with them.
                index::sample_weighted(random, found, size, wanted)
                    .map_or_else(|_| Vec::new(), |drawn| drawn.into_vec())
            }
        };
        let mut chosen: Vec<usize> = Vec::with_capacity(wanted);
        let overlaps = |chosen: &[usize], place: usize| {
            chosen.iter().any(|other| self.topics[*other].overlaps.contains(&self.topics[place].topic))
        };
        for place in drawn {
            if !overlaps(&chosen, place) {
                chosen.push(place);
            }
        }
        // Rarely needed: what is drawn for episodes without overlaps does not depend on it.
        while chosen.len() < wanted {
            let left: Vec<usize> =
                (0..found).filter(|place| !chosen.contains(place) && !overlaps(&chosen, *place)).collect();
            match left.choose(random) {
                Some(place) => chosen.push(*place),
                None => {
                    let EpisodeSettings { ways, new_ways, .. } = *settings;
                    return Err(TooFewTopics { found: chosen.len(), ways, new_ways });
                }
            }
        }
        Ok(chosen)
    }

    /// The share of query images that are of another domain than the support images of their class, in [0,
    /// 1]; nothing without query images.
    pub fn share_of_other_domains(&self, episodes: &[Episode]) -> Option<f64> {
        let domain_of: HashMap<usize, (usize, usize)> = self
            .topics
            .iter()
            .flat_map(|topic| topic.domains.iter().enumerate().map(move |domain| (topic.topic, domain)))
            .flat_map(|(topic, (domain, pairs))| pairs.iter().map(move |pair| (*pair, (topic, domain))))
            .collect();
        let (mut all, mut others) = (0_usize, 0_usize);
        for episode in episodes {
            let support: HashMap<usize, &(usize, usize)> = episode
                .support
                .iter()
                .filter_map(|shot| Some((shot.class, domain_of.get(&shot.pair)?)))
                .collect();
            for shot in &episode.query {
                if let (Some(own), Some(of_support)) = (domain_of.get(&shot.pair), support.get(&shot.class)) {
                    all += 1;
                    others += usize::from(own != *of_support);
                }
            }
        }
        (all > 0).then(|| others as f64 / all as f64)
    }

    /// Draws an episode.
    ///
    /// # Errors
    /// [`TooFewTopics`].
    pub fn sample(&self, settings: &EpisodeSettings, random: &mut Stream) -> Result<Episode, TooFewTopics> {
        self.check(settings)?;
        let EpisodeSettings { ways, .. } = *settings;
        let mut episode = Episode::default();
        for (class, chosen) in self.draw(settings, random)?.into_iter().enumerate() {
            let topic = &self.topics[chosen];
            let shots = |pairs: Vec<usize>, class| pairs.into_iter().map(move |pair| Shot { pair, class });
            match class.checked_sub(ways) {
                None => {
                    let (support, query) = draw_shots(topic, settings, random);
                    episode.topics.push(topic.topic);
                    episode.support.extend(shots(support, class));
                    episode.query.extend(shots(query, class));
                }
                // A new class has no support images, so any image can be asked for.
                Some(class) => {
                    let all: Vec<usize> = topic.domains.concat();
                    let query = all.sample(random, settings.query_shots).copied().collect();
                    episode.new_topics.push(topic.topic);
                    episode.new_query.extend(shots(query, class));
                }
            }
        }
        Ok(episode)
    }
}

/// Support images from one domain, query images from what is left of all domains, or from the others.
fn draw_shots(
    topic: &EpisodeTopic,
    settings: &EpisodeSettings,
    random: &mut Stream,
) -> (Vec<usize>, Vec<usize>) {
    let images = topic.domains.iter().map(Vec::len).sum();
    let large: Vec<&Vec<usize>> =
        topic.domains.iter().filter(|domain| settings.can_support(domain, images)).collect();
    let domain = large.choose(random).map_or(&[][..], |domain| domain.as_slice());
    let support: Vec<usize> = domain.sample(random, settings.support_shots).copied().collect();
    let spent = match settings.query_domains {
        QueryDomains::All => &support,
        QueryDomains::Others => domain,
    };
    let rest: Vec<usize> =
        topic.domains.iter().flatten().copied().filter(|pair| !spent.contains(pair)).collect();
    let query = rest.sample(random, settings.query_shots).copied().collect();
    (support, query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::stream;
    use std::collections::HashSet;

    const SETTINGS: EpisodeSettings = EpisodeSettings {
        ways: 3,
        support_shots: 2,
        query_shots: 4,
        new_ways: 0,
        topic_draw: TopicDraw::Even,
        query_domains: QueryDomains::All,
    };

    /// Six topics with two domains of five.
    fn pool() -> TopicPool {
        let domain =
            |topic: usize, domain: usize| (0..5).map(|pair| topic * 10 + domain * 5 + pair).collect();
        let topics = (0..6).map(|topic| EpisodeTopic {
            topic,
            domains: vec![domain(topic, 0), domain(topic, 1)],
            overlaps: vec![],
        });
        TopicPool { topics: topics.collect(), ..TopicPool::default() }
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
            // New classes are drawn last: those that are tuned are the same without them.
            let without =
                pool().sample(&EpisodeSettings { ways: 5, ..SETTINGS }, &mut stream(seed, "episodes"));
            let without = without.unwrap();
            assert_eq!(
                (&without.support[..6], &without.query[..12]),
                (&episode.support[..], &episode.query[..])
            );
        }
        // Every image of a new class can be asked for, with as many query images as it has images.
        let settings = EpisodeSettings { query_shots: 10, support_shots: 1, new_ways: 2, ..SETTINGS };
        let mut roomy = pool();
        roomy.topics.iter_mut().for_each(|topic| topic.domains[0].push(topic.topic * 10 + 1000));
        let episode = roomy.sample(&settings, &mut stream(1, "episodes")).unwrap();
        assert_eq!(episode.new_query.len(), 20);
        let error = pool().sample(&EpisodeSettings { new_ways: 4, ..SETTINGS }, &mut stream(1, "episodes"));
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "6 topics are large enough and can be told apart for 3-way episodes with 4 new classes:"
            ),
            "{error}"
        );
    }

    #[test]
    fn topics_that_overlap_are_never_in_one_episode_and_move_no_other_draw() {
        let mut overlapping = pool();
        for (topic, overlaps) in [(0, vec![1]), (1, vec![0])] {
            overlapping.topics[topic].overlaps = overlaps;
        }
        let mut replaced = 0;
        for seed in 0..100 {
            let draw = |pool: &TopicPool| pool.sample(&SETTINGS, &mut stream(seed, "episodes")).unwrap();
            let (free, bound) = (draw(&pool()), draw(&overlapping));
            let both = |episode: &Episode| episode.topics.contains(&0) && episode.topics.contains(&1);
            assert!(!both(&bound));
            assert_eq!(bound.topics.iter().collect::<HashSet<_>>().len(), 3);
            match both(&free) {
                true => replaced += 1,
                false => assert_eq!(free, bound),
            }
        }
        assert!(replaced > 5, "{replaced}");
        for topic in 0..6 {
            overlapping.topics[topic].overlaps = (0..6).filter(|other| *other != topic).collect();
        }
        let error = overlapping.sample(&SETTINGS, &mut stream(1, "episodes")).unwrap_err();
        assert!(error.to_string().starts_with("1 topics are large enough and can be told apart"), "{error}");
    }

    #[test]
    fn large_topics_are_drawn_more_only_where_that_is_asked() {
        let mut uneven = pool();
        uneven.topics[0].domains[0].extend(100..150);
        let drawn = |topic_draw| {
            let settings = EpisodeSettings { ways: 2, topic_draw, ..SETTINGS };
            let with_large =
                |seed| uneven.sample(&settings, &mut stream(seed, "episodes")).unwrap().topics.contains(&0);
            (0..300).filter(|seed| with_large(*seed)).count()
        };
        // 2 of 6 topics: a third of 300.
        assert!((70..130).contains(&drawn(TopicDraw::Even)), "{}", drawn(TopicDraw::Even));
        assert!(drawn(TopicDraw::BySize) > 200, "{}", drawn(TopicDraw::BySize));
    }

    #[test]
    fn query_images_can_come_from_other_domains_alone() {
        let share = |query_domains| {
            let settings = EpisodeSettings { query_domains, ..SETTINGS };
            let episodes: Vec<Episode> = (0..50)
                .map(|seed| pool().sample(&settings, &mut stream(seed, "episodes")).unwrap())
                .collect();
            pool().share_of_other_domains(&episodes).unwrap()
        };
        // 5 of the 8 images that are left are of the other domain.
        assert!((share(QueryDomains::All) - 0.625).abs() < 0.05, "{}", share(QueryDomains::All));
        assert_eq!(share(QueryDomains::Others), 1.0);
        assert_eq!(pool().share_of_other_domains(&[]), None);
        let mut one_domain = pool();
        one_domain.topics[0].domains = vec![(0..10).collect()];
        let settings = EpisodeSettings { query_domains: QueryDomains::Others, ..SETTINGS };
        assert!(!settings.fits(&one_domain.topics[0]) && settings.fits(&one_domain.topics[1]));
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
        assert!(error.to_string().starts_with(
            "6 topics are large enough and can be told apart for 7-way episodes: --ways 6 is the largest"
        ));
        let settings = EpisodeSettings { ways: 3, new_ways: 5, ..SETTINGS };
        assert_eq!(
            pool().check(&settings).unwrap_err().to_string(),
            "6 topics are large enough and can be told apart for 3-way episodes with 5 \
            new classes: lower `new_ways`, as no --ways is possible beside 5 new classes; lower shots, or cluster more pairs"
        );
    }
}
