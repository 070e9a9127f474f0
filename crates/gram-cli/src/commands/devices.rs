//! `gram devices`: what there is to compute on.

use anyhow::Result;
use clap::Args;
use gram_clip::compute::{Backend, Compute, DeviceName, devices};
use serde_json::json;

use crate::arguments::Common;
use crate::output;

/// What `gram devices` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram devices")]
pub struct DevicesArguments {}

/// Lists the devices: for each its name, what it is, its memory, and the one that `--device` chooses.
pub fn run(_: &DevicesArguments, common: &Common) -> Result<()> {
    // What is wrong with the choice is no reason not to list what there is: the error comes last.
    let choice = Compute::all_of(&common.device);
    let chosen: Vec<DeviceName> = choice.iter().flatten().map(Compute::name).collect();
    let found = devices();
    let missing = Backend::ALL.into_iter().filter(|backend| !backend.is_compiled());
    let missing: Vec<&str> = missing.map(Backend::name).collect();
    if common.json {
        let gpus = found.iter().map(|device| {
            json!({
                "name": device.name.to_string(),
                "description": device.description,
                "memory_bytes": device.memory,
                "software": device.is_software,
                "chosen": chosen.contains(&device.name),
            })
        });
        let cpu = json!({
            "name": "cpu",
            "description": cpu(),
            "memory_bytes": gram_clip::compute::cpu_memory(),
            "software": false,
            "chosen": chosen.contains(&DeviceName::CPU),
        });
        let all: Vec<_> = std::iter::once(cpu).chain(gpus).collect();
        output::json(&json!({"devices": all, "not_compiled_in": missing}))?;
        return Ok(choice.map(drop)?);
    }
    let mark = |name: DeviceName| if chosen.contains(&name) { "*" } else { " " };
    let memory = |bytes: Option<u64>| bytes.map_or("memory unknown".into(), gibibytes);
    let line = |name: DeviceName, memory: String, what: String| {
        output::line(format!("{} {:9} {memory:>14}  {what}", mark(name), name.to_string()))
    };
    line(DeviceName::CPU, memory(gram_clip::compute::cpu_memory()), cpu())?;
    for device in found {
        let software = if device.is_software { " (a program on the CPU: for tests)" } else { "" };
        line(device.name, memory(device.memory), format!("{}{software}", device.description))?;
    }
    if !missing.is_empty() {
        output::note(format!(
            "gram: not in this build: {}; `cargo install --path crates/gram-cli --features cuda` builds one with CUDA",
            missing.join(", ")
        ));
    }
    Ok(choice.map(drop)?)
}

/// The processor.
pub fn cpu() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = rayon::current_num_threads();
    match cores == threads {
        true => format!("{cores} cores"),
        false => format!("{cores} cores, {threads} threads in use"),
    }
}

/// A size in words.
pub fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
