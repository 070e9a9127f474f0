//! Episodes as a file, by the keys of pairs, so that anybody can compute the same step elsewhere.
//!
//! JSON: `version`, `settings` (what they were drawn with) and `episodes`, each with the names of its `classes`, and
//! `support` and `query`: lists of a pair's key and the number of its class, from 0 on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gram_cluster::Clusters;
use gram_meta::episode::Shot;
use gram_meta::{Episode, MetaTrainingSettings, learned_topics, sampled_episode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
}

impl EpisodesFile {
    /// Draws the first `count` episodes of a meta-training with `settings`.
    ///
    /// # Errors
    /// If there are too few topics.
    pub fn sample(clusters: &Clusters, settings: &MetaTrainingSettings, count: usize) -> Result<Self> {
        let pool = learned_topics(clusters, settings);
        let key = |shot: &Shot| (clusters.pairs[shot.pair].key.clone(), shot.class);
        let listed = |draw| {
            let episode = sampled_episode(&pool, settings, draw)?;
            Ok(ListedEpisode {
                classes: episode.topics.iter().map(|topic| clusters.topics[*topic].label.clone()).collect(),
                support: episode.support.iter().map(key).collect(),
                query: episode.query.iter().map(key).collect(),
            })
        };
        let episodes = (0..count).map(listed).collect::<Result<_>>()?;
        Ok(Self { version: VERSION, settings: serde_json::to_value(settings)?, episodes })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        let file: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{}: episodes as from `gram episodes` are expected", path.display()))?;
        ensure!(
            file.version == VERSION,
            "{}: version {}, this program reads {VERSION}",
            path.display(),
            file.version
        );
        for (index, ListedEpisode { classes, support, query }) in file.episodes.iter().enumerate() {
            let place = format!("{}, episode {}", path.display(), index + 1);
            ensure!(!support.is_empty() && !query.is_empty(), "{place}: it needs support and query images");
            if let Some((key, class)) = support.iter().chain(query).find(|(_, class)| *class >= classes.len())
            {
                anyhow::bail!(
                    "{place}: pair {key} is of class {class}, but there are {} classes",
                    classes.len()
                );
            }
        }
        Ok(file)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        whole_file::write(path, format!("{}\n", serde_json::to_string(self)?).as_bytes())
    }

    /// Names of classes and keys of pairs, each once and in order, and the episodes by their numbers.
    pub fn numbered(&self) -> (Vec<String>, Vec<String>, Vec<Episode>) {
        let numbers = |names: &mut dyn Iterator<Item = &String>| {
            let mut numbers: BTreeMap<String, usize> = names.map(|name| (name.clone(), 0)).collect();
            numbers.values_mut().enumerate().for_each(|(number, place)| *place = number);
            numbers
        };
        let classes = numbers(&mut self.episodes.iter().flat_map(|episode| &episode.classes));
        let pairs = numbers(
            &mut self
                .episodes
                .iter()
                .flat_map(|episode| episode.support.iter().chain(&episode.query).map(|(key, _)| key)),
        );
        let shot = |(key, class): &(String, usize)| Shot { pair: pairs[key], class: *class };
        let episode = |listed: &ListedEpisode| Episode {
            topics: listed.classes.iter().map(|name| classes[name]).collect(),
            support: listed.support.iter().map(shot).collect(),
            query: listed.query.iter().map(shot).collect(),
        };
        let episodes = self.episodes.iter().map(episode).collect();
        (classes.into_keys().collect(), pairs.into_keys().collect(), episodes)
    }
}
