//! `gram man`: manual pages.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use crate::command_line::Arguments;
use crate::{destination, output};

/// What `gram man` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram man --out ~/.local/share/man/man1")]
pub struct ManArguments {
    /// The folder for the pages: gram.1, and one for every command.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Writes the pages.
pub fn run(arguments: &ManArguments) -> Result<()> {
    let ManArguments { out } = arguments;
    destination::folder(out)?;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    clap_mangen::generate_to(Arguments::command(), out).with_context(|| out.display().to_string())?;
    Ok(output::line(out.display())?)
}
