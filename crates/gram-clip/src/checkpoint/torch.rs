//! Files of `torch.save` and TorchScript archives.
//!
//! Since PyTorch 1.6 a file is a ZIP archive: `NAME/data.pkl` says which tensors there are, `NAME/data/KEY`
//! holds the bytes of a storage, stored and never compressed, so that they are read where they lie. A
//! TorchScript archive is the same with objects in the place of dictionaries, and code that is not read.
//! Before, a file was a row of pickles with the storages behind them. Big-endian files are refused.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Pickle, PickleError, Value};
use super::pickled_tensors::{Storages, Walk, is_torch_script_class};
use super::place::Entry;
use super::torch_error::{TorchError, content};
use crate::signal::Activation;

/// Number at the start of a file from before 1.6.
const MAGIC: &[u8] = &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

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

/// A pickle with the magic number; from protocol 4 on a frame stands before it.
fn is_legacy(bytes: &[u8]) -> bool {
    let [0x80, 2..=5, rest @ ..] = bytes else { return false };
    rest.starts_with(MAGIC)
        || (rest.first() == Some(&0x95) && rest.get(9..).is_some_and(|rest| rest.starts_with(MAGIC)))
}

/// What is in a file, by the path to it: keys and attributes, joined by dots. Tensors, and what is not read;
/// numbers and texts are left out. A class or a function that is not known here is never run, and ends
/// nothing: a scheduler or a namespace beside the weights is no part of them.
///
/// # Errors
/// [`TorchError`].
pub fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, TorchError> {
    match is_zip(bytes) {
        true => archive(bytes),
        false => legacy(bytes),
    }
}

/// The entries of an archive that are stored as they are, and the folder that `data.pkl` is in.
fn entries(bytes: &[u8]) -> Result<(Storages, String), TorchError> {
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
    Ok((entries, root))
}

fn archive(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, TorchError> {
    let (entries, root) = entries(bytes)?;
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

/// The activation that a TorchScript archive names among its classes: OpenAI's have `QuickGELU`, models that
/// open_clip traced PyTorch's `GELU`. Nothing if it names neither, or both.
pub fn torch_script_activation(bytes: &[u8]) -> Option<Activation> {
    let (entries, root) = entries(bytes).ok()?;
    let pickle = Pickle::parse(&bytes[entries.get(&format!("{root}data.pkl"))?.clone()]).ok()?;
    let names = |class: &str| {
        pickle.values().any(|value| match value {
            Value::Global(module, name) => is_torch_script_class(module) && *name == class,
            _ => false,
        })
    };
    match (names("QuickGELU"), names("GELU")) {
        (true, false) => Some(Activation::QuickGelu),
        (false, true) => Some(Activation::Gelu),
        _ => None,
    }
}

/// Magic number, version, system; the object; the keys of the storages; then every storage: a count and the
/// bytes.
fn legacy(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, TorchError> {
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
