//! What a clustering costs, before it is run.
//!
//! Every stage is run over thousands of made-up points on this machine, which takes a few seconds, and what
//! that took is carried over to the number of points by how the stage grows: the search for neighbours by its
//! count of products, each of the others by the exponent that `benches/clustering.rs` measures. Memory is
//! counted, from what the stages keep of a point.

use std::time::Instant;

use gram_data::random::{normal, stream};
use ndarray::Array2;
use serde::Serialize;

use crate::chc::PAIRS_OF_A_PIECE;
use crate::chc::{ChcSettings, Stage};
use crate::hdbscan::hdbscan;
use crate::nearest_neighbours::{EXACTLY, Metric, inverted_lists, nearest_neighbours};
use crate::umap::graph::FuzzyGraph;
use crate::umap::{self, UmapSettings};

/// What a stage costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// The stage.
    pub stage: Stage,
    /// How long it takes.
    pub seconds: f64,
    /// The most memory that is in use meanwhile, beside the features that whoever clusters holds.
    pub megabytes: f64,
}

/// Made-up points whose products are counted.
const MULTIPLIED: usize = 4000;
/// Made-up points that are laid out in the place of few, and in the place of many: enough to be dealt into
/// blocks, which all cores move side by side.
const LAID_OUT: [usize; 2] = [4000, 24_000];
/// Their dimensions: as many as a topic's captions differ in, about.
const DIMENSIONS: usize = 8;
/// Passes over their graph, and more of them: what a pass takes is what the further ones take.
const EPOCHS: [usize; 2] = [2, 12];
/// How the layout in few dimensions grows with the number of points. This exponent and the next two are
/// measured by `benches/clustering.rs` (docs/results.md, "Clustering").
const LAYOUT_EXPONENT: f64 = 1.14;
/// How the search for topics grows: the tree of boxes is slower to reach the larger it is.
const TOPICS_EXPONENT: f64 = 1.14;
/// How the layout in two dimensions grows.
const MAP_EXPONENT: f64 = 1.06;
const MEGABYTE: f64 = 1_048_576.0;
/// Bytes that blocks of products take on all cores, about.
const BLOCKS: f64 = 48.0 * MEGABYTE;

/// The cost of every stage that takes long, for so many points of a width.
pub fn of(points: usize, width: usize, settings: &ChcSettings) -> Vec<StageCost> {
    let fitted = settings.fit_sample.unwrap_or(points).min(points);
    let laid_out = LAID_OUT[usize::from(fitted > EXACTLY)];
    let graph = FuzzyGraph::new(&nearest_neighbours(
        made_up(laid_out, DIMENSIONS),
        settings.umap.neighbours - 1,
        Metric::Euclidean,
    ));
    let layout = |settings: &UmapSettings| {
        let after = |epochs| {
            let settings = UmapSettings { epochs: Some(epochs), ..settings.clone() };
            seconds(|| umap::embed(&graph, &settings, 1))
        };
        let [(few, _), (more, laid_out)] = EPOCHS.map(after);
        let of_epoch = (more - few).max(0.0) / (EPOCHS[1] - EPOCHS[0]) as f64;
        (few + of_epoch * settings.epochs_for(fitted) as f64, laid_out)
    };
    let (reduction, reduced) = layout(&settings.umap);
    let (map, _) = layout(&settings.map());
    let (topics, _) = seconds(|| hdbscan(reduced.view(), &settings.hdbscan));

    let grown = |seconds: f64, exponent| seconds * (fitted as f64 / laid_out as f64).powf(exponent);
    let [others, width_of_points] = [points - fitted, width].map(|count| count as f64);
    let memory = Memory { fitted: fitted as f64, others, width: width_of_points, settings };
    let stage = |stage, seconds, bytes: f64| StageCost { stage, seconds, megabytes: bytes / MEGABYTE };
    let products = products(fitted) + inverted_lists::products_of_others(fitted, points - fitted);
    vec![
        stage(Stage::Neighbours, products * seconds_of_product(width, settings), memory.neighbours()),
        stage(Stage::Reduction, grown(reduction, LAYOUT_EXPONENT), memory.layout(settings.umap.components)),
        stage(Stage::Topics, grown(topics, TOPICS_EXPONENT), memory.topics()),
        stage(Stage::Map, grown(map, MAP_EXPONENT), memory.layout(2)),
    ]
}

