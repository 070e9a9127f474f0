//! Episodes as a file, by the keys of pairs, so that anybody can compute the same step elsewhere.
//!
//! JSON: `version`, `settings` (what they were drawn with) and `episodes`, each with the names of its
//! `classes`, and `support` and `query`: lists of a pair's key and the number of its class, from 0 on. Where
//! they ask for new classes, too, `new_classes` and `new_query` are the same for those.

use std::collections::BTreeMap;
use std::path::Path;

use gram_clip::ModelIdentity;
use gram_cluster::Clusters;
use gram_meta::episode::Shot;
use gram_meta::{Episode, MetaTrainingError, MetaTrainingSettings, learned_topics, sampled_episode};
use gram_report::report::{ShownClass, ShownEpisode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Context, Result, require};
use crate::whole_file;

/// The version of the format.
pub const VERSION: u32 = 1;

/// Episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodesFile {
    /// [`VERSION`].
    pub version: u32,
    /// What they were drawn with.
    #[serde(default)]
    pub settings: Value,
    /// The model whose features made the clusters that they were drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<ModelIdentity>,
    /// The share of query images that are of another domain than the support images of their class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_domains: Option<f64>,
    /// The episodes.
    pub episodes: Vec<ListedEpisode>,
}

/// An episode by names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedEpisode {
    /// Names of its classes.
    pub classes: Vec<String>,
    /// Key and class of every support image.
    pub support: Vec<(String, usize)>,
    /// Key and class of every query image.
    pub query: Vec<(String, usize)>,
    /// Names of new classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_classes: Vec<String>,
    /// Key and class of every query image of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_query: Vec<(String, usize)>,
}

/// Checks that enough topics are left to draw episodes from, before anything else is done.
///
/// # Errors
/// If they are too few; names the largest number of ways that is possible.
pub fn check_topics(clusters: &Clusters, settings: &MetaTrainingSettings) -> Result<()> {
    Ok(learned_topics(clusters, settings).check(&settings.episodes)?)
}

impl EpisodesFile {
    /// Draws the first `count` episodes of a meta-training with `settings`.
    ///
    /// # Errors
    /// If there are too few topics.
    pub fn sample(clusters: &Clusters, settings: &MetaTrainingSettings, count: usize) -> Result<Self> {
        let pool = learned_topics(clusters, settings);
        let key = |shot: &Shot| (clusters.pairs[shot.pair].key.clone(), shot.class);
        let label = |topic: &usize| clusters.topics[*topic].name.clone();
        let listed = |episode: &Episode| ListedEpisode {
            classes: episode.topics.iter().map(label).collect(),
            support: episode.support.iter().map(key).collect(),
            query: episode.query.iter().map(key).collect(),
            new_classes: episode.new_topics.iter().map(label).collect(),
            new_query: episode.new_query.iter().map(key).collect(),
        };
        let drawn: Vec<Episode> =
            (0..count).map(|draw| sampled_episode(&pool, settings, draw)).collect::<Result<_, _>>()?;
        let other_domains = pool.share_of_other_domains(&drawn);
        let episodes = drawn.iter().map(listed).collect();
        let (settings, clusters) = (serde_json::to_value(settings)?, clusters.model.clone());
        Ok(Self { version: VERSION, settings, clusters, other_domains, episodes })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        let file: Self = serde_json::from_slice(gram_data::without_mark(&text))
            .with_context(|| format!("{}: episodes as from `gram episodes` are expected", path.display()))?;
        require!(
            file.version == VERSION,
            "{}: version {}, this program reads {VERSION}",
            path.display(),
            file.version
        );
        for (index, episode) in file.episodes.iter().enumerate() {
            let place = format!("{}, episode {}", path.display(), index + 1);
            let ListedEpisode { classes, support, query, new_classes, new_query } = episode;
            require!(!support.is_empty() && !query.is_empty(), "{place}: it needs support and query images");
            require!(
                new_classes.is_empty() == new_query.is_empty(),
                "{place}: new_classes and new_query go together"
            );
            for (shots, what, classes) in [
                (support, "class", classes.len()),
                (query, "class", classes.len()),
                (new_query, "new class", new_classes.len()),
            ] {
                if let Some((key, class)) = shots.iter().find(|(_, class)| *class >= classes) {
                    crate::error::refuse!(
                        "{place}: pair {key} is of {what} {class}, but there are {classes} of them"
                    );
                }
            }
        }
        Ok(file)
    }

    /// Checks that there are as many episodes as meta-training takes.
    ///
    /// # Errors
    /// If there are fewer; names both numbers.
    pub fn check_count(&self, settings: &MetaTrainingSettings) -> Result<()> {
        let (listed, needed) = (self.episodes.len(), settings.steps * settings.meta_batch);
        if listed < needed {
            Err(MetaTrainingError::TooFewEpisodes { listed, needed }.into())
        } else {
            Ok(())
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        whole_file::write(path, format!("{}\n", serde_json::to_string(self)?).as_bytes())
    }

    /// The episodes as they are shown on a page.
    pub fn shown(&self) -> Vec<ShownEpisode> {
        let classes = |names: &[String], support: &[(String, usize)], query: &[(String, usize)]| {
            let of = |shots: &[(String, usize)], class| {
                shots.iter().filter(|shot| shot.1 == class).map(|shot| shot.0.clone()).collect()
            };
            let class = |(class, name): (usize, &String)| ShownClass {
                name: name.clone(),
                support: of(support, class),
                query: of(query, class),
            };
            names.iter().enumerate().map(class).collect()
        };
        let shown = |episode: &ListedEpisode| ShownEpisode {
            classes: classes(&episode.classes, &episode.support, &episode.query),
            new_classes: classes(&episode.new_classes, &[], &episode.new_query),
        };
        self.episodes.iter().map(shown).collect()
    }

    /// Names of classes and keys of pairs, each once and in order, and the episodes by their numbers.
    pub fn numbered(&self) -> (Vec<String>, Vec<String>, Vec<Episode>) {
        let numbers = |names: &mut dyn Iterator<Item = &String>| {
            let mut numbers: BTreeMap<String, usize> = names.map(|name| (name.clone(), 0)).collect();
            numbers.values_mut().enumerate().for_each(|(number, place)| *place = number);
            numbers
        };
        let listed = || self.episodes.iter();
        let classes =
            numbers(&mut listed().flat_map(|episode| [&episode.classes, &episode.new_classes]).flatten());
        let shots = listed().flat_map(|episode| [&episode.support, &episode.query, &episode.new_query]);
        let pairs = numbers(&mut shots.flatten().map(|(key, _)| key));
        let shot = |(key, class): &(String, usize)| Shot { pair: pairs[key], class: *class };
        let episode = |listed: &ListedEpisode| Episode {
            topics: listed.classes.iter().map(|name| classes[name]).collect(),
            support: listed.support.iter().map(shot).collect(),
            query: listed.query.iter().map(shot).collect(),
            new_topics: listed.new_classes.iter().map(|name| classes[name]).collect(),
            new_query: listed.new_query.iter().map(shot).collect(),
        };
        let episodes = self.episodes.iter().map(episode).collect();
        (classes.into_keys().collect(), pairs.into_keys().collect(), episodes)
    }
}
