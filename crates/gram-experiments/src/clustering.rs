//! Pairs to topics: what a model sees in image-text pairs, and their cross-modal hierarchical clustering.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use gram_clip::{Model, ModelIdentity};
use gram_cluster::{
    ChcInput, ChcSettings, Clusters, NameFeatures, Piece, Stage, StagesIn, TopicWordSettings, cluster,
    make_pieces,
};
use gram_data::{ImageFile, Pair, Pairs, Progress};
use gram_features::matrix::tensor;
use gram_features::sentence_bert::SentenceBert;
use gram_features::{FeatureFolder, PixelCache, SeenImages, image_features, text_features};
use ndarray::Array2;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Context, Result, require};
use crate::run_folder::RunFolder;
use crate::tuning_settings::learned_template;

/// What models see in pairs; rows are the pairs whose images can be read.
#[derive(Clone, Debug)]
pub struct PairFeatures {
    /// The model that saw them.
    pub model: ModelIdentity,
    /// The number of every row's pair.
    pub rows: Vec<usize>,
    /// Normalised image features, `[rows, joint width]`.
    pub images: Array2<f32>,
    /// Caption embeddings that topics are found in, `[rows, width]`.
    pub captions: Array2<f32>,
    /// Cosine similarity of every row's image and caption features.
    pub similarities: Vec<f32>,
    /// Captions that were cut because the text tower has too few positions.
    pub cut_captions: usize,
    /// The numbers of the other pairs, and why their images cannot be read.
    pub unreadable: Vec<(usize, String)>,
}

impl PairFeatures {
    /// Sees `pairs` through `model`.
    ///
    /// Topics are found among Sentence-BERT embeddings of the whole captions if its folder is given, as in
    /// the paper. Else the model's own text tower embeds what captions say of the thing shown: the stop words
    /// and caption words of `words` are left out, for the tower of a model that was trained on styles puts
    /// captions of one style together.
    ///
    /// # Errors
    /// If no image can be read, a caption cannot be tokenised, or the Sentence-BERT folder cannot be read.
    pub fn new(
        model: &Model,
        pairs: &Pairs,
        sentence_bert: Option<&Path>,
        words: &TopicWordSettings,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let SeenImages { rows, features: images, unreadable } = features_of(model, &pairs.pairs, progress)?;
        progress.begin("captions", 1);
        let captions: Vec<&str> = rows.iter().map(|row| pairs.pairs[*row].caption.as_str()).collect();
        let (texts, cut_captions) = text_features(model, &captions)?;
        let similarities = (&images * &texts).sum_axis(ndarray::Axis(1)).to_vec();
        let captions = match sentence_bert {
            Some(folder) => SentenceBert::open(folder, &model.device())
                .and_then(|encoder| encoder.embed(&captions))
                .with_context(|| format!("Sentence-BERT model {}", folder.display()))?,
            None => text_features(model, &words.things_shown(&captions))?.0,
        };
        let model = model.identity()?;
        Ok(Self { model, rows, images, captions, similarities, cut_captions, unreadable })
    }

    /// Clusters the pairs, which are those that were seen, by the model that names are checked with. Stages
    /// that are done are kept in a folder, if one is given, and not done again.
    ///
    /// # Errors
    /// If a setting is out of range, too few pairs pass the similarity filter, or no topic is found.
    pub fn cluster(
        &self,
        model: &Model,
        pairs: &Pairs,
        settings: &ChcSettings,
        seed: u64,
        stages_in: StagesIn<'_>,
        progress: &dyn Progress,
    ) -> Result<Clusters> {
        let of_pairs = |text: fn(&Pair) -> &String| -> Vec<String> {
            self.rows.iter().map(|row| text(&pairs.pairs[*row]).clone()).collect()
        };
        let input = ChcInput {
            keys: &of_pairs(|pair| &pair.key),
            captions: &of_pairs(|pair| &pair.caption),
            image_features: &self.images,
            similarities: Some(&self.similarities),
            caption_embeddings: &self.captions,
            name_features: None,
        };
        let clusters = cluster_numbers(input, Some(model), settings, seed, stages_in, progress)?;
        Ok(Clusters { model: Some(self.model.clone()), ..clusters })
    }

    /// The image features as a tensor, `[rows, joint width]`.
    pub fn image_tensor(&self, device: &Device) -> Tensor<2> {
        tensor(&self.images, device)
    }

