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

use gram_clip::scalars::read_one;
use std::process::Command;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::checkpoint::Source;
use gram_clip::{Clip, ClipConfig, ClipError, Compute};
use gram_features::Images;
use gram_meta::{InnerLoop, Regulator, RegulatorStart, Task};
use gram_prompt::{
    ClassSentence, Classes, LabelledImages, Part, Placement, Prompt, PromptedClip, Rates, RegulatorForm,
};

/// As `gram` itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 512;
const LAYERS: usize = 12;
const START: u32 = 49406;
const END: u32 = 49407;
const CONTEXT_TOKENS: usize = 4;
/// Tokens of a class name; a full stop and EOS follow.
const NAME: usize = 2;
const ALPHA: f32 = 0.1;

/// Values by a hash of name and place, the same in any language: uniform, with standard deviation 0.02.
struct Hashed;

/// `count` values of the array `name`, with a standard deviation.
fn hashed(name: &str, count: usize, deviation: f32) -> Vec<f32> {
    let seed =
        name.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    let value = |place: u32| {
        let mut hash = place.wrapping_mul(2_654_435_761).wrapping_add(seed);
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x045d_9f3b);
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x045d_9f3b);
        hash ^= hash >> 16;
        ((f64::from(hash) / f64::from(u32::MAX) - 0.5) * 12.0_f64.sqrt()) as f32 * deviation
    };
    (0..count as u32).map(value).collect()
}

impl Source for Hashed {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let count = shape.iter().product();
        Ok(match name {
            "logit_scale" => vec![100.0_f32.ln()],
            _ if name.contains("norm") && name.ends_with("weight") => vec![1.0; count],
            _ => hashed(name, count, 0.02),
        })
    }
}

fn clip() -> Clip {
    let config = serde_json::json!({
        "projection_dim": WIDTH,
        "text_config": {
            "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 8, "intermediate_size": 4 * WIDTH,
            "vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
            "bos_token_id": START, "eos_token_id": END,
        },
        "vision_config": {
            "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64,
            "image_size": 32, "patch_size": 16, "hidden_act": "quick_gelu",
        },
    });
    let config = ClipConfig::parse(&config.to_string()).expect("the configuration is one");
    Clip::read(&config, &mut Hashed, &Compute::cpu()).expect("every weight is drawn")
}

/// Classes from a number on, each with a name of its own.
fn classes(first: usize, count: usize) -> Classes {
    let class = |class: usize| {
        let name = (0..NAME).map(|token| (1000 + 97 * class + 31 * token) as u32);
        ClassSentence { ids: name.chain([269, END]).collect(), name: NAME }
    };
    Classes::Sentences((first..first + count).map(class).collect())
}

/// Cached features of images, so many of each class.
fn images(name: &str, classes: usize, of_each: usize, device: &Device) -> LabelledImages {
    let count = classes * of_each;
    let features =
        Tensor::<2>::from_data(TensorData::new(hashed(name, count * WIDTH, 1.0), [count, WIDTH]), device);
    let features = gram_clip::Signal::from(features).normalize().value;
    let labels: Vec<i64> = (0..count).map(|image| (image % classes) as i64).collect();
    LabelledImages {
        images: Images::Features(features),
        labels: Tensor::from_data(TensorData::new(labels, [count]), device),
    }
}

fn prompt(name: &str, device: &Device) -> Prompt {
    let values = hashed(name, CONTEXT_TOKENS * WIDTH, 0.02);
    [(Part::Text, Tensor::from_data(TensorData::new(values, [CONTEXT_TOKENS, WIDTH]), device))]
        .into_iter()
        .collect()
}

/// The regulator, drawn as everything else.
fn regulator(theta: &Prompt, device: &Device) -> Regulator {
    let start = RegulatorStart { deviation: 0.0, gamma_bias: 2.0, form: RegulatorForm::Paper };
    Regulator::near_identity(theta, start, 1, device).map(|(_, parameter), tensor| match tensor.dims() {
        [WIDTH, WIDTH] => {
            let values = hashed(parameter.name(), WIDTH * WIDTH, 0.01);
            Tensor::from_data(TensorData::new(values, [WIDTH, WIDTH]), device)
        }
        _ => tensor,
    })
}

fn tasks(device: &Device) -> Vec<Task> {
    let task = |task: usize| Task {
        classes: classes(200 + 5 * task, 5),
        support_set: images(&format!("support {task}"), 5, 4, device),
        query_set: images(&format!("query {task}"), 5, 15, device),
        new_classes: None,
    };
    (0..4).map(task).collect()
}

fn inner_loop(steps: usize) -> InnerLoop {
    InnerLoop { steps, rates: Rates::both(ALPHA), ..InnerLoop::default() }
}

/// Median seconds of `work`, and what it gives.
fn timed<T>(times: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut last = work();
    let mut seconds: Vec<f64> = (0..times)
        .map(|_| {
            let clock = Instant::now();
            last = work();
            clock.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    (seconds[seconds.len() / 2], last)
}

fn values(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.to_data().try_to_vec().expect("numbers are 32-bit")
}

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
    let device = Device::flex();
    let (clip, tasks, theta) = (clip(), tasks(&device), prompt("theta", &device));
    let model = model(&clip);
    let phi = regulator(&theta, &device);
    let before = peak();
    inner_loop(steps).meta_gradients(&model, &theta, Some(&phi), &tasks);
    println!("{before} {}", peak());
}

fn model(clip: &Clip) -> PromptedClip<'_> {
    PromptedClip { clip, start: START, placement: Placement::default(), classes_at_once: usize::MAX }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--inner-steps") {
        return memory(arguments[place + 1].parse().expect("a number of inner steps"));
    }
    let device = Device::flex();
    let clip = clip();
    let (model, theta) = (model(&clip), prompt("theta", &device));

    let (many, batch) = (classes(0, 100), images("batch", 100, 1, &device));
    let batch = LabelledImages {
        images: match batch.images {
            Images::Features(features) => Images::Features(features.narrow(0, 0, 32)),
            pixels @ Images::Pixels(_) => pixels,
        },
        labels: batch.labels.narrow(0, 0, 32),
    };
    let (step, gradient) = timed(7, || model.gradient(&theta, &many, &batch));

    let (tasks, phi) = (tasks(&device), regulator(&theta, &device));
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

    let square =
        Tensor::<2>::from_data(TensorData::new(hashed("square", 1 << 20, 1.0), [1024, 1024]), &device);
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
