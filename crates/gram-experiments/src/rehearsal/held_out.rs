//! Topics that meta-training never saw, as a labelled dataset whose domains are looks.

use gram_cluster::Clusters;
use gram_cluster::k_means::{KMeansSettings, k_means};
use gram_data::few_shot::sample;
use gram_data::random::stream;
use gram_data::{ClassSubset, LabelledDataset, LabelledImage, Split};
use gram_meta::{MetaTrainingSettings, held_out_topics};
use ndarray::{Array2, Axis, s};

use crate::error::{Context, Result};
use crate::pair_images::pairs_of;
use crate::workbench::ClusteredPairs;

/// The held-out topics as a dataset whose domains are looks.
///
/// `features` are those of the images of all clustered pairs, `[pairs, joint width]`. Of each class and look
/// as many images as `shots` are for tuning, all others for testing.
///
/// # Errors
/// If a pair is not there any more.
pub(super) fn dataset(
    ClusteredPairs { pairs, clusters }: ClusteredPairs,
    settings: &MetaTrainingSettings,
    features: &Array2<f32>,
    looks: usize,
    shots: usize,
) -> Result<LabelledDataset> {
    let mut topics = held_out_topics(clusters, settings).topics;
    topics.sort_by(|one, other| label(clusters, one.topic).cmp(label(clusters, other.topic)));
    let members: Vec<Vec<usize>> = topics.iter().map(|topic| topic.domains.concat()).collect();
    let all: Vec<usize> = members.concat();
    let mut residuals = features.select(Axis(0), &all);
    let mut first = 0;
    for members in &members {
        let mut rows = residuals.slice_mut(s![first..first + members.len(), ..]);
        let mean = rows.mean_axis(Axis(0)).context("a topic has images")?;
        rows -= &mean;
        first += members.len();
    }
    let mut random = stream(settings.seed, "rehearsed looks");
    let of_images = k_means(residuals.view(), &KMeansSettings::new(looks), &mut random).labels;
    let keys: Vec<String> = all.iter().map(|pair| clusters.pairs[*pair].key.clone()).collect();
    let pairs = pairs_of(&keys, pairs)?;
    let classes = members.iter().enumerate().flat_map(|(class, members)| members.iter().map(move |_| class));
    let images = pairs.into_iter().zip(classes.zip(of_images)).map(|(pair, (class, look))| {
        let domain = Some(look);
        LabelledImage { key: pair.key, image: pair.image, class, domain, split: Split::Train }
    });
    let mut dataset = LabelledDataset {
        name: "held-out topics".to_owned(),
        classes: topics.iter().map(|topic| label(clusters, topic.topic).to_owned()).collect(),
        domains: (0..looks).map(|look| format!("look {look}")).collect(),
        images: images.collect(),
        ..LabelledDataset::default()
    };
    let mut tuned = vec![false; dataset.images.len()];
    for look in 0..looks {
        let drawn = sample(&dataset, Split::Train, ClassSubset::Base, Some(look), shots, settings.seed);
        drawn.into_iter().for_each(|image| tuned[image] = true);
    }
    for (image, tuned) in dataset.images.iter_mut().zip(tuned) {
        image.split = if tuned { Split::Train } else { Split::Test };
    }
    Ok(dataset)
}

fn label(clusters: &Clusters, topic: usize) -> &str {
    &clusters.topics[topic].label
}
