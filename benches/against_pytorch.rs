//! A CoOp step and an exact GRAM meta-step on ViT-B/16's text tower, beside PyTorch on the same machine in
//! the same run.
//!
//!     cargo bench --workspace --bench against_pytorch
//!
//! Weights are drawn by a hash of their place, in the same way by the peer
//! (`benches/peer/against_pytorch.py`), which runs where `python3`, or the interpreter that `PYTHON` names,
//! has torch. Both print seconds (medians); their losses and gradients are compared. The share of the
//! machine's peak is that of its fastest product of matrices. At the end the peak of memory for K = 1 and K =
//! 16 inner steps, each in a process of its own.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of this repository's own, read as it runs"
)]

#[path = "workload.rs"]
mod workload;

use std::process::Command;

use gram_clip::Compute;
use gram_clip::scalars::read_one;
use gram_meta::Task;
use gram_prompt::{Part, PromptKind};
use workload::{CONTEXT_TOKENS, NAME, Sizes, World, inner_loop, timed, values};

/// As `gram` itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = Sizes::TEXT.width;
const LAYERS: usize = Sizes::TEXT.layers;

/// The distance of two lists of numbers over the norm of the second.
fn deviation(found: &[f32], expected: &serde_json::Value) -> f64 {
    let expected: Vec<f64> =
        serde_json::from_value(expected.clone()).expect("the peer prints lists of numbers");
    let square =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart =
        square(&mut found.iter().zip(&expected).map(|(found, expected)| f64::from(*found) - expected));
    apart / square(&mut expected.iter().copied())
}

/// Peak of the resident memory of this process, in megabytes.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(f64::NAN, |kilobytes| kilobytes / 1024.0)
}

/// Prints the peak of memory before and after a meta-step with so many inner steps.
fn memory(steps: usize) {
    let world = World::new(Sizes::TEXT, &Compute::cpu());
    let (model, tasks, theta) = (world.model(), world.tasks(), world.prompt(PromptKind::Textual));
    let phi = world.regulator(&theta);
    let before = peak();
    inner_loop(steps).meta_gradients(&model, &theta, Some(&phi), &tasks);
    println!("{before} {}", peak());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--inner-steps") {
        return memory(arguments[place + 1].parse().expect("a number of inner steps"));
    }
    let world = World::new(Sizes::TEXT, &Compute::cpu());
    let (model, theta) = (world.model(), world.prompt(PromptKind::Textual));

    let (many, batch) = (world.classes(0, 100), world.batch());
    let (step, gradient) = timed(7, || model.gradient(&theta, &many, &batch));

    let (tasks, phi) = (world.tasks(), world.regulator(&theta));
    let sum = |chunk: usize| {
        let found = Compute::cpu()
            .side_by_side(tasks.chunks(chunk).collect(), |tasks: &[Task]| {
                inner_loop(1).meta_gradients(&model, &theta, Some(&phi), tasks)
            })
            .concat();
        let theta =
            found.iter().skip(1).fold(found[0].theta.clone(), |sum, one| sum.add_scaled(&one.theta, 1.0));
        let loss: f32 = found.iter().map(|one| one.read().query_loss).sum();
        (loss, theta)
    };
    let (meta_step, (meta_loss, meta_gradient)) = timed(7, || sum(2));
    let (one_by_one, _) = timed(5, || sum(1));
    let (all_at_once, _) = timed(5, || sum(4));

    let square = world.matrix("square", [1024, 1024], 1.0);
    let (product, _) = timed(15, || square.clone().matmul(square.clone()).into_data());
    let peak = 2.0 * 1024.0_f64.powi(3) / product / 1e9;

    // Multiplications and additions of the products of matrices at a position, forward: 12 squares of the
    // width in each layer.
    let position = 2.0 * 12.0 * (WIDTH * WIDTH * LAYERS) as f64;
    let own = NAME + 2;
    let positions =
        |contexts: usize, classes: usize| (contexts * (1 + CONTEXT_TOKENS) + classes * own) as f64;
    // Backward as much as forward, for no weight has a gradient; as much again in dual numbers, values being
    // known.
    let step_rate = positions(1, 100) * position * 2.0 / step / 1e9;
    let meta_rate = positions(4, 20) * position * (2.0 + 2.0 + 2.0) / meta_step / 1e9;
    println!("peak of a product of matrices: {peak:.0} GFLOP/s");
    println!(
        "CoOp step, 100 classes: {step:.3} s, {step_rate:.0} GFLOP/s ({:.0} % of the peak)",
        100.0 * step_rate / peak
    );
    println!(
        "meta-step, 4 tasks of 5 ways: {meta_step:.3} s, {meta_rate:.0} GFLOP/s ({:.0} % of the peak); one task at a time {one_by_one:.3} s, all in one pass {all_at_once:.3} s",
        100.0 * meta_rate / peak
    );

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peer/against_pytorch.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    match Command::new(&python).arg(script).output() {
        Ok(output) if output.status.success() => {
            let peer: serde_json::Value =
                serde_json::from_slice(&output.stdout).expect("the peer prints JSON");
            println!("PyTorch {}:", peer["torch"].as_str().unwrap_or("?"));
            for (what, ours, found, loss) in [
                ("CoOp step", step, &gradient.gradient, read_one(gradient.loss.clone())),
                ("meta-step", meta_step, &meta_gradient, meta_loss),
            ] {
                let of = &peer[what];
                for positions in ["77", "9"] {
                    let seconds = of["seconds"][positions].as_f64().expect("the peer prints seconds");
                    println!("  {what}, {positions} positions: {seconds:.3} s, {:.1} x ours", seconds / ours);
                }
                let text = found.get(Part::Text).map(values).unwrap_or_default();
                let off = deviation(&text, &of["gradient"]);
                let loss_off =
                    (f64::from(loss) / of["loss"].as_f64().expect("the peer prints a loss") - 1.0).abs();
                println!("  {what}: loss {loss_off:.1e} off, gradient {off:.1e} off (relative)");
                assert!(off < 1e-4 && loss_off < 1e-4, "{what}: PyTorch has other numbers");
            }
        }
        _ => println!("{python} has no torch: nothing to compare with"),
    }

    let of_steps = |steps: usize| {
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program)
            .args(["--inner-steps", &steps.to_string()])
            .output()
            .expect("it runs again");
        let numbers: Vec<f64> =
            String::from_utf8_lossy(&output.stdout).split_whitespace().flat_map(str::parse).collect();
        (numbers[0], numbers[1])
    };
    let ((_, one), (before, sixteen)) = (of_steps(1), of_steps(16));
    println!(
        "peak of memory: {one:.0} MB with K = 1, {sixteen:.0} MB with K = 16 ({:+.1} %); {before:.0} MB before",
        100.0 * (sixteen / one - 1.0)
    );
}
