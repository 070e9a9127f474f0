//! Clustering of captions from ten thousand to a million: time and peak memory of every stage, beside umap-learn and hdbscan
//! on the same machine in the same run.
//!
//!     cargo bench --workspace --bench clustering -- [POINTS,POINTS,…]
//!
//! Points are 384-dimensional unit vectors, a topic for every 500 of them, and a fifth of them noise: something of two
//! topics and something of none. Each size runs in a
//! process of its own, which sets the kernel's mark of peak memory back before every stage. At the end the exponents of
//! growth, and what they say of 3.1 million points. The peer (`benches/peer/clustering.py`) runs where `python3`, or the
//! interpreter that `PYTHON` names, has umap-learn and hdbscan: on the points of one size (100,000, or the largest below),
//! and on scikit-learn's digits under five seeds.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use gram_cluster::adjusted_rand_index;
use gram_cluster::hdbscan::{HdbscanSettings, hdbscan};
use gram_cluster::nearest_neighbours::{inverted_lists::recall, nearest_neighbours, of_rows};
use gram_cluster::umap::graph::FuzzyGraph;
use gram_cluster::{Metric, UmapSettings, umap};
use gram_data::random::{normal, stream};
use ndarray::{Array1, Array2, ArrayView2};
use npyz::{NpyFile, WriterBuilder};
use rand::RngExt;
use serde_json::{Value, json};

/// As `gram` itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DIMENSIONS: usize = 384;
const POINTS_OF_A_TOPIC: usize = 500;
/// Directions in which the captions of a topic differ.
const DIRECTIONS: usize = 16;
const STAGES: [&str; 4] = ["neighbours", "layout", "topics", "map"];
const WEB: f64 = 3.1e6;
const SEEDS: u64 = 5;

/// Points and the topic of each, noise being -1.
fn mixture(points: usize) -> (Array2<f32>, Vec<i64>) {
    let mut random = stream(1, "mixture");
    let topics = (points / POINTS_OF_A_TOPIC).max(2);
    let unit = |random: &mut _| {
        let drawn = Array1::from_shape_simple_fn(DIMENSIONS, || normal(random));
        let length = drawn.dot(&drawn).sqrt();
        drawn / length
    };
    let centres: Vec<Array1<f32>> = (0..topics).map(|_| unit(&mut random)).collect();
    let directions: Vec<Array1<f32>> = (0..topics.min(200) * DIRECTIONS).map(|_| unit(&mut random)).collect();
    let (mut values, mut labels) = (Array2::zeros((points, DIMENSIONS)), Vec::with_capacity(points));
    for mut row in values.rows_mut() {
        let topic = random.random_range(0..topics);
        row.assign(&centres[topic]);
        let noise = random.random_range(0..5) == 0;
        if noise {
            row.scaled_add(1.0, &centres[random.random_range(0..topics)]);
            row.scaled_add(0.7, &unit(&mut random));
        }
        for direction in 0..DIRECTIONS {
            let along = normal(&mut random) * 0.7 / (DIRECTIONS as f32).sqrt();
            row.scaled_add(along, &directions[topic % 200 * DIRECTIONS + direction]);
        }
        row.scaled_add(0.3, &unit(&mut random));
        let length = row.dot(&row).sqrt();
        row.mapv_inplace(|value| value / length);
        labels.push(if noise { -1 } else { topic as i64 });
    }
    (values, labels)
}

/// BERTopic's settings.
fn settings() -> (UmapSettings, HdbscanSettings) {
    (UmapSettings::default(), HdbscanSettings { min_cluster_size: 50, min_samples: Some(10) })
}

/// Sets the kernel's mark of this process's peak memory back to what is used now.
fn forget_peak() {
    // Where that is not allowed, peaks are those of all stages so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The peak of the resident memory of this process since it was forgotten, in megabytes.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(f64::NAN, |kilobytes| kilobytes / 1024.0)
}

/// The labels of HDBSCAN, noise being -1.
fn labels_of(found: &gram_cluster::hdbscan::Clustering) -> Vec<i64> {
    found.labels.iter().map(|label| label.map_or(-1, |label| label as i64)).collect()
}

