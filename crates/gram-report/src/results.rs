//! What one evaluation measured, as it stands in `results.json`.
//!
//! The file is JSON, UTF-8, one [`Results`] object. Accuracies are percentages in [0, 100]; losses and
//! ratios have no unit; times are seconds. A number that is not finite (the loss of a run that diverged) is
//! written as `null` and read back as NaN. Everything the tables and the report show is computed from this
//! file alone, so an old run can be shown again without being repeated.
//!
//! [`VERSION`] rises whenever a field changes its meaning or goes away; a new optional field leaves it as it
//! is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gram_data::whole_file::write_whole;
use serde::{Deserialize, Deserializer, Serialize};

pub use gram_tune::method_table::Method;
use gram_tune::score::Score;

/// The version of `results.json` written and read here.
pub const VERSION: u32 = 1;

/// Everything one evaluation measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`VERSION`] of the program that wrote the file.
    pub version: u32,
    /// The command line that was run.
    pub command: String,
    /// The model that was tuned: its name or path as given, and what is worth knowing of it.
    pub model: String,
    /// Every setting in force, as the program holds them.
    pub settings: serde_json::Value,
    /// The datasets of the base-to-new protocol, in the order of the tables.
    pub datasets: Vec<String>,
    /// The seeds that were run.
    pub seeds: Vec<u64>,
    /// What was left out or made smaller, one sentence each.
    pub notes: Vec<String>,
    /// Base-to-new generalization (the paper's Table 1).
    #[serde(default)]
    pub base_to_new: Vec<BaseToNewRun>,
    /// Cross-domain generalization (the paper's Table 2).
    #[serde(default)]
    pub cross_domain: Vec<CrossDomainRun>,
    /// Cross-dataset generalization (the paper's Table 3): what [`CrossDomainRun`] calls domains are
    /// datasets.
    #[serde(default)]
    pub cross_dataset: Vec<CrossDomainRun>,
    /// Accuracy by epoch of adaptation (the paper's Figure 3a).
    #[serde(default)]
    pub curves: Vec<CurvePoint>,
    /// Meta-training by step (the paper's Figure 3b).
    #[serde(default)]
    pub meta_training: Vec<MetaCurve>,
    /// Topics and domains found by clustering, if they were computed.
    #[serde(default)]
    pub topics: Option<TopicMap>,
    /// How long each stage took.
    #[serde(default)]
    pub stages: Vec<StageTime>,
}

/// One method tuned on the base classes of one dataset with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseToNewRun {
    /// Name of the dataset.
    pub dataset: String,
    /// Method that was tuned.
    pub method: Method,
    /// Seed of the few shots and of the tuning.
    pub seed: u64,
    /// Accuracy on the classes that were tuned on, in percent.
    pub base: f64,
    /// Accuracy on the classes that were not, in percent.
    pub new: f64,
    /// Further measures, of `base` and of `new`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, Score>,
}

/// One method tuned in one domain and measured in all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossDomainRun {
    /// Name of the dataset.
    pub dataset: String,
    /// Method that was tuned.
    pub method: Method,
    /// Seed of the few shots and of the tuning.
    pub seed: u64,
    /// The domain that was tuned on.
    pub source: String,
    /// Accuracy in percent by domain, the source among them.
    pub accuracies: Vec<(String, f64)>,
    /// Further measures, by domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, Score>,
}

impl CrossDomainRun {
    /// What was measured in each domain.
    pub fn new(
        dataset: String,
        method: Method,
        seed: u64,
        source: String,
        measured: Vec<(String, Score)>,
    ) -> Self {
        let accuracies = measured.iter().map(|(domain, score)| (domain.clone(), score.accuracy)).collect();
        Self { dataset, method, seed, source, accuracies, scores: measured.into_iter().collect() }
    }

    /// Accuracy in the domain that was tuned on, if it was measured.
    pub fn source_accuracy(&self) -> Option<f64> {
        self.accuracies.iter().find(|(domain, _)| *domain == self.source).map(|(_, accuracy)| *accuracy)
    }

    /// Accuracies in every other domain.
    pub fn target_accuracies(&self) -> impl Iterator<Item = &(String, f64)> {
        self.accuracies.iter().filter(|(domain, _)| *domain != self.source)
    }
}

/// One epoch of one adaptation run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Name of the dataset.
    pub dataset: String,
    /// Method that is being tuned.
    pub method: Method,
    /// Seed of the few shots and of the tuning.
    pub seed: u64,
    /// Epochs done; 0 is the start.
    pub epoch: usize,
    /// Mean training loss of the epoch.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Accuracy on the base classes, in percent.
    pub base: f64,
    /// Accuracy on the new classes, in percent.
    pub new: f64,
}

/// The course of one meta-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetaCurve {
    /// The method whose start and regulator were learned.
    pub method: Method,
    /// Where the curve comes from: "trained live", or "shipped, trained by ...".
    pub source: String,
    /// The recorded steps, in order.
    pub points: Vec<MetaPoint>,
}

