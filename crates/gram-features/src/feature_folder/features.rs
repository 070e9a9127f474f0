//! Matrices of features, in memory or in a file.

use std::ops::Range;

use gram_clip::checkpoint::Bytes;
use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::Rows;

/// A matrix.
pub struct Features {
    values: Values,
    /// Rows that are kept, and columns.
    shape: (usize, usize),
    /// The rows that are kept, if some are not.
    kept: Option<Vec<usize>>,
}

/// Where its numbers are.
enum Values {
    /// In a file of 16- or 32-bit numbers, of which only what is read is loaded.
    File { file: Bytes, range: Range<usize>, half: bool },
    /// In memory.
    Memory(Vec<f16>),
}

impl Features {
    /// A matrix of a safetensors file; none if it is not in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_tensor(file: &Bytes, name: &str) -> Result<Option<Self>, String> {
        let bytes: &[u8] = (**file).as_ref();
        let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let Some(info) = metadata.info(name) else { return Ok(None) };
        let [rows, columns] = *info.shape else { return Err(format!("{name} is no matrix")) };
        let half = match info.dtype {
            Dtype::F16 => true,
            Dtype::F32 => false,
            other => return Err(format!("{name} is of {other:?}, not of 16- or 32-bit numbers")),
        };
        let data = header + size_of::<u64>();
        let range = data + info.data_offsets.0..data + info.data_offsets.1;
        if range.len() != rows * columns * if half { 2 } else { 4 } || bytes.len() < range.end {
            return Err(format!("{name} is cut short"));
        }
        let values = Values::File { file: file.clone(), range, half };
        Ok(Some(Self { values, shape: (rows, columns), kept: None }))
    }

    /// A matrix of so many rows and columns in memory.
    pub(super) fn in_memory(values: Vec<f16>, shape: (usize, usize)) -> Self {
        Self { values: Values::Memory(values), shape, kept: None }
    }

    /// Leaves out all rows but these.
    pub(super) fn keep(&mut self, rows: &[usize]) {
        self.shape.0 = rows.len();
        self.kept = Some(rows.to_vec());
    }

    /// Bytes that are held in memory.
    pub(super) fn bytes_in_memory(&self) -> usize {
        match &self.values {
            Values::Memory(values) => size_of_val(values.as_slice()),
            Values::File { .. } => 0,
        }
    }
}

impl Rows for Features {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        let width = self.shape.1;
        let row = self.kept.as_ref().map_or(row, |kept| kept[row]);
        let numbers = row * width..(row + 1) * width;
        match &self.values {
            Values::Memory(values) => {
                into.iter_mut().zip(&values[numbers]).for_each(|(to, from)| *to = from.to_f32());
            }
            Values::File { file, range, half } => {
                let bytes = &(**file).as_ref()[range.clone()];
                let size = if *half { 2 } else { 4 };
                let row = bytes[numbers.start * size..numbers.end * size].chunks_exact(size);
                into.iter_mut().zip(row).for_each(|(to, from)| {
                    *to = match from {
                        [one, two] => f16::from_le_bytes([*one, *two]).to_f32(),
                        [one, two, three, four] => f32::from_le_bytes([*one, *two, *three, *four]),
                        _ => 0.0,
                    };
                });
            }
        }
    }
}
