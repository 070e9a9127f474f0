//! Topics that meta-training never saw, as a labelled dataset with visual domains.

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

/// The held-out topics as a dataset with visual domains.
///
/// `features` are those of the images of all clustered pairs, `[pairs, joint width]`. Of each class and
/// domain as many images as `shots` are for tuning, all others for testing.
///
/// # Errors
/// If a pair is not there any more.
pub(super) fn dataset(
    ClusteredPairs { pairs, clusters }: ClusteredPairs,
    settings: &MetaTrainingSettings,
    features: &Array2<f32>,
    domains: usize,
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
    let of_images = k_means(residuals.view(), &KMeansSettings::new(domains), &mut random).labels;
    let keys: Vec<String> = all.iter().map(|pair| clusters.pairs[*pair].key.clone()).collect();
    let pairs = pairs_of(&keys, pairs)?;
    let classes = members.iter().enumerate().flat_map(|(class, members)| members.iter().map(move |_| class));
    let images = pairs.into_iter().zip(classes.zip(of_images)).map(|(pair, (class, domain))| {
        let domain = Some(domain);
        LabelledImage { key: pair.key, image: pair.image, class, domain, split: Split::Train }
    });
    let mut dataset = LabelledDataset {
        name: "held-out topics".to_owned(),
        classes: topics.iter().map(|topic| label(clusters, topic.topic).to_owned()).collect(),
        domains: (0..domains).map(|domain| format!("domain {domain}")).collect(),
        images: images.collect(),
        ..LabelledDataset::default()
    };
    let mut tuned = vec![false; dataset.images.len()];
    for domain in 0..domains {
        let drawn = sample(&dataset, Split::Train, ClassSubset::Base, Some(domain), shots, settings.seed);
        drawn.into_iter().for_each(|image| tuned[image] = true);
    }
    for (image, tuned) in dataset.images.iter_mut().zip(tuned) {
        image.split = if tuned { Split::Train } else { Split::Test };
    }
    Ok(dataset)
}

fn label(clusters: &Clusters, topic: usize) -> &str {
    &clusters.topics[topic].name
}

#[cfg(test)]
mod tests {
    use gram_cluster::{ChcSettings, ClusteredPair, Counts, Topic};
    use gram_data::{ImageFile, Pair, Pairs};
    use gram_prompt::PromptKind;

    use super::*;
    use crate::defaults;

    const TOPICS: usize = 10;
    const IMAGES: usize = 24;

    /// Topics of two domains each, half of whose images are of one style and half of another, and their
    /// features: a direction for the topic, and one for the domain.
    fn world() -> (Clusters, Pairs, Array2<f32>) {
        let all = TOPICS * IMAGES;
        let pair = |number: usize| ClusteredPair {
            key: number.to_string(),
            caption: String::new(),
            topic: Some(number / IMAGES),
            domain: Some(number % 2),
            strength: 1.0,
            similarity: 0.5,
            kept: true,
        };
        let topic = |number: usize| Topic::named(&format!("topic {number}"), vec![IMAGES / 2; 2]);
        let clusters = Clusters {
            pairs: (0..all).map(pair).collect(),
            topics: (0..TOPICS).map(topic).collect(),
            layout: vec![None; all],
            counts: Counts::default(),
            settings: ChcSettings::default(),
            seed: 1,
            model: None,
        };
        let pair = |number: usize| Pair {
            key: number.to_string(),
            caption: String::new(),
            image: ImageFile::Path(format!("{number}.png").into()),
            metadata: None,
        };
        let pairs = Pairs { pairs: (0..all).map(pair).collect(), ..Pairs::default() };
        let features = Array2::from_shape_fn((all, TOPICS + 2), |(number, column)| {
            let (topic, domain) = (number / IMAGES, number % IMAGES / (IMAGES / 2));
            f32::from(column == topic) * 5.0 + f32::from(column == TOPICS + domain)
        });
        (clusters, pairs, features)
    }

    #[test]
    fn domains_are_what_is_left_of_features_when_the_topic_is_taken_away() {
        let (clusters, pairs, features) = world();
        let source = ClusteredPairs { pairs: &pairs, clusters: &clusters };
        let mut settings = defaults::meta_training(PromptKind::Textual, 1);
        settings.validation_topics = 0.4;
        let found = dataset(source, &settings, &features, 2, 3).unwrap();
        assert_eq!((found.classes.len(), found.domains.len()), (4, 2));
        let style_of = |image: &LabelledImage| {
            let number: usize = image.key.parse().unwrap();
            (number % IMAGES / (IMAGES / 2), image.domain.unwrap())
        };
        let mut domains: Vec<(usize, usize)> = found.images.iter().map(style_of).collect();
        domains.sort_unstable();
        domains.dedup();
        assert_eq!(domains.len(), 2, "a domain is a domain: {domains:?}");
        // A topic that is learned from is never in it.
        let held_out = held_out_topics(&clusters, &settings).topics;
        let names: Vec<String> = held_out.iter().map(|topic| format!("topic {}", topic.topic)).collect();
        assert!(found.classes.iter().all(|class| names.contains(class)));
    }

    #[test]
    fn as_many_images_of_each_base_class_and_domain_as_there_are_shots_are_tuned_on() {
        let (clusters, pairs, features) = world();
        let source = ClusteredPairs { pairs: &pairs, clusters: &clusters };
        let mut settings = defaults::meta_training(PromptKind::Textual, 1);
        settings.validation_topics = 0.4;
        let found = dataset(source, &settings, &features, 2, 3).unwrap();
        for domain in 0..2 {
            let drawn = |classes| found.select(Split::Train, classes, Some(domain)).len();
            assert_eq!((drawn(ClassSubset::Base), drawn(ClassSubset::New)), (2 * 3, 0));
        }
        assert_eq!(found.select(Split::Test, ClassSubset::All, None).len(), 4 * IMAGES - 2 * 2 * 3);
    }
}
