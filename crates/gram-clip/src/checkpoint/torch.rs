//! Files of `torch.save` and TorchScript archives.
//!
//! Since PyTorch 1.6 a file is a ZIP archive: `NAME/data.pkl` says which tensors there are, `NAME/data/KEY` holds the
//! bytes of a storage, stored and never compressed, so that they are read where they lie. A TorchScript archive is the
//! same with objects in the place of dictionaries, and code that is not read. Before, a file was a row of pickles with
//! the storages behind them. Big-endian files are refused.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::ops::Range;

use safetensors::tensor::Dtype;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Pickle, PickleError, Value};
use super::place::Place;

/// Number at the start of a file from before 1.6.
const MAGIC: &[u8] = &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Objects inside objects that are followed.
const DEEPEST: usize = 64;
/// Values that are looked at, repetitions counted.
const MOST: usize = 1_000_000;

/// Why a file of PyTorch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// Its pickle.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// Its archive.
    #[error("not a readable ZIP archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// Something in it that contradicts itself.
    #[error("{0}")]
    Content(String),
}

/// Whether these bytes begin like a file of PyTorch.
pub fn is_torch(bytes: &[u8]) -> bool {
    is_zip(bytes) || is_legacy(bytes)
}

/// Whether the file is a TorchScript archive, as OpenAI published its models.
pub fn is_torch_script(bytes: &[u8]) -> bool {
    is_zip(bytes)
        && ZipArchive::new(Cursor::new(bytes))
            .is_ok_and(|archive| archive.file_names().flatten().any(|name| name.ends_with("/constants.pkl")))
}

fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// A pickle of protocol 2 with the magic number.
fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x80, 2]) && bytes[2..].starts_with(MAGIC)
}

/// The tensors of a file by the path to them: keys and attributes, joined by dots.
///
/// # Errors
/// [`TorchError`].
pub fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Place>, TorchError> {
    match is_zip(bytes) {
        true => archive(bytes),
        false => legacy(bytes),
    }
}

fn content(problem: impl Into<String>) -> TorchError {
    TorchError::Content(problem.into())
}

/// Where the bytes of each storage lie in the file.
type Storages = HashMap<String, Range<usize>>;

fn archive(bytes: &[u8]) -> Result<BTreeMap<String, Place>, TorchError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        let (name, size) = (entry.name()?.into_owned(), entry.size());
        // What is compressed is no storage of PyTorch's, and might be far larger than the file.
        if entry.compression() == CompressionMethod::Stored && entry.compressed_size() == size {
            let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
            let end = start.and_then(|start| start.checked_add(usize::try_from(size).ok()?));
            if let (Some(start), Some(end)) = (start, end.filter(|end| *end <= bytes.len())) {
                entries.insert(name, start..end);
            }
        }
    }
    let roots = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots.min_by_key(|root| root.len()).map(str::to_owned);
    let root = root.ok_or_else(|| content("a ZIP archive without data.pkl: it is not from PyTorch"))?;
    if let Some(order) = entries.get(&format!("{root}byteorder"))
        && bytes[order.clone()].trim_ascii() != b"little"
    {
        return Err(content("its numbers are big-endian: save it again on another machine"));
    }
    let pickle = Pickle::parse(&bytes[entries[&format!("{root}data.pkl")].clone()])?;
    let data = format!("{root}data/");
    let storages = entries
        .into_iter()
        .filter_map(|(name, range)| Some((name.strip_prefix(&data)?.to_owned(), range)))
        .collect();
    Walk::new(&pickle, &storages).run()
}

/// Magic number, version, system; the object; the keys of the storages; then every storage: a count and the bytes.
fn legacy(bytes: &[u8]) -> Result<BTreeMap<String, Place>, TorchError> {
    let mut at = 0;
    let mut next = || -> Result<Pickle<'_>, PickleError> {
        let pickle = Pickle::parse(&bytes[at..])?;
        at += pickle.length;
        Ok(pickle)
    };
    next()?;
    next()?;
    let system = next()?;
    let little = |(key, value): &(Id, Id)| {
        *system.get(*key) == Value::Text("little_endian") && *system.get(*value) == Value::Bool(true)
    };
    match system.get(system.root()) {
        Value::Dictionary(pairs) if pairs.iter().any(little) => {}
        _ => return Err(content("its numbers are not known to be little-endian")),
    }
    let (object, keys) = (next()?, next()?);
    let keys = keys.sequence(keys.root()).unwrap_or_default().into_iter().cloned().collect::<Vec<_>>();
    // Sizes of elements are known where the storages are mentioned, and there only.
    let widths = Walk::new(&object, &HashMap::new()).storage_widths();
    let mut storages = Storages::new();
    for key in keys {
        let Value::Text(key) = key else { return Err(content("a storage without a name")) };
        let count = bytes.get(at..at + 8).ok_or_else(|| content("it ends before its last storage"))?;
        let count = count.iter().rev().fold(0_usize, |count, byte| (count << 8) | usize::from(*byte));
        let width = *widths.get(key).ok_or_else(|| content(format!("storage {key} belongs to no tensor")))?;
        let end = count.checked_mul(width).and_then(|size| (at + 8).checked_add(size));
        let end = end.filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| content(format!("it ends before the end of storage {key}")))?;
        storages.insert(key.to_owned(), at + 8..end);
        at = end;
    }
    Walk::new(&object, &storages).run()
}

