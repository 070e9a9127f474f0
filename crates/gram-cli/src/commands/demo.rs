//! `gram demo`: the whole paper in small, on the built-in model and data.

use std::path::PathBuf;

use clap::Args;
use gram_data::Progress;
use gram_experiments::demo::{self, Plan};
use gram_report::results::Results;
use gram_report::tables::{self, Table};

use crate::arguments::{Anew, Common};
use crate::commands::command_line;
use crate::progress::{Bar, bar};
use crate::{destination, output};

/// Arguments of `gram demo`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram demo --out runs/demo")]
pub struct DemoArguments {
    /// Folder for report.html, results.json and everything else that is made.
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// Number of seeds of shots and tuning.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    seeds: Option<u16>,
    /// Two datasets and one seed.
    #[arg(long, conflicts_with_all = ["full", "seeds"])]
    quick: bool,
    /// Makes everything anew, including the visual and joint initialisations, with 3 seeds.
    #[arg(long)]
    full: bool,
}

/// Runs the command.
pub fn run(arguments: &DemoArguments, common: &Common) -> anyhow::Result<()> {
    destination::folder(&arguments.out)?;
    let compute = common.compute()?;
    let seeds = |usual: usize| arguments.seeds.map_or(usual, usize::from);
    let plan = match (arguments.quick, arguments.full) {
        (true, _) => Plan::quick(common.seed),
        (_, true) => Plan::full(common.seed, seeds(3)),
        _ => Plan::standard(common.seed, seeds(gram_experiments::defaults::DEMO_SEEDS)),
    };
    for note in plan.notes() {
        output::note(note);
    }
    let bar = Stages(bar(""));
    let (out, restart) = (&arguments.out, arguments.anew.restart);
    let results = demo::run(&plan, &command_line(), out, restart, &compute, &bar)?;
    drop(bar);
    let report = arguments.out.join("report.html");
    if common.json {
        output::json(&results)?;
    } else {
        for table in summary(&results) {
            output::line(table.to_text())?;
        }
        output::line(report.display())?;
    }
    Ok(())
}

/// The tables that fit on a screen; the report has all.
fn summary(results: &Results) -> impl Iterator<Item = Table> {
    let averages = tables::base_to_new_average(results)
        .into_iter()
        .chain(tables::cross_domain(results).into_iter().take(1));
    let beside = tables::differences(results).into_iter().chain(tables::beside_the_paper(results));
    averages.chain(beside).chain(tables::stage_times(results))
}

/// Says the stages in words where no bar is shown.
struct Stages(Bar);

impl Progress for Stages {
    fn begin(&self, stage: &str, steps: usize) {
        if self.0.is_hidden() {
            output::note(stage);
        }
        self.0.begin(stage, steps);
    }

    fn advance(&self, message: &str) {
        self.0.advance(message);
    }

    fn reach(&self, done: usize, message: &str) {
        self.0.reach(done, message);
    }
}
