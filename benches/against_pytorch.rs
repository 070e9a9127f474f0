//! Encoding, steps of tuning and exact meta-steps on ViT-B/16, beside PyTorch on the same machine in the same
//! run.
//!
//!     cargo bench --workspace --bench against_pytorch
//!     cargo bench --workspace --bench against_pytorch -- --threads 1 "meta-step visual"
//!
//! Weights are drawn by a hash of their place, in the same way by the peer (`benches/peer`), which runs where
//! `python3`, or the interpreter that `PYTHON` names, has torch. Every row is a process of its own, first of
//! gram and then of the peer, so that its peak of memory is its own. Seconds are medians; what was computed
//! is compared. The share of the machine's peak is that of its fastest product of matrices in f32. Processors
//! that multiply tiles of bf16 go beyond it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of this repository's own, read as it runs"
)]

#[path = "../crates/gram-cli/src/allocator.rs"]
mod allocator;
#[path = "workload.rs"]
mod workload;

use std::process::{Command, Stdio};

use clap::Parser;
use gram_clip::Compute;
use gram_prompt::{Classes, Part, PromptKind};
use serde::{Deserialize, Serialize};
use workload::{CONTEXT_TOKENS, NAME, Sizes, VISUAL_TOKENS, World, deviation, inner_loop, timed, values};

/// Beside PyTorch.
const ROWS: [&str; 9] = [
    "encoding",
    "step text",
    "step visual",
    "meta-step text 1",
    "meta-step text 5",
    "meta-step visual 1",
    "meta-step visual 5",
    "meta-step joint 1",
    "meta-step joint 5",
];
/// For their memory only.
const LONG: [&str; 2] = ["meta-step text 16", "meta-step visual 16"];
/// Images of the rows that encode.
const IMAGES: usize = 32;

#[derive(Parser)]
struct Arguments {
    /// Rows that begin so; all without one.
    rows: Vec<String>,
    /// Threads of both programs, one table for each.
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Runs of each row, after a first one.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Without PyTorch.
    #[arg(long)]
    alone: bool,
    /// Runs one row, and prints what it found.
    #[arg(long, hide = true)]
    row: Option<String>,
    /// Cargo passes it to benches.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one process says of a row.
#[derive(Serialize, Deserialize)]
struct Found {
    seconds: f64,
    values: Vec<f32>,
    /// Megabytes of resident memory, at most.
    peak: f64,
}

fn main() {
    allocator::keep_free_memory();
    let arguments = Arguments::parse();
    if let Some(row) = &arguments.row {
        let found = run(row, arguments.times);
        return println!("{}", serde_json::to_string(&found).expect("numbers are JSON"));
    }
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has_torch = Command::new(&python).args(["-c", "import torch"]).stderr(Stdio::null()).status();
    let has_torch = !arguments.alone && has_torch.is_ok_and(|status| status.success());
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if arguments.threads.is_empty() { vec![all, 1] } else { arguments.threads.clone() };
    for threads in threads {
        table(&arguments, threads, has_torch.then_some(python.as_str()));
    }
}

/// A table of all rows that are asked for.
fn table(arguments: &Arguments, threads: usize, python: Option<&str>) {
    let own = |row: &str| {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args(["--row", row, "--times", &arguments.times.to_string()]);
        told(command.env("RAYON_NUM_THREADS", threads.to_string())).expect("this program runs again")
    };
    let peak = 2.0 * 1024.0_f64.powi(3) / own("product").seconds / 1e9;
    println!("{threads} threads; a product of matrices: {peak:.0} GFLOP/s\n");
    println!("| work | gram | of the peak | memory | PyTorch | ratio | memory | numbers apart |");
    println!("|---|---|---|---|---|---|---|---|");
    let is_asked =
        |row: &str| arguments.rows.is_empty() || arguments.rows.iter().any(|asked| row.starts_with(asked));
    for row in ROWS.into_iter().chain(LONG).filter(|row| is_asked(row)) {
        let ours = own(row);
        let share = 100.0 * operations(row) / 1e9 / ours.seconds / peak;
        let line = format!("| {} | {:.2} s | {share:.0} % | {:.0} MB |", title(row), ours.seconds, ours.peak);
        let python = python.filter(|_| !LONG.contains(&row));
        // All positions of the text tower, and those that are used.
        let lengths: &[usize] = if row.contains("text") { &[77, USED] } else { &[USED] };
        for length in python.map(|_| lengths).unwrap_or_default() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peer/against_pytorch.py");
            let mut command = Command::new(python.unwrap_or_default());
            command.args([script, row, "--threads", &threads.to_string(), "--length", &length.to_string()]);
            let Some(peer) = told(command.args(["--times", &arguments.times.to_string()])) else {
                println!("{line} failed | | | |");
                continue;
            };
            let of_all = if *length == USED { "" } else { " (77 positions)" };
            let (ratio, apart) = (peer.seconds / ours.seconds, deviation(&ours.values, &peer.values));
            println!(
                "{line} {:.2} s{of_all} | {ratio:.2} x | {:.0} MB | {apart:.0e} |",
                peer.seconds, peer.peak
            );
            assert!(apart < 1e-4, "{row}: PyTorch has other numbers");
        }
        if python.is_none() {
            println!("{line} | | | |");
        }
    }
    println!();
}

