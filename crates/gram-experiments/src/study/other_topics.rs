//! Topics and domains as ablations have them: without a shift of domains, or from labels.

use std::collections::BTreeMap;

use gram_cluster::{Clusters, Topic};
use gram_data::Pairs;

use crate::error::{Result, refuse};

/// The same topics, each a single domain: support and query images come from the same domain.
pub(super) fn one_domain(mut clusters: Clusters) -> Clusters {
    for pair in &mut clusters.pairs {
        pair.domain = pair.topic.map(|_| 0);
    }
    for topic in &mut clusters.topics {
        topic.domains = vec![topic.size];
    }
    clusters
}

/// Topics and domains as the pairs' own labels say: `concept` and `vendor` of their metadata.
pub(super) fn labelled(clusters: &Clusters, pairs: &Pairs) -> Result<Clusters> {
    let label = |key: &str, name: &str| {
        let pair = pairs.pairs.iter().find(|pair| pair.key == key)?;
        Some(pair.metadata.as_ref()?.get(name)?.as_str()?.to_owned())
    };
    // Pairs by concept and vendor, in the order of their names.
    let mut classes: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (index, pair) in clusters.pairs.iter().enumerate() {
        let (Some(concept), Some(vendor)) = (label(&pair.key, "concept"), label(&pair.key, "vendor")) else {
            refuse!(
                "pair {}: supervised tasks need labels: give pairs with `concept` and `vendor` in their metadata",
                pair.key
            )
        };
        classes.entry(concept).or_default().entry(vendor).or_default().push(index);
    }
    let mut labelled = clusters.clone();
    labelled.topics.clear();
    for (topic, (concept, domains)) in classes.into_iter().enumerate() {
        for (domain, members) in domains.values().enumerate() {
            for pair in members {
                labelled.pairs[*pair].topic = Some(topic);
                labelled.pairs[*pair].domain = Some(domain);
            }
        }
        let domains: Vec<usize> = domains.values().map(Vec::len).collect();
        labelled.topics.push(Topic::named(&concept, domains));
    }
    Ok(labelled)
}

#[cfg(test)]
mod tests {
    use gram_cluster::{ClusteredPair, Counts};
    use gram_data::{ImageFile, Pair};
    use serde_json::json;

    use super::*;

    /// Four pairs in one topic of two domains; another two in none.
    fn clusters() -> Clusters {
        let place = |number: usize| (number < 4).then_some(number % 2);
        let pair = |number: usize| ClusteredPair {
            key: number.to_string(),
            caption: format!("caption {number}"),
            topic: place(number).map(|_| 0),
            domain: place(number),
            strength: 1.0,
            similarity: 0.5,
            kept: true,
        };
        Clusters {
            pairs: (0..6).map(pair).collect(),
            topics: vec![Topic::named("cat", vec![2, 2])],
            layout: vec![None; 6],
            counts: Counts::default(),
            settings: gram_cluster::ChcSettings::default(),
            seed: 1,
            model: None,
        }
    }

    /// The pairs, whose metadata `label` makes.
    fn pairs(label: impl Fn(usize) -> serde_json::Value) -> Pairs {
        let pair = |number: usize| Pair {
            key: number.to_string(),
            caption: format!("caption {number}"),
            image: ImageFile::Path("nowhere.png".into()),
            metadata: Some(label(number)),
        };
        Pairs { pairs: (0..6).map(pair).collect(), ..Pairs::default() }
    }

    #[test]
    fn one_domain_has_the_pairs_of_all() {
        let one = one_domain(clusters());
        assert_eq!(one.topics[0].domains, [4]);
        assert_eq!(one.members(), [[[0, 1, 2, 3]]]);
    }

    #[test]
    fn labels_stand_in_the_place_of_topics_and_domains() {
        let label = |number: usize| json!({"concept": (["dog", "cat"][number % 2]), "vendor": (number / 2)});
        let refused = labelled(&clusters(), &pairs(label)).unwrap_err().to_string();
        assert!(refused.starts_with("pair 0: supervised tasks need labels"), "{refused}");
        let label = |number: usize| json!({"concept": (["dog", "cat"][number % 2]), "vendor": (["x", "y"][usize::from(number > 1)])});
        let found = labelled(&clusters(), &pairs(label)).unwrap();
        let topics: Vec<(&str, &[usize])> =
            found.topics.iter().map(|topic| (topic.name.as_str(), topic.domains.as_slice())).collect();
        assert_eq!(topics, [("cat", &[1, 2][..]), ("dog", &[1, 2])]);
        assert_eq!(found.members(), [[vec![1], vec![3, 5]], [vec![0], vec![2, 4]]]);
    }
}
