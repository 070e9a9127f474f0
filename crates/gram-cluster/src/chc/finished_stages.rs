//! Stages that are done, in files: a clustering that was stopped goes on after the last of them.
//!
//! A folder holds a safetensors file for every stage that takes long. Each names what it was made of (a
//! checksum of settings, seed, keys and embeddings); what was made of something else is made anew.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use gram_data::whole_file::write_whole;
use gram_features::Rows;
use ndarray::Array2;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::ChcSettings;
use crate::error::ClusterError;
use crate::hdbscan::Clustering;
use crate::nearest_neighbours::NearestNeighbours;

/// Where results of stages are kept, if they are.
pub(super) struct FinishedStages {
    folder: Option<PathBuf>,
    made_of: String,
}

impl FinishedStages {
    /// Of a clustering whose stages work with rows that have these sums.
    pub(super) fn new(folder: Option<&Path>, settings: &ChcSettings, seed: u64, sums: &[u32]) -> Self {
        let mut checksum = crc32fast::Hasher::new();
        sums.iter().for_each(|sum| checksum.update(&sum.to_le_bytes()));
        let made_of = format!("{} {:08x?}", asked(settings, seed), (sums.len(), checksum.finalize()));
        Self { folder: folder.map(Path::to_owned), made_of }
    }

    /// Those that another process has begun in a folder with these settings, where it has kept something of
    /// a name.
    pub(super) fn begun<T: Kept>(
        folder: &Path,
        settings: &ChcSettings,
        seed: u64,
        name: &str,
    ) -> Result<(Self, T), ClusterError> {
        let path = file(folder, name);
        let Some((made_of, kept)) = read(&path) else {
            let problem = "no clustering that other processes share was begun here".to_owned();
            return Err(ClusterError::Content { path, problem });
        };
        if !made_of.starts_with(&asked(settings, seed)) {
            let problem =
                "a clustering with other settings or another seed was begun here meanwhile".to_owned();
            return Err(ClusterError::Content { path, problem });
        }
        Ok((Self { folder: Some(folder.to_owned()), made_of }, kept))
    }

    /// What the stage of a name gave when it was done before, or gives now. What else it is made of comes
    /// after what all are.
    pub(super) fn of<T: Kept>(
        &self,
        name: &str,
        what_else: &str,
        make: impl FnOnce() -> T,
    ) -> Result<T, ClusterError> {
        let Some(folder) = &self.folder else { return Ok(make()) };
        let (path, made_of) = (file(folder, name), self.made_of.clone() + what_else);
        if let Some((_, kept)) = read(&path).filter(|(found, _)| *found == made_of) {
            return Ok(kept);
        }
        let made = make();
        write(&path, &made, made_of)?;
        Ok(made)
    }

    /// Whether the stage of a name was done before.
    pub(super) fn has<T: Kept>(&self, name: &str, what_else: &str) -> bool {
        let found = self.folder.as_ref().and_then(|folder| read::<T>(&file(folder, name)));
        found.is_some_and(|(found, _)| found == self.made_of.clone() + what_else)
    }

    /// Keeps something for other processes.
    pub(super) fn keep<T: Kept>(&self, name: &str, what: &T) -> Result<(), ClusterError> {
        match &self.folder {
            Some(folder) => write(&file(folder, name), what, self.made_of.clone()),
            None => Ok(()),
        }
    }

    /// What another process has kept.
    pub(super) fn kept<T: Kept>(&self, name: &str) -> Result<T, ClusterError> {
        let path = file(self.folder.as_deref().unwrap_or(Path::new("")), name);
        match read(&path) {
            Some((made_of, kept)) if made_of == self.made_of => Ok(kept),
            _ => Err(ClusterError::Content { path, problem: "it is not of this clustering".to_owned() }),
        }
    }
}

/// What is asked of all stages.
fn asked(settings: &ChcSettings, seed: u64) -> String {
    let ChcSettings { umap, hdbscan, fit_sample, .. } = settings;
    format!("{seed} {umap:?} {hdbscan:?} {fit_sample:?}")
}

/// A checksum of keys and values of some rows.
pub(super) fn sum_of(keys: &[String], values: &dyn Rows, rows: &[usize]) -> u32 {
    let of_some = |rows: &[usize]| {
        let (mut checksum, mut row_values) = (crc32fast::Hasher::new(), vec![0.0_f32; values.shape().1]);
        for row in rows {
            values.read(*row, &mut row_values);
            checksum.update(keys[*row].as_bytes());
            checksum.update(&row_values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
        checksum.finalize()
    };
    let mut checksum = crc32fast::Hasher::new();
    let sums: Vec<u32> = rows.par_chunks(SUMMED_AT_ONCE).map(of_some).collect();
    sums.iter().for_each(|sum| checksum.update(&sum.to_le_bytes()));
    checksum.finalize()
}

/// Rows of a sum that one thread reads.
const SUMMED_AT_ONCE: usize = 4096;

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("safetensors")
}

/// What a file was made of, and what it holds, if it can be read.
fn read<T: Kept>(path: &Path) -> Option<(String, T)> {
    let bytes = fs::read(path).ok()?;
    let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
    let made_of = header.metadata().as_ref()?.get("made_of")?.clone();
    Some((made_of, T::from_tensors(&SafeTensors::deserialize(&bytes).ok()?)?))
}

fn write<T: Kept>(path: &Path, made: &T, made_of: String) -> Result<(), ClusterError> {
    let write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let tensors = made.tensors();
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let metadata = HashMap::from([("made_of".to_owned(), made_of)]);
        Ok(write_whole(path, &serialize(views, Some(metadata))?)?)
    };
    write().map_err(|error| ClusterError::write(path, error))
}

