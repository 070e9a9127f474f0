//! The words of the command line.

use anyhow::bail;
use burn::tensor::Device;
use clap::{Args, Parser, Subcommand};

use crate::commands::adapt::AdaptArguments;
use crate::commands::bench::BenchArguments;
use crate::commands::cluster::ClusterArguments;
use crate::commands::data::DataArguments;
use crate::commands::demo::DemoArguments;
use crate::commands::embed::EmbedArguments;
use crate::commands::episodes::EpisodesArguments;
use crate::commands::eval::EvalArguments;
use crate::commands::export::ExportArguments;
use crate::commands::meta_train::MetaTrainArguments;
use crate::commands::predict::PredictArguments;
use crate::commands::pretrain::PretrainArguments;
use crate::commands::rehearse::RehearseArguments;
use crate::commands::study::StudyArguments;

/// Tunes prompts for frozen CLIP models, from a meta-learned start and with a regulated gradient (GRAM, ICCV 2023).
#[derive(Parser, Debug)]
#[command(name = "gram", version, about, max_term_width = 100)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct Common {
    /// Decides everything that is drawn at random.
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Where tensors live.
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

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the whole paper in small, on the built-in model and data.
    Demo(DemoArguments),
    /// Groups image-text pairs into topics and their images into domains.
    Cluster(ClusterArguments),
    /// Draws the tasks of meta-training into a file.
    Episodes(EpisodesArguments),
    /// Learns where a prompt starts and how its gradient is regulated.
    MetaTrain(MetaTrainArguments),
    /// Tunes a prompt on a few labelled images.
    Adapt(AdaptArguments),
    /// Runs the paper's protocols over datasets, methods, shots and seeds.
    Bench(BenchArguments),
    /// Runs the paper's studies: what each part of GRAM is worth.
    Study(StudyArguments),
    /// Answers questions of design on topics that meta-training never saw.
    Rehearse(RehearseArguments),
    /// Says what is in a dataset, and draws few shots of it.
    Data(DataArguments),
    /// Names what is in images.
    Predict(PredictArguments),
    /// Measures accuracy on a labelled dataset.
    Eval(EvalArguments),
    /// Writes a prompt in the formats of other programs.
    Export(ExportArguments),
    /// Writes the features of images and captions.
    Embed(EmbedArguments),
    /// Trains a small CLIP from image-text pairs.
    Pretrain(PretrainArguments),
}
