//! The command line: one variant for every command.

use clap::{Parser, Subcommand};

use crate::arguments::Common;
use crate::commands::adapt::AdaptArguments;
use crate::commands::bench::BenchArguments;
use crate::commands::cluster::ClusterArguments;
use crate::commands::completions::CompletionsArguments;
use crate::commands::data::DataArguments;
use crate::commands::demo::DemoArguments;
use crate::commands::devices::DevicesArguments;
use crate::commands::doctor::DoctorArguments;
use crate::commands::embed::EmbedArguments;
use crate::commands::episodes::EpisodesArguments;
use crate::commands::eval::EvalArguments;
use crate::commands::export::ExportArguments;
use crate::commands::inspect::InspectArguments;
use crate::commands::man::ManArguments;
use crate::commands::meta_train::MetaTrainArguments;
use crate::commands::predict::PredictArguments;
use crate::commands::pretrain::PretrainArguments;
use crate::commands::study::StudyArguments;
use crate::commands::study_design::StudyDesignArguments;

/// Tunes prompts for frozen CLIP models, from a meta-learned initialisation and with a regulated gradient
/// (GRAM, ICCV 2023).
#[derive(Parser, Debug)]
#[command(name = "gram", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some images could not be read and are \
                          named (predict, eval, data validate), 130 and 143 stopped by a signal.\n\
                          If the reader of standard output leaves, as `head` does, the program ends quietly with 0.";

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the whole method at small scale, on the built-in model and data.
    Demo(DemoArguments),
    /// Groups image-text pairs into topics and their images into domains.
    Cluster(ClusterArguments),
    /// Draws the tasks of meta-training into a file.
    Episodes(EpisodesArguments),
    /// Meta-learns a prompt's initialisation and its gradient regulator.
    MetaTrain(MetaTrainArguments),
    /// Tunes a prompt on a few labelled images.
    Adapt(AdaptArguments),
    /// Runs the paper's protocols over datasets, methods, shots and seeds.
    Bench(BenchArguments),
    /// Runs the paper's studies: ablations, prompt length, initialisations, training curves; searches
    /// hyper-parameters.
    Study(StudyArguments),
    /// The old name of `gram study design`.
    #[command(hide = true)]
    Rehearse(StudyDesignArguments),
    /// Describes a dataset, and draws few-shot splits of it.
    Data(DataArguments),
    /// Classifies images.
    Predict(PredictArguments),
    /// Measures accuracy on a labelled dataset.
    Eval(EvalArguments),
    /// Writes a prompt in the formats of other programs.
    Export(ExportArguments),
    /// Writes the features of images and captions, or of a labelled dataset.
    Embed(EmbedArguments),
    /// Trains a small CLIP from image-text pairs.
    Pretrain(PretrainArguments),
    /// Lists what there is to compute on.
    Devices(DevicesArguments),
    /// Says whether this installation works, and what it works with.
    Doctor(DoctorArguments),
    /// Says what a file or a folder is: a prompt, a checkpoint, features, clusters, a run, a dataset.
    Inspect(InspectArguments),
    /// Prints what a shell completes the command line with.
    Completions(CompletionsArguments),
    /// Writes manual pages.
    Man(ManArguments),
}

impl Command {
    /// How to go on where the command is stopped.
    pub fn way_on(&self) -> &'static str {
        match self {
            Self::Demo(_)
            | Self::Cluster(_)
            | Self::MetaTrain(_)
            | Self::Bench(_)
            | Self::Study(_)
            | Self::Rehearse(_)
            | Self::Embed(_)
            | Self::Pretrain(_) => {
                "nothing is half written, and the same command goes on from its last checkpoint"
            }
            Self::Episodes(_) | Self::Adapt(_) | Self::Data(_) | Self::Export(_) => {
                "nothing is half written, and the same command begins anew"
            }
            Self::Predict(_)
            | Self::Eval(_)
            | Self::Devices(_)
            | Self::Doctor(_)
            | Self::Inspect(_)
            | Self::Completions(_)
            | Self::Man(_) => "the same command begins anew",
        }
    }
}
