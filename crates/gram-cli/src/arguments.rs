//! What several commands take.

use std::num::NonZeroUsize;

use clap::Args;
use gram_clip::compute::ENVIRONMENT;
use gram_clip::{Compute, DeviceChoice, Precision};

/// The part of the help that says where and how to compute.
const DEVICE: &str = "Device";

/// What every command takes.
#[derive(Args, Debug)]
pub struct Common {
    /// Seed of everything that is random.
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// The device that computes: auto (a GPU where there is one), cpu, cuda, rocm, metal, vulkan or wgpu,
    /// with a number where there are several (`cuda:1`), or with several for bench (`cuda:0,1`). `gram
    /// devices` lists them.
    #[arg(long, global = true, help_heading = DEVICE, default_value = "auto", env = ENVIRONMENT, hide_env_values = true, value_name = "NAME")]
    pub device: DeviceChoice,
    /// The number format in which the frozen towers multiply: f32, bf16 or f16. Prompts, norms, softmax,
    /// logits and losses are f32 in each.
    #[arg(long, global = true, help_heading = DEVICE, default_value = "f32", value_name = "FORMAT")]
    pub precision: Precision,
    /// Lets NVIDIA's tensor cores round the factors of products in f32 to TF32: faster, and no longer exact.
    #[arg(long, global = true, help_heading = DEVICE)]
    pub allow_tf32: bool,
    /// Images, or captions, that pass a frozen tower at once; 64 on a CPU, as many as its memory holds up to
    /// 256 on a GPU, if not given. Fewer need less memory.
    #[arg(long, global = true, help_heading = DEVICE, value_name = "N")]
    pub images_at_once: Option<NonZeroUsize>,
    /// Prints one machine-readable result on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Says nothing on standard error but errors: no notes, no warnings, no progress.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Common {
    /// Where and how to compute, on one device.
    pub fn compute(&self) -> anyhow::Result<Compute> {
        self.format(Compute::of(&self.device)?)
    }

    /// Where and how to compute, on each of the devices.
    pub fn computes(&self) -> anyhow::Result<Vec<Compute>> {
        Compute::all_of(&self.device)?.into_iter().map(|compute| self.format(compute)).collect()
    }

    fn format(&self, compute: Compute) -> anyhow::Result<Compute> {
        let compute = compute.in_precision(self.precision)?.with_tf32(self.allow_tf32);
        Ok(match self.images_at_once {
            Some(images) => compute.with_images_at_once(images.get()),
            None => compute,
        })
    }
}

/// What every command with a run folder takes.
#[derive(Args, Debug)]
pub struct Anew {
    /// Begins anew: deletes what an earlier run of this command left in its folder.
    #[arg(long)]
    pub restart: bool,
}
