//! Topics and domains as ablations have them: without a shift of domains, or from labels.

use std::collections::BTreeMap;

use gram_cluster::{Clusters, Topic};
use gram_data::Pairs;

use crate::error::{Result, refuse};

/// The same topics, each a single domain: support and query images come from the same looks.
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
        let size = domains.iter().sum();
        labelled.topics.push(Topic { label: concept, words: Vec::new(), domains, size });
    }
    Ok(labelled)
}
