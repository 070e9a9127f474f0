use std::io::Cursor;

use gram_cluster::{ChcSettings, ClusteredPair, Counts};
use gram_data::{ImageFile, Pair};
use image::{ImageFormat, RgbImage};

use super::*;

/// Topics of domains of so many pairs, one after the other, then pairs without a topic.
pub(in crate::report) fn clusters(topics: &[&[usize]], noise: usize) -> Clusters {
    let mut places: Vec<(Option<usize>, Option<usize>)> = Vec::new();
    for (topic, domains) in topics.iter().enumerate() {
        for (domain, size) in domains.iter().enumerate() {
            places.extend(vec![(Some(topic), Some(domain)); *size]);
        }
    }
    places.extend(vec![(None, None); noise]);
    let pair = |(index, (topic, domain)): (usize, &(Option<usize>, Option<usize>))| ClusteredPair {
        key: format!("pair-{index}"),
        caption: format!("the caption of pair {index}"),
        topic: *topic,
        domain: *domain,
        strength: 1.0,
        similarity: 0.3,
        kept: true,
    };
    let topic = |(number, domains): (usize, &&[usize])| Topic {
        words: vec![(format!("word{number}"), 2.0), ("more".into(), 1.2345678)],
        ..Topic::named(&format!("word{number}"), domains.to_vec())
    };
    Clusters {
        pairs: places.iter().enumerate().map(pair).collect(),
        topics: topics.iter().enumerate().map(topic).collect(),
        layout: (0..places.len()).map(|index| Some([(index % 97) as f32, (index / 97) as f32])).collect(),
        counts: Counts { noise, ..Counts::default() },
        settings: ChcSettings::default(),
        seed: 0,
        model: None,
    }
}

/// The pairs behind clusters, each a grey picture.
pub(in crate::report) fn pairs(clusters: &Clusters) -> Pairs {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(90, 60, image::Rgb([99; 3])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    let bytes: std::sync::Arc<[u8]> = bytes.into_inner().into();
    let pair = |pair: &ClusteredPair| Pair {
        key: pair.key.clone(),
        image: ImageFile::Bytes { name: pair.key.clone(), bytes: bytes.clone() },
        caption: pair.caption.clone(),
        metadata: None,
    };
    Pairs { pairs: clusters.pairs.iter().map(pair).collect(), ..Pairs::default() }
}

/// What the page gives its scripts.
fn data_of(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"clusters-data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_is_one_whole_file_that_reaches_for_nothing_outside() {
    let clusters = clusters(&[&[5, 4], &[3]], 2);
    let page = clusters_page(&clusters, &pairs(&clusters));
    crate::report::tests::assert_whole(&page);
    for outside in
        ["http:", "https:", "//cdn", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "src="]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("14 image-text pairs, 2 topics, 3 domains"));
    assert!(page.contains("All 14 pairs that have a place are shown"));
}

#[test]
fn points_topics_and_pictures_stand_in_the_data() {
    let clusters = clusters(&[&[8, 4], &[3]], 2);
    let data = data_of(&clusters_page(&clusters, &pairs(&clusters)));
    assert_eq!(data["captions"].as_array().unwrap().len(), 17);
    assert_eq!(data["captions"][16], "the caption of pair 16");
    assert_eq!(data["topics"][0]["points"], json!([8, 4]));
    assert_eq!(data["topics"][1]["words"], json!([["word1", 2.0], ["more", 1.235]]));
    assert_ne!(data["topics"][0]["colour"], data["topics"][1]["colour"]);
    let pictured: Vec<u64> =
        data["thumbnails"].as_array().unwrap().iter().map(|one| one[0].as_u64().unwrap()).collect();
    assert_eq!(pictured, [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]);
}

#[test]
fn texts_from_outside_stay_texts() {
    let hostile = "</script><img src=x onerror=alert(1)>";
    let mut clusters = clusters(&[&[4]], 1);
    clusters.pairs[0].caption = hostile.into();
    clusters.topics[0].name = hostile.into();
    clusters.topics[0].words[0].0 = "<!--<script>".into();
    let page = clusters_page(&clusters, &pairs(&clusters));
    crate::report::tests::assert_whole(&page);
    assert!(!page.contains("<img") && !page.contains("<!--"));
    let data = data_of(&page);
    assert_eq!(data["captions"][0], hostile);
    assert_eq!(data["topics"][0]["label"], hostile);
}

#[test]
fn the_same_clusters_give_the_same_page() {
    let clusters = clusters(&[&[50, 40], &[30]], 20);
    let pairs = pairs(&clusters);
    assert_eq!(clusters_page(&clusters, &pairs), clusters_page(&clusters, &pairs));
}

#[test]
fn images_that_cannot_be_read_or_found_have_no_picture() {
    let clusters = clusters(&[&[2], &[2]], 0);
    let mut pairs = pairs(&clusters);
    pairs.pairs[0].image = ImageFile::Path("nowhere.png".into());
    pairs.pairs.remove(3);
    let data = data_of(&clusters_page(&clusters, &pairs));
    let pictured: Vec<&Value> = data["thumbnails"].as_array().unwrap().iter().map(|one| &one[0]).collect();
    assert_eq!(pictured, [1, 2]);
}

#[test]
fn of_many_pairs_a_share_is_drawn_and_the_page_stays_small() {
    let sizes: Vec<Vec<usize>> = (0..300).map(|topic| vec![300 - topic, 40]).collect();
    let mut clusters = clusters(&sizes.iter().map(Vec::as_slice).collect::<Vec<_>>(), 40_000);
    for pair in &mut clusters.pairs {
        pair.caption = "é".repeat(400);
    }
    let page = clusters_page(&clusters, &Pairs::default());
    let data = data_of(&page);
    let drawn = data["captions"].as_array().unwrap().len();
    assert!((49_000..=MOST_POINTS).contains(&drawn), "{drawn}");
    assert!(page.contains("of 97,150 pairs are shown"));
    assert!(page.len() < 10_000_000, "{}", page.len());
    assert_eq!(data["captions"][0], format!("{}…", "é".repeat(80)));
    let points = |topic: &Value| topic["points"][0].as_u64().unwrap() + topic["points"][1].as_u64().unwrap();
    assert!(data["topics"].as_array().unwrap().iter().all(|topic| points(topic) > 0));
}

#[test]
fn clusters_without_a_place_still_have_a_page() {
    let mut clusters = clusters(&[&[2]], 0);
    clusters.layout = vec![None; 2];
    let page = clusters_page(&clusters, &Pairs::default());
    crate::report::tests::assert_whole(&page);
    assert_eq!(data_of(&page)["topics"][0]["centre"], Value::Null);
}
