//! Pairs from WebDataset shards.
//!
//! A member's key is its path up to the first dot of its base name; members of one key make one pair, wherever in the
//! shard they stand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{Collector, Pair, Pairs, SkipCause, caption};
use crate::archive::{Member, archive_stem, read_members};
use crate::image_file::is_image_extension;
use crate::{DataError, ImageFile};

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
    image: Option<Member>,
    caption: Option<Arc<[u8]>>,
    metadata: Option<Arc<[u8]>>,
}

/// Reads all shards of a folder, in parallel; pairs come in the order of the shards' names.
pub(super) fn read_folder(folder: &Path) -> Result<Pairs, DataError> {
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
    let read: Vec<_> = shards.par_iter().map(|(_, path)| read_file(path)).collect();
    let mut collector = Collector::default();
    for ((stem, _), shard) in shards.iter().zip(read) {
        let shard = shard?;
        for pair in shard.pairs {
            let key = format!("{stem}/{}", pair.key);
            collector.add(key.clone(), Ok(Pair { key, ..pair }));
        }
        for skipped in shard.skipped {
            collector.skip(format!("{stem}/{}", skipped.name), skipped.cause);
        }
    }
    Ok(collector.collected)
}

/// Reads the shard at `path`.
pub(super) fn read_file(path: &Path) -> Result<Pairs, DataError> {
    let file = File::open(path).map_err(DataError::at(path))?;
    read(&path.display().to_string(), BufReader::new(file))
}

/// Reads a shard.
pub(super) fn read(shard: &str, reader: impl Read) -> Result<Pairs, DataError> {
    let members = read_members(shard, reader, |path| key_and_part(path).is_some())?;
    let mut collector = Collector::default();
    for (key, parts) in group(members, &mut collector) {
        collector.add(key.clone(), pair(shard, key, parts));
    }
    Ok(collector.collected)
}

/// Gathers members by key, in the order in which keys first appear; a second member of a kind is skipped.
fn group(members: Vec<Member>, collector: &mut Collector) -> Vec<(String, Parts)> {
    let mut groups: Vec<(String, Parts)> = Vec::new();
    let mut positions = HashMap::new();
    for (path, content) in members {
        let Some((key, part)) = key_and_part(&path) else { continue };
        let position = match positions.entry(key.to_owned()) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                groups.push((key.to_owned(), Parts::default()));
                *entry.insert(groups.len() - 1)
            }
        };
        if !groups[position].1.put(part, &path, content) {
            collector.skip(path, SkipCause::DuplicateKey);
        }
    }
    groups
}

impl Parts {
    /// Fills in a part; false if it is there already.
    fn put(&mut self, part: Part, path: &str, content: Arc<[u8]>) -> bool {
        match part {
            Part::Image if self.image.is_none() => self.image = Some((path.to_owned(), content)),
            Part::Caption if self.caption.is_none() => self.caption = Some(content),
            Part::Metadata if self.metadata.is_none() => self.metadata = Some(content),
            _ => return false,
        }
        true
    }
}

fn pair(shard: &str, key: String, parts: Parts) -> Result<Pair, SkipCause> {
    let (path, bytes) = parts.image.ok_or(SkipCause::NoImage)?;
    let text = parts.caption.as_deref().map(std::str::from_utf8).transpose();
    let caption = caption(text.map_err(|_| SkipCause::UnreadableCaption)?)?;
    let metadata = parts.metadata.as_deref().map(serde_json::from_slice).transpose();
    let metadata = metadata.map_err(|_| SkipCause::UnreadableJson)?;
    Ok(Pair { key, image: ImageFile::Bytes { name: format!("{shard}: {path}"), bytes }, caption, metadata })
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
