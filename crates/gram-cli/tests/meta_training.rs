//! Meta-training as its user meets it: runs that are killed, episodes that are replayed, meta-gradients read
//! from files.
#![allow(clippy::unwrap_used)]

mod clustered;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use clustered::{clustered, gram, text};
use gram_data::random::stream;
use gram_meta::{MetaState, Regulator};
use gram_prompt::{Part, Prompt, PromptFile, PromptKind};
use rand::RngExt;

/// A meta-training of some steps on the few pairs, in `folder`: the command line is the same wherever that
/// is.
fn meta_train(folder: &Path, more: &[&str]) -> Command {
    let clustered = clustered();
    let (pairs, clusters) = (clustered.path("pairs.jsonl"), clustered.path("clusters"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
    command.current_dir(folder).args(["meta-train", "--pairs", &pairs, "--out", "start.safetensors"]);
    command.args(["--ways", "2"]).args(more);
    if !more.contains(&"--meta-batch") {
        command.args(["--meta-batch", "1"]);
    }
    if !more.contains(&"--episodes") {
        command.args(["--clusters", &clusters]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn finish(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn start(folder: &Path) -> MetaState {
    let path = folder.join("start.safetensors");
    let file = PromptFile::load(&path, &Device::flex()).unwrap();
    let form = file.header.regulator_form;
    let phi = Regulator::from_named(&file.prompt, &file.regulator, form).unwrap();
    MetaState { theta: file.prompt, phi }
}

/// All numbers of `one - other`, one after the other.
fn difference(one: &MetaState, other: &MetaState) -> Vec<f32> {
    let mut others = other.named();
    let of = |(name, tensor): (String, burn::tensor::Tensor<2>)| {
        (tensor - others.remove(&name).unwrap()).into_data().try_to_vec::<f32>().unwrap()
    };
    one.named().into_iter().flat_map(of).collect()
}

#[test]
fn a_run_that_is_killed_at_twenty_random_moments_ends_in_the_same_bytes() {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = [
        &["--method", "coop", "--steps", "40", "--validation-steps", "7", "--learn-rates"][..],
        &["--inner-steps", "2", "--inner-momentum", "0.9", "--new-ways", "2"],
    ]
    .concat();
    let clock = Instant::now();
    finish(&mut meta_train(whole.path(), &settings));
    let mut unbroken = clock.elapsed();
    let mut random = stream(1, "moments of death");
    let (mut killed, mut after_a_checkpoint) = (0, 0);
    while killed < 20 {
        let mut child = meta_train(broken.path(), &settings).spawn().unwrap();
        let moment = unbroken.mul_f64(random.random_range(0.1..1.1)).max(Duration::from_millis(20));
        let clock = Instant::now();
        while child.try_wait().unwrap().is_none() && clock.elapsed() < moment {
            std::thread::sleep(Duration::from_millis(5));
        }
        // One that is through already is not killed: it begins anew, and tells how long one takes now.
        match child.try_wait().unwrap() {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
                after_a_checkpoint +=
                    usize::from(broken.path().join("start.run/checkpoint.safetensors").is_file());
            }
            Some(status) => {
                assert!(status.success());
                unbroken = clock.elapsed().min(unbroken);
                fs::remove_dir_all(broken.path().join("start.run")).unwrap();
                fs::remove_file(broken.path().join("start.safetensors")).unwrap();
            }
        }
    }
    assert!(after_a_checkpoint > 0, "all were killed before they had begun");
    finish(&mut meta_train(broken.path(), &settings));
    for file in ["start.safetensors", "start.run/metrics.jsonl", "start.run/checkpoint.safetensors"] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(whole.path()) == read(broken.path()), "{file}");
    }
}

#[test]
fn one_thread_and_three_give_the_same_bytes() {
    let (one, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for method in ["coop", "joint"] {
        let settings = ["--method", method, "--steps", "3", "--validation-steps", "1", "--meta-batch", "5"];
        for (folder, threads) in [(&one, "1"), (&three, "3")] {
            let folder = folder.path().join(method);
            fs::create_dir(&folder).unwrap();
            finish(meta_train(&folder, &settings).env("RAYON_NUM_THREADS", threads));
        }
        for file in ["start.safetensors", "start.run/metrics.jsonl"] {
            let read = |folder: &tempfile::TempDir| fs::read(folder.path().join(method).join(file)).unwrap();
            assert!(read(&one) == read(&three), "{method}: {file}");
        }
    }
}

#[test]
fn features_that_were_computed_before_give_the_same_start_without_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let features = folder.path().join("features").display().to_string();
    let embedded =
        gram(&["embed", "--pairs", &clustered().path("pairs.jsonl"), "--full-precision", "--out", &features]);
    assert!(embedded.status.success(), "{}", text(&embedded.stderr));
    let train = |method: &str, source: &[&str], out: &str| {
        let out = folder.path().join(out).display().to_string();
        let clusters = clustered().path("clusters");
        let settings = ["--ways", "2", "--meta-batch", "1", "--steps", "2", "--clusters", &clusters];
        gram(&[&["meta-train", "--method", method, "--out", &out][..], &settings, source].concat())
    };
    for (source, out) in
        [(["--pairs", &clustered().path("pairs.jsonl")], "images"), (["--features", &features], "computed")]
    {
        let output = train("coop", &source, &format!("{out}/start.safetensors"));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let [images, features_alone] = ["images", "computed"].map(|name| start(&folder.path().join(name)));
    let apart = difference(&images, &features_alone);
    let furthest = apart.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    assert!(furthest < 1e-5, "{furthest}");
    let refused = train("vpt", &["--features", &features], "vpt.safetensors");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a visual prompt needs images"), "{}", text(&refused.stderr));
}

#[test]
fn features_that_are_not_normalised_give_the_start_of_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let pairs = clustered().path("pairs.jsonl");
    let embedded = gram(&["embed", "--pairs", &pairs, "--full-precision", "--out", &at("features")]);
    assert!(embedded.status.success(), "{}", text(&embedded.stderr));
    let train = |out: &str| {
        let (clusters, out) = (clustered().path("clusters"), format!("{out}/start.safetensors"));
        let settings = ["--ways", "2", "--meta-batch", "1", "--steps", "2", "--clusters", &clusters];
        // Adam would divide rounding by itself where a gradient is all but zero.
        let descent = ["--optimizer", "sgd", "--outer-lr", "0.1"];
        let places = ["--features", &at("features"), "--out", &at(&out)];
        let output = gram(&[&["meta-train", "--method", "coop"][..], &settings, &descent, &places].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    train("normalised");
    let path = folder.path().join("features/features.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let images = &header["image_features"];
    assert_eq!(images["dtype"], "F32");
    let [from, to] = [0, 1].map(|end| data + images["data_offsets"][end].as_u64().unwrap() as usize);
    for value in bytes[from..to].chunks_exact_mut(4) {
        let tripled = 3.0 * f32::from_le_bytes(value.try_into().unwrap());
        value.copy_from_slice(&tripled.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    train("tripled");
    let [normalised, tripled] = ["normalised", "tripled"].map(|name| start(&folder.path().join(name)));
    let apart = difference(&normalised, &tripled);
    let furthest = apart.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    assert!(furthest < 1e-5, "{furthest}");
}

#[test]
fn pairs_with_other_captions_than_the_clustered_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = clustered().path("pairs.jsonl");
    let images = Path::new(&pairs).parent().unwrap().display().to_string();
    let others = fs::read_to_string(&pairs)
        .unwrap()
        .replace("\"image\":\"", &format!("\"image\":\"{images}/"))
        .replace("\"caption\":\"", "\"caption\":\"no ");
    let path = folder.path().join("others.jsonl");
    fs::write(&path, others).unwrap();
    let (out, clusters) = (folder.path().join("start.safetensors"), clustered().path("clusters"));
    let arguments =
        ["meta-train", "--method", "coop", "--ways", "2", "--steps", "0", "--clusters", &clusters];
    let places = ["--pairs", path.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let output = gram(&[&arguments[..], &places].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("when the pairs were clustered") && !out.exists(), "{said}");
}

#[test]
fn a_prompt_is_tuned_in_the_template_of_its_initialisation() {
    let folder = tempfile::tempdir().unwrap();
    finish(&mut meta_train(folder.path(), &["--method", "coop", "--steps", "0", "--template", "a small {}"]));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (start, out) = (at("start.safetensors"), at("food.safetensors"));
    let arguments =
        ["adapt", "--data", "demo:food", "--method", "coop-gram", "--shots", "1", "--epochs", "1"];
    let tuned = gram(&[&arguments[..], &["--init", &start, "--out", &out]].concat());
    assert!(tuned.status.success(), "{}", text(&tuned.stderr));
    let file = PromptFile::load(Path::new(&out), &Device::flex()).unwrap();
    assert_eq!(file.header.template, "a small {}");
    let other = at("other.safetensors");
    let given = ["--init", &start, "--template", "a {} here", "--out", &other];
    let tuned = gram(&[&arguments[..], &given].concat());
    assert!(tuned.status.success(), "{}", text(&tuned.stderr));
    assert!(text(&tuned.stderr).contains("meta-trained in the prompt template `a small {}`"));
}

#[test]
fn images_that_have_no_room_give_the_same_start() {
    let (kept, decoded) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = ["--method", "vpt", "--steps", "2", "--new-ways", "0"];
    finish(&mut meta_train(kept.path(), &settings));
    finish(&mut meta_train(decoded.path(), &[&settings[..], &["--pixel-memory", "0"]].concat()));
    assert!(difference(&start(kept.path()), &start(decoded.path())).iter().all(|number| *number == 0.0));
    let metrics = |folder: &Path| fs::read(folder.join("start.run/metrics.jsonl")).unwrap();
    assert!(metrics(kept.path()) == metrics(decoded.path()));
}

#[test]
fn a_folder_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    finish(&mut meta_train(folder.path(), &["--method", "coop", "--steps", "1"]));
    let output = meta_train(folder.path(), &["--method", "coop", "--steps", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("start.run") && error.contains("name another --out"), "{error}");
}

#[test]
fn what_stands_where_an_initialisation_goes_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("start.safetensors");
    let settings = ["--method", "coop", "--steps", "1"];
    let refused = |problem: &str| {
        let kept = fs::read(&out).unwrap();
        let output = meta_train(folder.path(), &settings).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr).lines().last().unwrap();
        assert!(error.starts_with(&format!("gram: start.safetensors: {problem}")), "{error}");
        assert!(error.contains("name another --out") && fs::read(&out).unwrap() == kept, "{error}");
    };
    fs::write(&out, "mine").unwrap();
    refused("it is there already");
    assert!(!folder.path().join("start.run/run.json").exists());
    fs::remove_file(&out).unwrap();
    finish(&mut meta_train(folder.path(), &settings));
    let own = fs::read(&out).unwrap();
    fs::write(&out, "mine").unwrap();
    refused("this is not what was meta-trained there");
    // Nor is another initialisation of gram's.
    let other = tempfile::tempdir().unwrap();
    finish(&mut meta_train(other.path(), &[&settings[..], &["--seed", "2"]].concat()));
    fs::copy(other.path().join("start.safetensors"), &out).unwrap();
    refused("this is not what was meta-trained there");
    // Its own is taken as it is, and made again where it is gone.
    fs::write(&out, &own).unwrap();
    finish(&mut meta_train(folder.path(), &settings));
    assert!(fs::read(&out).unwrap() == own);
    fs::remove_file(&out).unwrap();
    finish(&mut meta_train(folder.path(), &settings));
    assert!(fs::read(&out).unwrap() == own);
}

#[test]
fn a_meta_gradient_that_is_not_finite_ends_the_run_and_names_step_and_episode() {
    let folder = tempfile::tempdir().unwrap();
    // A step beyond all numbers: the second begins where nothing is finite.
    let settings = ["--method", "coop", "--steps", "3", "--optimizer", "sgd", "--outer-lr", "1e39"];
    let output = meta_train(folder.path(), &settings).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("step 2: the meta-gradient of episode 1 is not finite"), "{error}");
    assert!(!folder.path().join("start.safetensors").exists());
}

#[test]
fn an_early_stop_keeps_the_best_state() {
    let folder = tempfile::tempdir().unwrap();
    // Steps so large that nothing gets better after the first validation.
    let settings = ["--method", "coop", "--steps", "40", "--outer-lr", "0.5", "--clip-norm", "1"];
    let patience = ["--validation-steps", "2", "--patience", "2", "--validation-topics", "0.5"];
    finish(&mut meta_train(folder.path(), &[&settings[..], &patience].concat()));
    let metrics = fs::read_to_string(folder.path().join("start.run/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["validation"]["loss"].as_f64()
        })
        .collect();
    let best = losses.iter().cloned().fold(f64::INFINITY, f64::min);
    assert!(losses.len() < 20 && losses[losses.len() - 3] == best, "{losses:?}");
}

/// Episodes that a meta-training with these settings draws.
fn episodes(path: &Path, count: &str, seed: &str, more: &[&str]) {
    let (clusters, out) = (clustered().path("clusters"), path.display().to_string());
    let fixed = ["--ways", "2", "--validation-topics", "0", "--seed", seed];
    let arguments = [&["episodes", "--clusters", &clusters, "--count", count, "--out", &out], &fixed[..]];
    let output = gram(&[&arguments.concat(), more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A meta-training of three drawn episodes in one folder, and of the same ones from a file in another.
fn assert_replayed(drawn: &Path, replayed: &Path, method: &str, new_ways: &str) {
    let common = ["--method", method, "--steps", "3", "--seed", "5"];
    let of_episodes = ["--new-ways", new_ways];
    let held_out = ["--validation-topics", "0"];
    finish(&mut meta_train(drawn, &[&common[..], &of_episodes, &held_out].concat()));
    episodes(&replayed.join("episodes.json"), "3", "5", &of_episodes);
    finish(&mut meta_train(replayed, &[&common[..], &["--episodes", "episodes.json"]].concat()));
    let off = difference(&start(drawn), &start(replayed));
    assert!(off.iter().all(|value| value.abs() < 1e-7), "{:?}", off.iter().cloned().fold(0.0, f32::max));
}

#[test]
fn replayed_episodes_give_what_drawn_ones_give() {
    let (drawn, replayed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_replayed(drawn.path(), replayed.path(), "cocoop", "0");
    let too_many = ["--method", "cocoop", "--steps", "9", "--seed", "5", "--episodes", "episodes.json"];
    fs::remove_dir_all(replayed.path().join("start.run")).unwrap();
    let output = meta_train(replayed.path(), &too_many).output().unwrap();
    assert!(text(&output.stderr).contains("3 episodes are listed, 9 are needed"), "{}", text(&output.stderr));
}

#[test]
fn replayed_episodes_ask_for_the_new_classes_that_drawn_ones_ask_for() {
    let (drawn, replayed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_replayed(drawn.path(), replayed.path(), "coop", "3");
    let path = replayed.path().join("episodes.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(file["episodes"][1]["new_classes"].as_array().unwrap().len(), 3);
    file["episodes"][1]["new_query"][0][1] = 3.into();
    fs::write(&path, file.to_string()).unwrap();
    fs::remove_dir_all(replayed.path().join("start.run")).unwrap();
    let replay = ["--method", "coop", "--steps", "3", "--seed", "5", "--episodes", "episodes.json"];
    let output = meta_train(replayed.path(), &replay).output().unwrap();
    let told = text(&output.stderr);
    assert!(
        told.contains("episode 2: pair ") && told.contains("is of new class 3, but there are 3"),
        "{told}"
    );
}

#[test]
fn episodes_are_drawn_with_the_defaults_of_their_method() {
    let folder = tempfile::tempdir().unwrap();
    for (method, kind) in [("coop", PromptKind::Textual), ("vpt", PromptKind::Visual)] {
        let path = folder.path().join(method);
        episodes(&path, "1", "1", &["--method", method]);
        let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let new_ways = gram_experiments::defaults::meta_training(kind, 1).episodes.new_ways;
        assert_eq!(file["settings"]["episodes"]["new_ways"], new_ways);
        assert_eq!(file["episodes"][0]["new_classes"].as_array().map_or(0, Vec::len), new_ways);
    }
}

#[test]
fn a_start_without_words_begins_where_tuning_without_words_begins() {
    let folder = tempfile::tempdir().unwrap();
    finish(&mut meta_train(
        folder.path(),
        &["--method", "coop", "--context-tokens", "3", "--steps", "0", "--seed", "7"],
    ));
    let width = start(folder.path()).theta.get(Part::Text).unwrap().dims()[1];
    let random = Prompt::random(Part::Text, [3, width], 0.02, 7, &Device::flex());
    let found = start(folder.path()).theta.get(Part::Text).unwrap().clone();
    assert_eq!((found - random).abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn a_step_of_plain_descent_moves_the_saved_state_by_the_sum_of_the_episodes_meta_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("both.json");
    episodes(&all, "2", "3", &[]);
    let both: serde_json::Value = serde_json::from_slice(&fs::read(&all).unwrap()).unwrap();
    // The meta-gradient of some of the episodes, by the difference of what is saved.
    let meta_gradient = |name: &str, chosen: &[usize]| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let mut file = both.clone();
        file["episodes"] = chosen.iter().map(|index| both["episodes"][*index].clone()).collect();
        fs::write(folder.join("episodes.json"), file.to_string()).unwrap();
        let batch = chosen.len().to_string();
        let step = ["--steps", "1", "--optimizer", "sgd", "--outer-lr", "1", "--meta-batch", &batch];
        let method = ["--method", "coop", "--episodes", "episodes.json"];
        // The last of two flags of one name would be refused: this command has its own.
        let clustered = clustered();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
        command.current_dir(&folder).args(["meta-train", "--pairs", &clustered.path("pairs.jsonl")]);
        finish(command.args(["--out", "start.safetensors"]).args(step).args(method));
        let before = folder.join("before");
        fs::create_dir(&before).unwrap();
        fs::copy(folder.join("start.run/start.safetensors"), before.join("start.safetensors")).unwrap();
        difference(&start(&before), &start(&folder))
    };
    let (one, other) = (meta_gradient("one", &[0]), meta_gradient("other", &[1]));
    let sum = meta_gradient("sum", &[0, 1]);
    let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let off: Vec<f32> =
        sum.iter().zip(one.iter().zip(&other)).map(|(sum, (one, other))| sum - one - other).collect();
    assert!(norm(&sum) > 1e-3 && norm(&off) < 1e-3 * norm(&sum), "{} of {}", norm(&off), norm(&sum));
}

#[test]
fn a_deep_visual_start_is_meta_trained_and_tuned_from() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--method", "vpt", "--steps", "1", "--visual-depth", "0", "--support-shots", "1"];
    finish(&mut meta_train(folder.path(), &[&settings[..], &["--query-shots", "1"]].concat()));
    let path = folder.path().join("start.safetensors");
    let file = PromptFile::load(&path, &Device::flex()).unwrap();
    assert!(file.header.placement.visual_depth > 1);
    let (init, out) =
        (path.display().to_string(), folder.path().join("tuned.safetensors").display().to_string());
    let output = gram(&[
        "adapt",
        "--data",
        "demo:food",
        "--method",
        "vpt-gram",
        "--init",
        &init,
        "--shots",
        "1",
        "--epochs",
        "1",
        "--out",
        &out,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tuned = PromptFile::load(Path::new(&out), &Device::flex()).unwrap();
    assert_eq!(tuned.header.placement, file.header.placement);
}

#[test]
fn designs_are_compared_on_held_out_topics_and_inside_base_classes() {
    let folder = tempfile::tempdir().unwrap();
    // The settings that a run writes down are those that the next one reads.
    finish(&mut meta_train(folder.path(), &["--method", "coop", "--steps", "1"]));
    let clustered = clustered();
    let search = |out: &str, more: &[&str]| {
        let (pairs, clusters) = (clustered.path("pairs.jsonl"), clustered.path("clusters"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gram"));
        command.current_dir(folder.path()).args([
            "study",
            "design",
            "--pairs",
            &pairs,
            "--clusters",
            &clusters,
        ]);
        command.args([
            "--question",
            "order",
            "--question",
            "momentum",
            "--seeds",
            "2",
            "--rates",
            "0.01,0.1",
        ]);
        command.args(["--meta-config", "start.run/settings.toml", "--shots", "1", "--epochs", "2"]);
        finish(command.args(["--out", out]).args(more));
        fs::read_to_string(folder.path().join(out).join("design.md")).unwrap()
    };
    let topics = ["--domains", "2", "--held-out", "0.5"];
    let table = search("topics", &topics);
    for candidate in ["usual start", "as set", "first order", "regulated gradient", "regulated velocity"] {
        assert!(
            table.lines().any(|line| line.starts_with(&format!("| {candidate}"))),
            "{candidate}: {table}"
        );
    }
    // Candidates that are meta-trained alike share a start, and nothing is done twice.
    let starts = || {
        let files = fs::read_dir(folder.path().join("topics/starts")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().is_file()).count()
    };
    assert_eq!(starts(), 2 * 2);
    fs::remove_dir_all(folder.path().join("topics/starts")).unwrap();
    assert_eq!(search("topics", &topics), table);
    let inside = search("inside", &["--data", "demo:food"]);
    assert!(inside.contains("first order") && inside != table);
}
