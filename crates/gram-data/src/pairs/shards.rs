//! Pairs from WebDataset shards.
//!
//! A member's key is its path up to the first dot of its base name; members of one key make one pair, wherever in the
//! shard they stand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, sink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;

use super::{Collector, Pair, Pairs, SkipCause, Skipped, caption};
use crate::archive::{MemberReader, archive_stem, visit_members};
use crate::fingerprint::{self, Fingerprinting};
use crate::image_file::is_image_extension;
use crate::{DataError, ImageFile};

/// Bytes of a shard that are read at once: shards are read side by side, and a disk is slow to go back and forth.
const READ_AT_ONCE: usize = 1 << 20;

/// What a shard holds: a pair with its fingerprint, or something that is none.
type Found = Result<(Pair, u128), Skipped>;

/// What a member is to its pair.
#[derive(Clone, Copy)]
enum Part {
    Image,
    Caption,
    Metadata,
}

/// The members of one key.
#[derive(Default)]
struct Parts {
    image: Option<(ImageFile, u128)>,
    caption: Option<Result<String, SkipCause>>,
    /// Null if it is no JSON: Python writes numbers that are none as NaN.
    metadata: Option<Value>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.image.is_none() && self.caption.is_none() && self.metadata.is_none()
    }
}

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

/// Reads all shards of a folder, in parallel; pairs come in the order of the shards' names. A shard that cannot be
/// opened or is damaged is noted as any other thing that is no pair.
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
            Ok((pair, fingerprint)) => collector.add(pair, fingerprint, |pair| pair.key.clone()),
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

impl Shard<'_> {
    /// What the shard holds, up to its end or to where it is damaged; pairs in the order in which their keys first
    /// appear.
    fn read(&self, reader: impl Read) -> Vec<Found> {
        let mut groups: Vec<(String, Parts)> = Vec::new();
        let mut positions = HashMap::new();
        let mut others = Vec::new();
        let wanted = |path: &str| match key_and_part(path) {
            Some((_, Part::Metadata)) => self.keep_metadata,
            part => part.is_some(),
        };
        let ended = visit_members(self.name, reader, wanted, |mut member| {
            let Some((key, part)) = key_and_part(&member.path) else { return Ok(()) };
            let position = match positions.entry(key.to_owned()) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    groups.push((key.to_owned(), Parts::default()));
                    *entry.insert(groups.len() - 1)
                }
            };
            if !self.take(&mut groups[position].1, part, &mut member)? {
                others.push(self.skipped(&member.path, SkipCause::DuplicateKey));
            }
            Ok(())
        });
        // Damage comes first, for it explains what else is missing; a member that was cut leaves a key without parts.
        let damage = ended.err().map(|error| damaged(self.name, &error));
        let pairs = groups.into_iter().filter(|(_, parts)| !parts.is_empty());
        let pairs = pairs.map(|(key, parts)| self.pair(&key, parts));
        damage.into_iter().chain(others).map(Err).chain(pairs).collect()
    }

    /// Reads a member that is a part of a pair; false if the pair has that part already.
    fn take(&self, parts: &mut Parts, part: Part, member: &mut MemberReader<'_>) -> io::Result<bool> {
        match part {
            Part::Image if parts.image.is_none() => parts.image = Some(self.image(member)?),
            Part::Caption if parts.caption.is_none() => {
                let text = member.read()?;
                let text = std::str::from_utf8(&text).map_err(|_| SkipCause::UnreadableCaption);
                parts.caption = Some(text.and_then(|text| caption(Some(text))));
            }
            Part::Metadata if parts.metadata.is_none() => {
                parts.metadata = Some(serde_json::from_slice(&member.read()?).unwrap_or_default());
            }
            _ => return member.copy(&mut sink()).map(|()| false),
        }
        Ok(true)
    }

    /// An image and the fingerprint of its bytes. It stays in its file, unless that is compressed: millions of images
    /// are more than memory holds.
    fn image(&self, member: &mut MemberReader<'_>) -> io::Result<(ImageFile, u128)> {
        if let (Some(archive), Some(offset)) = (&self.file, member.offset) {
            let mut hash = Fingerprinting::default();
            member.copy(&mut hash)?;
            let (archive, name) = (archive.clone(), member.path.as_str().into());
            return Ok((ImageFile::Member { archive, name, offset, length: member.length }, hash.finish()));
        }
        let bytes = member.read()?;
        let fingerprint = fingerprint::of(&bytes);
        Ok((ImageFile::Bytes { name: format!("{}: {}", self.name, member.path), bytes }, fingerprint))
    }

    fn pair(&self, key: &str, parts: Parts) -> Found {
        let (image, fingerprint) = parts.image.ok_or_else(|| self.skipped(key, SkipCause::NoImage))?;
        let caption = parts.caption.unwrap_or(Err(SkipCause::NoCaption));
        let caption = caption.map_err(|cause| self.skipped(key, cause))?;
        let fingerprint = fingerprint::of_pair(fingerprint, &caption);
        let metadata = parts.metadata.filter(|metadata| !metadata.is_null());
        Ok((Pair { key: format!("{}{key}", self.prefix), image, caption, metadata }, fingerprint))
    }

    fn skipped(&self, name: &str, cause: SkipCause) -> Skipped {
        Skipped { name: format!("{}{name}", self.prefix), cause, detail: None }
    }
}

/// The key of a member and what it is, or nothing if it is no part of a pair.
fn key_and_part(path: &str) -> Option<(&str, Part)> {
    let base = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + path[base..].find('.').filter(|&dot| dot > 0)?;
    let part = match path[dot + 1..].to_ascii_lowercase().as_str() {
        "txt" => Part::Caption,
        "json" => Part::Metadata,
        extension if is_image_extension(extension) => Part::Image,
        _ => return None,
    };
    Some((&path[..dot], part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_the_first_dot_of_the_base_name() {
        let key = |path| key_and_part(path).map(|(key, _)| key);
        assert_eq!(key("v1.2/dog.JPG"), Some("v1.2/dog"));
        assert_eq!(key("dog.txt"), Some("dog"));
        assert_eq!(key("dog.mask.png"), None);
        assert_eq!(key("._dog.png"), None);
        assert_eq!(key("v1.2/dog"), None);
    }
}
