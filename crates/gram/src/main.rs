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
            eprintln!("gram: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let common = &arguments.common;
    match &arguments.command {
        Command::Demo(arguments) => commands::demo::run(arguments, common),
        Command::Cluster(arguments) => commands::cluster::run(arguments, common),
        Command::MetaTrain(arguments) => commands::meta_train::run(arguments, common),
        Command::Pretrain(arguments) => commands::pretrain::run(arguments, common),
    }
}
