//! A matrix in a file that other programs read: NumPy's `.npy`, or safetensors. With a row for each class it
//! is a classifier: what images are compared with.

use std::fs;
use std::io;
use std::path::Path;

use gram_clip::ModelIdentity;
use gram_clip::checkpoint::float_values;
use gram_data::check_npy_header;
use gram_data::whole_file::write_whole;
use half::f16;
use npyz::{NpyFile, WriterBuilder};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use crate::FeatureError;

/// The metadata key with the names of the rows.
const CLASSES: &str = "classes";
/// The metadata key with the model.
const GRAM: &str = "gram";

/// A matrix, row-major, and what its rows are called if the file says so.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixFile {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The values.
    pub values: Vec<f32>,
    /// Names of the rows; NumPy's format keeps none.
    pub names: Option<Vec<String>>,
    /// The model whose features it is of; NumPy's format does not keep that either.
    pub model: Option<ModelIdentity>,
}

impl MatrixFile {
    /// Writes the matrix, in the format that the path ends with.
    ///
    /// # Errors
    /// If the ending is neither `.npy` nor `.safetensors`, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FeatureError> {
        let bytes = match ending(path).as_str() {
            "npy" => npy(&self.values, self.shape).map_err(|error| error.to_string()),
            "safetensors" => self.safetensors().map_err(|error| error.to_string()),
            other => Err(format!("`.{other}` is no format: .npy or .safetensors")),
        };
        let bytes = bytes.map_err(|problem| FeatureError::file(path, problem))?;
        write_whole(path, &bytes).map_err(|error| FeatureError::file(path, error))
    }

    /// The file by hand: the library writes metadata in an order of chance, and the same matrix is to be the
    /// same bytes.
    fn safetensors(&self) -> serde_json::Result<Vec<u8>> {
        let names = self.names.as_ref().map(serde_json::to_string).transpose()?;
        let model = self.model.as_ref().map(serde_json::to_string).transpose()?;
        let metadata = [(CLASSES, names), (GRAM, model)];
        let metadata: Map<String, Value> =
            metadata.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
        let end = size_of_val(self.values.as_slice());
        let weights = json!({"dtype": "F32", "shape": self.shape, "data_offsets": [0, end]});
        let mut header = json!({"__metadata__": metadata, "weights": weights}).to_string();
        // Numbers begin at a multiple of eight bytes.
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        Ok(bytes)
    }

    /// Reads a matrix of finite numbers; of a safetensors file the only one in it.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FeatureError> {
        let bytes = fs::read(path).map_err(|error| FeatureError::file(path, error))?;
        let matrix = match bytes.starts_with(b"\x93NUMPY") {
            true => of_npy(&bytes),
            false => of_safetensors(&bytes),
        };
        let matrix = matrix.map_err(|problem| FeatureError::file(path, problem))?;
        match !matrix.values.is_empty() && matrix.values.iter().all(|value| value.is_finite()) {
            true => Ok(matrix),
            false => Err(FeatureError::file(path, "it is empty, or holds a value that is not finite")),
        }
    }
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().into_owned()
}

/// A matrix as NumPy writes it (row-major, 32-bit).
///
/// # Errors
/// If the library refuses.
pub fn npy(values: &[f32], shape: [usize; 2]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let shape = shape.map(|size| size as u64);
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values)?;
    writer.finish()?;
    Ok(bytes)
}

fn of_npy(bytes: &[u8]) -> Result<MatrixFile, String> {
    let said = |error: io::Error| error.to_string();
    check_npy_header(bytes)?;
    let file = NpyFile::new(bytes).map_err(said)?;
    let shape: [u64; 2] =
        file.shape().try_into().map_err(|_| format!("{:?} is not a matrix", file.shape()))?;
    if file.order() != npyz::Order::C {
        return Err("its columns come first: save it as `numpy.ascontiguousarray(matrix)`".to_owned());
    }
    let shape = shape.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if shape[0].checked_mul(shape[1]).is_none_or(|count| count > bytes.len()) {
        return Err(format!("its header says {} x {}, the file is smaller", shape[0], shape[1]));
    }
    let file = match file.try_data::<f32>() {
        Ok(values) => return matrix(shape, values),
        Err(file) => file,
    };
    let file = match file.try_data::<f64>() {
        Ok(values) => return matrix(shape, values.map(|value| value.map(|value| value as f32))),
        Err(file) => file,
    };
    match file.try_data::<f16>() {
        Ok(values) => matrix(shape, values.map(|value| value.map(f16::to_f32))),
        Err(_) => Err("its numbers are none of float16, float32 and float64".to_owned()),
    }
}

/// A matrix of numbers as NumPy's file holds them.
fn matrix(shape: [usize; 2], values: impl Iterator<Item = io::Result<f32>>) -> Result<MatrixFile, String> {
    let values = values.collect::<Result<Vec<f32>, _>>().map_err(|error| error.to_string())?;
    Ok(MatrixFile { shape, values, names: None, model: None })
}

fn of_safetensors(bytes: &[u8]) -> Result<MatrixFile, String> {
    let neither = |error| format!("neither .npy nor safetensors: {error}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(neither)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(neither)?;
    let [(name, view)] = &tensors.tensors()[..] else {
        return Err(format!("{} tensors: one matrix is expected", tensors.len()));
    };
    let shape = view
        .shape()
        .try_into()
        .map_err(|_| format!("tensor `{name}` is {:?}, not a matrix", view.shape()))?;
    let values =
        float_values(view).ok_or_else(|| format!("tensor `{name}` holds no floating-point numbers"))?;
    let metadata = |key: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    let names = metadata(CLASSES).map(|names| serde_json::from_str(names)).transpose();
    let model = metadata(GRAM).map(|model| serde_json::from_str(model)).transpose();
    let of = |key: &'static str| move |error: serde_json::Error| format!("metadata `{key}`: {error}");
    let (names, model) = (names.map_err(of(CLASSES))?, model.map_err(of(GRAM))?);
    Ok(MatrixFile { shape, values, names, model })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(names: Option<Vec<String>>) -> MatrixFile {
        MatrixFile { shape: [2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5], names, model: None }
    }

    #[test]
    fn a_matrix_survives_the_way_through_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let mut named = matrix(Some(vec!["cat".into(), "dog".into()]));
        named.model = Some(ModelIdentity {
            fingerprint: "0123456789abcdef".parse().ok(),
            ..ModelIdentity::named("small")
        });
        named.write(&folder.path().join("a.safetensors")).unwrap();
        assert_eq!(MatrixFile::read(&folder.path().join("a.safetensors")).unwrap(), named);
        named.write(&folder.path().join("a.npy")).unwrap();
        assert_eq!(MatrixFile::read(&folder.path().join("a.npy")).unwrap(), matrix(None));
        assert!(
            named
                .write(&folder.path().join("a.txt"))
                .unwrap_err()
                .to_string()
                .contains(".npy or .safetensors")
        );
    }

    #[test]
    fn what_is_no_matrix_is_refused_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let whole = npy(&[1.0; 6], [2, 3]).unwrap();
        let nan = npy(&[f32::NAN; 6], [2, 3]).unwrap();
        for bytes in [&b"no matrix"[..], &whole[..whole.len() - 4], &nan, &[]] {
            fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", MatrixFile::read(&path).unwrap_err());
            assert!(error.contains("a.npy") && !error.contains('\n'), "{error}");
        }
    }
}
