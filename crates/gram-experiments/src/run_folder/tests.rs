//! Runs that go on or begin anew, and how one differs from another.

use serde_json::json;

use super::*;

const MAKES: [&str; 3] = ["runs", "*-shot", "table.md"];

fn claim(path: &Path, identity: &Value, restart: bool) -> Result<RunFolder> {
    RunFolder::claim(path, &Run { command: "bench", identity, makes: &MAKES, restart })
}

#[test]
fn the_same_run_goes_on_and_another_one_learns_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let identity = json!({"settings": {"epochs": 1, "rate": 0.1}, "seed": 1});
    drop(claim(folder.path(), &identity, false).unwrap());
    drop(claim(folder.path(), &identity, false).unwrap());
    let other = json!({"settings": {"epochs": 2, "rate": 0.1}, "device": "cpu", "seed": 1});
    let error = claim(folder.path(), &other, false).unwrap_err().to_string();
    assert!(error.contains("settings.epochs was 1, now 2; device was none, now \"cpu\":"), "{error}");
    assert!(error.ends_with("name another --out, or begin anew with --restart"), "{error}");
}

#[test]
fn a_run_that_was_computed_elsewhere_learns_how_to_compute_there() {
    let folder = tempfile::tempdir().unwrap();
    let on = |device: &str| json!({"model": {"device": device, "weights": "ab"}});
    drop(claim(folder.path(), &on("cpu"), false).unwrap());
    let error = claim(folder.path(), &on("cpu f16"), false).unwrap_err().to_string();
    assert!(
        error.contains(r#"model.device was "cpu", now "cpu f16": compute as before (--device, --precision), name another"#),
        "{error}"
    );
}

#[test]
fn a_restart_deletes_what_the_run_made_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let run = claim(folder.path(), &json!({"seed": 1}), false).unwrap();
    run.keep("runs/a.json", &json!(1), 1).unwrap();
    run.keep("4-shot/a.json", &json!(1), 1).unwrap();
    fs::write(folder.path().join("photo.jpg"), "mine").unwrap();
    fs::create_dir(folder.path().join("my-shot")).unwrap();
    drop(run);
    let run = claim(folder.path(), &json!({"seed": 2}), true).unwrap();
    assert_eq!(run.find::<i32>("runs/a.json", &json!(1)).unwrap(), None);
    assert!(folder.path().join("photo.jpg").is_file() && folder.path().join("my-shot").is_dir());
    assert!(["runs", "4-shot"].iter().all(|name| !folder.path().join(name).exists()));
    drop(run);
    assert!(claim(folder.path(), &json!({"seed": 1}), false).is_err());
}

#[test]
fn what_no_run_vouches_for_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("table.md"), "old").unwrap();
    let error = claim(folder.path(), &json!({}), false).unwrap_err().to_string();
    assert!(error.contains("table.md: no run.json says") && error.contains("another --out"), "{error}");
    // It may be anybody's.
    assert!(claim(folder.path(), &json!({}), true).is_err());
    assert_eq!(fs::read_to_string(folder.path().join("table.md")).unwrap(), "old");
}

#[test]
fn the_folder_of_another_command_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    drop(claim(folder.path(), &json!({}), false).unwrap());
    let run = Run { command: "embed", identity: &json!({}), makes: &MAKES, restart: true };
    let error = RunFolder::claim(folder.path(), &run).unwrap_err().to_string();
    assert!(error.contains("`gram bench` was begun here, not `gram embed`"), "{error}");
}

#[test]
fn a_second_process_meets_the_lock_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = claim(folder.path(), &json!({}), false).unwrap();
    let error = claim(folder.path(), &json!({}), false).unwrap_err().to_string();
    assert!(error.contains("another process is at work"), "{error}");
    drop(first);
    claim(folder.path(), &json!({}), false).unwrap();
}

#[test]
fn a_part_is_made_once_and_only_from_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = claim(folder.path(), &json!({}), false).unwrap();
    let made_from = json!({"data": "ab", "seed": 1});
    assert_eq!(run.once("runs/one.json", &made_from, || Ok(1.5)).unwrap(), 1.5);
    assert_eq!(run.once::<f64>("runs/one.json", &made_from, || refuse!("again")).unwrap(), 1.5);
    let other = run.once("runs/one.json", &json!({"data": "cd", "seed": 1}), || Ok(2.5));
    let error = other.unwrap_err().to_string();
    assert!(error.contains("one.json") && error.contains(r#"data was "ab", now "cd""#), "{error}");
}

#[test]
fn a_part_that_was_moved_or_is_of_another_run_is_not_taken() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = claim(one.path(), &json!({"seed": 1}), false).unwrap();
    run.keep("runs/a.json", &Value::Null, 1).unwrap();
    fs::copy(one.path().join("runs/a.json"), one.path().join("runs/b.json")).unwrap();
    let error = run.find::<i32>("runs/b.json", &Value::Null).unwrap_err().to_string();
    assert!(error.contains("b.json: another run or another part"), "{error}");
    let second = claim(other.path(), &json!({"seed": 2}), false).unwrap();
    second.keep("runs/a.json", &Value::Null, 2).unwrap();
    fs::copy(one.path().join("runs/a.json"), other.path().join("runs/a.json")).unwrap();
    assert!(second.find::<i32>("runs/a.json", &Value::Null).is_err());
}

#[test]
fn what_a_crash_left_half_written_goes_when_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    drop(claim(folder.path(), &json!({}), false).unwrap());
    let left = folder.path().join("runs/.writing-x1.partial");
    fs::create_dir(folder.path().join("runs")).unwrap();
    fs::write(&left, "half").unwrap();
    drop(claim(folder.path(), &json!({}), false).unwrap());
    assert!(!left.exists());
}
