//! What shells complete, and manual pages.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output};

fn gram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).output().unwrap()
}

#[test]
fn every_shell_completes_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = gram(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["meta-train", "fit-sample"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(gram(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn bash_takes_its_script() {
    let script = String::from_utf8(gram(&["completions", "bash"]).stdout).unwrap();
    let ask = "\nCOMP_WORDS=(gram meta); COMP_CWORD=1; _gram gram meta gram; echo \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash").arg("-c").arg(script + ask).output().unwrap();
    assert_eq!(String::from_utf8(completed.stdout).unwrap(), "meta-train\n", "{:?}", completed.stderr);
}

#[test]
fn every_command_that_the_help_lists_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    let output = gram(&["man", "--out", &out.display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    let help = String::from_utf8(gram(&["--help"]).stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for name in
        listed.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help")
    {
        let page = fs::read_to_string(out.join(format!("gram-{name}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{name}");
    }
    assert!(fs::read_to_string(out.join("gram-data-few-shot.1")).unwrap().contains(".SH SYNOPSIS"));
    assert!(!out.join("gram-rehearse.1").exists());
}
