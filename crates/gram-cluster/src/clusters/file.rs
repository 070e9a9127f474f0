//! Clusters in a folder: `pairs.parquet`, a row for every pair, and `topics.json`, what the topics are.
//!
//! `topics.json` also holds the settings and the seed, so that the folder says how to make it again.

use std::fs;
use std::path::Path;

use gram_clip::{Fingerprint, ModelIdentity};
use gram_data::whole_file::{write_whole, write_whole_at};
use serde::{Deserialize, Serialize};

use super::{Clusters, Counts, Topic, table};
use crate::chc::ChcSettings;
use crate::error::ClusterError;

/// The version of the two files; it rises when either changes its meaning.
const VERSION: u32 = 2;
const PAIRS: &str = "pairs.parquet";
const TOPICS: &str = "topics.json";

/// `topics.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_source: Option<String>,
    seed: u64,
    settings: ChcSettings,
    counts: Counts,
    topics: Vec<Topic>,
}

/// What every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Clusters {
    /// Names of the files in a folder of clusters.
    pub const FILES: [&str; 2] = [PAIRS, TOPICS];

    /// Writes the clusters into `folder`, made if it is not there; clusters saved there before are replaced.
    ///
    /// # Errors
    /// [`ClusterError::Write`] names the file that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ClusterError> {
        let path = folder.join(PAIRS);
        let description = Description {
            version: VERSION,
            model: self.model.as_ref().map(|model| model.name.clone()),
            fingerprint: self.model.as_ref().and_then(|model| model.fingerprint),
            model_source: self.model.as_ref().and_then(|model| model.source.clone()),
            seed: self.seed,
            settings: self.settings.clone(),
            counts: self.counts,
            topics: self.topics.clone(),
        };
        let topics = folder.join(TOPICS);
        let text = serde_json::to_string_pretty(&description)
            .map_err(|error| ClusterError::write(&topics, error))?;
        write_whole_at(&path, |partial| table::write(partial, self))
            .map_err(|error| ClusterError::write(&path, error))?;
        write_whole(&topics, (text + "\n").as_bytes()).map_err(|error| ClusterError::write(&topics, error))
    }

    /// Reads the clusters that [`save`](Self::save) wrote, with the corrections of `topics.toml`, if there
    /// are any.
    ///
    /// # Errors
    /// As [`load_as_found`](Self::load_as_found), and [`ClusterError::Correction`] for corrections that
    /// cannot be followed.
    pub fn load(folder: &Path) -> Result<Self, ClusterError> {
        Self::load_as_found(folder)?.corrected(folder)
    }

    /// Reads the clusters that [`save`](Self::save) wrote, whatever people have corrected since.
    ///
    /// # Errors
    /// [`ClusterError::Read`] if a file is not there or is damaged, [`ClusterError::Content`] if the two
    /// files do not fit together or were written by another version.
    pub fn load_as_found(folder: &Path) -> Result<Self, ClusterError> {
        let path = folder.join(TOPICS);
        let text = fs::read_to_string(&path).map_err(|error| ClusterError::read(&path, error))?;
        // Another version may have other fields.
        let Version { version } =
            serde_json::from_str(&text).map_err(|error| ClusterError::read(&path, error))?;
        if version != VERSION {
            let problem = format!("version {version}, this program reads version {VERSION}");
            return Err(ClusterError::Content { path, problem });
        }
        let Description { model, fingerprint, model_source, seed, settings, counts, topics, .. } =
            serde_json::from_str(&text).map_err(|error| ClusterError::read(&path, error))?;
        let path = folder.join(PAIRS);
        let (pairs, layout) = table::read(&path).map_err(|error| ClusterError::read(&path, error))?;
        let model = model.map(|name| ModelIdentity { name, fingerprint, source: model_source });
        let clusters = Self { pairs, topics, layout, counts, settings, seed, model };
        clusters.check().map_err(|problem| ClusterError::Content { path, problem })?;
        Ok(clusters)
    }

    /// Whether pairs and topics tell the same story.
    fn check(&self) -> Result<(), String> {
        for pair in &self.pairs {
            let known = match (pair.topic, pair.domain) {
                (None, None) => true,
                (Some(topic), Some(domain)) => {
                    pair.kept && self.topics.get(topic).is_some_and(|topic| domain < topic.domains.len())
                }
                _ => false,
            };
            if !known {
                return Err(format!("pair `{}` is in a domain that {TOPICS} does not have", pair.key));
            }
        }
        for (topic, members) in self.topics.iter().zip(self.members()) {
            let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
            if sizes != topic.domains || sizes.iter().sum::<usize>() != topic.size {
                let (name, expected) = (&topic.name, &topic.domains);
                return Err(format!(
                    "topic `{name}` has domains of {sizes:?} pairs, {TOPICS} says {expected:?} of {}",
                    topic.size
                ));
            }
        }
        Ok(())
    }
}
