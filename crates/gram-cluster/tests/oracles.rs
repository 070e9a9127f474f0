//! Every stage held to the numbers of the Python library it stands for (`fixtures/make_fixtures.py` makes
//! them).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use gram_cluster::adjusted_rand_index;
use gram_cluster::hdbscan::{HdbscanSettings, hdbscan, hdbscan_with_others};
use gram_cluster::k_means::{KMeansSettings, k_means};
use gram_cluster::nearest_neighbours::{Metric, nearest_neighbours};
use gram_cluster::topic_names::{TopicWordSettings, topic_names};
use gram_cluster::umap::{UmapSettings, curve::Curve, embed, neighbour_graph};
use gram_data::random::stream;
use ndarray::{Array2, ArrayView2};
use safetensors::SafeTensors;
use serde::Deserialize;

#[derive(Deserialize)]
struct Oracles {
    hdbscan: Vec<HdbscanCase>,
    k_means: Vec<KMeansCase>,
    neighbours: usize,
    umap: Vec<UmapCase>,
    curves: Vec<CurveCase>,
    topic_words: TopicWordCase,
}

#[derive(Deserialize)]
struct HdbscanCase {
    name: String,
    min_cluster_size: usize,
    min_samples: usize,
}

#[derive(Deserialize)]
struct KMeansCase {
    clusters: usize,
    inertia: f64,
}

#[derive(Deserialize)]
struct UmapCase {
    components: usize,
    minimum_distance: f64,
    metric: Metric,
    trustworthiness: f64,
    neighbours_kept: f64,
}

#[derive(Deserialize)]
struct CurveCase {
    minimum_distance: f64,
    spread: f64,
    a: f64,
    b: f64,
}

