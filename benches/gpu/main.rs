//! What a device computes and how fast: meta-gradients against the fixtures, then encoding, a CoOp step and
//! exact meta-steps on ViT-B/16 with random weights. One line of JSON; `benches/gpu/run` sets it beside
//! PyTorch.
//!
//!     cargo bench --bench gpu --features cuda --no-run

#![allow(clippy::print_stdout, reason = "a program of this repository's own, read by a script")]

#[path = "../workload.rs"]
mod workload;

#[path = "../../crates/gram-meta/tests/case/mod.rs"]
mod case;

use std::path::{Path, PathBuf};

use case::{CASES, Case, METHODS, apart};
use clap::Parser;
use gram_clip::{Compute, DeviceChoice, Precision};
use gram_prompt::{PromptKind, RegulatorForm};
use serde_json::{Value, json};
use workload::{Sizes, World, inner_loop, meta_step, step, timed, values};

#[derive(Parser)]
struct Arguments {
    /// The device.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// A small model, to see that everything runs.
    #[arg(long)]
    small: bool,
    /// Lets tensor cores round f32 to TF32.
    #[arg(long)]
    allow_tf32: bool,
    /// The folder `crates/gram-meta/tests/fixtures`.
    #[arg(long)]
    fixtures: PathBuf,
    /// Cargo passes it to benches.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let compute = match Compute::of(&arguments.device) {
        Ok(compute) => compute.with_tf32(arguments.allow_tf32),
        Err(problem) => return println!("{}", json!({"error": problem.to_string()})),
    };
    let found = gram_clip::compute::devices().into_iter().find(|device| device.name == compute.name());
    let sizes = if arguments.small { Sizes::SMALL } else { Sizes::FULL };
    println!(
        "{}",
        json!({
            "device": compute.to_string(),
            "name": found.map_or("CPU".to_owned(), |device| device.description),
            "model": sizes.name,
            "numbers": numbers(&arguments.fixtures, &compute),
            "speed": speed(sizes, &compute),
        })
    );
}

/// The distance of exact meta-gradients for theta from those of double backward in float64, over their norm.
fn numbers(fixtures: &Path, compute: &Compute) -> Value {
    let mut found = serde_json::Map::new();
    for name in CASES {
        let case = Case::open(&fixtures.join(name), compute);
        for (method, kind) in METHODS {
            let (theta, phi) = (case.theta(kind), case.regulator(kind, "phi", RegulatorForm::Paper));
            let gradient =
                case.inner_loop(1).meta_gradients(&case.model(), &theta, Some(&phi), &[case.task()]);
            let expected = case.prompt(kind, |part| format!("{method}.steps1.exact.theta.{part}"));
            found.insert(format!("{method}, {name}"), apart(&gradient[0].theta, &expected).into());
        }
    }
    found.into()
}

/// Seconds, with what was computed, to be compared.
fn speed(sizes: Sizes, compute: &Compute) -> Value {
    let (mut found, times) = (serde_json::Map::new(), 5);
    let images = if sizes.side < 200 { 8 } else { 256 };
    for precision in [Precision::F32, Precision::Bf16] {
        let Ok(compute) = compute.clone().in_precision(precision) else { continue };
        let world = World::new(sizes, &compute.with_images_at_once(images));
        let pixels = world.pixels("pixels", images);
        let (seconds, features) = timed(times, || values(&world.clip.image_features(pixels.clone(), None)));
        found.insert(
            format!("encoding {images} images, {precision}"),
            json!({"seconds": seconds, "values": &features[..sizes.width]}),
        );
    }
    let world = World::new(sizes, compute);
    let model = world.model();
    let (theta, classes, batch) =
        (world.prompt(PromptKind::Textual), world.classes(0, 100), world.batch(PromptKind::Textual));
    let (seconds, values) = timed(times, || step(&model, &theta, &classes, &batch));
    found.insert("CoOp step, 100 classes".into(), json!({"seconds": seconds, "values": values}));
    for (what, kind) in [("textual", PromptKind::Textual), ("visual", PromptKind::Visual)] {
        let (theta, tasks) = (world.prompt(kind), world.tasks(kind));
        let learned = (&theta, &world.regulator(&theta));
        let (seconds, values) =
            timed(times, || meta_step(&model, learned, &tasks, tasks.len(), &inner_loop(1)));
        found.insert(format!("exact meta-step, {what}"), json!({"seconds": seconds, "values": values}));
    }
    found.into()
}