    /// The rows' images as pixels, with so many bytes for those that are kept, for a prompted vision tower.
    ///
    /// # Errors
    /// If an image cannot be read any more.
    pub fn pixels(&self, pairs: &Pairs, model: &Model, room: usize) -> Result<PixelCache> {
        pixel_cache(model, self.rows.iter().map(|row| &pairs.pairs[*row]), room, &())
    }
}

/// Topics and domains of `pairs`, and what the model saw in them: [`PairFeatures::new`] and
/// [`PairFeatures::cluster`].
///
/// # Errors
/// As those two.
pub fn cluster_pairs(
    model: &Model,
    pairs: &Pairs,
    sentence_bert: Option<&Path>,
    settings: &ChcSettings,
    seed: u64,
    stages_in: StagesIn<'_>,
    progress: &dyn Progress,
) -> Result<(Clusters, PairFeatures)> {
    let features = PairFeatures::new(model, pairs, sentence_bert, &settings.topic_words, progress)?;
    let clusters = features.cluster(model, pairs, settings, seed, stages_in, progress)?;
    Ok((clusters, features))
}

/// Topics and domains of pairs whose features were computed before, by the model that names are checked with,
/// if it is given.
///
/// # Errors
/// As [`PairFeatures::cluster`].
pub fn cluster_features(
    features: &FeatureFolder,
    model: Option<&Model>,
    settings: &ChcSettings,
    seed: u64,
    stages_in: StagesIn<'_>,
    progress: &dyn Progress,
) -> Result<Clusters> {
    let similarities = features.similarities();
    let input = input_of(features, similarities.as_deref());
    let clusters = cluster_numbers(input, model, settings, seed, stages_in, progress)?;
    Ok(Clusters { model: features.model.clone(), ..clusters })
}

/// Makes pieces of a clustering that another process has begun with [`cluster_features`], in the folder that
/// it shares.
///
/// # Errors
/// If no clustering of these features was begun there, or a piece cannot be written.
pub fn make_pieces_of_features(
    features: &FeatureFolder,
    settings: &ChcSettings,
    seed: u64,
    folder: &Path,
    pieces: &[Piece],
) -> Result<()> {
    Ok(make_pieces(&input_of(features, None), settings, seed, folder, pieces)?)
}

fn input_of<'a>(features: &'a FeatureFolder, similarities: Option<&'a [f32]>) -> ChcInput<'a> {
    ChcInput {
        keys: &features.keys,
        captions: &features.captions,
        image_features: &features.images,
        similarities,
        caption_embeddings: features.caption_embeddings(),
        name_features: None,
    }
}

/// Topics and domains of pairs as numbers, whose names are checked by `model`, if it is given.
///
/// # Errors
/// If the numbers do not fit, a setting is out of range, or no topic is found.
pub fn cluster_numbers(
    input: ChcInput<'_>,
    model: Option<&Model>,
    settings: &ChcSettings,
    seed: u64,
    stages_in: StagesIn<'_>,
    progress: &dyn Progress,
) -> Result<Clusters> {
    let of_names = model.map(|model| move |names: &[String]| name_features(model, names));
    let name_features = of_names.as_ref().map(|of_names| of_names as &NameFeatures);
    progress.begin("topics and domains", Stage::ALL.len());
    let mut advance = |stage: Stage| progress.advance(&stage.to_string());
    Ok(cluster(&ChcInput { name_features, ..input }, settings, seed, stages_in, &mut advance)?)
}

/// Clusters that a run found, by their fingerprint, so that it knows them again.
#[derive(Serialize, Deserialize)]
struct Found<T> {
    clusters: String,
    beside: T,
}

/// The clusters in `folder`, which is the run's or in it: found by `make`, with what else it says, once.
///
/// # Errors
/// What `make` says, or if what stands in the folder is not what the run wrote there.
pub fn once_clustered<T: Serialize + DeserializeOwned>(
    run: &RunFolder,
    folder: &Path,
    make: impl FnOnce() -> Result<(Clusters, T)>,
) -> Result<(Clusters, T)> {
    if !Clusters::FILES.iter().all(|name| folder.join(name).is_file()) {
        run.forget(CLUSTERED)?;
    }
    let found: Found<T> = run.once(CLUSTERED, &Value::Null, || {
        let (clusters, beside) = make()?;
        clusters.save(folder).with_context(|| folder.display().to_string())?;
        Ok(Found { clusters: clusters.fingerprint(), beside })
    })?;
    let as_found = Clusters::load_as_found(folder)?;
    require!(
        as_found.fingerprint() == found.clusters,
        "{}: its topics are not what was written there: begin anew with --restart",
        folder.display()
    );
    Ok((as_found.corrected(folder)?, found.beside))
}

