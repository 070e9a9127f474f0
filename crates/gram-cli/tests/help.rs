//! The help of every command as its user reads it. `INSTA_UPDATE=always cargo test --release --workspace
//! --test help` accepts what changed.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn help(command: &str) -> String {
    let mut gram = Command::new(env!("CARGO_BIN_EXE_gram"));
    let output = gram.args(command.split_whitespace()).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that the help of the program lists.
fn commands() -> Vec<String> {
    let help = help("");
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_help_of_every_command_is_as_it_was_read_last() {
    insta::assert_snapshot!("gram", help(""));
    let commands = commands();
    assert!(commands.len() >= 13, "{commands:?}");
    insta::assert_snapshot!("study design", help("study design"));
    for command in commands {
        insta::assert_snapshot!(command.clone(), help(&command));
    }
}
