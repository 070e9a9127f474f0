//! The `gram` program: the command line of the library.

mod allocator;
mod arguments;
mod command_line;
mod commands;
mod destination;
#[cfg(unix)]
mod interruption;
mod out_of_memory;
mod output;
mod progress;
mod seeing_cost;

use std::process::ExitCode;

use clap::Parser;
use command_line::{Arguments, Command};
use commands::Outcome;
use output::OutputError;

/// What the exit code says where a part of what was asked for could not be read. 0 is done, 1 failed, 2 wrong
/// usage.
const PARTIAL: u8 = 3;

/// Makes the CPU the device of whoever asks burn for its usual one: that is a GPU where one is compiled in,
/// there or not, and burn's reader of an optimiser's state asks.
#[allow(unsafe_code)]
fn take_the_cpu_where_no_device_is_named() {
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}

fn main() -> ExitCode {
    allocator::keep_free_memory();
    take_the_cpu_where_no_device_is_named();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    if arguments.common.quiet {
        output::be_quiet();
    }
    output::show_warnings();
    #[cfg(unix)]
    interruption::watch(arguments.command.way_on());
    match out_of_memory::caught(|| run(&arguments)) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(PARTIAL),
        // Whoever reads, as `head`, has all that they wanted.
        Err(error) if matches!(error.downcast_ref(), Some(OutputError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(format!("gram: {}", output::shown(describe(&error))));
            ExitCode::FAILURE
        }
    }
}

/// Prints help that was asked for, or what is wrong with the command line.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // Without colours: what is quoted from the command line may hold escape codes of its own.
        output::error(error.render().to_string().trim_end());
    } else {
        _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The error and its causes on one line; a cause that its effect has told already is not told twice.
fn describe(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
    }
    line
}

fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let common = &arguments.common;
    let complete = |()| Outcome::Complete;
    match &arguments.command {
        Command::Demo(arguments) => commands::demo::run(arguments, common).map(complete),
        Command::Adapt(arguments) => commands::adapt::run(arguments, common).map(complete),
        Command::Bench(arguments) => commands::bench::run(arguments, common).map(complete),
        Command::Study(arguments) => commands::study::run(arguments, common).map(complete),
        Command::Rehearse(arguments) => commands::study_design::run(arguments, common).map(complete),
        Command::Data(arguments) => commands::data::run(arguments, common),
        Command::Cluster(arguments) => commands::cluster::run(arguments, common).map(complete),
        Command::Episodes(arguments) => commands::episodes::run(arguments, common).map(complete),
        Command::MetaTrain(arguments) => commands::meta_train::run(arguments, common).map(complete),
        Command::Predict(arguments) => commands::predict::run(arguments, common),
        Command::Eval(arguments) => commands::eval::run(arguments, common),
        Command::Export(arguments) => commands::export::run(arguments, common).map(complete),
        Command::Embed(arguments) => commands::embed::run(arguments, common).map(complete),
        Command::Pretrain(arguments) => commands::pretrain::run(arguments, common).map(complete),
        Command::Devices(arguments) => commands::devices::run(arguments, common).map(complete),
        Command::Doctor(arguments) => commands::doctor::run(arguments, common).map(complete),
        Command::Inspect(arguments) => commands::inspect::run(arguments, common).map(complete),
        Command::Completions(arguments) => commands::completions::run(arguments).map(complete),
        Command::Man(arguments) => commands::man::run(arguments).map(complete),
    }
}
