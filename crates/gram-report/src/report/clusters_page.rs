//! The page of clusters: a map of the pairs by topic, the domains of every topic side by side, and numbers.
//!
//! However many pairs there are, the page stays a page: of at most [`MOST_POINTS`] pairs, a share of every
//! topic, it holds place and caption, and of some of these a small picture. A canvas is drawn from them by
//! the scripts in `clusters_page/`. The work grows with the number of pairs, not faster, and the same
//! clusters give the same page.

mod histogram;
mod names;
mod nearest;
mod numbers;
mod sample;
pub(super) mod thumbnails;

use gram_cluster::{Clusters, Topic};
use gram_data::Pairs;
use serde_json::{Value, json};

use super::centres::centres;
use super::palette::{COLOURS, colours};
use super::sections::Section;
use super::{Document, for_script};
use numbers::grouped;
use sample::Sample;

const SCRIPT: &str = concat!(
    include_str!("elements.js"),
    include_str!("clusters_page/points.js"),
    include_str!("clusters_page/map.js"),
    include_str!("clusters_page/gestures.js"),
    include_str!("clusters_page/page.js"),
);

/// Pairs that are drawn at most.
const MOST_POINTS: usize = 50_000;

/// Words of a topic that are shown at most.
const MOST_WORDS: usize = 10;

/// Bytes of a caption that are shown at most.
const LONGEST_CAPTION: usize = 160;

/// The page of `clusters`, with pictures of the `pairs` they were made from. It is one file that loads
/// nothing. A pair whose image cannot be read has no picture.
pub fn clusters_page(clusters: &Clusters, pairs: &Pairs) -> String {
    let sample = Sample::of(clusters, MOST_POINTS);
    let domains: usize = clusters.topics.iter().map(|topic| topic.domains.len()).sum();
    let counted = format!(
        "{} image-text pairs, {} topics, {} domains",
        grouped(clusters.pairs.len()),
        grouped(clusters.topics.len()),
        grouped(domains)
    );
    Document {
        title: format!("GRAM clusters: {counted}"),
        heading: "Topics and domains",
        introduction: format!(
            "{counted}. A topic is a group of like captions, and a class of the tasks that are learned from; a domain is \
             a part of a topic whose images look alike.{}",
            clusters.warnings().iter().map(|warning| format!(" Note: {warning}.")).collect::<String>()
        ),
        sections: vec![
            Section { id: "topics", heading: "Map", body: map(clusters, pairs, &sample) },
            Section { id: "names", heading: "Names", body: names::section(clusters) },
            Section { id: "numbers", heading: "Numbers", body: numbers::section(clusters, pairs) },
        ],
        script: SCRIPT,
    }
    .to_html()
}

fn map(clusters: &Clusters, pairs: &Pairs, sample: &Sample) -> String {
    let (drawn, placed) = (sample.points.len(), sample.placed);
    let shown = match drawn < placed {
        true => {
            format!("{} of {} pairs are shown, of every topic its share", grouped(drawn), grouped(placed))
        }
        false => format!("All {} pairs that have a place are shown", grouped(placed)),
    };
    format!(
        include_str!("clusters_page/map.html"),
        shown = shown,
        data = for_script(&data(clusters, pairs, sample)),
    )
}

/// What the scripts need. Points stand in the order of [`Sample::points`], so that the number of points of
/// every domain says which topic and domain each is of. The first topics are the largest.
fn data(clusters: &Clusters, pairs: &Pairs, sample: &Sample) -> Value {
    let places = sample.places(clusters);
    let topics = clusters.topics.len();
    let of_topics = sample
        .of_domains
        .iter()
        .enumerate()
        .flat_map(|(topic, domains)| std::iter::repeat_n(topic, domains.iter().sum()))
        .zip(&places)
        .map(|(topic, [x, y])| (topic, f64::from(*x), f64::from(*y)));
    let centres = centres(of_topics, topics);
    let colours = colours(topics, &centres);
    let mut centre_of = vec![None; topics];
    for centre in &centres {
        centre_of[centre.topic] = Some([centre.x.round() as u16, centre.y.round() as u16]);
    }
    let nearest = nearest::pictured(clusters, pairs);
    let nearest_of = |topic: &Topic| -> Vec<Value> {
        let pairs = topic.nearest.iter().filter_map(|key| nearest.get(key.as_str()));
        pairs.map(|(caption, picture)| json!([shortened(caption), picture])).collect()
    };
    let topics: Vec<Value> = clusters
        .topics
        .iter()
        .zip(&sample.of_domains)
        .zip(colours.iter().zip(&centre_of))
        .map(|((topic, points), (colour, centre))| {
            json!({"label": topic.name, "named": names::said_of(topic), "nearest": nearest_of(topic), "words": words(topic), "size": topic.size, "domains": topic.domains,
                   "points": points, "colour": COLOURS[*colour], "centre": centre})
        })
        .collect();
    let captions: Vec<String> =
        sample.points.iter().map(|index| shortened(&clusters.pairs[*index].caption)).collect();
    json!({"places": sample::base64(&places), "captions": captions, "topics": topics,
           "thumbnails": thumbnails::thumbnails(clusters, pairs, sample)})
}

/// Its best words, each with its score to three decimals.
fn words(topic: &Topic) -> Vec<(&str, f64)> {
    let best = topic.words.iter().take(MOST_WORDS);
    best.map(|(word, score)| (word.as_str(), (score * 1e3).round() / 1e3)).collect()
}

fn shortened(caption: &str) -> String {
    match caption.len() > LONGEST_CAPTION {
        true => format!("{}…", &caption[..caption.floor_char_boundary(LONGEST_CAPTION)]),
        false => caption.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
