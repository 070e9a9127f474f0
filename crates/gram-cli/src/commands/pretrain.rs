//! `gram pretrain`: contrastive training of a small CLIP, how the built-in model is made.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use gram_clip::{Compute, Precision};
use gram_data::{LabelledDataset, Pairs, read_pairs};
use gram_experiments::run_folder::{Run, RunFolder};
use gram_experiments::settings_file;
use gram_hub::assets;
use gram_pretrain::{Metric, PretrainConfig, Pretraining};
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::progress::bar;
use crate::{destination, output};

/// Arguments of `gram pretrain`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  gram pretrain --pairs shards/ --config assets/tiny/pretrain.toml --out runs/tiny"
)]
pub struct PretrainArguments {
    /// Image-text pairs: WebDataset shards, a folder of them, or a manifest.
    #[arg(long, value_name = "SRC")]
    pairs: PathBuf,
    /// Model sizes and optimisation (TOML), any part of them; the rest is as for the built-in model. A seed
    /// in the file overrides --seed.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Run folder. A run that was stopped continues from its last checkpoint.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// A labelled dataset to report zero-shot accuracy on after every epoch. Can be given several times.
    #[arg(long, value_name = "D")]
    held_out: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &PretrainArguments, common: &Common) -> Result<()> {
    let last = arguments.resolve(common)?.run()?;
    let model = arguments.out.join("model");
    match common.json {
        true => output::json(&json!({"model": model.to_string_lossy(), "last": last}))?,
        false => output::line(model.display())?,
    }
    Ok(())
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a PretrainArguments,
    config: PretrainConfig,
    source: Pairs,
    held_out: Vec<LabelledDataset>,
    compute: Compute,
}

impl PretrainArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        destination::folder(&self.out)?;
        ensure!(
            common.precision == Precision::F32,
            "--precision {}: pretrain trains the towers themselves, in f32; other commands round what is frozen",
            common.precision
        );
        let usual = PretrainConfig { seed: common.seed, ..assets::pretraining()? };
        let config = settings_file::over(&usual, &self.config)?;
        config.validate(&self.config.display().to_string())?;
        let source = read_pairs(&self.pairs)?;
        output::note(format!("{} pairs, {}", source.pairs.len(), source.skipped_summary()));
        let held_out = self.held_out.iter().map(LabelledDataset::open).collect::<Result<Vec<_>, _>>()?;
        Ok(Resolved { arguments: self, config, source, held_out, compute: common.compute()? })
    }
}

impl Resolved<'_> {
    /// Trains from where the run stood, and writes the model: what was measured last.
    fn run(&self) -> Result<Option<Metric>> {
        let Self { arguments, config, source, held_out, compute } = self;
        let tested: Vec<String> = held_out
            .iter()
            .map(|dataset| dataset.fingerprint_of(&(0..dataset.images.len()).collect::<Vec<_>>()))
            .collect();
        let identity = json!({
            "config": config,
            "pairs": source.fingerprint(),
            "held_out": tested,
            "device": compute.identity(),
        });
        let run = Run {
            command: "pretrain",
            identity: &identity,
            makes: &gram_pretrain::MAKES,
            restart: arguments.anew.restart,
        };
        let _claimed = RunFolder::claim(&arguments.out, &run)?;
        let progress = bar("pre-training");
        let mut last = None;
        let run = Pretraining { config: config.clone(), pairs: &source.pairs, held_out, out: &arguments.out };
        run.run(compute, &mut |metric| {
            match metric {
                Metric::Step { step, steps, loss, pairs_per_second, .. } => {
                    progress.set_length(*steps as u64);
                    progress.set_position(*step as u64);
                    progress.set_message(format!("loss {loss:.3}, {pairs_per_second:.0} pairs/s"));
                }
                Metric::ZeroShot { dataset, accuracy, step, .. } => {
                    progress.suspend(|| {
                        output::note(format!("step {step}: {accuracy:.1} % zero-shot on {dataset}"))
                    });
                }
            }
            last = Some(metric.clone());
        })?;
        progress.finish_and_clear();
        Ok(last)
    }
}
