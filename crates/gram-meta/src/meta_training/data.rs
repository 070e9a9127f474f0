//! Where the tasks of a meta-training come from: topics, classes and images, and the draw of every episode.

use burn::tensor::Device;
use gram_clip::layers::indices;
use gram_cluster::Clusters;
use gram_data::random::indexed_stream;
use gram_features::{FeatureError, ImageStore};
use gram_prompt::{ClassStore, LabelledImages};

use super::error::MetaTrainingError;
use super::settings::MetaTrainingSettings;
use crate::episode::{Episode, EpisodeSettings, Shot, TooFewTopics, TopicPool};
use crate::meta_gradient::{NewClasses, Task};

/// What episodes are made of.
#[derive(Clone, Debug)]
pub struct EpisodeData {
    /// Class names, by topic.
    pub classes: ClassStore,
    /// The pairs' images, by pair.
    pub images: ImageStore,
    /// Topics and domains.
    pub pool: TopicPool,
}

/// Where episodes come from.
#[derive(Clone, Debug)]
pub enum EpisodeSource {
    /// Drawn from the topics of the episode data, some of which are held out.
    Sampled,
    /// These, one after the other. Nothing is held out.
    Listed(Vec<Episode>),
}

/// The episodes that are learned from.
#[derive(Clone, Debug)]
pub struct LearnedEpisodes(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Drawn from these topics.
    Sampled(TopicPool),
    /// These, one after the other.
    Listed(Vec<Episode>),
}

impl LearnedEpisodes {
    /// The episode of a draw.
    pub(super) fn episode(
        &self,
        settings: &MetaTrainingSettings,
        draw: usize,
    ) -> Result<Episode, MetaTrainingError> {
        match &self.0 {
            Kind::Sampled(pool) => Ok(sampled_episode(pool, settings, draw)?),
            Kind::Listed(episodes) => Ok(episodes[draw].clone()),
        }
    }
}

impl EpisodeSource {
    /// The episodes to learn from.
    ///
    /// # Errors
    /// [`MetaTrainingError`] if too few are listed, or one names what is not there.
    pub fn learned(
        self,
        episode_data: &EpisodeData,
        settings: &MetaTrainingSettings,
    ) -> Result<LearnedEpisodes, MetaTrainingError> {
        match self {
            EpisodeSource::Sampled => {
                Ok(LearnedEpisodes(Kind::Sampled(divided(episode_data.pool.clone(), settings).0)))
            }
            EpisodeSource::Listed(episodes) => {
                let (listed, needed) = (episodes.len(), settings.steps * settings.meta_batch);
                if listed < needed {
                    return Err(MetaTrainingError::TooFewEpisodes { listed, needed });
                }
                episode_data.check(&episodes)?;
                Ok(LearnedEpisodes(Kind::Listed(episodes)))
            }
        }
    }

    /// The tasks of validation; none where nothing is held out.
    pub(super) fn held_out(
        &self,
        episode_data: &EpisodeData,
        settings: &MetaTrainingSettings,
        device: &Device,
    ) -> Result<Vec<Task>, MetaTrainingError> {
        match self {
            EpisodeSource::Sampled => {
                let held_out = divided(episode_data.pool.clone(), settings).1;
                validation_tasks(&held_out, episode_data, settings, device)
            }
            EpisodeSource::Listed(_) => Ok(Vec::new()),
        }
    }
}

/// The topics of `clusters` that a meta-training learns from.
pub fn learned_topics(clusters: &Clusters, settings: &MetaTrainingSettings) -> TopicPool {
    divided(TopicPool::new(clusters, &settings.episodes), settings).0
}

/// The topics that are held out of a meta-training, for validation.
pub fn held_out_topics(clusters: &Clusters, settings: &MetaTrainingSettings) -> TopicPool {
    divided(TopicPool::new(clusters, &settings.episodes), settings).1
}

fn divided(pool: TopicPool, settings: &MetaTrainingSettings) -> (TopicPool, TopicPool) {
    pool.hold_out(settings.validation_topics, settings.seed)
}

/// The episode of a draw: episode `draw % meta_batch` of step `draw / meta_batch`, both from 0 on.
///
/// # Errors
/// [`TooFewTopics`].
pub fn sampled_episode(
    pool: &TopicPool,
    settings: &MetaTrainingSettings,
    draw: usize,
) -> Result<Episode, TooFewTopics> {
    pool.sample(&settings.episodes, &mut indexed_stream(settings.seed, "episodes", draw as u64))
}

impl EpisodeData {
    /// An episode's classes and images.
    ///
    /// # Errors
    /// [`FeatureError`] names the image that cannot be read any more.
    pub fn task(&self, episode: &Episode, device: &Device) -> Result<Task, FeatureError> {
        let new_classes = || {
            let classes = self.classes.classes(&episode.new_topics, device);
            Ok::<_, FeatureError>(NewClasses { classes, query_set: self.set(&episode.new_query, device)? })
        };
        Ok(Task {
            classes: self.classes.classes(&episode.topics, device),
            support_set: self.set(&episode.support, device)?,
            query_set: self.set(&episode.query, device)?,
            new_classes: (!episode.new_topics.is_empty()).then(new_classes).transpose()?,
        })
    }

    /// Checks that all that episodes name is there.
    fn check(&self, episodes: &[Episode]) -> Result<(), MetaTrainingError> {
        let (pairs, topics) = (self.images.len(), self.classes.len());
        for (index, episode) in episodes.iter().enumerate() {
            let shots = [&episode.support, &episode.query, &episode.new_query];
            let pair = shots.into_iter().flatten().map(|shot| shot.pair).max();
            let topic = episode.topics.iter().chain(&episode.new_topics).copied().max();
            let (pair, topic) = (pair.unwrap_or(0), topic.unwrap_or(0));
            if pair >= pairs || topic >= topics {
                return Err(MetaTrainingError::Episode { episode: index + 1, pair, topic, pairs, topics });
            }
        }
        Ok(())
    }

    fn set(&self, shots: &[Shot], device: &Device) -> Result<LabelledImages, FeatureError> {
        let pairs: Vec<usize> = shots.iter().map(|shot| shot.pair).collect();
        let classes: Vec<usize> = shots.iter().map(|shot| shot.class).collect();
        Ok(LabelledImages { images: self.images.images(&pairs, device)?, labels: indices(&classes, device) })
    }
}

/// Fixed tasks from held-out topics; none if too few are held out.
fn validation_tasks(
    pool: &TopicPool,
    episode_data: &EpisodeData,
    settings: &MetaTrainingSettings,
    device: &Device,
) -> Result<Vec<Task>, MetaTrainingError> {
    let new_ways = settings.validation_new_ways.unwrap_or(settings.episodes.new_ways);
    let episodes = EpisodeSettings { new_ways, ..settings.episodes };
    let drawn = (0..settings.validation_episodes as u64).map(|index| {
        pool.sample(&episodes, &mut indexed_stream(settings.seed, "validation episodes", index))
    });
    // With too few topics, or too many that overlap, nothing is validated.
    let Ok(drawn) = drawn.collect::<Result<Vec<Episode>, TooFewTopics>>() else { return Ok(Vec::new()) };
    drawn.iter().map(|episode| Ok(episode_data.task(episode, device)?)).collect()
}
