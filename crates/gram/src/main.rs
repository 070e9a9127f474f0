//! The `gram` program: the command line of the library.

mod arguments;
mod commands;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Tensors come and go by the megabyte: the system's allocator would hand each back to the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gram: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
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

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let common = &arguments.common;
    match &arguments.command {
        Command::Demo(arguments) => commands::demo::run(arguments, common),
        Command::Adapt(arguments) => commands::adapt::run(arguments, common),
        Command::Bench(arguments) => commands::bench::run(arguments, common),
        Command::Study(arguments) => commands::study::run(arguments, common),
        Command::Rehearse(arguments) => commands::rehearse::run(arguments, common),
        Command::Data(arguments) => commands::data::run(arguments, common),
        Command::Cluster(arguments) => commands::cluster::run(arguments, common),
        Command::Episodes(arguments) => commands::episodes::run(arguments, common),
        Command::MetaTrain(arguments) => commands::meta_train::run(arguments, common),
        Command::Predict(arguments) => commands::predict::run(arguments, common),
        Command::Eval(arguments) => commands::eval::run(arguments, common),
        Command::Export(arguments) => commands::export::run(arguments, common),
        Command::Embed(arguments) => commands::embed::run(arguments, common),
        Command::Pretrain(arguments) => commands::pretrain::run(arguments, common),
    }
}
