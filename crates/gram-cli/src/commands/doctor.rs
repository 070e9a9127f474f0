//! `gram doctor`: whether this installation works, and what it works with.

use anyhow::{Result, ensure};
use clap::Args;
use gram_clip::compute::{Backend, Compute, cpu_memory};
use gram_features::text_features;
use gram_hub::{assets, hub};
use serde::Serialize;

use crate::arguments::Common;
use crate::commands::devices::{cpu, gibibytes};
use crate::{destination, output};

/// What `gram doctor` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram doctor --device cuda")]
pub struct DoctorArguments {}

/// How far features may be from the CPU's in f32.
const NEAR_IN_F32: f32 = 1e-4;
/// How far in 16 bits.
const NEAR_IN_16_BITS: f32 = 5e-2;

/// What is looked at.
#[derive(Serialize)]
struct Found {
    version: &'static str,
    target: String,
    /// What this build can compute on.
    backends: Vec<&'static str>,
    threads: usize,
    memory_bytes: Option<u64>,
    /// The device that `--device` chooses.
    device: String,
    precision: String,
    /// How far features on that device are from the CPU's.
    difference_to_cpu: f32,
    /// Where models of the hub are kept.
    cache: String,
    cache_is_writable: bool,
    offline: bool,
}

/// Looks at everything, and computes something on the chosen device.
pub fn run(_: &DoctorArguments, common: &Common) -> Result<()> {
    let compute = common.compute()?;
    let cache = hub::cache_folder();
    let found = Found {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        backends: Backend::ALL
            .into_iter()
            .filter(|backend| backend.is_compiled())
            .map(Backend::name)
            .collect(),
        threads: rayon::current_num_threads(),
        memory_bytes: cpu_memory(),
        device: compute.name().to_string(),
        precision: common.precision.to_string(),
        difference_to_cpu: difference_to_cpu(&compute)?,
        cache_is_writable: destination::is_writable(&cache),
        cache: cache.display().to_string(),
        offline: hub::is_offline(),
    };
    match common.json {
        true => output::json(&found)?,
        false => print(&found)?,
    }
    let in_f32 = compute.precision() == gram_clip::Precision::default();
    let near = if in_f32 { NEAR_IN_F32 } else { NEAR_IN_16_BITS };
    ensure!(
        found.difference_to_cpu <= near,
        "{} computes something else than the CPU: features are {} apart; try --device cpu, and another driver",
        found.device,
        found.difference_to_cpu
    );
    Ok(())
}

/// The largest difference of text features of the built-in model on the device and on the CPU.
fn difference_to_cpu(compute: &Compute) -> Result<f32> {
    let texts = ["a photo of a dog", "a red heart", "the moon"];
    let features = |compute: &Compute| -> Result<_> { Ok(text_features(&assets::tiny(compute)?, &texts)?.0) };
    let apart = (features(compute)? - features(&Compute::cpu())?).mapv(f32::abs);
    // A number that is none is as far as can be.
    Ok(apart.into_iter().fold(0.0, |most, value| if value <= most { most } else { value }))
}

fn print(found: &Found) -> Result<()> {
    let memory = found.memory_bytes.map_or("memory unknown".to_owned(), gibibytes);
    let written = match found.cache_is_writable {
        true => "can be written to",
        false => "cannot be written to: set HF_HUB_CACHE",
    };
    let offline = if found.offline { "; HF_HUB_OFFLINE is set: nothing is downloaded" } else { "" };
    let lines = [
        ("version", format!("{}, {}", found.version, found.target)),
        ("computes on", found.backends.join(", ")),
        ("this machine", format!("{}, {memory}", cpu())),
        ("chosen device", format!("{} in {}", found.device, found.precision)),
        ("test", format!("features are {:.1e} from the CPU's", found.difference_to_cpu)),
        ("model cache", format!("{}, {written}{offline}", found.cache)),
    ];
    lines.iter().try_for_each(|(name, text)| output::line(format!("{name:14} {}", output::shown(text))))?;
    Ok(())
}