type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// What can be kept in a file.
pub(super) trait Kept: Sized {
    /// As tensors.
    fn tensors(&self) -> Vec<Tensor>;
    /// From these tensors; none if they are others.
    fn from_tensors(tensors: &SafeTensors) -> Option<Self>;
}

/// A number of four or eight bytes.
trait Number: Copy {
    const DTYPE: Dtype;
    fn bytes(self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($type:ty, $dtype:expr) => {
        impl Number for $type {
            const DTYPE: Dtype = $dtype;

            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    };
}
number!(u32, Dtype::U32);
number!(i64, Dtype::I64);
number!(f32, Dtype::F32);
number!(f64, Dtype::F64);

fn matrix<T: Number>(name: &'static str, matrix: &Array2<T>) -> Tensor {
    let bytes = matrix.iter().flat_map(|value| value.bytes()).collect();
    (name, T::DTYPE, vec![matrix.nrows(), matrix.ncols()], bytes)
}

fn matrix_from<T: Number>(tensors: &SafeTensors, name: &str) -> Option<Array2<T>> {
    let tensor = tensors.tensor(name).ok()?;
    let [rows, columns] = *tensor.shape() else { return None };
    (tensor.dtype() == T::DTYPE).then_some(())?;
    let values = tensor.data().chunks_exact(size_of::<T>()).map(T::from_bytes).collect::<Option<Vec<T>>>()?;
    Array2::from_shape_vec((rows, columns), values).ok()
}

fn column<T: Number>(name: &'static str, values: impl Iterator<Item = T>) -> Tensor {
    let bytes: Vec<u8> = values.flat_map(T::bytes).collect();
    (name, T::DTYPE, vec![bytes.len() / size_of::<T>(), 1], bytes)
}

impl Kept for Array2<f32> {
    fn tensors(&self) -> Vec<Tensor> {
        vec![matrix("points", self)]
    }

    fn from_tensors(tensors: &SafeTensors) -> Option<Self> {
        matrix_from(tensors, "points")
    }
}

impl Kept for NearestNeighbours {
    fn tensors(&self) -> Vec<Tensor> {
        vec![matrix("ids", &self.ids), matrix("distances", &self.distances)]
    }

    fn from_tensors(tensors: &SafeTensors) -> Option<Self> {
        Some(Self { ids: matrix_from(tensors, "ids")?, distances: matrix_from(tensors, "distances")? })
    }
}

/// Noise has the label -1.
impl Kept for Clustering {
    fn tensors(&self) -> Vec<Tensor> {
        let labels = self.labels.iter().map(|label| label.map_or(-1, |label| label as i64));
        vec![column("labels", labels), column("strengths", self.strengths.iter().copied())]
    }

    fn from_tensors(tensors: &SafeTensors) -> Option<Self> {
        let labels: Vec<Option<usize>> =
            matrix_from::<i64>(tensors, "labels")?.iter().map(|label| usize::try_from(*label).ok()).collect();
        let clusters = labels.iter().flatten().max().map_or(0, |largest| largest + 1);
        Some(Self {
            labels,
            strengths: matrix_from(tensors, "strengths")?.iter().copied().collect(),
            clusters,
        })
    }
}

/// Numbers in groups: rows of the input, or domains, by topic.
impl Kept for Vec<Vec<usize>> {
    fn tensors(&self) -> Vec<Tensor> {
        let numbers = self.iter().flatten().map(|number| *number as u32);
        vec![column("sizes", self.iter().map(|group| group.len() as u32)), column("numbers", numbers)]
    }

    fn from_tensors(tensors: &SafeTensors) -> Option<Self> {
        let (sizes, numbers) =
            (matrix_from::<u32>(tensors, "sizes")?, matrix_from::<u32>(tensors, "numbers")?);
        let mut numbers = numbers.iter().map(|number| *number as usize);
        let groups: Self = sizes.iter().map(|size| numbers.by_ref().take(*size as usize).collect()).collect();
        let whole = sizes.iter().zip(&groups).all(|(size, group)| group.len() == *size as usize);
        (whole && numbers.next().is_none()).then_some(groups)
    }
}
