//! What the program prints, where nobody reads it, where there is no room for it, and where names would
//! command the terminal; and what it says when it is stopped.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
    command.args(arguments);
    command
}

/// Writes a picture of the demo.
fn picture(path: &Path) {
    let dataset = gram_hub::model::open_dataset("demo:animals").unwrap();
    fs::write(path, dataset.images[0].image.bytes().unwrap()).unwrap();
}

fn error_of(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Commands of every way of printing.
fn printing(image: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["predict", "--classes", "cat,dog", image],
        vec!["predict", "--classes", "cat,dog", "--json", image],
        vec!["eval", "--data", "demo:food", "--classes", "new"],
        vec!["data", "validate", "demo:food"],
        vec!["cluster", "--pairs", "demo", "--dry-run", "--out", "nowhere"],
        vec!["--help"],
    ]
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.jpg");
    picture(&image);
    for arguments in printing(image.to_str().unwrap()) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(!error_of(&output).contains("panicked"), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.jpg");
    picture(&image);
    for arguments in printing(image.to_str().unwrap()).into_iter().filter(|arguments| arguments.len() > 1) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(&arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let last = error_of(&output).lines().last().unwrap();
        assert!(last.starts_with("gram: standard output: No space left"), "{arguments:?}: {output:?}");
    }
}

#[test]
fn messages_that_nobody_can_read_change_nothing() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["predict", "--classes", "a,b", "missing.jpg"]).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(command(&["predict"]).stderr(full()).output().unwrap().status.code(), Some(2));
}

#[test]
fn names_do_not_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let red = "\u{1b}[31mred";
    let image = folder.path().join(format!("{red}.jpg"));
    picture(&image);
    let image = image.to_str().unwrap();
    let classes = format!("{red} cat,dog\u{9b}2J");
    let run = |arguments: &[&str]| {
        let output = command(arguments).output().unwrap();
        let text = format!("{}{}", std::str::from_utf8(&output.stdout).unwrap(), error_of(&output));
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
        text
    };
    let told = run(&["predict", "--classes", &classes, image]);
    assert!(told.contains("\\u{1b}[31mred.jpg\t") && told.contains("\\u{1b}[31mred cat "), "{told}");
    assert!(told.contains("dog\\u{9b}2J"), "{told}");
    let told = run(&["predict", "--classes", &classes, "--json", image]);
    let result = told.lines().find(|line| line.starts_with('{')).unwrap();
    let result: serde_json::Value = serde_json::from_str(result).unwrap();
    assert!(result["image"].as_str().unwrap().ends_with("\u{1b}[31mred.jpg"), "{result}");
    // In errors, and in what is quoted of the command line.
    assert!(run(&["predict", "--classes", "a,b", &format!("{red}.png")]).contains("\\u{1b}[31mred.png: "));
    assert!(run(&["eval", "--data", red]).contains("dataset \\u{1b}[31mred "));
    assert!(run(&["eval", "--data", "demo:food", "--split", "dog\u{9b}2J"]).contains("dog\\u{9b}2J"));
    run(&["eval", "--data", "demo:food", "--split", red]);
    // In tables.
    for name in [red, "dog\u{7}"] {
        for number in 0..5 {
            fs::create_dir_all(folder.path().join("data").join(name)).unwrap();
            picture(&folder.path().join("data").join(name).join(format!("{number}.jpg")));
        }
    }
    let data = folder.path().join("data").display().to_string();
    assert!(run(&["data", "validate", &data]).contains("of \\u{1b}[31mred and 1 others"));
    let missing = folder.path().join("data").join(red).join("broken.jpg");
    fs::write(missing, "no image").unwrap();
    assert!(run(&["data", "validate", &data]).contains("unreadable: \\u{1b}[31mred/broken.jpg"));
}

/// Waits until the program catches a signal.
fn catches(child: &Child, signal: u32) {
    let status = format!("/proc/{}/status", child.id());
    loop {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        if u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal - 1)) != 0 {
            return;
        }
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_signal_is_answered_with_a_word_on_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("features").display().to_string();
    for (name, signal, code) in [("INT", 2, 130), ("TERM", 15, 143)] {
        for (arguments, way_on) in [
            (&["predict", "--classes", "cat,dog", "-"][..], "the same command begins anew"),
            (
                &["embed", "--pairs", "demo", "--out", &out],
                "the same command goes on from its last checkpoint",
            ),
        ] {
            let mut command = command(arguments);
            // Whoever reads paths waits for them.
            let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            catches(&child, signal);
            let input = child.stdin.take();
            Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
            let output = child.wait_with_output().unwrap();
            drop(input);
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            let last = error_of(&output).lines().last().unwrap();
            assert!(last.starts_with("gram: stopped: ") && last.ends_with(way_on), "{last}");
        }
    }
    // Nothing that was begun stands in the way.
    let output = command(&["embed", "--pairs", "demo", "--out", &out]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn bytes_are_paths() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let names = [&b"caf\xe9.jpg"[..], b" two\xff words.jpg", b"plain.jpg"];
    let paths = names.map(|name| images.join(OsStr::from_bytes(name)));
    paths.iter().for_each(|path| picture(path));
    let predict = || command(&["predict", "--classes", "cat,dog", "--json"]);
    let check = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("predictions")).count(), 3, "{text}");
        assert!(text.contains("caf\u{fffd}.jpg") && text.contains("plain.jpg"), "{text}");
    };
    check(predict().args(&paths).output().unwrap());
    check(predict().arg(&images).output().unwrap());
    let mut child = predict().arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = paths.each_ref().map(|path| path.as_os_str().as_bytes()).join(&b"\n"[..]);
    child.stdin.take().unwrap().write_all(&lines).unwrap();
    check(child.wait_with_output().unwrap());
    // A command's own file may have any name, too.
    let out = folder.path().join(OsStr::from_bytes(b"\xe9.json"));
    let output = command(&["data", "few-shot", "demo:food", "--json", "--out"]).arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(out.exists());
}
