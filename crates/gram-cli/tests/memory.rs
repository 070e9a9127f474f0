//! How much memory the program takes, as Linux tells of a process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use image::{Rgb, RgbImage};
use serde_json::Value;

/// `gram` on two threads, so that as much is decoded at once on every machine.
fn gram(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
    command.args(arguments).env("RAYON_NUM_THREADS", "2").stderr(Stdio::null());
    command
}

/// The most memory that a child has had when it ends, in megabytes.
fn peak(mut child: Child) -> f64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0.0) / 1024.0);
        sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak
}

/// A table of pairs with one large picture and captions of eight things.
fn large_pictures(folder: &Path, pairs: usize) -> String {
    let picture = RgbImage::from_fn(1500, 1500, |x, y| Rgb([(x / 6) as u8, (y / 6) as u8, (x + y) as u8]));
    picture.save(folder.join("large.jpg")).unwrap();
    let things = ["tiger", "cup", "tree", "car", "house", "fish", "bird", "boat"];
    let row = |pair: usize| format!("large.jpg,a photo of a {} number {pair}\n", things[pair % things.len()]);
    let table = folder.join("pairs.csv");
    fs::write(&table, format!("image,caption\n{}", (0..pairs).map(row).collect::<String>())).unwrap();
    table.display().to_string()
}

#[test]
fn pictures_are_not_held_at_their_full_size() {
    let folder = tempfile::tempdir().unwrap();
    // Decoded they are 810 MB.
    let table = large_pictures(folder.path(), 120);
    let out = folder.path().join("clusters").display().to_string();
    let mut clustering = gram(&["cluster", "--pairs", &table, "--min-cluster-size", "5", "--out", &out]);
    let peak = peak(clustering.stdout(Stdio::null()).spawn().unwrap());
    assert!(peak > 20.0 && peak < 300.0, "{peak} MB");
}

#[test]
fn the_memory_that_a_clustering_takes_is_told_before_within_a_quarter() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("clusters").display().to_string();
    let arguments = ["cluster", "--pairs", "demo", "--json", "--out", &out];
    let told = gram(&[&arguments[..], &["--dry-run"]].concat()).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let told = told["peak_megabytes"].as_f64().unwrap();
    let mut clustering = gram(&arguments);
    let taken = peak(clustering.stdout(Stdio::null()).spawn().unwrap());
    assert!((told / taken - 1.0).abs() < 0.25, "{told} MB were told, {taken} MB were taken");
}