/// What a program printed in its last line.
fn told(command: &mut Command) -> Option<Found> {
    let output = command.stderr(Stdio::inherit()).output().ok()?;
    serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?).ok()
}

/// A row as people call it.
fn title(row: &str) -> String {
    match row.split(' ').collect::<Vec<_>>()[..] {
        ["step", "text"] => "CoOp step, 100 classes".to_owned(),
        ["step", kind] => format!("{kind} step, {IMAGES} images"),
        ["meta-step", kind, steps] => format!("exact meta-step, {kind}, K = {steps}"),
        _ => format!("{row} {IMAGES} images"),
    }
}

fn kind(word: &str) -> PromptKind {
    match word {
        "text" => PromptKind::Textual,
        "visual" => PromptKind::Visual,
        _ => PromptKind::Joint,
    }
}

/// Runs a row.
fn run(row: &str, times: usize) -> Found {
    let compute = Compute::cpu();
    let words: Vec<&str> = row.split(' ').collect();
    let sizes = match words[..] {
        [_, "text", ..] => Sizes::TEXT,
        [_, "joint", ..] => Sizes::FULL,
        _ => Sizes::VISION,
    };
    let world = World::new(sizes, &compute);
    let model = world.model();
    let (seconds, values) = match words[..] {
        ["product"] => {
            // The fastest of many, for it is to be the peak.
            let square = world.matrix("square", [1024, 1024], 1.0);
            let product = || timed(1, || values(&square.clone().matmul(square.clone()))[..1].to_vec());
            let all = (0..50).map(|_| product());
            all.min_by(|left, right| left.0.total_cmp(&right.0)).expect("there are some")
        }
        ["step", word] => {
            let kind = kind(word);
            let classes = match kind {
                PromptKind::Visual => Classes::Features(world.normalised("classes", 100)),
                _ => world.classes(0, 100),
            };
            let (theta, batch) = (world.prompt(kind), world.batch(kind));
            timed(times, || workload::step(&model, &theta, &classes, &batch))
        }
        ["meta-step", word, steps] => {
            let kind = kind(word);
            let (theta, tasks) = (world.prompt(kind), world.tasks(kind));
            let (phi, inner) = (world.regulator(&theta), inner_loop(steps.parse().expect("a number")));
            // As `gram meta-train` does.
            let at_once = if kind == PromptKind::Textual { 2 } else { 1 };
            timed(times, || workload::meta_step(&model, (&theta, &phi), &tasks, at_once, &inner))
        }
        _ => {
            let pixels = world.pixels("pixels", IMAGES);
            timed(times, || values(&world.clip.image_features(pixels.clone(), None)))
        }
    };
    Found { seconds, values, peak: peak() }
}

/// Positions of a class among those that are used.
const USED: usize = 1 + CONTEXT_TOKENS + NAME + 2;

/// Multiplications and additions of a row's products of matrices.
fn operations(row: &str) -> f64 {
    let sizes = Sizes::FULL;
    // At a position 12 squares of the width in each layer, two operations each; and attention over all
    // positions of an image.
    let own = |width: usize, layers: usize| 24.0 * (width * width * layers) as f64;
    let text = |contexts: usize, classes: usize| {
        let positions = contexts * (1 + CONTEXT_TOKENS) + classes * (NAME + 2);
        positions as f64 * own(sizes.width, sizes.layers)
    };
    let patches = (sizes.side / 16).pow(2);
    let vision = |images: usize, prompt: usize| {
        let positions = (1 + prompt + patches) as f64;
        let attention = 4.0 * positions * (sizes.vision_width * sizes.vision_layers) as f64;
        images as f64 * positions * (own(sizes.vision_width, sizes.vision_layers) + attention)
    };
    // Backward as much as forward, for no weight has a gradient; as much again in dual numbers, values being
    // known.
    match row.split(' ').collect::<Vec<_>>()[..] {
        ["step", "text"] => 2.0 * text(1, 100),
        ["step", _] => 2.0 * vision(IMAGES, VISUAL_TOKENS),
        ["meta-step", word, steps] => {
            let steps: f64 = steps.parse().expect("a number");
            let has = |part: Part| kind(word).parts().contains(&part);
            let mut all = 0.0;
            if has(Part::Text) {
                all += (4.0 * steps + 2.0) * text(4, 20);
            }
            if has(Part::Visual) {
                all += 4.0 * steps * vision(20, VISUAL_TOKENS) + 2.0 * vision(60, VISUAL_TOKENS);
            }
            all
        }
        _ => vision(IMAGES, 0),
    }
}

/// Peak of the resident memory of this process, in megabytes.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(f64::NAN, |kilobytes| kilobytes / 1024.0)
}