/// Runs the stages over so many points and prints what each took, as JSON.
fn stages(points: usize) {
    let (values, truth) = mixture(points);
    let (settings, hdbscan_settings) = settings();
    let mut measured = Vec::new();
    let mut timed = |name: &str, clock: Instant, memory: f64| {
        measured.push(json!({"stage": name, "seconds": clock.elapsed().as_secs_f64(), "megabytes": memory}));
    };
    forget_peak();
    let clock = Instant::now();
    let neighbours = nearest_neighbours(values.view(), settings.neighbours - 1, settings.metric);
    timed("neighbours", clock, peak());
    let checked: Vec<usize> = (0..1000.min(points)).map(|index| index * points / 1000.min(points)).collect();
    let checked = of_rows(values.view(), settings.neighbours - 1, settings.metric, &checked);
    let found = recall(&neighbours, &checked);
    drop(values);
    forget_peak();
    let clock = Instant::now();
    let graph = FuzzyGraph::new(&neighbours);
    drop(neighbours);
    let reduced = umap::embed(&graph, &settings, 1);
    timed("layout", clock, peak());
    forget_peak();
    let clock = Instant::now();
    let clustering = hdbscan(reduced.view(), &hdbscan_settings);
    timed("topics", clock, peak());
    forget_peak();
    let clock = Instant::now();
    umap::embed(&graph, &UmapSettings { components: 2, minimum_distance: 0.1, ..settings }, 2);
    timed("map", clock, peak());
    let agreement = adjusted_rand_index(&labels_of(&clustering), &truth);
    println!(
        "{}",
        json!({
            "points": points, "stages": measured, "recall": found, "topics": clustering.clusters,
            "of": truth.iter().max(), "agreement": agreement,
        })
    );
}

/// The slope of the logarithm of seconds over that of points, by least squares.
fn exponent(runs: &[(f64, f64)]) -> f64 {
    let logarithms: Vec<(f64, f64)> =
        runs.iter().map(|(points, seconds)| (points.ln(), seconds.ln())).collect();
    let count = logarithms.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| logarithms.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|at| at.0), mean(|at| at.1));
    let covariance: f64 = logarithms.iter().map(|at| (at.0 - x) * (at.1 - y)).sum();
    covariance / logarithms.iter().map(|at| (at.0 - x).powi(2)).sum::<f64>()
}

