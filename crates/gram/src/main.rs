//! The `gram` program: the command line of the library.

mod arguments;
mod commands;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gram: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let common = &arguments.common;
    match &arguments.command {
        Command::Pretrain(arguments) => commands::pretrain::run(arguments, common),
    }
}
