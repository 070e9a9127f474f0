//! The stages that take long: each is made once, in pieces where it has some.

use std::cell::LazyCell;
use std::ops::Deref;
use std::path::Path;

use gram_data::random::{indexed_stream, stream};
use ndarray::{Array2, s};
use rand::Rng;
use rayon::prelude::*;

use super::finished_stages::{FinishedStages, sum_of};
use super::fitted::Fitted;
use super::pieces::{PAIRS_OF_A_PIECE, Piece, topics_of_pieces};
use super::{ChcInput, ChcSettings};
use crate::domains::domains;
use crate::error::ClusterError;
use crate::hdbscan::Clustering;
use crate::nearest_neighbours::{NearestNeighbours, SearchAmong};
use crate::umap;
use crate::umap::graph::FuzzyGraph;

const NEIGHBOURS: &str = "neighbours";
const REDUCTION: &str = "reduction";
const MAP: &str = "map";
/// What only processes that share a clustering need.
const KEPT: &str = "kept";
const MEMBERS: &str = "members";

pub(super) struct Stages<'a> {
    input: &'a ChcInput<'a>,
    settings: &'a ChcSettings,
    seed: u64,
    /// Rows of the input that pass the filter, in the order of their keys.
    pub(super) kept: Vec<usize>,
    fitted: Fitted,
    finished: FinishedStages,
    /// Sums of the caption embeddings of the pairs that are laid out, and of each piece of the others; none
    /// where no stage is kept.
    sums: Vec<u32>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(
        input: &'a ChcInput<'a>,
        settings: &'a ChcSettings,
        seed: u64,
        kept: Vec<usize>,
        folder: Option<&Path>,
    ) -> Self {
        let fitted = Fitted::new(&kept, settings);
        let (mut sums, mut of_images) = (Vec::new(), None);
        if folder.is_some() {
            sums = fitted.pieces().map(|rows| sum_of(input.keys, input.caption_embeddings, rows)).collect();
            of_images = Some(sum_of(input.keys, input.image_features, &kept));
        }
        let all: Vec<u32> = sums.iter().copied().chain(of_images).collect();
        let finished = FinishedStages::new(folder, settings, seed, &all);
        Self { input, settings, seed, fitted, kept, finished, sums }
    }

    /// Those that another process has begun in a folder.
    pub(super) fn of_folder(
        input: &'a ChcInput<'a>,
        settings: &'a ChcSettings,
        seed: u64,
        folder: &Path,
    ) -> Result<Self, ClusterError> {
        let (finished, kept) = FinishedStages::begun::<Vec<Vec<usize>>>(folder, settings, seed, KEPT)?;
        let [kept, sums] = <[Vec<usize>; 2]>::try_from(kept).unwrap_or_default();
        if kept.is_empty() || kept.iter().any(|row| *row >= input.keys.len()) {
            return Err(of_other_pairs(folder));
        }
        let sums = sums.into_iter().map(|sum| sum as u32).collect();
        Ok(Self { input, settings, seed, fitted: Fitted::new(&kept, settings), kept, finished, sums })
    }

    /// Refuses the pairs that are laid out, or a piece of the others, where this process reads others than
    /// the one that began the clustering.
    pub(super) fn check(&self, piece: usize, folder: &Path) -> Result<(), ClusterError> {
        let rows = self.fitted.pieces().nth(piece).unwrap_or_default();
        let found = sum_of(self.input.keys, self.input.caption_embeddings, rows);
        if self.sums.get(piece) == Some(&found) { Ok(()) } else { Err(of_other_pairs(folder)) }
    }

    /// Tells other processes which pairs are kept; gives the pieces that are left of what topics are found
    /// in.
    pub(super) fn pieces_before_topics(&self) -> Result<Vec<Piece>, ClusterError> {
        let sums = self.sums.iter().map(|sum| *sum as usize).collect();
        self.finished.keep(KEPT, &vec![self.kept.clone(), sums])?;
        let is_laid_out = self.finished.has::<NearestNeighbours>(NEIGHBOURS, "")
            && self.finished.has::<Array2<f32>>(REDUCTION, "");
        let layout = (!is_laid_out).then_some(Piece::Layout);
        let others = 0..self.fitted.others.len().div_ceil(PAIRS_OF_A_PIECE);
        let others =
            others.filter(|number| !self.finished.has::<NearestNeighbours>(&others_name(*number), ""));
        Ok(layout.into_iter().chain(others.map(Piece::Others)).collect())
    }

    /// Tells other processes which pairs are in which topic; gives the pieces that are left after topics are
    /// found.
    pub(super) fn pieces_after_topics(&self, members: &[&[usize]]) -> Result<Vec<Piece>, ClusterError> {
        let pieces = topics_of_pieces(members);
        let sums =
            pieces.iter().map(|topics| self.sum_of_images(&members[topics.clone()]) as usize).collect();
        let with_sums: Vec<Vec<usize>> =
            members.iter().map(|rows| rows.to_vec()).chain(std::iter::once(sums)).collect();
        self.finished.keep(MEMBERS, &with_sums)?;
        let is_left = |(number, topics): &(usize, std::ops::Range<usize>)| {
            let what = self.what_is_divided(topics.start, &members[topics.clone()]);
            !self.finished.has::<Vec<Vec<usize>>>(&domains_name(*number), &what)
        };
        let domains = pieces.into_iter().enumerate().filter(is_left);
        let map = (!self.finished.has::<Array2<f32>>(MAP, "")).then_some(Piece::Map);
        Ok(map.into_iter().chain(domains.map(|(number, _)| Piece::Domains(number))).collect())
    }

    /// Makes a piece of domains of the topics that another process has found.
    pub(super) fn shared_domains(&self, piece: usize, folder: &Path) -> Result<(), ClusterError> {
        let mut members: Vec<Vec<usize>> = self.finished.kept(MEMBERS)?;
        let sums = members.pop().unwrap_or_default();
        let topics = topics_of_pieces(&members).into_iter().nth(piece).unwrap_or_default();
        let (first, members) = (topics.start, &members[topics]);
        let are_here = members.iter().flatten().all(|row| *row < self.input.keys.len());
        if !are_here || sums.get(piece) != Some(&(self.sum_of_images(members) as usize)) {
            return Err(of_other_pairs(folder));
        }
        self.domains(piece, first, members).map(drop)
    }

    fn sum_of_images(&self, members: &[impl AsRef<[usize]>]) -> u32 {
        let rows: Vec<usize> = members.iter().flat_map(|rows| rows.as_ref()).copied().collect();
        sum_of(self.input.keys, self.input.image_features, &rows)
    }

    /// Neighbours among the pairs that are laid out.
    pub(super) fn neighbours(&self) -> Result<NearestNeighbours, ClusterError> {
        let embeddings = || self.input.caption_embeddings.select(&self.fitted.rows);
        self.finished.of(NEIGHBOURS, "", || umap::neighbours(embeddings(), &self.settings.umap))
    }

    /// The graph of these neighbours, made when it is first used: layouts that are done need none.
    pub(super) fn graph(&self) -> Result<impl Deref<Target = FuzzyGraph>, ClusterError> {
        let neighbours = self.neighbours()?;
        Ok(LazyCell::new(move || FuzzyGraph::new(&neighbours)))
    }

    /// The search for neighbours of pairs that are not laid out, made when it is first used.
    pub(super) fn search(&self) -> impl Deref<Target = SearchAmong<'static>> {
        let embeddings = || self.input.caption_embeddings.select(&self.fitted.rows);
        LazyCell::new(move || umap::neighbours_of_others(embeddings(), &self.settings.umap))
    }

    /// A piece of what [`Stages::of_others`] gives.
    pub(super) fn some_of_others(
        &self,
        number: usize,
        search: &impl Deref<Target = SearchAmong<'static>>,
    ) -> Result<NearestNeighbours, ClusterError> {
        let rows = self.fitted.others.chunks(PAIRS_OF_A_PIECE).nth(number).unwrap_or_default();
        let find = || search.nearest_to(self.input.caption_embeddings, rows);
        self.finished.of(&others_name(number), "", find)
    }

    /// Neighbours, among the pairs that are laid out, of those that are not, if there are any.
    pub(super) fn of_others(&self) -> Result<Option<NearestNeighbours>, ClusterError> {
        let count = self.fitted.others.len();
        if count == 0 {
            return Ok(None);
        }
        let search = self.search();
        let mut all = NearestNeighbours::room_for(count, self.settings.umap.neighbours - 1);
        for number in 0..count.div_ceil(PAIRS_OF_A_PIECE) {
            let found = self.some_of_others(number, &search)?;
            let first = number * PAIRS_OF_A_PIECE;
            let rows = first..first + found.ids.nrows();
            all.ids.slice_mut(s![rows.clone(), ..]).assign(&found.ids);
            all.distances.slice_mut(s![rows, ..]).assign(&found.distances);
        }
        Ok(Some(all))
    }

    /// The layout that topics are found in.
    pub(super) fn reduction(
        &self,
        graph: &impl Deref<Target = FuzzyGraph>,
    ) -> Result<Array2<f32>, ClusterError> {
        self.finished.of(REDUCTION, "", || umap::embed(graph, &self.settings.umap, self.seed))
    }

    /// Dense groups.
    pub(super) fn topics(
        &self,
        reduced: &Array2<f32>,
        of_others: Option<&NearestNeighbours>,
    ) -> Result<Clustering, ClusterError> {
        self.finished.of("topics", "", || self.fitted.cluster(self.settings, reduced, of_others))
    }

    /// Divides the images of some topics, of which the first has a number: the domain of every member.
    pub(super) fn domains(
        &self,
        piece: usize,
        first: usize,
        members: &[impl AsRef<[usize]> + Sync],
    ) -> Result<Vec<Vec<usize>>, ClusterError> {
        let ChcSettings { domains: most, choose_domains, minimum_domain_size, .. } = *self.settings;
        let divide = |(index, rows): (usize, &_)| {
            let rows = AsRef::<[usize]>::as_ref(rows);
            let images = self.input.image_features.select(rows);
            let mut random = indexed_stream(self.seed, "domains", (first + index) as u64);
            let found = domains(images.view(), most, choose_domains, minimum_domain_size, &mut random);
            let mut labels = vec![0; rows.len()];
            // Never without a domain: small topics are gone already.
            for (domain, images) in found.unwrap_or_default().into_iter().enumerate() {
                images.into_iter().for_each(|image| labels[image] = domain);
            }
            labels
        };
        let divide = || members.par_iter().enumerate().map(divide).collect();
        self.finished.of(&domains_name(piece), &self.what_is_divided(first, members), divide)
    }

    /// What domains are made of, beside what all stages are.
    fn what_is_divided(&self, first: usize, members: &[impl AsRef<[usize]>]) -> String {
        let ChcSettings { domains, choose_domains, minimum_domain_size, .. } = self.settings;
        let mut checksum = crc32fast::Hasher::new();
        for rows in members {
            checksum.update(&rows.as_ref().len().to_le_bytes());
            rows.as_ref().iter().for_each(|row| checksum.update(self.input.keys[*row].as_bytes()));
        }
        let sum = checksum.finalize();
        format!(" {domains} {choose_domains} {minimum_domain_size} {first} {sum:08x}")
    }

    /// The layout of all kept pairs in two dimensions.
    pub(super) fn map(
        &self,
        graph: &impl Deref<Target = FuzzyGraph>,
        of_others: Option<&NearestNeighbours>,
    ) -> Result<Array2<f32>, ClusterError> {
        self.finished.of(MAP, "", || {
            let seed = stream(self.seed, "topic map").next_u64();
            let map = umap::embed(graph, &self.settings.map(), seed);
            self.fitted.with_others(map, of_others)
        })
    }
}

fn of_other_pairs(folder: &Path) -> ClusterError {
    let problem = "this process reads other features than the one that began the clustering here".to_owned();
    ClusterError::Content { path: folder.to_owned(), problem }
}

fn others_name(number: usize) -> String {
    format!("others-{number}")
}

fn domains_name(number: usize) -> String {
    format!("domains-{number}")
}