/// The model's features of class names, in the sentence that prompts are learned in.
fn name_features(
    model: &Model,
    names: &[String],
) -> Result<Array2<f32>, Box<dyn std::error::Error + Send + Sync>> {
    let template = learned_template(None, model)?.to_string();
    let sentences: Vec<String> = names.iter().map(|name| template.replace("{}", name)).collect();
    Ok(text_features(model, &sentences)?.0)
}

/// The file in a run's folder by which it knows its clusters again.
pub const CLUSTERED: &str = "clustered.json";

/// What the model sees in the images of pairs.
pub(crate) fn features_of(model: &Model, pairs: &[Pair], progress: &dyn Progress) -> Result<SeenImages> {
    let files: Vec<&ImageFile> = pairs.iter().map(|pair| &pair.image).collect();
    progress.begin("image features", files.len());
    Ok(image_features(model, &files, &mut |done| progress.reach(done, ""))?)
}

/// The images of `pairs` as pixels, as many of them decoded as have room in so many bytes.
pub(crate) fn pixel_cache<'a>(
    model: &Model,
    pairs: impl Iterator<Item = &'a Pair>,
    room: usize,
    progress: &dyn Progress,
) -> Result<PixelCache> {
    let cache =
        PixelCache::new(pairs.map(|pair| pair.image.clone()).collect(), model.preprocess.clone(), room);
    progress.begin("images", cache.len());
    cache.fill(|done| progress.reach(done, ""))?;
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;
    use gram_cluster::{ClusteredPair, Counts};

    use super::*;
    use crate::error::refuse;
    use crate::run_folder::Run;

    #[test]
    fn captions_are_reduced_to_the_thing_shown() {
        let settings = crate::defaults::demo_clustering().topic_words;
        let captions = [
            "a blurry small drawing of a tiger on a green background",
            "a close-up of a red heart",
            "a photo",
        ];
        assert_eq!(settings.things_shown(&captions), ["tiger", "heart", "a photo"]);
    }

    #[test]
    fn clusters_are_found_once_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let identity = serde_json::json!({"seed": 1});
        let run =
            Run { command: "study", identity: &identity, makes: &["clusters", CLUSTERED], restart: false };
        let run = RunFolder::claim(folder.path(), &run).unwrap();
        let place = folder.path().join("clusters");
        let with_pair = |key: &str| {
            let key = key.to_owned();
            let (caption, topic, domain) = ("a dog".to_owned(), None, None);
            let pair =
                ClusteredPair { key, caption, topic, domain, strength: 0.0, similarity: 0.5, kept: false };
            Clusters {
                pairs: vec![pair],
                topics: Vec::new(),
                layout: vec![None],
                counts: Counts::default(),
                settings: ChcSettings::default(),
                seed: 1,
                model: None,
            }
        };
        let found = once_clustered(&run, &place, || Ok((with_pair("one"), 3))).unwrap();
        assert_eq!(found, (with_pair("one"), 3));
        let again = once_clustered(&run, &place, || -> Result<(Clusters, i32)> { refuse!("it is there") });
        assert_eq!(again.unwrap(), found);
        with_pair("other").save(&place).unwrap();
        let refused = once_clustered(&run, &place, || Ok((with_pair("one"), 3))).unwrap_err().to_string();
        assert!(refused.ends_with("its topics are not what was written there: begin anew with --restart"));
    }

    #[test]
    fn unreadable_images_are_left_out() {
        let model = gram_hub::assets::tiny(&Compute::cpu()).unwrap();
        let mut pairs = gram_hub::assets::pairs().unwrap();
        pairs.pairs.truncate(5);
        pairs.pairs[2].image = gram_data::ImageFile::Path("nowhere.png".into());
        let words = TopicWordSettings::default();
        let features = PairFeatures::new(&model, &pairs, None, &words, &()).unwrap();
        assert_eq!(features.rows, [0, 1, 3, 4]);
        let [(2, problem)] = features.unreadable.as_slice() else { panic!("{:?}", features.unreadable) };
        assert!(problem.starts_with("nowhere.png: "), "{problem}");
        assert_eq!(features.images.nrows(), 4);
        let product = features.images.row(2).dot(&features.images.row(2));
        assert!((product - 1.0).abs() < 1e-4, "{product}");
    }
}
