//! What commands that draw episodes have in common: where the settings of meta-training come from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use gram_clip::Compute;
use gram_experiments::{defaults, settings_file};
use gram_meta::episode::{QueryDomains, TopicDraw};
use gram_meta::{MetaTrainingSettings, OuterOptimizer};
use gram_prompt::{PromptKind, Rates, RegulatorForm};

/// Settings of meta-training: those of the file or the defaults, and what replaces single ones.
#[derive(Args, Debug)]
pub struct MetaSettings {
    /// Settings (TOML), any part of them. A seed in the file overrides --seed.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Outer steps; 0 writes the initialisation as it is.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Meta-batch: episodes per outer step.
    #[arg(long, value_name = "B")]
    meta_batch: Option<usize>,
    /// Task micro-batch: episodes that pass the towers together.
    #[arg(long = "task-micro-batch", alias = "tasks-at-once", value_name = "N")]
    tasks_at_once: Option<usize>,
    /// Inner steps.
    #[arg(long, value_name = "K")]
    inner_steps: Option<usize>,
    /// Momentum of the inner steps, as at test time.
    #[arg(long, value_name = "MU")]
    inner_momentum: Option<f32>,
    /// Inner learning rate, or one for each tower: TEXT/VISUAL.
    #[arg(long = "inner-lr", alias = "inner-rate", value_name = "ALPHA")]
    inner_rate: Option<Rates>,
    /// Meta-learns the inner learning rates too.
    #[arg(long = "learn-inner-lr", alias = "learn-rates")]
    learn_rates: bool,
    /// First-order meta-gradient: leaves out the Hessian.
    #[arg(long)]
    first_order: bool,
    /// Form of the gradient regulator: paper, unit, rescaled, or none for no regulator.
    #[arg(long, value_name = "FORM")]
    regulator: Option<RegulatorName>,
    /// Classes per episode.
    #[arg(long, value_name = "N")]
    ways: Option<usize>,
    /// Support images per class.
    #[arg(long, value_name = "N")]
    support_shots: Option<usize>,
    /// Query images per class.
    #[arg(long, value_name = "N")]
    query_shots: Option<usize>,
    /// Query-only classes: further classes of the query set that the support set does not show. The paper
    /// has none.
    #[arg(long = "query-only-classes", alias = "new-ways", value_name = "N")]
    new_ways: Option<usize>,
    /// How topics are drawn: all alike (even), or large ones more often (by-size).
    #[arg(long, value_name = "HOW")]
    topic_draw: Option<TopicDrawName>,
    /// Where query images come from: all domains of their topic, as in the paper, or the others than the
    /// support images'.
    #[arg(long, value_name = "WHICH")]
    query_domains: Option<QueryDomainsName>,
    /// Meta optimiser.
    #[arg(long)]
    optimizer: Option<OptimizerName>,
    /// Meta learning rate, of prompt and regulator.
    #[arg(long, value_name = "RATE")]
    outer_lr: Option<f64>,
    /// Clips the meta-gradient to this norm.
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f32>,
    /// Share of the topics that is held out for validation.
    #[arg(long, value_name = "PART")]
    validation_topics: Option<f64>,
    /// Outer steps between validations.
    #[arg(long, value_name = "N")]
    validation_steps: Option<usize>,
    /// Early stopping: validations without improvement before training ends.
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
}

/// The optimisers by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Sgd,
}

/// The ways to draw topics by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TopicDrawName {
    Even,
    BySize,
}

/// The domains that query images come from by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum QueryDomainsName {
    All,
    Others,
}

/// The forms of a regulator by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RegulatorName {
    Paper,
    Unit,
    Rescaled,
    None,
}

impl MetaSettings {
    /// The same, on a device: a GPU takes all tasks of a step through the towers at once, unless the
    /// flag or the file says how many.
    pub fn in_force_on(
        &self,
        compute: &Compute,
        kind: PromptKind,
        seed: u64,
    ) -> Result<MetaTrainingSettings> {
        let mut settings = self.in_force(kind, seed)?;
        let sets = |path: &PathBuf| settings_file::sets(path, &["tasks_at_once"]);
        let is_given = self.tasks_at_once.is_some() || self.config.as_ref().map_or(Ok(false), sets)?;
        if !compute.is_cpu() && !is_given {
            settings.tasks_at_once = settings.meta_batch;
        }
        Ok(settings)
    }

