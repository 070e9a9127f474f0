//! Members of a tar archive, plain or compressed, read one after the other within bounds.
//!
//! Archives that were glued one to the other (`cat a.tar b.tar`) are read to the last: behind an end mark,
//! another archive may begin. Nothing is ever written to disk, so a member's path can do no harm; and no
//! member takes in more than [`MEMBER_LIMIT`] bytes, nor its headers more than [`HEADER_LIMIT`], however well
//! they compress.

use std::cell::Cell;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::mem::take;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry};

use crate::DataError;

/// The largest member that is read, in bytes.
pub(crate) const MEMBER_LIMIT: u64 = 256 << 20;

/// Bytes of a block of an archive.
const BLOCK: u64 = 512;

/// The most that the headers of one member (long names, extensions) may take, in bytes.
const HEADER_LIMIT: u64 = 1 << 20;

/// A file of an archive: its path and content.
pub(crate) type Member = (String, Arc<[u8]>);

/// A file of an archive while the archive is read.
pub(crate) struct MemberReader<'a> {
    /// Its path, for a name only: nothing is opened by it.
    pub(crate) path: String,
    /// Where its content begins in the archive's file, in bytes; nothing in a compressed archive.
    pub(crate) offset: Option<u64>,
    /// Bytes of its content.
    pub(crate) length: u64,
    /// Which of the archives of its file it is in: mostly there is one alone.
    pub(crate) archive: usize,
    /// Whether it is a file, and no link or device; folders are not shown at all.
    pub(crate) is_file: bool,
    content: &'a mut dyn Read,
}

impl MemberReader<'_> {
    /// The content.
    pub(crate) fn read(&mut self) -> io::Result<Arc<[u8]>> {
        let mut content = Vec::new();
        self.copy(&mut content)?;
        Ok(content.into())
    }

    /// Copies the content, all of it or an error.
    pub(crate) fn copy(&mut self, to: &mut impl Write) -> io::Result<()> {
        match io::copy(self.content, to)? {
            copied if copied < self.length => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The archive's stem, if `path` is named as a tar archive.
pub(crate) fn archive_stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let lower = name.to_ascii_lowercase();
    let ending = [".tar", ".tar.gz", ".tgz"].into_iter().find(|ending| lower.ends_with(ending))?;
    Some(name[..name.len() - ending.len()].to_owned())
}

/// The files of a tar archive whose path is `wanted`, in the archive's order, held in memory.
pub(crate) fn read_members(
    name: &str,
    reader: impl Read,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Member>, DataError> {
    let mut members = Vec::new();
    visit_members(name, reader, |mut member| {
        if member.is_file && wanted(&member.path) {
            let content = member.read()?;
            members.push((member.path, content));
        }
        Ok(())
    })?;
    Ok(members)
}

/// Shows all members of a tar archive but folders to `visit`, in the archive's order; what it does not read
/// is passed over. Before an error, `visit` has seen all that comes before the damage.
pub(crate) fn visit_members(
    name: &str,
    reader: impl Read,
    mut visit: impl FnMut(MemberReader<'_>) -> io::Result<()>,
) -> Result<(), DataError> {
    let budget = Budget::default();
    let (source, is_compressed) = decompressed(reader).map_err(|source| budget.error(name, 0, source))?;
    let mut metered = Metered { source, budget: &budget };
    let mut read = 0;
    let (mut next, mut begin) = (Vec::new(), 0);
    for number in 0.. {
        let archive = Archive::new(Cursor::new(take(&mut next)).chain(&mut metered));
        let part = Part { name, budget: &budget, number, begin, is_compressed };
        part.visit(archive, &mut read, &mut visit)?;
        let damaged = |source| budget.error(name, read, source);
        match next_archive(&budget, &mut metered).map_err(damaged)? {
            Some(block) => (begin, next) = (budget.read.get() - block.len() as u64, block),
            None => break,
        }
    }
    Ok(())
}

/// One of the archives of a file; mostly there is one alone.
struct Part<'a> {
    name: &'a str,
    budget: &'a Budget,
    number: usize,
    /// Where it begins in the file, in bytes.
    begin: u64,
    is_compressed: bool,
}

impl Part<'_> {
    /// Shows its members, up to its end mark, and counts those that were `read`.
    fn visit(
        &self,
        mut archive: Archive<impl Read>,
        read: &mut usize,
        visit: &mut impl FnMut(MemberReader<'_>) -> io::Result<()>,
    ) -> Result<(), DataError> {
        let Self { name, budget, number, begin, is_compressed } = *self;
        let mut entries = archive.entries().map_err(|source| budget.error(name, *read, source))?;
        loop {
            budget.allow(HEADER_LIMIT);
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|source| budget.error(name, *read, source))?;
            let kind = entry.header().entry_type();
            let offset = (!is_compressed).then_some(begin + entry.raw_file_position());
            let (path, length) = (member_path(&entry), entry.size());
            if length > MEMBER_LIMIT {
                return Err(too_large(name, path, length));
            }
            budget.allow(MEMBER_LIMIT);
            if !kind.is_dir() && !kind.is_pax_global_extensions() {
                let (archive, is_file) = (number, kind.is_file());
                let member = MemberReader { path, offset, length, archive, is_file, content: &mut entry };
                visit(member).map_err(|source| budget.error(name, *read, source))?;
            }
            let passed = io::copy(&mut entry, &mut io::sink());
            passed.map_err(|source| budget.error(name, *read, source))?;
            *read += 1;
        }
        // Without an end mark, the file was cut.
        match budget.ended.get() {
            true => Err(budget.error(name, *read, ErrorKind::UnexpectedEof.into())),
            false => Ok(()),
        }
    }
}

/// The reader itself, or what it unpacks to if it begins with the magic bytes of gzip; and whether it does.
pub(crate) fn decompressed<'a>(mut reader: impl Read + 'a) -> io::Result<(Box<dyn Read + 'a>, bool)> {
    let mut head = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut head)?;
    let is_compressed = head == [0x1f, 0x8b];
    let whole = Cursor::new(head).chain(reader);
    let source: Box<dyn Read + 'a> =
        if is_compressed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
    Ok((source, is_compressed))
}

