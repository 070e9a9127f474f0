//! Models by id, from a server on this machine that behaves as the hub does, and misbehaves as networks do.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

const ID: &str = "acme/small-clip";
const TOKEN: &str = "secret";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The folder that the server hands out.
fn served(folder: &str) -> PathBuf {
    let checkpoints = "../gram-clip/tests/fixtures/checkpoints/hugging-face";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(checkpoints).join(folder)
}

/// A hub with one model, which needs a token.
struct Hub {
    address: String,
    /// Byte ranges that were asked for, by file.
    asked: Arc<Mutex<HashMap<String, Vec<usize>>>>,
}

impl Hub {
    /// Serves a folder; the first `broken` answers with a large file end after 4,000 bytes.
    fn start(folder: PathBuf, broken: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let (seen, broken) = (Arc::clone(&asked), Arc::new(Mutex::new(broken)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (folder, seen, broken) = (folder.clone(), Arc::clone(&seen), Arc::clone(&broken));
                thread::spawn(move || answer(stream.unwrap(), &folder, &seen, &broken));
            }
        });
        Self { address, asked }
    }
}

fn answer(
    mut stream: TcpStream,
    folder: &Path,
    asked: &Mutex<HashMap<String, Vec<usize>>>,
    broken: &Mutex<usize>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut lines, mut headers) = (Vec::new(), HashMap::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        lines.push(line);
    }
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)).map(str::to_owned) else { return };
    if lines[0].starts_with("CONNECT ") {
        // As a proxy: whatever the host, this hub stands behind it.
        _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        asked.lock().unwrap().entry(path).or_default().push(0);
        return answer(stream, folder, asked, broken);
    }
    let head = |status: &str, more: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    if headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        _ = stream.write_all(head("401 Unauthorized", "", 0).as_bytes());
    } else if path == format!("/api/models/{ID}/revision/main") || path == format!("/api/models/{ID}") {
        let names =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: Vec<Value> = names.map(|name| json!({"rfilename": name})).collect();
        let body = json!({"sha": COMMIT, "siblings": files}).to_string();
        let json = "Content-Type: application/json\r\n";
        _ = stream.write_all((head("200 OK", json, body.len()) + &body).as_bytes());
    } else if let Some(name) = path.strip_prefix(&format!("/{ID}/resolve/main/"))
        && let Ok(whole) = std::fs::read(folder.join(name))
    {
        let range = headers.get("range").map(|range| range.trim_start_matches("bytes=").to_owned()).unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse::<usize>().map_or(whole.len(), |last| (last + 1).min(whole.len()));
        let body = &whole[first.min(last)..last];
        let more = format!(
            "ETag: \"{name}-1\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {first}-{}/{}\r\n",
            last.saturating_sub(1),
            whole.len()
        );
        _ = stream.write_all(head("206 Partial Content", &more, body.len()).as_bytes());
        let mut sent = body.len();
        if body.len() > 1 {
            asked.lock().unwrap().entry(name.to_owned()).or_default().push(first);
            let mut left = broken.lock().unwrap();
            if *left > 0 && name.starts_with("model") && body.len() > 4000 {
                *left -= 1;
                sent = 4000;
            }
        }
        _ = stream.write_all(&body[..sent]);
    } else {
        _ = stream.write_all(head("404 Not Found", "", 0).as_bytes());
    }
}

fn predict(model: &str, home: &Path, variables: &[(&str, &str)]) -> Output {
    let image = home.join("grey.png");
    std::fs::copy(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../gram-clip/tests/fixtures/gelu-new-eos/grey.png"),
        &image,
    )
    .unwrap();
    Command::new(env!("CARGO_BIN_EXE_gram"))
        .args(["predict", "--model", model, "--classes", "cat,dog", "--json"])
        .arg(&image)
        .env("HF_HOME", home)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_model_is_downloaded_once_and_a_broken_download_goes_on() {
    let home = tempfile::tempdir().unwrap();
    // Four attempts a run: the first run gives up, the second has one more setback.
    let hub = Hub::start(served("half"), 5);
    let variables = [("HF_ENDPOINT", hub.address.as_str()), ("HF_TOKEN", TOKEN)];
    let error = error_of(&predict(ID, home.path(), &variables));
    assert!(error.contains("model.safetensors could not be downloaded"), "{error}");
    assert!(error.ends_with("give the command again to go on"), "{error}");

    let output = predict(ID, home.path(), &variables);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["predictions"].as_array().unwrap().len(), 2);
    let asked = hub.asked.lock().unwrap()["model.safetensors"].clone();
    assert_eq!(asked, [0, 4000, 8000, 12_000, 16_000, 20_000]);

    let nobody = [("HF_ENDPOINT", "http://127.0.0.1:1"), ("HF_HUB_OFFLINE", "1")];
    let offline = predict(ID, home.path(), &nobody);
    assert_eq!(offline.stdout, output.stdout);
    assert_eq!(hub.asked.lock().unwrap()["model.safetensors"].len(), asked.len());
}

#[test]
fn a_model_in_several_files_comes_with_all_of_them() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(served("sharded"), 0);
    let output = predict(ID, home.path(), &[("HF_ENDPOINT", &hub.address), ("HF_TOKEN", TOKEN)]);
    assert!(output.status.success(), "{output:?}");
    assert!(hub.asked.lock().unwrap().contains_key("model-00002-of-00002.safetensors"));
}

#[test]
fn the_settings_of_images_come_with_a_model_in_the_form_of_transformers_5() {
    let [home, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for entry in std::fs::read_dir(served("half")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let settings = json!({"image_processor": {"resample": 9}});
    std::fs::write(folder.path().join("processor_config.json"), settings.to_string()).unwrap();
    let hub = Hub::start(folder.path().to_owned(), 0);
    let error = error_of(&predict(ID, home.path(), &[("HF_ENDPOINT", &hub.address), ("HF_TOKEN", TOKEN)]));
    assert!(error.contains("processor_config.json: image_processor.resample = 9: must be"), "{error}");
}

#[test]
fn a_hub_behind_a_proxy_is_asked_through_it() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(served("half"), 0);
    let endpoint = ("HF_ENDPOINT", "http://hub.invalid");
    let output =
        predict(ID, home.path(), &[endpoint, ("HF_TOKEN", TOKEN), ("HTTP_PROXY", hub.address.as_str())]);
    assert!(output.status.success(), "{output:?}");
    assert!(hub.asked.lock().unwrap().contains_key("hub.invalid:80"));
}

#[test]
fn a_hub_that_cannot_be_used_says_where_the_files_can_be_put_by_hand() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::start(served("half"), 0);
    let by_hand = "put them into a folder, and name the folder";
    let unreachable = error_of(&predict(ID, home.path(), &[("HF_ENDPOINT", "http://127.0.0.1:1")]));
    assert!(unreachable.contains(ID) && unreachable.contains(by_hand), "{unreachable}");
    let offline = error_of(&predict("ViT-B/16", home.path(), &[("HF_HUB_OFFLINE", "1")]));
    assert!(
        offline.contains("openai/clip-vit-base-patch16") && offline.contains("HF_HUB_OFFLINE"),
        "{offline}"
    );
    let refused =
        error_of(&predict(ID, home.path(), &[("HF_ENDPOINT", &hub.address), ("HF_TOKEN", "wrong")]));
    assert!(refused.contains("401"), "{refused}");
    let unknown =
        error_of(&predict("acme/other", home.path(), &[("HF_ENDPOINT", &hub.address), ("HF_TOKEN", TOKEN)]));
    assert!(unknown.contains("404"), "{unknown}");
}
