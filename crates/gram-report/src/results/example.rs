//! Results of every kind, for tests.

use super::*;

fn run(dataset: &str, method: Method, seed: u64, base: f64, new: f64) -> BaseToNewRun {
    BaseToNewRun { dataset: dataset.into(), method, seed, base, new, scores: BTreeMap::new() }
}

fn domains(method: Method, seed: u64, accuracies: [f64; 3]) -> CrossDomainRun {
    let names = ["noto", "twemoji", "fluent"].map(String::from);
    CrossDomainRun {
        dataset: "animals".into(),
        method,
        seed,
        source: "noto".into(),
        accuracies: names.into_iter().zip(accuracies).collect(),
        scores: BTreeMap::new(),
    }
}

fn meta_point(step: usize, query_loss: f64, alignment: f64, held_out_loss: Option<f64>) -> MetaPoint {
    MetaPoint {
        step,
        query_loss,
        query_accuracy: 55.5,
        alignment,
        held_out_loss,
        held_out_accuracy: held_out_loss.map(|_| 51.25),
        regulated_over_raw: 0.875,
    }
}

fn topics() -> TopicMap {
    let point = |x, topic, caption: &str, thumbnail| MapPoint {
        x,
        y: 0.5,
        topic,
        domain: topic.map(|_| 0),
        caption: caption.into(),
        thumbnail,
    };
    TopicMap {
        points: vec![
            point(0.0, Some(0), "a cat", Some(0)),
            point(1.0, Some(0), "</script><script>alert(1)</script>", None),
            point(2.0, None, "noise & more", None),
        ],
        topics: vec![TopicSummary {
            word: "cat <b>".into(),
            words: vec!["cat".into(), "kitten".into()],
            size: 2,
            domains: vec![2],
        }],
        thumbnails: vec![Thumbnail::new(0, "image/png", b"not really a picture")],
    }
}

/// Two datasets, two seeds, four methods; CoOp + GRAM is better than CoOp, most of all on new classes.
pub(crate) fn results() -> Results {
    let mut results = Results::new("gram demo --quick", "tiny", serde_json::json!({"shots": 4}));
    results.datasets = vec!["animals".into(), "food".into()];
    results.seeds = vec![1, 2];
    results.notes = vec!["Two datasets of four were run.".into()];
    results.base_to_new = vec![
        run("animals", Method::ZeroShot, 1, 60.0, 64.0),
        run("food", Method::ZeroShot, 1, 50.0, 56.0),
        run("animals", Method::Coop, 1, 80.0, 60.0),
        run("food", Method::Coop, 1, 70.0, 50.0),
        run("animals", Method::Coop, 2, 82.0, 62.0),
        run("food", Method::Coop, 2, 72.0, 52.0),
        run("animals", Method::CoopGram, 1, 82.0, 66.0),
        run("food", Method::CoopGram, 1, 72.0, 58.0),
        run("animals", Method::CoopGram, 2, 83.0, 68.0),
        run("food", Method::CoopGram, 2, 73.0, 60.0),
        run("animals", Method::Vpt, 1, 71.0, 61.0),
    ];
    results.cross_domain = vec![
        domains(Method::Coop, 1, [80.0, 50.0, 60.0]),
        domains(Method::Coop, 2, [82.0, 52.0, 62.0]),
        domains(Method::CoopGram, 1, [81.0, 54.0, 64.0]),
        domains(Method::CoopGram, 2, [83.0, 58.0, 66.0]),
    ];
    results.curves = (0..3)
        .map(|epoch| CurvePoint {
            dataset: "animals".into(),
            method: Method::Coop,
            seed: 1,
            epoch,
            loss: 2.0 / (epoch + 1) as f64,
            base: 60.0 + 10.0 * epoch as f64,
            new: 64.0 - 2.0 * epoch as f64,
        })
        .collect();
    results.meta_training = vec![MetaCurve {
        method: Method::CoopGram,
        source: "trained live".into(),
        points: vec![
            meta_point(0, 2.5, 0.1, Some(2.625)),
            meta_point(10, 2.0, 0.25, None),
            meta_point(20, 1.5, 0.375, Some(1.75)),
        ],
    }];
    results.topics = Some(topics());
    results.stages = vec![
        StageTime { name: "meta-training".into(), seconds: 75.5 },
        StageTime { name: "adaptation".into(), seconds: 20.25 },
    ];
    results
}
