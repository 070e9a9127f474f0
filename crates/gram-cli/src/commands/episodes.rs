//! `gram episodes`: the tasks of a meta-training, as a file.

use std::path::PathBuf;

use crate::destination;
use crate::output;
use anyhow::{Result, ensure};
use clap::Args;
use gram_cluster::Clusters;
use gram_experiments::episodes::EpisodesFile;
use gram_prompt::PromptKind;
use serde_json::json;

use crate::arguments::Common;
use crate::commands::meta_settings::MetaSettings;

/// Arguments of `gram episodes`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  gram episodes --clusters runs/clusters --count 100 --ways 5 --out episodes.json"
)]
pub struct EpisodesArguments {
    /// Topics and domains, from `gram cluster`.
    #[arg(long, value_name = "DIR")]
    clusters: PathBuf,
    /// Number of episodes. They are the first that `gram meta-train` would draw with the same settings and
    /// seed.
    #[arg(long, value_name = "N")]
    count: usize,
    /// The file to write: episodes as keys of pairs (JSON).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The method whose defaults are used: coop, cocoop, vpt or joint.
    #[arg(long, default_value = "coop")]
    method: PromptKind,
    /// Settings. Only those of episodes, topics and the seed matter.
    #[command(flatten)]
    settings: MetaSettings,
}

/// Runs the command.
pub fn run(arguments: &EpisodesArguments, common: &Common) -> Result<()> {
    destination::file_of_kind(&arguments.out, "file of episodes", |path| EpisodesFile::read(path).is_ok())?;
    ensure!(arguments.count > 0, "--count: 1 or more");
    let settings = arguments.settings.in_force(arguments.method, common.seed)?;
    let clusters = Clusters::load(&arguments.clusters)?;
    let file = EpisodesFile::sample(&clusters, &settings, arguments.count)?;
    file.write(&arguments.out)?;
    match common.json {
        true => {
            output::json(&json!({"file": arguments.out.to_string_lossy(), "episodes": file.episodes.len()}))?
        }
        false => output::line(arguments.out.display())?,
    }
    Ok(())
}