#[derive(Deserialize)]
struct TopicWordCase {
    topics: Vec<Vec<String>>,
    scores: Vec<BTreeMap<String, f64>>,
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn oracles() -> Oracles {
    serde_json::from_slice(&fixture("oracles.json")).unwrap()
}

/// Four-byte values of a tensor.
fn values<T>(tensors: &SafeTensors, name: &str, read: fn([u8; 4]) -> T) -> Vec<T> {
    let tensor = tensors.tensor(name).unwrap();
    tensor.data().chunks_exact(4).map(|bytes| read(bytes.try_into().unwrap())).collect()
}

fn points(tensors: &SafeTensors, name: &str) -> Array2<f32> {
    let shape = tensors.tensor(name).unwrap().shape().to_vec();
    Array2::from_shape_vec((shape[0], shape[1]), values(tensors, name, f32::from_le_bytes)).unwrap()
}

/// 500 digits of scikit-learn's: [500, 64].
fn digits() -> Array2<f32> {
    let file = fixture("oracles.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let digits = tensors.tensor("digits").unwrap();
    let values = digits.data().iter().map(|value| f32::from(*value)).collect();
    Array2::from_shape_vec((digits.shape()[0], digits.shape()[1]), values).unwrap()
}

#[test]
fn hdbscan_finds_the_clusters_and_the_noise_of_pythons_exact_tree() {
    let file = fixture("oracles.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for HdbscanCase { name, min_cluster_size, min_samples } in oracles().hdbscan {
        let settings = HdbscanSettings { min_cluster_size, min_samples: Some(min_samples) };
        let found = hdbscan(points(&tensors, &format!("hdbscan.{name}.points")).view(), &settings);
        let expected = values(&tensors, &format!("hdbscan.{name}.labels"), i32::from_le_bytes);
        let labels: Vec<i32> =
            found.labels.iter().map(|label| label.map_or(-1, |label| label as i32)).collect();
        assert_eq!(found.clusters as i32, expected.iter().max().unwrap() + 1, "{name}");
        assert!(adjusted_rand_index(&labels, &expected) > 0.99, "{name}");

        let strengths = values(&tensors, &format!("hdbscan.{name}.strengths"), f32::from_le_bytes);
        let far = |(found, expected): (&f64, &f32)| (found - f64::from(*expected)).abs() > 1e-4;
        let different = found.strengths.iter().zip(&strengths).filter(|pair| far(*pair)).count();
        assert!(different * 100 <= strengths.len(), "{name}: {different} strengths differ");
    }
}

#[test]
fn others_are_put_where_approximate_predict_puts_them() {
    let file = fixture("prediction.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let settings = HdbscanSettings { min_cluster_size: 15, min_samples: Some(5) };
    let [fitted, others] = ["points", "others"].map(|name| points(&tensors, name));
    let (clustering, placed) = hdbscan_with_others(fitted.view(), others.view(), &settings);
    assert_eq!(clustering, hdbscan(fitted.view(), &settings));
    let labels = |labels: &[Option<usize>]| -> Vec<i32> {
        labels.iter().map(|label| label.map_or(-1, |label| label as i32)).collect()
    };
    // Labels are counted in another order than Python's.
    let python = values(&tensors, "labels", i32::from_le_bytes);
    let names: BTreeMap<i32, i32> = labels(&clustering.labels).into_iter().zip(python).collect();
    let expected = values(&tensors, "other_labels", i32::from_le_bytes);
    let strengths = values(&tensors, "other_strengths", f32::from_le_bytes);
    let found: Vec<i32> = labels(&placed.labels).iter().map(|label| names[label]).collect();
    let different = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
    assert!(different * 100 <= expected.len(), "{different} of {} labels differ", expected.len());
    let far = |(found, expected): &(&f64, &f32)| (**found - f64::from(**expected)).abs() > 1e-3;
    let different = placed.strengths.iter().zip(&strengths).filter(far).count();
    assert!(different * 100 <= strengths.len(), "{different} of {} strengths differ", strengths.len());
    assert!(expected.iter().any(|label| *label < 0) && expected.iter().any(|label| *label > 0));
}

#[test]
fn k_means_reaches_the_inertia_of_scikit_learn() {
    let digits = digits();
    for KMeansCase { clusters, inertia } in oracles().k_means {
        let found = k_means(digits.view(), &KMeansSettings::new(clusters), &mut stream(1, "k-means"));
        assert!((found.inertia / inertia - 1.0).abs() < 0.01, "{clusters}: {} for {inertia}", found.inertia);
    }
}

#[test]
fn the_curve_is_that_of_umap_learn() {
    for CurveCase { minimum_distance, spread, a, b } in oracles().curves {
        let curve = Curve::fit(minimum_distance, spread);
        assert!((curve.a - a).abs() < 1e-4 && (curve.b - b).abs() < 1e-4, "{curve:?} for {a}, {b}");
    }
}

/// For every point all others, nearest first.
fn ranking(points: ArrayView2<f32>, metric: Metric) -> Array2<u32> {
    nearest_neighbours(points, points.nrows(), metric).ids
}

/// The share of the `k` nearest points that are among the `k` nearest in the layout.
fn neighbours_kept(truth: &Array2<u32>, layout: &Array2<u32>, k: usize) -> f64 {
    let kept =
        |(truth, layout): (&[u32], &[u32])| layout[..k].iter().filter(|id| truth[..k].contains(id)).count();
    let rows = rows(truth).zip(rows(layout));
    rows.map(kept).sum::<usize>() as f64 / (k * truth.nrows()) as f64
}

/// 1 if no point is among the `k` nearest in the layout that is not so in truth; less by how far it is from
/// being so (Venna and Kaski, 2001).
fn trustworthiness(truth: &Array2<u32>, layout: &Array2<u32>, k: usize) -> f64 {
    let mut intrusion = 0;
    for (truth, layout) in rows(truth).zip(rows(layout)) {
        for id in &layout[..k] {
            let rank = truth.iter().position(|other| other == id).unwrap();
            intrusion += (rank + 1).saturating_sub(k);
        }
    }
    let n = truth.nrows() as f64;
    1.0 - 2.0 * intrusion as f64 / (n * k as f64 * (2.0 * n - 3.0 * k as f64 - 1.0))
}

fn rows(ids: &Array2<u32>) -> impl Iterator<Item = &[u32]> {
    ids.rows().into_iter().map(|row| row.to_slice().unwrap())
}

#[test]
fn the_layout_keeps_as_many_neighbours_as_umap_learns() {
    let (digits, oracles) = (digits(), oracles());
    for case in oracles.umap {
        let settings = UmapSettings {
            neighbours: oracles.neighbours,
            components: case.components,
            minimum_distance: case.minimum_distance,
            metric: case.metric,
            ..UmapSettings::default()
        };
        let truth = ranking(digits.view(), case.metric);
        let graph = neighbour_graph(digits.view(), &settings);
        for seed in [1, 2] {
            let layout = ranking(embed(&graph, &settings, seed).view(), Metric::Euclidean);
            let kept = neighbours_kept(&truth, &layout, oracles.neighbours);
            assert!(kept > case.neighbours_kept - 0.03, "{kept} for {}", case.neighbours_kept);
            let trust = trustworthiness(&truth, &layout, oracles.neighbours);
            assert!(trust > case.trustworthiness - 0.03, "{trust} for {}", case.trustworthiness);
        }
    }
}

#[test]
fn topic_words_have_the_scores_of_equation_3() {
    let TopicWordCase { topics, scores } = oracles().topic_words;
    let captions: Vec<Vec<&str>> =
        topics.iter().map(|captions| captions.iter().map(String::as_str).collect()).collect();
    // The oracle counts every form by itself.
    let settings = TopicWordSettings {
        languages: vec!["en".into()],
        merge_forms: false,
        ..TopicWordSettings::default()
    };
    let found = topic_names(&captions, &settings);
    assert_eq!(found.len(), scores.len());
    for (found, expected) in found.iter().flatten().zip(&scores) {
        assert_eq!(found.words.len(), expected.len());
        assert!(found.words.iter().all(|(word, score)| (score - expected[word]).abs() < 1e-12));
        let best = expected.values().copied().fold(f64::NEG_INFINITY, f64::max);
        assert!((found.words[0].1 - best).abs() < 1e-12);
    }
}
