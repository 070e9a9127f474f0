//! The map of topics for the report: every clustered pair on the plane, with thumbnails of some.

use std::collections::HashMap;

use gram_cluster::Clusters;
use gram_data::Pair;
use gram_report::results::{MapPoint, Thumbnail, TopicMap, TopicSummary};

use crate::error::Result;

/// Thumbnails of a domain.
const THUMBNAILS_OF_DOMAIN: usize = 3;

/// The map of `clusters`, with pictures of `pairs`.
pub fn topic_map(clusters: &Clusters, pairs: &[Pair]) -> Result<TopicMap> {
    let by_key: HashMap<&str, &Pair> = pairs.iter().map(|pair| (pair.key.as_str(), pair)).collect();
    let mut map = TopicMap { topics: topics(clusters), ..TopicMap::default() };
    let mut shown = HashMap::<(usize, usize), usize>::new();
    for (pair, place) in clusters.pairs.iter().zip(&clusters.layout) {
        let Some([x, y]) = place else { continue };
        let mut point = MapPoint {
            x: f64::from(*x),
            y: f64::from(*y),
            topic: pair.topic,
            domain: pair.domain,
            caption: pair.caption.clone(),
            thumbnail: None,
        };
        if let (Some(topic), Some(domain), Some(source)) =
            (pair.topic, pair.domain, by_key.get(pair.key.as_str()))
        {
            let count = shown.entry((topic, domain)).or_default();
            if *count < THUMBNAILS_OF_DOMAIN {
                *count += 1;
                point.thumbnail = Some(map.thumbnails.len());
                let file = source.image.bytes()?;
                map.thumbnails.push(Thumbnail::new(map.points.len(), media_type(&file), &file));
            }
        }
        map.points.push(point);
    }
    Ok(map)
}

fn topics(clusters: &Clusters) -> Vec<TopicSummary> {
    let summary = |topic: &gram_cluster::Topic| TopicSummary {
        word: topic.name.clone(),
        words: topic.words.iter().map(|(word, _)| word.clone()).collect(),
        size: topic.size,
        domains: topic.domains.clone(),
    };
    clusters.topics.iter().map(summary).collect()
}

/// The media type of an encoded picture, by its first bytes.
fn media_type(file: &[u8]) -> &'static str {
    match file {
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/png",
    }
}
