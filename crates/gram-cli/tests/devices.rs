//! Devices as a user names them.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn gram(line: &str) -> Output {
    let mut gram = Command::new(env!("CARGO_BIN_EXE_gram"));
    gram.args(line.split_whitespace()).env_remove("GRAM_DEVICE").output().unwrap()
}

/// The exit code, and the last line of what was said.
fn refused(line: &str) -> (Option<i32>, String) {
    let output = gram(line);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said.trim().to_owned())
}

#[test]
fn the_cpu_is_always_listed_and_what_is_chosen_is_marked() {
    let output = gram("devices --device cpu --json");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cpu = &told["devices"][0];
    assert_eq!((&cpu["name"], &cpu["chosen"]), (&"cpu".into(), &true.into()), "{told}");
    if cfg!(target_os = "linux") {
        assert!(cpu["memory_bytes"].as_u64().unwrap() > 1 << 28, "{told}");
    }
    let listed = String::from_utf8(gram("devices --device cpu").stdout).unwrap();
    assert!(listed.starts_with("* cpu "), "{listed}");
}

#[test]
fn a_device_that_is_not_there_or_not_compiled_in_ends_in_one_line_with_the_way_out() {
    let line = "predict --classes cat,dog nowhere.jpg --device";
    for (name, feature) in [("cuda:97", "cuda"), ("wgpu:97", "wgpu"), ("rocm:97", "rocm")] {
        let (code, said) = refused(&format!("{line} {name}"));
        assert_eq!(code, Some(1), "{said}");
        let to_build = format!("device {name}: this build computes on ");
        let not_there = format!("device {name} is not there: found ");
        let last = said.lines().last().unwrap().trim_start_matches("gram: ").to_owned();
        let way_out = format!("build it with `--features {feature}`");
        assert!(
            last.starts_with(&to_build) && last.contains(&way_out) || last.starts_with(&not_there),
            "{said}"
        );
    }
}

#[test]
fn what_names_no_device_or_no_number_format_is_wrong_usage() {
    for (flag, expected) in [
        (
            "--device gpu",
            "no device is called `gpu`: --device and GRAM_DEVICE take auto, cpu, cuda, rocm, metal, vulkan or wgpu",
        ),
        ("--device cpu:3", "no device is called `cpu:3`"),
        ("--precision f8", "no number format is called `f8`: f32, bf16 or f16"),
        ("--images-at-once 0", "--images-at-once"),
    ] {
        let (code, said) = refused(&format!("devices {flag}"));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn the_environment_names_the_device_where_no_flag_does() {
    let mut gram = Command::new(env!("CARGO_BIN_EXE_gram"));
    let output = gram.arg("devices").env("GRAM_DEVICE", "nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no device is called `nonsense`"));
}

#[test]
fn images_that_pass_together_change_no_prediction() {
    let folder = tempfile::tempdir().unwrap();
    for shade in 0..20_u8 {
        let path = folder.path().join(format!("{shade}.png"));
        image::RgbImage::from_pixel(40, 40, image::Rgb([10 * shade, 30, 30])).save(&path).unwrap();
    }
    let images = folder.path().display();
    let predict = |flags: &str| {
        let line = format!("predict --classes apple,leaf --device cpu --json {images} {flags}");
        let output = gram(&line);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let all = predict("");
    assert_eq!(all.iter().filter(|byte| **byte == b'\n').count(), 20);
    assert_eq!(predict("--images-at-once 1"), all);
    assert_eq!(predict("--images-at-once 7"), all);
}

#[test]
fn pre_training_in_16_bits_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tiny/pretrain.toml");
    let line = format!("pretrain --pairs demo --config {config} --precision bf16 --out {}", out.display());
    let (code, said) = refused(&line);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--precision bf16: pretrain trains the towers themselves, in f32"), "{said}");
    assert!(!out.exists());
}

#[test]
fn the_doctor_computes_on_the_device_and_names_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
    command.args(["doctor", "--device", "cpu", "--json"]).env("HF_HUB_OFFLINE", "1");
    let output = command.env("HF_HUB_CACHE", folder.path().join("not/yet")).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["device"].as_str(), told["difference_to_cpu"].as_f64()), (Some("cpu"), Some(0.0)));
    assert!(told["cache"].as_str().unwrap().ends_with("not/yet"));
    assert_eq!((told["cache_is_writable"].as_bool(), told["offline"].as_bool()), (Some(true), Some(true)));
    assert!(
        told["backends"].as_array().unwrap().contains(&"cpu".into()) && told["threads"].as_u64() >= Some(1)
    );
    let output = gram("doctor --device cpu --precision bf16");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("cpu in bf16"), "{printed}");
}
