//! Models by their id on the Hugging Face hub: from its cache if they are there, else downloaded into it.
//!
//! The cache is the one that Python's `huggingface_hub` uses, so nothing is downloaded twice. These variables
//! are read: `HF_HOME` or `HF_HUB_CACHE` (where the cache is), `HF_ENDPOINT` (a mirror), `HF_TOKEN` (for
//! models that ask for one), `HF_HUB_OFFLINE` (1: the cache alone), and `HTTPS_PROXY` and the like. A
//! download that breaks goes on where it stopped when the command is given again.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use gram_data::{Progress, read_text};

use crate::OpenError;

/// Short names of models, as OpenAI and open_clip call them, with their ids.
pub const SHORT_NAMES: [(&str, &str); 5] = [
    ("ViT-B/32", "openai/clip-vit-base-patch32"),
    ("ViT-B/16", "openai/clip-vit-base-patch16"),
    ("ViT-L/14", "openai/clip-vit-large-patch14"),
    ("ViT-L/14@336px", "openai/clip-vit-large-patch14-336"),
    ("ViT-H/14", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
];

/// Times that a broken connection is taken up again before the command gives up.
const RETRIES: usize = 3;

/// Weights, the best first.
const WEIGHTS: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
];

/// What describes them.
const DESCRIPTIONS: [&str; 7] = [
    "config.json",
    "open_clip_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
];

/// The id on the hub that a name means: a short name's, or the name itself if it looks like `owner/name`.
pub fn model_id(name: &str) -> Option<&str> {
    if let Some((_, id)) = SHORT_NAMES.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)) {
        return Some(id);
    }
    let part = |part: &str| {
        let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(letter)
    };
    let (owner, model) = name.split_once('/')?;
    (part(owner) && part(model)).then_some(name)
}

/// The folder where models of the hub are kept.
pub fn cache_folder() -> PathBuf {
    std::env::var_os("HF_HUB_CACHE").map_or_else(|| Cache::from_env().path().clone(), PathBuf::from)
}

/// Whether nothing is downloaded.
pub fn is_offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The folder in the cache that holds the model `id`, downloaded if it is not there yet.
///
/// # Errors
/// If the hub cannot be reached, knows no such model, or it has no weights; says where to put the files by
/// hand.
pub fn fetch(id: &str, progress: &dyn Progress) -> Result<PathBuf, OpenError> {
    let repo = Repo::new(id.to_owned(), RepoType::Model);
    let cache = Cache::new(cache_folder());
    let cached = cache.repo(repo.clone());
    // Weights are downloaded last: where they are, all is.
    if let Some(weights) = WEIGHTS.iter().find_map(|name| cached.get(name))
        && shards(&weights)?.iter().all(|shard| cached.get(shard).is_some())
    {
        return Ok(weights.parent().unwrap_or(Path::new("")).to_owned());
    }
    let by_hand = || {
        format!(
            "model {id} is not in {}: download its files on a machine that reaches the hub, put them into a folder, and \
             name the folder",
            cache.path().display()
        )
    };
    if is_offline() {
        return Err(OpenError::Refused(format!("{}; HF_HUB_OFFLINE is set", by_hand())));
    }
    let mut builder = ApiBuilder::from_env().with_cache_dir(cache.path().clone()).with_retries(RETRIES);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build()?.repo(repo);
    let listed =
        api.info().map_err(|error| OpenError::Refused(format!("{}; the hub says: {error}", by_hand())))?;
    let names: Vec<&str> = listed.siblings.iter().map(|file| file.rfilename.as_str()).collect();
    let Some(weights) = WEIGHTS.iter().find(|name| names.contains(name)) else {
        let problem = format!("model {id} has no weights that gram reads: none of {}", WEIGHTS.join(", "));
        return Err(OpenError::Refused(problem));
    };
    for name in DESCRIPTIONS.iter().filter(|name| names.contains(name)) {
        download(&api, name, id, progress)?;
    }
    // An index is downloaded for what it lists, and counts once all of that is here.
    let path = download(&api, weights, id, progress)?;
    for shard in shards(&path)? {
        download(&api, &shard, id, progress)?;
    }
    Ok(path.parent().unwrap_or(Path::new("")).to_owned())
}

/// The files that an index of weights lists; none for weights themselves.
fn shards(weights: &Path) -> Result<Vec<String>, OpenError> {
    if weights.extension().is_none_or(|ending| ending != "json") {
        return Ok(Vec::new());
    }
    let index: serde_json::Value = serde_json::from_str(&read_text(weights)?)
        .map_err(|error| OpenError::Refused(format!("{}: {error}", weights.display())))?;
    let files = index["weight_map"].as_object().into_iter().flat_map(|map| map.values());
    let mut names: Vec<String> = files.filter_map(|file| file.as_str().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn download(api: &ApiRepo, name: &str, id: &str, progress: &dyn Progress) -> Result<PathBuf, OpenError> {
    api.download_with_progress(name, Download { progress, name, done: 0 }).map_err(|error| {
        OpenError::Refused(format!(
            "model {id}: {name} could not be downloaded: {error}: give the command again to go on"
        ))
    })
}

/// A file that is downloaded; its steps are kilobytes.
struct Download<'a> {
    progress: &'a dyn Progress,
    name: &'a str,
    /// Bytes.
    done: usize,
}

impl hf_hub::api::Progress for Download<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.done = 0;
        self.progress.begin(self.name, size / 1000);
    }

    fn update(&mut self, size: usize) {
        self.done += size;
        self.progress.reach(self.done / 1000, "kB");
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_an_id_and_an_id_is_itself() {
        assert_eq!(model_id("vit-b/16"), Some("openai/clip-vit-base-patch16"));
        assert_eq!(
            model_id("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
            Some("laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
        );
        for path in ["tiny", "runs/tiny/model", "./model", "/models/clip", "../clip", "a/.hidden", "owner/"] {
            assert_eq!(model_id(path), None, "{path}");
        }
    }
}