fn member_path(entry: &Entry<'_, impl Read>) -> String {
    let path = entry.path_bytes();
    let path = String::from_utf8_lossy(&path);
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

/// The first block behind an end mark that is not empty: another archive begins there. Nothing at the end of
/// the file, whose checksum, if it is compressed, has then been read.
fn next_archive(budget: &Budget, rest: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    budget.allow(MEMBER_LIMIT);
    loop {
        let mut block = Vec::new();
        rest.take(BLOCK).read_to_end(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        if (block.len() as u64) < BLOCK {
            return Ok(None);
        }
    }
}

fn too_large(name: &str, member: String, size: u64) -> DataError {
    DataError::MemberTooLarge { name: name.to_owned(), member, size, limit: MEMBER_LIMIT }
}

/// How much may still be read and was read, in bytes, and whether the source has ended.
#[derive(Default)]
struct Budget {
    left: Cell<u64>,
    read: Cell<u64>,
    ended: Cell<bool>,
}

impl Budget {
    fn allow(&self, bytes: u64) {
        self.left.set(bytes);
    }

    fn error(&self, name: &str, members: usize, source: io::Error) -> DataError {
        let name = name.to_owned();
        if self.ended.get() || source.kind() == ErrorKind::UnexpectedEof {
            DataError::ArchiveTruncated { name, members }
        } else {
            DataError::ArchiveDamaged { name, members, source }
        }
    }
}

/// A reader on a budget.
struct Metered<'a, R> {
    source: R,
    budget: &'a Budget,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.budget.left.get() == 0 {
            return Err(io::Error::other("its headers or its padding are too large"));
        }
        let read = self.source.read(buffer)?;
        self.budget.ended.set(read == 0 && !buffer.is_empty());
        self.budget.left.set(self.budget.left.get().saturating_sub(read as u64));
        self.budget.read.set(self.budget.read.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_by_its_name() {
        let stem = |name: &str| archive_stem(Path::new(name));
        assert_eq!(stem("data/pairs-000.tar").as_deref(), Some("pairs-000"));
        assert_eq!(stem("Pairs.TAR.GZ").as_deref(), Some("Pairs"));
        assert_eq!(stem("a.b.tgz").as_deref(), Some("a.b"));
        assert_eq!(stem("pairs.csv"), None);
    }

    #[test]
    fn a_member_above_the_limit_is_refused_by_its_header_alone() {
        let mut header = tar::Header::new_gnu();
        header.set_path("huge.png").unwrap();
        header.set_size(MEMBER_LIMIT + 1);
        header.set_cksum();
        let error = read_members("big.tar", header.as_bytes().as_slice(), |_| true).unwrap_err();
        assert!(error.to_string().starts_with("big.tar: member `huge.png` has 268435457 bytes"), "{error}");
    }

    #[test]
    fn a_name_without_end_is_refused() {
        let mut header = tar::Header::new_gnu();
        header.set_path("././@LongLink").unwrap();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(u64::MAX >> 8);
        header.set_cksum();
        let endless = header.as_bytes().as_slice().chain(io::repeat(b'a'));
        let error = read_members("bomb.tar", endless, |_| true).unwrap_err();
        assert!(error.to_string().contains("headers or its padding are too large"), "{error}");
    }
}
