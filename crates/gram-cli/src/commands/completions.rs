//! `gram completions`: what a shell completes the command line with.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::command_line::Arguments;
use crate::output;

/// What `gram completions` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram completions bash > ~/.local/share/bash-completion/completions/gram\n  \
                        gram completions zsh > ~/.zfunc/_gram\n  \
                        gram completions fish > ~/.config/fish/completions/gram.fish"
)]
pub struct CompletionsArguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &CompletionsArguments) -> Result<()> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut Arguments::command(), "gram", &mut script);
    Ok(output::line(String::from_utf8(script)?.trim_end())?)
}
