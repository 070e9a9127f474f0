//! What can go wrong, and the way out.

use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why pairs could not be clustered, or clusters not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A setting is out of range.
    #[error("{field} = {value}: must be {range}")]
    Setting {
        /// Its name in the settings.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        range: &'static str,
    },
    /// Two inputs differ in length.
    #[error("{what}: {found} rows for {expected} pairs: give one row per pair")]
    Length {
        /// Which input.
        what: &'static str,
        /// Rows it has.
        found: usize,
        /// Number of keys.
        expected: usize,
    },
    /// An input holds a value that is not a number, or infinite.
    #[error("{what} of pair `{key}` is not finite: drop the pair or compute its features again")]
    NotFinite {
        /// Which input.
        what: &'static str,
        /// The pair's key.
        key: String,
    },
    /// A feature vector has no direction.
    #[error("{what} of pair `{key}` is all zeros: drop the pair or compute its features again")]
    Zero {
        /// Which input.
        what: &'static str,
        /// The pair's key.
        key: String,
    },
    /// Too few pairs to find neighbourhoods in.
    #[error("{found} pairs are left of {given}, {needed} are needed: give more pairs or filter fewer out")]
    TooFewPairs {
        /// Pairs left after filtering.
        found: usize,
        /// Pairs given.
        given: usize,
        /// The least that can be clustered.
        needed: usize,
    },
    /// Pairs are to be filtered by how similar image and caption are, which is not known.
    #[error(
        "the features of images and captions are of two models, so that their similarity cannot be computed: leave out \
         minimum_similarity and similarity_quantile, or give features of one model"
    )]
    NoSimilarities,
    /// Everything was noise, or no topic could be named or divided.
    #[error(
        "no topic found among {pairs} pairs: {noise} are in no dense group, {} in groups too small for a domain ({}), {} in \
         groups without a word ({}), {} in groups that cannot give an episode both sets ({}): {advice}",
        small[0], small[1], unnamed[0], unnamed[1], unfit[0], unfit[1]
    )]
    NoTopics {
        /// Pairs clustered.
        pairs: usize,
        /// Pairs in no dense group.
        noise: usize,
        /// Pairs in groups that are too small for a domain, and those groups.
        small: [usize; 2],
        /// The same of groups that no word is left for.
        unnamed: [usize; 2],
        /// The same of groups that cannot give an episode both a support set from one domain and a query
        /// set.
        unfit: [usize; 2],
        /// What to do about the largest of these.
        advice: String,
    },
    /// CLIP's features of names cannot be computed.
    #[error("names of topics: {source}")]
    Names {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Other processes cannot make pieces.
    #[error("pieces of the clustering: {source}")]
    Pieces {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The corrections cannot be read as text; names the file.
    #[error(transparent)]
    Text(gram_data::DataError),
    /// What people have written of topics cannot be followed.
    #[error("{}: {problem}", path.display())]
    Correction {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// Two pairs have one key.
    #[error("key `{key}` names two pairs: give every pair a key of its own")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A file of clusters cannot be read.
    #[error("{}: cannot be read as clusters ({source}): give a folder that clusters were saved in, or cluster again", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file of clusters cannot be written.
    #[error("{}: cannot be written ({source}): give a folder that can be written to", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file is well formed but not what this version writes.
    #[error("{}: {problem}: cluster again", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl ClusterError {
    /// An error unless `valid`.
    pub(crate) fn check_setting(
        valid: bool,
        field: &'static str,
        value: &dyn Display,
        range: &'static str,
    ) -> Result<(), Self> {
        if valid { Ok(()) } else { Err(Self::Setting { field, value: value.to_string(), range }) }
    }
    pub(crate) fn read(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Read { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn write(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Write { path: path.to_owned(), source: source.into() }
    }
}
