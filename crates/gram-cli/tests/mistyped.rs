//! Names that are wrong by a letter, folders in the place of files, and a program that is quiet.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn gram(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gram")).args(arguments).current_dir(folder).output().unwrap()
}

#[track_caller]
fn refused(folder: &Path, arguments: &[&str], problem: &str) {
    let output = gram(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(problem), "{said}");
}

#[test]
fn a_name_that_is_nearly_right_is_suggested() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("pairs.csv"), "").unwrap();
    fs::create_dir(at.join("flowers")).unwrap();
    refused(at, &["eval", "--data", "demo:foood"], "; is it `food`?");
    refused(at, &["eval", "--data", "flower"], "; is it `flowers`?");
    refused(at, &["cluster", "--pairs", "pair.csv", "--out", "o"], "; is it `pairs.csv`?");
    refused(at, &["adapt", "--data", "demo:food", "--method", "copo", "--out", "o"], "; is it `coop`?");
    refused(at, &["evla"], "'eval'");
    refused(at, &["eval", "--dta", "demo:food"], "'--data'");
}

#[test]
fn a_folder_in_the_place_of_what_is_in_it_names_one_of_that() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for dataset in ["root/oxford_flowers", "root/caltech-101"] {
        fs::create_dir_all(at.join(dataset)).unwrap();
    }
    refused(
        at,
        &["data", "validate", "root"],
        "root: this is a folder of datasets: name one of them, such as root/",
    );
    fs::create_dir_all(at.join("run/prompt_learner")).unwrap();
    for epoch in ["5", "50"] {
        fs::write(at.join(format!("run/prompt_learner/model.pth.tar-{epoch}")), "").unwrap();
    }
    let prompt = ["eval", "--data", "demo:food", "--model", "tiny", "--prompt", "run"];
    refused(at, &prompt, "run: this is a folder: name a prompt, such as run/prompt_learner/model.pth.tar-50");
    fs::write(at.join("coop.yaml"), "OPTIM:\n  LR: 0.1\n").unwrap();
    let config = ["adapt", "--data", "demo:food", "--method", "coop", "--config", "coop.yaml", "--out", "o"];
    refused(at, &config, "coop.yaml: this is YAML, and settings are TOML");
}

#[test]
fn a_quiet_program_says_results_and_errors_alone() {
    let folder = tempfile::tempdir().unwrap();
    let eval = ["eval", "--data", "demo:food", "--classes", "new"];
    let loud = gram(folder.path(), &eval);
    assert!(loud.status.success() && !loud.stderr.is_empty());
    let quiet = gram(folder.path(), &[&eval[..], &["--quiet"]].concat());
    assert_eq!((quiet.stdout, quiet.stderr), (loud.stdout, Vec::new()));
    refused(folder.path(), &["-q", "eval", "--data", "demo:foood"], "no dataset of that name");
}
