//! Image-text pairs and labelled datasets: shards, manifests, domains, splits and few-shot sampling.
//!
//! [`read_pairs`] gives what is learned from without labels, [`EmbeddingsFolder`] what another program saw in
//! such pairs, and [`LabelledDataset`] what a prompt is tuned and tested on; [`few_shot`] draws the shots,
//! [`Augmentation`] varies them, and [`random`] keeps all draws apart. Images stay encoded until they are
//! asked for.
//!
//! ```
//! use gram_data::{ClassSubset, LabelledDataset, Split, few_shot};
//!
//! let shapes = LabelledDataset::open("tests/fixtures/shapes.tar.gz")?;
//! assert_eq!(shapes.class_names(ClassSubset::Base), ["circle", "cross", "ring"]);
//!
//! let support_set = few_shot::sample(&shapes, Split::Train, ClassSubset::Base, None, 2, 7);
//! assert_eq!(support_set.len(), 3 * 2);
//! let image = shapes.images[support_set[0]].image.decode()?;
//! assert_eq!(image.dimensions(), (8, 8));
//! # Ok::<(), gram_data::DataError>(())
//! ```

mod archive;
mod augment;
mod class_list;
mod classes;
mod dataset;
mod embeddings_folder;
mod error;
pub mod few_shot;
pub mod fingerprint;
mod hugging_face;
mod image_file;
mod image_folder;
mod member_name;
mod npy_header;
mod pairs;
mod progress;
pub mod random;
pub mod similar_names;
mod table;
mod text_file;
pub mod whole_file;

pub use augment::Augmentation;
pub use class_list::{are_numbers, read_class_list};
pub use classes::{ClassSubset, UnknownSubsetName, readable_name};
pub use dataset::{Benchmark, LabelledDataset, LabelledImage, Split, UnknownSplitName};
pub use embeddings_folder::{EmbeddingsFolder, EmbeddingsPart};
pub use error::DataError;
pub use few_shot::{FewShotSplit, Sampling, Shortfall, Shot};
pub use image_file::ImageFile;
pub use npy_header::check_npy_header;
pub use pairs::{
    CopyOf, Pair, Pairs, SkipCause, Skipped, UniqueKeys, read_pairs, read_pairs_with_metadata, read_shard,
};
pub use progress::Progress;
pub use text_file::{read_text, text_of, without_mark};
