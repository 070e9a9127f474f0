//! What is in a file, whatever it belongs to: tensors by name, and what is not read.

use std::collections::BTreeMap;

use safetensors::tensor::SafeTensors;

use super::place::{Entry, Place, Unread};
use super::torch;
use super::write::Named;
use crate::error::ClipError;

/// What is in a file, whatever its format.
pub(super) fn entries(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, ClipError> {
    if torch::is_torch(bytes) {
        return torch::tensors(bytes).map_err(|source| ClipError::Torch { file: file.to_owned(), source });
    }
    let refused = |source| ClipError::Safetensors { file: file.to_owned(), source };
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(refused)?;
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (start, end) = info.data_offsets;
        let shift = |offset: usize| offset.checked_add(8 + header).filter(|end| *end <= bytes.len());
        let range = shift(start).zip(shift(end)).map(|(start, end)| start..end);
        let place = range.and_then(|range| Place::ordered(range, info.dtype, info.shape.clone()));
        let cut = || refused(safetensors::SafeTensorError::MetadataIncompleteBuffer);
        Ok((name, Entry::Tensor(place.ok_or_else(cut)?)))
    };
    metadata.tensors().into_iter().map(place).collect()
}

/// What a file holds, whatever it belongs to.
pub struct Contents {
    /// The tensors of floating-point numbers.
    pub tensors: Named,
    /// What else stands under a name: objects, and tensors that are no floating-point numbers.
    pub unread: BTreeMap<String, Unread>,
}

/// The contents of a file called `file`: what training scripts wrap around the names is taken away, and so is
/// what lies beside a `state_dict`.
///
/// # Errors
/// [`ClipError`] names the file.
pub fn read_contents(file: &str, bytes: &[u8]) -> Result<Contents, ClipError> {
    let all = unwrapped(entries(file, bytes)?, |entry| matches!(entry, Entry::Tensor(_)));
    let mut contents = Contents { tensors: Named::new(), unread: BTreeMap::new() };
    for (name, entry) in all {
        match entry {
            Entry::Tensor(place) => match place.values(bytes) {
                Some(values) => _ = contents.tensors.insert(name, (place.shape, values)),
                None => {
                    let kind = Unread::Tensor(format!("it is of type {:?}", place.dtype()));
                    contents.unread.insert(name, kind);
                }
            },
            Entry::Unread(what) => _ = contents.unread.insert(name, what),
        }
    }
    Ok(contents)
}

/// The floating-point tensors of a file called `file`, as [`read_contents`] reads them, and nothing else.
///
/// # Errors
/// [`ClipError`] names the file.
pub fn read_tensors(file: &str, bytes: &[u8]) -> Result<Named, ClipError> {
    Ok(read_contents(file, bytes)?.tensors)
}

/// Without what training scripts wrap around the names: an outer `state_dict`, `module.` of parallel
/// training, and `_orig_mod.` of compiled models. `is_tensor` says which of the values are tensors: no other
/// is a reason to keep a name.
pub(super) fn unwrapped<T>(all: BTreeMap<String, T>, is_tensor: impl Fn(&T) -> bool) -> BTreeMap<String, T> {
    let within = |all: BTreeMap<String, T>, prefix: &str, others: bool| {
        let (inner, outer): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(name, _)| name.starts_with(prefix));
        match inner.is_empty() || (!others && outer.values().any(&is_tensor)) {
            true => inner.into_iter().chain(outer).collect(),
            false => {
                inner.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value)).collect()
            }
        }
    };
    let model = within(all, "state_dict.", true);
    within(within(model, "module.", false), "_orig_mod.", false)
}

/// Reads every tensor of a file, and forgets it. Whatever the bytes are, that ends in values or in an error,
/// and takes little more memory than the file: what fuzzing tries.
pub fn read_anything(bytes: &[u8]) {
    for entry in entries("fuzzed", bytes).unwrap_or_default().into_values() {
        match entry {
            Entry::Tensor(place) => drop(place.values(bytes)),
            Entry::Unread(what) => drop(what.reason("fuzzed")),
        }
    }
}