/// Products of two points that the search for neighbours among so many takes.
fn products(points: usize) -> f64 {
    match points <= EXACTLY {
        true => (points * points) as f64,
        false => inverted_lists::products(points),
    }
}

/// What one of them takes on all cores.
fn seconds_of_product(width: usize, settings: &ChcSettings) -> f64 {
    let UmapSettings { neighbours, metric, .. } = settings.umap;
    let points = made_up(MULTIPLIED, width);
    let (seconds, _) = seconds(|| nearest_neighbours(points, neighbours - 1, metric));
    seconds / (MULTIPLIED * MULTIPLIED) as f64
}

/// Normally distributed points, `[points, width]`.
fn made_up(points: usize, width: usize) -> Array2<f32> {
    let mut random = stream(1, "cost");
    Array2::from_shape_simple_fn((points, width), || normal(&mut random))
}

/// How long `work` takes, and what it gives.
fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let clock = Instant::now();
    let found = work();
    (clock.elapsed().as_secs_f64(), found)
}

/// Bytes in use.
struct Memory<'a> {
    /// Points that are laid out.
    fitted: f64,
    /// Points that are put among them.
    others: f64,
    width: f64,
    settings: &'a ChcSettings,
}

impl Memory<'_> {
    /// Edges of the graph: about so many of a point's neighbours do not know it as theirs.
    fn edges(&self) -> f64 {
        0.7 * self.fitted * self.settings.umap.neighbours as f64
    }

    /// What is kept of the others until the end: ids of their neighbours, and distances.
    fn others(&self) -> f64 {
        self.others * self.settings.umap.neighbours as f64 * 8.0
    }

    /// The embeddings, of the others a part at a time, and twice the candidates of every point, beside blocks
    /// of products.
    fn neighbours(&self) -> f64 {
        let candidates = (self.settings.umap.neighbours + 2) as f64 * 8.0 + 64.0;
        let others = self.others.min(PAIRS_OF_A_PIECE as f64);
        let of_points = self.fitted * (4.0 * self.width + 2.0 * candidates);
        BLOCKS + of_points + others * (4.0 * self.width + 2.0 * candidates) + self.others()
    }

    /// The graph, by edges and by points for the start, then both directions of every edge, and when each is
    /// drawn.
    fn layout(&self, components: usize) -> f64 {
        let of_edges = self.edges() * (12.0 + 2.0 * 24.0);
        of_edges + self.fitted * (12.0 * components as f64 + 24.0) + self.others()
    }

    /// The graph, which the map needs later, the tree of boxes, and the spanning tree.
    fn topics(&self) -> f64 {
        let of_points = 16.0 * self.settings.umap.components as f64 + 120.0;
        self.edges() * 12.0 + self.fitted * of_points + self.others()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_points_cost_more_and_every_long_stage_is_told() {
        let settings = ChcSettings::default();
        let [few, many] = [100_000, 1_000_000].map(|points| of(points, 64, &settings));
        let stages: Vec<Stage> = few.iter().map(|cost| cost.stage).collect();
        assert_eq!(stages, [Stage::Neighbours, Stage::Reduction, Stage::Topics, Stage::Map]);
        for (few, many) in few.iter().zip(&many) {
            assert!(few.seconds > 0.0 && many.megabytes > 5.0 * few.megabytes, "{few:?} {many:?}");
        }
    }

    #[test]
    fn a_sample_costs_less_than_all_and_more_than_itself_alone() {
        let sampled = ChcSettings { fit_sample: Some(30_000), ..ChcSettings::default() };
        let all = of(600_000, 64, &ChcSettings::default());
        let of_sample = of(600_000, 64, &sampled);
        let alone = of(30_000, 64, &ChcSettings::default());
        for ((all, of_sample), alone) in all.iter().zip(&of_sample).zip(&alone) {
            assert!(all.megabytes > of_sample.megabytes && of_sample.megabytes > alone.megabytes);
        }
    }
}