/// A way through a pickle to its tensors.
struct Walk<'a> {
    pickle: &'a Pickle<'a>,
    storages: &'a Storages,
    found: BTreeMap<String, Place>,
    seen: usize,
}

impl<'a> Walk<'a> {
    fn new(pickle: &'a Pickle<'a>, storages: &'a Storages) -> Self {
        Self { pickle, storages, found: BTreeMap::new(), seen: 0 }
    }

    fn run(mut self) -> Result<BTreeMap<String, Place>, TorchError> {
        self.visit(self.pickle.root(), "", 0)?;
        Ok(self.found)
    }

    /// Bytes of an element of every storage that is mentioned.
    fn storage_widths(&self) -> HashMap<String, usize> {
        let values = (0..).map_while(|id| self.pickle.try_get(id));
        let width = |value: &Value| match value {
            Value::Persistent(id) => self.storage(*id).map(|(key, dtype)| (key.to_owned(), width_of(dtype))),
            _ => None,
        };
        values.filter_map(width).collect()
    }

    fn visit(&mut self, id: Id, path: &str, depth: usize) -> Result<(), TorchError> {
        self.seen += 1;
        if depth > DEEPEST || self.seen > MOST {
            return Err(content("its objects are nested too deeply, or repeated too often, for a model"));
        }
        match self.pickle.get(id) {
            Value::Dictionary(pairs) => {
                for (key, value) in pairs {
                    let key = match self.pickle.get(*key) {
                        Value::Text(key) => (*key).to_owned(),
                        Value::Integer(key) => key.to_string(),
                        _ => continue,
                    };
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.visit(*value, &path, depth + 1)?;
                }
            }
            Value::Object(Some(attributes)) => self.visit(*attributes, path, depth + 1)?,
            Value::Call(function, arguments) => {
                let arguments = match self.pickle.get(*arguments) {
                    Value::Sequence(arguments) => arguments.as_slice(),
                    _ => &[],
                };
                match (self.pickle.get(*function), arguments) {
                    (
                        Value::Global("torch._utils", "_rebuild_tensor_v2"),
                        [storage, offset, shape, strides, ..],
                    ) => {
                        let place = self.place(path, [*storage, *offset, *shape, *strides])?;
                        self.found.insert(path.to_owned(), place);
                    }
                    (Value::Global("torch._utils", "_rebuild_parameter"), [tensor, ..]) => {
                        self.visit(*tensor, path, depth + 1)?;
                    }
                    _ => {}
                }
            }
            // Nothing that a model has its weights in.
            _ => {}
        }
        Ok(())
    }

    fn place(&self, path: &str, [storage, offset, shape, strides]: [Id; 4]) -> Result<Place, TorchError> {
        let wrong = |problem: &str| content(format!("tensor `{path}`: {problem}"));
        let (key, dtype) = match self.pickle.get(storage) {
            Value::Persistent(id) => self.storage(*id).ok_or_else(|| wrong("no storage of a known type"))?,
            _ => return Err(wrong("no storage")),
        };
        let bytes = self.storages.get(key).ok_or_else(|| wrong("its storage is not in the file"))?.clone();
        let sizes = |id: Id| self.pickle.sizes(self.pickle.get(id));
        let (Some(shape), Some(strides)) = (sizes(shape), sizes(strides)) else {
            return Err(wrong("no shape"));
        };
        let Value::Integer(offset) = self.pickle.get(offset) else { return Err(wrong("no offset")) };
        let offset = usize::try_from(*offset).map_err(|_| wrong("no offset"))?;
        Place::strided(bytes, dtype, offset, shape, strides)
            .ok_or_else(|| wrong("reaches beyond its storage"))
    }

    /// Key and type of a storage: `('storage', type, key, location, count)`.
    fn storage(&self, id: Id) -> Option<(&'a str, Dtype)> {
        match self.pickle.sequence(id)?.as_slice() {
            [Value::Text("storage"), Value::Global("torch", storage), Value::Text(key), ..] => {
                Some((key, storage_type(storage)?))
            }
            _ => None,
        }
    }
}

fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

fn width_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}