fn own_process(points: usize) -> Value {
    let program = std::env::current_exe().expect("this program has a path");
    let output =
        Command::new(program).args(["--stages", &points.to_string()]).output().expect("it runs again");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn seconds(run: &Value, stage: usize) -> f64 {
    number(&run["stages"][stage]["seconds"])
}

fn write_points(path: &Path, values: ArrayView2<f32>) {
    let file = fs::File::create(path).expect("a temporary file can be made");
    let mut out = std::io::BufWriter::new(file);
    let shape = [values.nrows() as u64, values.ncols() as u64];
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(&mut out).begin_nd().expect("the header can be written");
    writer.extend(values.iter().copied()).expect("values can be written");
    writer.finish().expect("the file can be finished");
    out.flush().expect("the file can be finished");
}

/// The agreement of clusters of `points` with the truth, under each seed.
fn agreements(points: ArrayView2<f32>, truth: &[i64], hdbscan_settings: &HdbscanSettings) -> Vec<f64> {
    let settings = UmapSettings { metric: Metric::Euclidean, ..UmapSettings::default() };
    let graph = umap::neighbour_graph(points, &settings);
    let under = |seed| {
        let reduced = umap::embed(&graph, &settings, seed);
        adjusted_rand_index(&labels_of(&hdbscan(reduced.view(), hdbscan_settings)), truth)
    };
    (1..=SEEDS).map(under).collect()
}

fn peer(arguments: &[&str]) -> Option<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peer/clustering.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).arg(script).args(arguments).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("the peer prints JSON"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, points] = arguments.as_slice()
        && flag == "--stages"
    {
        return stages(points.parse().expect("a number of points"));
    }
    let sizes = arguments.first().map_or("10000,30000,100000", String::as_str);
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.parse().expect("numbers of points")).collect();

    println!("{:>9}  {:>8}  {:>8}", "points", "stage", "seconds    peak MB");
    let mut runs = Vec::new();
    for points in &sizes {
        let run = own_process(*points);
        for stage in run["stages"].as_array().into_iter().flatten() {
            let name = stage["stage"].as_str().unwrap_or_default();
            println!(
                "{points:>9}  {name:<10}  {:>8.2}  {:>8.0}",
                number(&stage["seconds"]),
                number(&stage["megabytes"])
            );
        }
        println!(
            "{points:>9}  recall {:.3}, {} topics of {}, agreement with the truth (ARI) {:.3}",
            number(&run["recall"]),
            run["topics"],
            number(&run["of"]) + 1.0,
            number(&run["agreement"])
        );
        runs.push(run);
    }
    let largest = runs.last().expect("there is a size");
    let times = WEB / number(&largest["points"]);
    if runs.len() > 1 {
        for (index, stage) in STAGES.iter().enumerate() {
            let measured: Vec<(f64, f64)> =
                runs.iter().map(|run| (number(&run["points"]), seconds(run, index))).collect();
            let exponent = exponent(&measured);
            let minutes = seconds(largest, index) * times.powf(exponent) / 60.0;
            let gigabytes = number(&largest["stages"][index]["megabytes"]) * times / 1024.0;
            println!(
                "{stage:<10}  grows as n^{exponent:.2}: 3.1 million points in {minutes:.0} min, {gigabytes:.1} GB"
            );
        }
    }

    let Some(of_digits) = peer(&["digits"]) else {
        println!("python has no umap-learn and hdbscan: nothing to compare with");
        return;
    };
    let compared = sizes.iter().copied().filter(|size| *size <= 100_000).max().unwrap_or(10_000);
    let folder = std::env::temp_dir();
    let (path, truth_path) = (folder.join("gram-bench-points.npy"), folder.join("gram-bench-truth.json"));
    let (values, truth) = mixture(compared);
    write_points(&path, values.view());
    drop(values);
    fs::write(&truth_path, json!(truth).to_string()).expect("a temporary file can be written");
    let [path, truth_path] = [&path, &truth_path].map(|path| path.to_string_lossy().into_owned());
    if let Some(found) = peer(&["points", &path, &truth_path]) {
        let run = runs.iter().find(|run| run["points"] == compared).expect("it was run");
        let own: f64 = (0..3).map(|stage| seconds(run, stage)).sum();
        let theirs = number(&found["umap"]) + number(&found["hdbscan"]);
        println!(
            "{compared} points: {own:.1} s; umap-learn {:.1} s and hdbscan {:.1} s: {:.1} x; peak {:.0} MB; ARI {:.3}, theirs {:.3}",
            number(&found["umap"]),
            number(&found["hdbscan"]),
            theirs / own,
            number(&found["megabytes"]),
            number(&run["agreement"]),
            number(&found["agreement"])
        );
    }
    [path, truth_path].iter().for_each(|path| {
        let _ = fs::remove_file(path);
    });

    let digits =
        fs::File::open(of_digits["points"].as_str().unwrap_or_default()).expect("the peer wrote digits");
    let digits = NpyFile::new(std::io::BufReader::new(digits)).expect("the peer wrote an array");
    let columns = digits.shape()[1] as usize;
    let digits: Vec<f32> = digits.into_vec().expect("the peer wrote 32-bit numbers");
    let digits = Array2::from_shape_vec((digits.len() / columns, columns), digits).expect("rows are whole");
    let truth: Vec<i64> =
        serde_json::from_value(of_digits["truth"].clone()).expect("the peer knows the truth");
    let own = agreements(digits.view(), &truth, &HdbscanSettings { min_cluster_size: 15, min_samples: None });
    let theirs: Vec<f64> =
        serde_json::from_value(of_digits["agreements"].clone()).expect("the peer has seeds");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    println!(
        "digits, ARI under {SEEDS} seeds: {:.3} {own:.3?}; theirs {:.3} {theirs:.3?}",
        mean(&own),
        mean(&theirs)
    );
}
