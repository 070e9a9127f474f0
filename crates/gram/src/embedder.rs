//! Features of pairs into a folder, on one machine or on many.

use std::ops::Range;
use std::path::Path;

use gram_data::Progress;
use gram_experiments::embedding::{Embedded, Embedding, Precision, Summary, embed, embed_part, parts_left};

use crate::{Clip, Error, Pairs};

/// Computes features of images and captions into a features folder, as `gram embed` does: what is stopped
/// goes on.
#[derive(Clone, Copy, Debug)]
pub struct Embedder<'a> {
    embedding: Embedding<'a>,
}

impl<'a> Embedder<'a> {
    /// By a model; features are written in 16 bits.
    pub fn new(model: &'a Clip) -> Self {
        Self { embedding: Embedding { model, sentence_bert: None, precision: Precision::Half } }
    }

    /// Writes features in 32 bits.
    pub fn full_precision(mut self) -> Self {
        self.embedding.precision = Precision::Single;
        self
    }

    /// Computes what is not done, and joins all parts.
    ///
    /// # Errors
    /// If the folder holds features of something else, no image can be read, or a file cannot be written.
    pub fn run(&self, pairs: &Pairs, out: &Path, progress: &dyn Progress) -> Result<Summary, Error> {
        embed(&self.embedding, Embedded::Pairs(pairs), pairs.name(), out, false, progress)
    }

    /// Claims the folder for these features, and tells which pairs have none yet, part by part. Any machine
    /// may write a part with [`write_part`](Self::write_part); [`run`](Self::run) then joins them to the
    /// bytes of one machine.
    ///
    /// # Errors
    /// If the folder holds features of something else.
    pub fn parts_left(&self, pairs: &Pairs, out: &Path) -> Result<Vec<Range<usize>>, Error> {
        parts_left(&self.embedding, Embedded::Pairs(pairs), out)
    }

    /// Computes a part: these pairs, which are all of the part that begins with the pair of number `first`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_part(
        &self,
        pairs: &Pairs,
        first: usize,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        embed_part(&self.embedding, Embedded::Pairs(pairs), first, out, progress)
    }
}