/// One recorded step of meta-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetaPoint {
    /// Outer steps done.
    pub step: usize,
    /// Mean query loss of the step's tasks after the inner loop.
    #[serde(deserialize_with = "null_is_nan")]
    pub query_loss: f64,
    /// Mean query accuracy of the step's tasks after the inner loop, in percent.
    #[serde(deserialize_with = "null_is_nan")]
    pub query_accuracy: f64,
    /// Normalised inner product of the regulated support gradient and the query gradient, in [-1, 1].
    #[serde(deserialize_with = "null_is_nan")]
    pub alignment: f64,
    /// Query loss on held-out tasks, at the steps where it was measured.
    #[serde(default)]
    pub held_out_loss: Option<f64>,
    /// Query accuracy on held-out tasks in percent, at the steps where it was measured.
    #[serde(default)]
    pub held_out_accuracy: Option<f64>,
    /// Norm of the regulated gradient over the norm of the raw one.
    #[serde(deserialize_with = "null_is_nan")]
    pub regulated_over_raw: f64,
}

/// The clustered image-text pairs on a plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicMap {
    /// The pairs shown.
    pub points: Vec<MapPoint>,
    /// The topics; a point names one by its place in this list.
    pub topics: Vec<TopicSummary>,
    /// Small pictures of some of the pairs.
    pub thumbnails: Vec<Thumbnail>,
}

/// One image-text pair on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapPoint {
    /// Horizontal place, in any unit.
    pub x: f64,
    /// Vertical place, in the same unit.
    pub y: f64,
    /// Place of its topic in [`TopicMap::topics`]; none is noise.
    pub topic: Option<usize>,
    /// Number of its domain inside the topic.
    pub domain: Option<usize>,
    /// The pair's text.
    pub caption: String,
    /// Place of its picture in [`TopicMap::thumbnails`], if there is one.
    pub thumbnail: Option<usize>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicSummary {
    /// The word that names it.
    pub word: String,
    /// Its highest-scoring words, best first.
    pub words: Vec<String>,
    /// Pairs in it.
    pub size: usize,
    /// Pairs in each of its domains.
    pub domains: Vec<usize>,
}

/// A small picture of one pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// Place of its pair in [`TopicMap::points`].
    pub point: usize,
    /// Media type, such as `image/png`.
    pub mime: String,
    /// The encoded picture file, in standard base64.
    pub base64: String,
}

impl Thumbnail {
    /// A picture from the bytes of its encoded file.
    pub fn new(point: usize, mime: impl Into<String>, file: &[u8]) -> Self {
        Thumbnail { point, mime: mime.into(), base64: STANDARD.encode(file) }
    }
}

/// How long one stage of the evaluation took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Name of the stage.
    pub name: String,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Why results could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    /// The file could not be read or written.
    #[error("{}: {source}: check that the folder exists and is yours", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not a results object.
    #[error("{}: not a results file: {source}: pass the results.json of a finished run", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where the text departs from the format.
        source: serde_json::Error,
    },
    /// The file is of another version.
    #[error(
        "{}: version {found}, this program reads version {VERSION}: use the program that wrote it, or run again",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
    },
}

impl Results {
    /// Results of a run that has measured nothing yet.
    pub fn new(command: impl Into<String>, model: impl Into<String>, settings: serde_json::Value) -> Self {
        Results {
            version: VERSION,
            command: command.into(),
            model: model.into(),
            settings,
            datasets: Vec::new(),
            seeds: Vec::new(),
            notes: Vec::new(),
            base_to_new: Vec::new(),
            cross_domain: Vec::new(),
            cross_dataset: Vec::new(),
            curves: Vec::new(),
            meta_training: Vec::new(),
            topics: None,
            stages: Vec::new(),
        }
    }

    /// Writes `results.json`, indented, with a final line break.
    ///
    /// # Errors
    /// [`ResultsError::File`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        let format = |source| ResultsError::Format { path: path.to_owned(), source };
        let mut text = serde_json::to_string_pretty(self).map_err(format)?;
        text.push('\n');
        write_whole(path, text.as_bytes())
            .map_err(|source| ResultsError::File { path: path.to_owned(), source })
    }

    /// Reads a `results.json`.
    ///
    /// # Errors
    /// [`ResultsError::File`] if the file cannot be read, [`ResultsError::Version`] if another version of the
    /// format made it, [`ResultsError::Format`] if it is anything else.
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ResultsError::File { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Looks at the version first: a file of another version is best named as such, not by its first odd
    /// field.
    fn parse(text: &str, path: &Path) -> Result<Self, ResultsError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let format = |source| ResultsError::Format { path: path.to_owned(), source };
        let Versioned { version } = serde_json::from_str(text).map_err(format)?;
        if version != VERSION {
            return Err(ResultsError::Version { path: path.to_owned(), found: version });
        }
        serde_json::from_str(text).map_err(format)
    }
}

/// JSON has no word for NaN: it is written as `null`.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Small results made by hand, for the tests of everything computed from them.
#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests;
