//! What commands that tune have in common: where the settings come from.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gram_clip::Model;
use gram_data::{Augmentation, Sampling};
use gram_experiments::coop_config::CoopConfig;
use gram_experiments::settings_file::SettingsFile;
use gram_experiments::tuning_settings::{for_model, with_file, with_said};
use gram_experiments::workbench::CheckedSettings;
use gram_prompt::{ClassPosition, Rates};
use gram_tune::adaptation::AdaptationSettings;

/// Settings of tuning. A flag comes before the file, the file before the defaults.
#[derive(Args, Debug)]
pub struct TuningArguments {
    /// Settings (TOML), any part of them. `--json` prints the settings in force.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sampling of the shots: gram, or coop for the images that CoOp's code draws from a shared split.
    #[arg(long, value_name = "WHOSE")]
    sampling: Option<Sampling>,
    /// Passes over the shots.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Batch size (of CoCoOp: conditional_batch_size in the settings file).
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Peak learning rate, or one for each tower: TEXT/VISUAL.
    #[arg(long, value_name = "RATE")]
    rate: Option<Rates>,
    /// SGD's momentum.
    #[arg(long, value_name = "M")]
    momentum: Option<f32>,
    /// SGD's weight decay.
    #[arg(long, value_name = "D")]
    weight_decay: Option<f32>,
    /// Warm-up epochs, at a small constant learning rate.
    #[arg(long, value_name = "N")]
    warmup_epochs: Option<usize>,
    /// Context tokens with a random initialisation; 0 uses the template's words.
    #[arg(long, value_name = "M")]
    context_tokens: Option<usize>,
    /// Position of the class name among the context tokens, also of an initialisation in CoOp's format: end,
    /// middle or front.
    #[arg(long, value_name = "WHERE")]
    class_position: Option<ClassPosition>,
    /// Class-specific context (CSC): each class has context tokens of its own.
    #[arg(long)]
    class_specific: bool,
    /// Prompt tokens of a visual prompt.
    #[arg(long, value_name = "N")]
    visual_tokens: Option<usize>,
    /// Prompt depth: vision layers with prompt tokens of their own. 1 is shallow, 0 means all layers.
    #[arg(long, value_name = "N")]
    visual_depth: Option<usize>,
}

impl TuningArguments {
    /// Where class names stand, if the command line says it: a start in CoOp's file does not.
    pub fn class_position(&self) -> Option<ClassPosition> {
        self.class_position
    }

    /// The settings in force. Where images are `seen` already, as features, nothing is augmented. `sampling`
    /// is used where neither flag nor file says otherwise, and what CoOp's files say before both.
    pub fn settings(
        &self,
        model: &Model,
        shots: Option<usize>,
        seen: bool,
        sampling: Option<Sampling>,
        coop: Option<&CoopConfig>,
    ) -> Result<CheckedSettings> {
        let mut settings = for_model(model, DEFAULT_SHOTS);
        replace(&mut settings.sampling, sampling);
        if let Some(coop) = coop {
            settings = with_said(&settings, &SettingsFile::of_object("--coop-config", &coop.settings))?;
        }
        if let Some(path) = &self.config {
            settings = with_file(&settings, path)?;
        }
        let put = |adaptation: &mut AdaptationSettings| {
            replace(&mut adaptation.epochs, self.epochs);
            replace(&mut adaptation.batch_size, self.batch_size);
            if let Some(rates) = self.rate {
                (adaptation.rates, adaptation.joint_rates) = (rates, None);
            }
            replace(&mut adaptation.momentum, self.momentum);
            replace(&mut adaptation.weight_decay, self.weight_decay);
            replace(&mut adaptation.warmup_epochs, self.warmup_epochs);
        };
        put(&mut settings.baseline);
        put(&mut settings.regulated);
        replace(&mut settings.shots, shots);
        replace(&mut settings.sampling, self.sampling);
        let design = &mut settings.design;
        replace(&mut design.context_tokens, self.context_tokens);
        replace(&mut design.class_position, self.class_position);
        replace(&mut design.visual_tokens, self.visual_tokens);
        replace(&mut design.visual_depth, self.visual_depth);
        design.class_specific |= self.class_specific;
        if seen {
            settings.augmentation = Augmentation::none(model.preprocess.crop);
        }
        Ok(CheckedSettings::new(settings, model)?)
    }
}

/// Images of a class where nothing else is said: the literature's.
const DEFAULT_SHOTS: usize = 16;

fn replace<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}
