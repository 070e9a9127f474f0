//! Cross-modal hierarchical clustering: captions into topics, images into domains.
//!
//! [`cluster`] is the whole of it (section 3.2 of the paper); [`chc`] tells the steps, and each step is a
//! module that stands for itself: [`nearest_neighbours`] and [`umap`] make captions few-dimensional,
//! [`hdbscan`] finds topics, [`topic_names`] names them, [`k_means`] and [`domains`] divide their images.
//! [`Clusters`] is what comes out, in memory and as a folder of two files.
//!
//! ```
//! use gram_cluster::{ChcInput, ChcSettings, Clusters, StagesIn, cluster};
//! use ndarray::Array2;
//!
//! // 90 pairs: the caption says one of three names, the image has one of two looks.
//! let names = ["tiger", "teapot", "rocket"];
//! let keys: Vec<String> = (0..90).map(|row| format!("{row:03}")).collect();
//! let captions: Vec<String> = (0..90).map(|row| format!("a photo of a {}", names[row % 3])).collect();
//! let near = |corner: usize, row: usize, column: usize| {
//!     let noise = ((row * 31 + column * 17) % 7) as f32 / 50.0;
//!     if column == corner { 1.0 + noise } else { noise }
//! };
//! let caption_embeddings = Array2::from_shape_fn((90, 8), |(row, column)| near(row % 3, row, column));
//! let image_features = Array2::from_shape_fn((90, 8), |(row, column)| near(row % 2, row, column));
//!
//! let input = ChcInput {
//!     keys: &keys,
//!     captions: &captions,
//!     image_features: &image_features,
//!     similarities: Some(&[0.3; 90]),
//!     caption_embeddings: &caption_embeddings,
//!     name_features: None,
//! };
//! let settings = ChcSettings { domains: 2, ..ChcSettings::default() };
//! let clusters = cluster(&input, &settings, 1, StagesIn::Memory, &mut |stage| eprintln!("{stage}"))?;
//!
//! let mut labels: Vec<&str> = clusters.topics.iter().map(|topic| topic.name.as_str()).collect();
//! labels.sort();
//! assert_eq!(labels, ["rocket", "teapot", "tiger"]);
//! assert!(clusters.topics.iter().all(|topic| topic.domains.len() == 2));
//!
//! let folder = tempfile::tempdir()?;
//! clusters.save(folder.path())?;
//! assert_eq!(Clusters::load(folder.path())?, clusters);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// In the order in which pairs pass through them.
pub mod chc;

pub mod nearest_neighbours;

pub mod umap;

pub mod hdbscan;

pub mod topic_names;

pub mod k_means;

pub mod domains;

pub mod clusters;

pub mod cost;

mod agreement;
mod error;
mod matrix;
pub use agreement::adjusted_rand_index;
pub use chc::{ChcInput, ChcSettings, MakePieces, Piece, Stage, StagesIn, cluster, make_pieces};
pub use clusters::{ClusteredPair, Clusters, Counts, Topic};
pub use error::ClusterError;
pub use gram_features::Rows;
pub use hdbscan::HdbscanSettings;
pub use matrix::normalised_rows;
pub use nearest_neighbours::Metric;
pub use topic_names::{LeftOut, NameFeatures, TopicWordSettings};
pub use umap::UmapSettings;