    /// The file's settings or the defaults, with what the command line replaces.
    pub fn in_force(&self, kind: PromptKind, seed: u64) -> Result<MetaTrainingSettings> {
        let mut settings = Self::of_file(self.config.as_deref(), kind, seed)?;
        self.replace(&mut settings)?;
        settings.validate()?;
        Ok(settings)
    }

    /// What a file says, over the defaults.
    pub fn of_file(path: Option<&Path>, kind: PromptKind, seed: u64) -> Result<MetaTrainingSettings> {
        let usual = defaults::meta_training(kind, seed);
        path.map_or(Ok(usual.clone()), |path| Ok(settings_file::over(&usual, path)?))
    }

    fn replace(&self, settings: &mut MetaTrainingSettings) -> Result<()> {
        put(&mut settings.steps, self.steps);
        put(&mut settings.meta_batch, self.meta_batch);
        put(&mut settings.tasks_at_once, self.tasks_at_once);
        put(&mut settings.inner.steps, self.inner_steps);
        put(&mut settings.inner.momentum, self.inner_momentum);
        put(&mut settings.inner.rates, self.inner_rate);
        settings.inner.learn_rates |= self.learn_rates;
        settings.inner.first_order |= self.first_order;
        put(&mut settings.episodes.ways, self.ways);
        put(&mut settings.episodes.support_shots, self.support_shots);
        put(&mut settings.episodes.query_shots, self.query_shots);
        put(&mut settings.episodes.new_ways, self.new_ways);
        let topic_draw = self.topic_draw.map(|draw| match draw {
            TopicDrawName::Even => TopicDraw::Even,
            TopicDrawName::BySize => TopicDraw::BySize,
        });
        put(&mut settings.episodes.topic_draw, topic_draw);
        let query_domains = self.query_domains.map(|domains| match domains {
            QueryDomainsName::All => QueryDomains::All,
            QueryDomainsName::Others => QueryDomains::Others,
        });
        put(&mut settings.episodes.query_domains, query_domains);
        put(&mut settings.prompt_rate, self.outer_lr);
        put(&mut settings.regulator_rate, self.outer_lr);
        put(&mut settings.validation_topics, self.validation_topics);
        put(&mut settings.validation_steps, self.validation_steps);
        settings.clip_norm = self.clip_norm.or(settings.clip_norm);
        settings.patience = self.patience.or(settings.patience);
        settings.optimizer = match self.optimizer {
            Some(OptimizerName::Adam) => OuterOptimizer::Adam,
            Some(OptimizerName::Sgd) => OuterOptimizer::Sgd,
            None => settings.optimizer,
        };
        let form = match self.regulator {
            Some(RegulatorName::Paper) => RegulatorForm::Paper,
            Some(RegulatorName::Unit) => RegulatorForm::Unit,
            Some(RegulatorName::Rescaled) => RegulatorForm::Rescaled,
            Some(RegulatorName::None) => {
                settings.regulator = None;
                return Ok(());
            }
            None => return Ok(()),
        };
        let regulator = settings.regulator.as_mut();
        regulator.context("--regulator: the settings have none; give it a section [regulator]")?.form = form;
        Ok(())
    }
}

fn put<T: Copy>(setting: &mut T, given: Option<T>) {
    *setting = given.unwrap_or(*setting);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: MetaSettings,
    }

    #[test]
    fn flags_mean_the_same_under_their_old_names() {
        let parsed = |line: &str| {
            let words = std::iter::once("gram").chain(line.split(' '));
            format!("{:?}", Line::try_parse_from(words).unwrap().settings)
        };
        assert_eq!(
            parsed("--inner-lr 0.1 --learn-inner-lr --task-micro-batch 1 --query-only-classes 2"),
            parsed("--inner-rate 0.1 --learn-rates --tasks-at-once 1 --new-ways 2")
        );
    }
}
