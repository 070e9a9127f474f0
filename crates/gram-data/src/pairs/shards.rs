//! Pairs from WebDataset shards.
//!
//! Members of one key make one sample, wherever in the shard they stand. A sample with one image and one
//! caption is a pair, whatever its parts are called; of several images or captions those of one name belong
//! together, as `photo.v1.png` and `photo.v1.txt`, and those without a name. A key that begins anew, behind
//! others or in another archive that was glued to the first, begins another sample.

mod sample;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{Collector, Pair, Pairs, SkipCause, Skipped};
use crate::DataError;
use crate::archive::{MemberReader, archive_stem, visit_members};
use crate::member_name::MemberName;
use sample::{Kind, Sample};

/// Bytes of a shard that are read at once: shards are read side by side, and a disk is slow to go back and
/// forth.
const READ_AT_ONCE: usize = 1 << 20;

/// What a shard holds: a pair with its fingerprint, or something that is none.
type Found = Result<(Pair, u128), Skipped>;

/// A shard, and how it is read.
struct Shard<'a> {
    /// What messages call it.
    name: &'a str,
    /// What its keys begin with.
    prefix: &'a str,
    /// Its file, if images may stay there.
    file: Option<Arc<Path>>,
    keep_metadata: bool,
}

/// Reads all shards of a folder, in parallel; pairs come in the order of the shards' names. A shard that
/// cannot be opened or is damaged is noted as any other thing that is no pair.
pub(super) fn read_folder(folder: &Path, keep_metadata: bool) -> Result<Pairs, DataError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut shards: Vec<(String, PathBuf)> = entries
        .map_err(DataError::at(folder))?
        .iter()
        .filter_map(|entry| archive_stem(&entry.path()).map(|stem| (stem, entry.path())))
        .collect();
    if shards.is_empty() {
        return Err(DataError::NoShards { path: folder.to_path_buf() });
    }
    shards.sort();
    let read = |(stem, path): &(String, PathBuf)| {
        open(path, &format!("{stem}/"), keep_metadata)
            .unwrap_or_else(|error| vec![Err(damaged(&path.display().to_string(), &error))])
    };
    Ok(collect(shards.par_iter().map(read).collect::<Vec<_>>().into_iter().flatten()))
}

/// Reads the shard at `path`.
pub(super) fn read_file(path: &Path, keep_metadata: bool) -> Result<Pairs, DataError> {
    open(path, "", keep_metadata).map(collect)
}

/// Reads a shard from any reader.
pub(super) fn read(name: &str, reader: impl Read) -> Pairs {
    collect(Shard { name, prefix: "", file: None, keep_metadata: true }.read(reader))
}

fn open(path: &Path, prefix: &str, keep_metadata: bool) -> Result<Vec<Found>, DataError> {
    let file = File::open(path).map_err(DataError::at(path))?;
    let shard =
        Shard { name: &path.display().to_string(), prefix, file: Some(Arc::from(path)), keep_metadata };
    Ok(shard.read(BufReader::with_capacity(READ_AT_ONCE, file)))
}

fn collect(all: impl IntoIterator<Item = Found>) -> Pairs {
    let mut collector = Collector::default();
    for found in all {
        match found {
            Ok((pair, fingerprint)) => collector.add(pair, fingerprint, false, |pair| pair.key.clone()),
            Err(skipped) => collector.skip(skipped),
        }
    }
    collector.collected
}

fn damaged(shard: &str, error: &DataError) -> Skipped {
    let message = error.to_string();
    let detail = message.strip_prefix(&format!("{shard}: ")).unwrap_or(&message).to_owned();
    Skipped { name: shard.to_owned(), cause: SkipCause::DamagedShard, detail: Some(detail) }
}

/// The samples of a shard in the order in which their keys first appear.
#[derive(Default)]
struct Samples {
    all: Vec<Sample>,
    /// The last sample of every key, in every archive.
    last: HashMap<(usize, String), usize>,
    /// The sample of the last member.
    current: Option<usize>,
}

impl Samples {
    /// The sample of a member: the last one of its key, or another if that has such a part already and other
    /// samples have come since.
    fn of(&mut self, archive: usize, name: MemberName<'_>, kind: Kind) -> &mut Sample {
        let place = (archive, name.key.to_owned());
        let known = self.last.get(&place).copied();
        let same =
            known.filter(|&index| self.current == Some(index) || !self.all[index].has(name.part, kind));
        let index = same.unwrap_or(self.all.len());
        if same.is_none() {
            self.all.push(Sample::new(name.key));
            self.last.insert(place, index);
        }
        self.current = Some(index);
        &mut self.all[index]
    }
}

impl Shard<'_> {
    /// What the shard holds, up to its end or to where it is damaged; pairs in the order in which their keys
    /// first appear.
    fn read(&self, reader: impl Read) -> Vec<Found> {
        let mut samples = Samples::default();
        let mut others = Vec::new();
        let ended = visit_members(self.name, reader, |mut member| {
            let path = member.path.clone();
            let Some(name) = MemberName::of(&path) else {
                others.push(self.skipped(&path, SkipCause::NoPart, None));
                return Ok(());
            };
            let kind = Kind::of(name, member.is_file);
            if !samples.of(member.archive, name, kind).take(self, name, kind, &mut member)? {
                others.push(self.skipped(&path, SkipCause::DuplicateKey, None));
            }
            Ok(())
        });
        // Damage comes first, for it explains what else is missing; a member that was cut leaves a key
        // without parts.
        let damage = ended.err().map(|error| damaged(self.name, &error));
        let pairs = samples.all.into_iter().flat_map(|sample| sample.pairs(self));
        damage.into_iter().chain(others).map(Err).chain(pairs).collect()
    }

    fn skipped(&self, name: &str, cause: SkipCause, detail: Option<String>) -> Skipped {
        Skipped { name: format!("{}{name}", self.prefix), cause, detail }
    }
}
