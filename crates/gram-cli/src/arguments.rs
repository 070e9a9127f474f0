//! What several commands take.

use anyhow::bail;
use burn::tensor::Device;
use clap::Args;

/// What every command takes.
#[derive(Args, Debug)]
pub struct Common {
    /// Seed of everything that is random.
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// The device that computes.
    #[arg(long, global = true, default_value = "cpu", value_name = "NAME")]
    pub device: String,
    /// Prints one machine-readable result on standard output.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Common {
    /// The device of that name.
    pub fn device(&self) -> anyhow::Result<Device> {
        match self.device.as_str() {
            "cpu" => Ok(Device::default()),
            other => bail!("--device {other}: this build computes on `cpu` only"),
        }
    }
}

/// What every command with a run folder takes.
#[derive(Args, Debug)]
pub struct Anew {
    /// Begins anew: deletes what an earlier run of this command left in its folder.
    #[arg(long)]
    pub restart: bool,
}
