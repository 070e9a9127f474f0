//! What a clustering costs, before it is run.
//!
//! Every stage is run over a few thousand made-up points on this machine, which takes about a second, and what that took is
//! carried over to the number of points by how the stage grows: the search for neighbours by its count of products, each of
//! the others by the exponent that `benches/clustering.rs` measures. Memory is counted, from what the stages keep of a point.

use std::time::Instant;

use gram_data::random::{normal, stream};
use ndarray::Array2;
use serde::Serialize;

use crate::chc::{ChcSettings, Stage};
use crate::hdbscan::hdbscan;
use crate::nearest_neighbours::{EXACTLY, inverted_lists, nearest_neighbours};
use crate::umap::{self, UmapSettings};

/// What a stage costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// The stage.
    pub stage: Stage,
    /// How long it takes.
    pub seconds: f64,
    /// The most memory that is in use meanwhile, without the features of images.
    pub megabytes: f64,
}

/// Made-up points.
const POINTS: usize = 4000;
/// Passes over their graph.
const EPOCHS: usize = 20;
/// How the layout in few dimensions grows with the number of points. This exponent and the next two are measured by
/// `benches/clustering.rs` from 30,000 to 300,000 points (docs/results.md, "Clustering").
const LAYOUT_EXPONENT: f64 = 1.06;
/// How the search for topics grows: the tree of boxes is slower to reach the larger it is.
const TOPICS_EXPONENT: f64 = 1.22;
/// How the layout in two dimensions grows.
const MAP_EXPONENT: f64 = 1.04;
const MEGABYTE: f64 = 1_048_576.0;
/// Bytes that blocks of products take on all cores, about.
const BLOCKS: f64 = 48.0 * MEGABYTE;

/// The cost of every stage that takes long, for so many points of a width.
pub fn of(points: usize, width: usize, settings: &ChcSettings) -> Vec<StageCost> {
    let mut random = stream(1, "cost");
    let made_up = Array2::from_shape_simple_fn((POINTS, width), || normal(&mut random));
    let clock = Instant::now();
    let neighbours = nearest_neighbours(made_up.view(), settings.umap.neighbours - 1, settings.umap.metric);
    let products = (POINTS * POINTS) as f64;
    let of_product = clock.elapsed().as_secs_f64() / products;
    let graph = umap::graph::FuzzyGraph::new(&neighbours);
    let layout = |settings: UmapSettings| {
        let epochs = settings.epochs_for(points);
        let clock = Instant::now();
        let laid_out = umap::embed(&graph, &UmapSettings { epochs: Some(EPOCHS), ..settings }, 1);
        (clock.elapsed().as_secs_f64() * epochs as f64 / EPOCHS as f64, laid_out)
    };
    let (reduction, reduced) = layout(settings.umap.clone());
    let (map, _) = layout(settings.map());
    let clock = Instant::now();
    hdbscan(reduced.view(), &settings.hdbscan);
    let topics = clock.elapsed().as_secs_f64();

    let grown = |seconds: f64, exponent| seconds * (points as f64 / POINTS as f64).powf(exponent);
    let products = match points <= EXACTLY {
        true => (points * points) as f64,
        false => inverted_lists::products(points),
    };
    let memory = Memory { points: points as f64, width: width as f64, settings };
    let stage = |stage, seconds, bytes: f64| StageCost { stage, seconds, megabytes: bytes / MEGABYTE };
    vec![
        stage(Stage::Neighbours, of_product * products, memory.neighbours()),
        stage(Stage::Reduction, grown(reduction, LAYOUT_EXPONENT), memory.layout(settings.umap.components)),
        stage(Stage::Topics, grown(topics, TOPICS_EXPONENT), memory.topics()),
        stage(Stage::Map, grown(map, MAP_EXPONENT), memory.layout(2)),
    ]
}

/// Bytes in use.
struct Memory<'a> {
    points: f64,
    width: f64,
    settings: &'a ChcSettings,
}

impl Memory<'_> {
    /// Edges of the graph: about so many of a point's neighbours do not know it as theirs.
    fn edges(&self) -> f64 {
        0.7 * self.points * self.settings.umap.neighbours as f64
    }

    /// The embeddings, and twice the candidates of every point, beside blocks of products.
    fn neighbours(&self) -> f64 {
        let candidates = (self.settings.umap.neighbours + 2) as f64 * 8.0 + 64.0;
        BLOCKS + self.points * (4.0 * self.width + 2.0 * candidates)
    }

    /// The graph, by edges and by points for the start, then both directions of every edge, and when each is drawn.
    fn layout(&self, components: usize) -> f64 {
        self.edges() * (12.0 + 2.0 * 24.0) + self.points * (12.0 * components as f64 + 24.0)
    }

    /// The graph, which the map needs later, the tree of boxes, and the spanning tree.
    fn topics(&self) -> f64 {
        self.edges() * 12.0 + self.points * (16.0 * self.settings.umap.components as f64 + 120.0)
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
}
