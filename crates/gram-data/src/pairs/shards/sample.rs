//! The members of one key, and the pairs that they are.

use std::io;

use serde_json::Value;

use super::{Found, MemberName, MemberReader, Shard};
use crate::ImageFile;
use crate::fingerprint::{self, Fingerprinting};
use crate::pairs::{Pair, SkipCause, caption};
use crate::table::json;
use crate::text_file::{WIDE, is_wide, without_mark};

/// What a member is to its sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Caption,
    Metadata,
    /// Whatever is not read.
    Other,
}

impl Kind {
    pub(super) fn of(name: MemberName<'_>, is_file: bool) -> Self {
        match name {
            _ if !is_file => Self::Other,
            name if name.is_image() => Self::Image,
            name if name.is("txt") => Self::Caption,
            name if name.is("json") && name.part.is_empty() => Self::Metadata,
            _ => Self::Other,
        }
    }
}

/// Why a caption is none.
type Cause = (SkipCause, Option<String>);

/// The members of one key; images and captions with the names of their parts.
pub(super) struct Sample {
    key: String,
    images: Vec<(String, ImageFile, u128)>,
    captions: Vec<(String, Result<String, Cause>)>,
    /// Null if it is no JSON.
    metadata: Option<Value>,
    /// What is not read of it.
    others: Vec<String>,
}

impl Sample {
    pub(super) fn new(key: &str) -> Self {
        let key = key.to_owned();
        Self { key, images: Vec::new(), captions: Vec::new(), metadata: None, others: Vec::new() }
    }

    /// Whether it has such a part.
    pub(super) fn has(&self, part: &str, kind: Kind) -> bool {
        match kind {
            Kind::Image => self.images.iter().any(|(name, ..)| name == part),
            Kind::Caption => self.captions.iter().any(|(name, _)| name == part),
            Kind::Metadata => self.metadata.is_some(),
            Kind::Other => false,
        }
    }

    /// Takes in a member; false if it has such a part already.
    pub(super) fn take(
        &mut self,
        shard: &Shard<'_>,
        name: MemberName<'_>,
        kind: Kind,
        member: &mut MemberReader<'_>,
    ) -> io::Result<bool> {
        if self.has(name.part, kind) {
            return Ok(false);
        }
        match kind {
            Kind::Image => {
                let (image, fingerprint) = shard.image(member)?;
                self.images.push((name.part.to_owned(), image, fingerprint));
            }
            Kind::Caption => self.captions.push((name.part.to_owned(), read_caption(&member.read()?))),
            Kind::Metadata if shard.keep_metadata => {
                let text = member.read()?;
                self.metadata = Some(json::parse(without_mark(&text)).unwrap_or_default());
            }
            Kind::Metadata => self.others.push("json".to_owned()),
            Kind::Other => {
                let file = if member.is_file { "" } else { " (no file, but a link)" };
                self.others.push(format!("{}{file}", name.extension));
            }
        }
        Ok(true)
    }

    /// The pairs that the members are, and what of them is in none.
    pub(super) fn pairs(mut self, shard: &Shard<'_>) -> Vec<Found> {
        let mut matched = self.matched();
        let alone = matched.len() == 1;
        let metadata = self.metadata.take().filter(|metadata| !metadata.is_null());
        let mut found: Vec<Found> = Vec::new();
        for (part, image, fingerprint, caption) in matched.drain(..) {
            let key =
                if alone || part.is_empty() { self.key.clone() } else { format!("{}.{part}", self.key) };
            found.push(match caption {
                Ok(caption) => {
                    let fingerprint = fingerprint::of_pair(fingerprint, &caption);
                    let key = format!("{}{key}", shard.prefix);
                    Ok((Pair { key, image, caption, metadata: metadata.clone() }, fingerprint))
                }
                Err((cause, detail)) => Err(shard.skipped(&key, cause, detail)),
            });
        }
        found.extend(self.left_over(shard, !found.is_empty()).into_iter().map(Err));
        found
    }

    /// Takes out the images and captions that belong together.
    fn matched(&mut self) -> Vec<(String, ImageFile, u128, Result<String, Cause>)> {
        let mut matched = Vec::new();
        for (part, image, fingerprint) in std::mem::take(&mut self.images) {
            match self.captions.iter().position(|(name, _)| *name == part) {
                Some(caption) => matched.push((part, image, fingerprint, self.captions.remove(caption).1)),
                None => self.images.push((part, image, fingerprint)),
            }
        }
        if matched.is_empty() {
            let (image, caption) =
                (only(&self.images, |(part, ..)| part), only(&self.captions, |(part, _)| part));
            if let Some((image, caption)) = image.zip(caption) {
                let (part, image, fingerprint) = self.images.remove(image);
                matched.push((part, image, fingerprint, self.captions.remove(caption).1));
            }
        }
        matched
    }

    /// What is in no pair: of a sample without a pair the sample, of another its further images and captions.
    fn left_over(&self, shard: &Shard<'_>, has_pair: bool) -> Vec<super::Skipped> {
        let others =
            self.others.iter().filter(|other| *other != "json").map(String::as_str).collect::<Vec<_>>();
        let detail = (!others.is_empty()).then(|| format!("not read of it: {}", others.join(", ")));
        let skipped = |cause| vec![shard.skipped(&self.key, cause, detail.clone())];
        match (self.images.is_empty(), self.captions.is_empty()) {
            (true, true) if has_pair || (self.metadata.is_none() && self.others.is_empty()) => Vec::new(),
            (true, true) if self.metadata.is_none() && !self.others.iter().any(|other| other == "json") => {
                skipped(SkipCause::NoPart)
            }
            (true, _) if !has_pair => skipped(SkipCause::NoImage),
            (_, true) if !has_pair => skipped(SkipCause::NoCaption),
            _ => self.unclear(shard),
        }
    }

    /// Images and captions of which nothing says to which they belong.
    fn unclear(&self, shard: &Shard<'_>) -> Vec<super::Skipped> {
        let images = self.images.iter().map(|(part, ..)| (part, "an image"));
        let captions = self.captions.iter().map(|(part, _)| (part, "a caption"));
        let skipped = |(part, what): (&String, &str)| {
            let detail = format!("{what} among several, and no other part has its name");
            let dot = if part.is_empty() { "" } else { "." };
            shard.skipped(&format!("{}{dot}{part}", self.key), SkipCause::NoPart, Some(detail))
        };
        images.chain(captions).map(skipped).collect()
    }
}

/// The one that is alone, or alone without a name.
fn only<T>(all: &[T], part: impl Fn(&T) -> &String) -> Option<usize> {
    match all {
        [_] => Some(0),
        _ => all.iter().position(|one| part(one).is_empty()),
    }
}

/// The caption that a member holds.
fn read_caption(bytes: &[u8]) -> Result<String, Cause> {
    if is_wide(bytes) {
        return Err((SkipCause::UnreadableCaption, Some(WIDE.to_owned())));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| (SkipCause::UnreadableCaption, None))?;
    caption(Some(text)).map_err(|cause| (cause, None))
}

impl Shard<'_> {
    /// An image and the fingerprint of its bytes. It stays in its file, unless that is compressed: millions
    /// of images are more than memory holds.
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
}
