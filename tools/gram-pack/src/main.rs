//! Renders open-licence icon packages into image-text pairs and labelled datasets.
//!
//! `gram-pack pretraining` makes the pairs that the default model is trained on, `gram-pack demo` the data
//! that the repository ships, `gram-pack unseen` pairs by vendors that the model has never seen. All write
//! the same bytes for the same packages and seed.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of this repository's own, read as it runs"
)]

mod archive;
mod attributes;
mod captions;
mod colours;
mod concepts;
mod datasets;
mod demo;
mod drawings;
mod icon_names;
mod labelled;
mod looks;
mod notice;
mod packages;
mod pairs;
mod pretraining;
mod sets;
mod svg;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::concepts::Concepts;
use crate::datasets::DATASETS;
use crate::drawings::{Count, Drawing};
use crate::packages::Package;
use crate::pairs::PairSettings;
use crate::pretraining::Variations;
use crate::sets::Role;

/// JPEG quality of pairs for pre-training.
const PAIR_QUALITY: u8 = 90;
/// JPEG quality of all that the repository ships.
const DEMO_QUALITY: u8 = 82;
/// Pixels along each edge of a picture that the repository ships.
const DEMO_SIZE: u32 = 48;

#[derive(Parser)]
#[command(
    name = "gram-pack",
    version,
    about,
    after_help = "Example:\n  gram-pack pretraining --icons icons --out pairs"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the pairs for pre-training, and a plain validation dataset.
    Pretraining {
        #[command(flatten)]
        common: Common,
        /// Pairs for every emoji of the pool.
        #[arg(long, default_value_t = 14)]
        emoji_variations: usize,
        /// Pairs for every interface icon of the pool.
        #[arg(long, default_value_t = 1)]
        icon_variations: usize,
        /// Pixels along each edge of a picture.
        #[arg(long, default_value_t = 48)]
        size: u32,
    },
    /// Write the demo's pairs, labelled datasets and README, and a NOTICE beside the folder.
    Demo {
        #[command(flatten)]
        common: Common,
    },
    /// Write pairs like the demo's by vendors that are neither in pre-training nor in a labelled dataset.
    Unseen {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Common {
    /// Folder that holds the unpacked npm packages.
    #[arg(long)]
    icons: PathBuf,
    /// Folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Where all random numbers come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Pretraining { common, emoji_variations, icon_variations, size } => {
            let variations = Variations { emoji: emoji_variations, icons: icon_variations };
            let settings = PairSettings { edge: size, quality: PAIR_QUALITY, seed: common.seed };
            pack_pretraining(&common, variations, settings)
        }
        Command::Demo { common } => pack_demo(&common),
        Command::Unseen { common } => pack_unseen(&common),
    }
}

fn pack_pretraining(common: &Common, variations: Variations, settings: PairSettings) -> anyhow::Result<()> {
    let Input { packages, concepts } = Input::read(common)?;
    let (pool, counts) = drawings::collect(&packages, &concepts, Role::Pool);
    print(&counts, &pool);
    let shards = common.out.join("pairs");
    archive::make_folder(&shards)?;
    pretraining::write_pairs(&shards, &pool, variations, settings)?;
    let (held_out, counts) = drawings::collect(&packages, &concepts, Role::HeldOut);
    print(&counts, &held_out);
    let validation = common.out.join("plain-validation.tar.gz");
    pretraining::write_validation(&validation, &pool, &held_out, settings)
}

fn pack_demo(common: &Common) -> anyhow::Result<()> {
    let Input { packages, concepts } = Input::read(common)?;
    let settings = PairSettings { edge: DEMO_SIZE, quality: DEMO_QUALITY, seed: common.seed };
    let (pool, counts) = drawings::collect(&packages, &concepts, Role::Pool);
    print(&counts, &pool);
    demo::write_pairs(&common.out, &pool, settings)?;
    let (held_out, counts) = drawings::collect(&packages, &concepts, Role::HeldOut);
    print(&counts, &held_out);
    for dataset in &DATASETS {
        demo::write_dataset(&common.out, dataset, &held_out, settings)?;
    }
    archive::write_text(&common.out.join("README.md"), &notice::readme(common.seed)?)?;
    archive::write_text(&common.out.with_file_name("NOTICE"), &notice::notice(&packages)?)
}

fn pack_unseen(common: &Common) -> anyhow::Result<()> {
    let Input { packages, concepts } = Input::read(common)?;
    let settings = PairSettings { edge: DEMO_SIZE, quality: DEMO_QUALITY, seed: common.seed };
    let (unseen, counts) = drawings::collect(&packages, &concepts, Role::Unseen);
    print(&counts, &unseen);
    demo::write_pairs(&common.out, &unseen, settings)
}

/// What every command reads first.
struct Input {
    packages: Vec<Package>,
    concepts: Concepts,
}

impl Input {
    fn read(common: &Common) -> anyhow::Result<Self> {
        let packages = packages::read_all(&common.icons)?;
        let concepts = Concepts::read(&common.icons, &packages)?;
        archive::make_folder(&common.out)?;
        Ok(Self { packages, concepts })
    }
}

fn print(counts: &[Count], drawings: &[Drawing]) {
    for count in counts {
        println!("{count}");
    }
    println!("{} drawings", drawings.len());
}
