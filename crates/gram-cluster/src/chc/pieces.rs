//! Where stages are kept, and the pieces of them that other processes can make there.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::stages::Stages;
use super::{ChcInput, ChcSettings};
use crate::error::ClusterError;

/// Pairs of a piece, about.
pub(crate) const PAIRS_OF_A_PIECE: usize = 1 << 16;

/// A piece of a clustering that a process can make from the same pairs and what is in the folder of stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    /// The layout of the pairs that are laid out.
    Layout,
    /// Neighbours of some of the other pairs, by their place among such pieces.
    Others(usize),
    /// Domains of some of the topics, by their place among such pieces.
    Domains(usize),
    /// The layout in two dimensions.
    Map,
}

/// Sees to it that pieces are made, and returns when they are.
pub type MakePieces<'a> = dyn Fn(&[Piece]) -> Result<(), Box<dyn Error + Send + Sync>> + Sync + 'a;

/// Where stages are kept that are done.
#[derive(Clone, Copy)]
pub enum StagesIn<'a> {
    /// Nowhere but in memory.
    Memory,
    /// In a folder: a clustering that was stopped goes on after the last of them.
    Folder(&'a Path),
    /// In a folder that other processes share, which make pieces in it.
    Shared(&'a Path, &'a MakePieces<'a>),
}

impl<'a> StagesIn<'a> {
    pub(super) fn folder(self) -> Option<&'a Path> {
        match self {
            Self::Memory => None,
            Self::Folder(folder) | Self::Shared(folder, _) => Some(folder),
        }
    }

    /// Lets other processes make the pieces that are `left`, if there are any of both.
    pub(super) fn share(
        self,
        left: impl FnOnce() -> Result<Vec<Piece>, ClusterError>,
    ) -> Result<(), ClusterError> {
        let Self::Shared(_, make) = self else { return Ok(()) };
        match left()?.as_slice() {
            [] => Ok(()),
            left => make(left).map_err(|source| ClusterError::Pieces { source }),
        }
    }
}

/// Makes pieces of a clustering that another process has begun in `folder`, of the same input (where names
/// need no features), settings and seed.
///
/// # Errors
/// If no clustering was begun there, what a piece is made from is not there, or it cannot be written.
pub fn make_pieces(
    input: &ChcInput,
    settings: &ChcSettings,
    seed: u64,
    folder: &Path,
    pieces: &[Piece],
) -> Result<(), ClusterError> {
    let stages = Stages::of_folder(input, settings, seed, folder)?;
    let search = stages.search();
    // All others are made from the pairs that are laid out.
    if !pieces.iter().all(|piece| matches!(piece, Piece::Domains(_))) {
        stages.check(0, folder)?;
    }
    for piece in pieces {
        match *piece {
            Piece::Layout => drop(stages.reduction(&stages.graph()?)?),
            Piece::Others(number) => {
                stages.check(1 + number, folder)?;
                stages.some_of_others(number, &search)?;
            }
            Piece::Domains(number) => stages.shared_domains(number, folder)?,
            Piece::Map => drop(stages.map(&stages.graph()?, stages.of_others()?.as_ref())?),
        }
    }
    Ok(())
}

/// The topics of every piece of domains.
pub(super) fn topics_of_pieces(members: &[impl AsRef<[usize]>]) -> Vec<Range<usize>> {
    let (mut pieces, mut first, mut pairs) = (Vec::new(), 0, 0);
    for (topic, rows) in members.iter().enumerate() {
        pairs += rows.as_ref().len();
        if pairs >= PAIRS_OF_A_PIECE || topic + 1 == members.len() {
            pieces.push(first..topic + 1);
            (first, pairs) = (topic + 1, 0);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_topics_until_it_has_pairs_enough() {
        let topics = [PAIRS_OF_A_PIECE + 1, PAIRS_OF_A_PIECE - 1, 1, 5].map(|size| vec![0; size]);
        assert_eq!(topics_of_pieces(&topics), [0..1, 1..3, 3..4]);
        assert_eq!(topics_of_pieces(&topics[..3]), [0..1, 1..3]);
        assert!(topics_of_pieces(&topics[..0]).is_empty());
    }
}
