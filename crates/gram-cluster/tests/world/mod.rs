//! A small world whose topics and looks are known: captions name a thing and say how it looks.

use gram_cluster::{ChcInput, ChcSettings, ClusterError, Clusters, StagesIn, cluster};
use gram_data::random::{Stream, normal, stream};
use ndarray::Array2;

pub const THINGS: [&str; 6] = ["tiger", "teapot", "rocket", "violin", "castle", "pear"];
pub const LOOKS: [&str; 3] = ["blurry", "inverted", "pencil"];
/// Pairs of every thing in every look.
pub const PAIRS_EACH: usize = 14;
const CAPTION_WIDTH: usize = 32;
const IMAGE_WIDTH: usize = 24;

pub struct World {
    pub keys: Vec<String>,
    pub captions: Vec<String>,
    pub image_features: Array2<f32>,
    pub similarities: Vec<f32>,
    pub caption_embeddings: Array2<f32>,
}

impl World {
    /// Things and looks in turn. Keys end in the numbers of thing and look.
    pub fn new() -> Self {
        let mut random = stream(5, "world");
        let cells: Vec<(usize, usize, usize)> = (0..PAIRS_EACH)
            .flat_map(|copy| {
                (0..THINGS.len()).flat_map(move |thing| (0..LOOKS.len()).map(move |look| (copy, thing, look)))
            })
            .collect();
        let things = normals(THINGS.len(), CAPTION_WIDTH, 1.0, &mut random);
        let looks = normals(LOOKS.len(), IMAGE_WIDTH, 1.0, &mut random);
        let mut noise = |width| normals(cells.len(), width, 0.3, &mut random);
        let (mut caption_embeddings, mut image_features) = (noise(CAPTION_WIDTH), noise(IMAGE_WIDTH));
        for (row, (_, thing, look)) in cells.iter().enumerate() {
            caption_embeddings.row_mut(row).zip_mut_with(&things.row(*thing), |to, from| *to += from);
            image_features.row_mut(row).zip_mut_with(&looks.row(*look), |to, from| *to += from);
        }
        Self {
            keys: cells.iter().map(|(copy, thing, look)| format!("{copy:02}-{thing}-{look}")).collect(),
            captions: cells
                .iter()
                .map(|(_, thing, look)| format!("a {} photo of a {}", LOOKS[*look], THINGS[*thing]))
                .collect(),
            similarities: cells.iter().map(|(copy, _, _)| 0.2 + 0.01 * *copy as f32).collect(),
            image_features,
            caption_embeddings,
        }
    }

    pub fn input(&self) -> ChcInput<'_> {
        ChcInput {
            keys: &self.keys,
            captions: &self.captions,
            image_features: &self.image_features,
            similarities: Some(&self.similarities),
            caption_embeddings: &self.caption_embeddings,
            name_features: None,
        }
    }

    pub fn cluster(&self, settings: &ChcSettings) -> Result<Clusters, ClusterError> {
        cluster(&self.input(), settings, 7, StagesIn::Memory, &mut |_| ())
    }
}

fn normals(rows: usize, width: usize, scale: f32, random: &mut Stream) -> Array2<f32> {
    Array2::from_shape_simple_fn((rows, width), || scale * normal(random))
}
