//! `gram inspect`: what a file or a folder is.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use clap::Args;
use gram_clip::{Compute, Model};
use gram_cluster::{Clusters, Rows};
use gram_data::{LabelledDataset, Split};
use gram_experiments::run_folder;
use gram_features::FeatureFolder;
use gram_features::matrix_file::MatrixFile;
use gram_hub::model::{open_dataset, open_model, open_pairs};
use gram_prompt::PromptFile;
use serde_json::{Map, Value, json};

use crate::arguments::Common;
use crate::output::{self, shown};

/// What `gram inspect` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram inspect flowers.safetensors\n  gram inspect runs/bench\n  gram inspect demo:food"
)]
pub struct InspectArguments {
    /// A prompt, a checkpoint, a classifier; a folder of clusters, of features, of a run or of a model; a
    /// dataset or image-text pairs in any layout; or a built-in name.
    path: String,
}

/// Prints what it is, and what is in it.
pub fn run(arguments: &InspectArguments, common: &Common) -> Result<()> {
    let (kind, facts) = inspect(&arguments.path)?;
    if common.json {
        let mut all = Map::from_iter([("path".into(), json!(arguments.path)), ("kind".into(), json!(kind))]);
        all.extend(facts);
        return Ok(output::json(&all)?);
    }
    output::line(format!("{}: {kind}", shown(&arguments.path)))?;
    for (name, value) in facts.iter().filter(|(name, _)| !ONLY_JSON.contains(&name.as_str())) {
        let text = in_words(value);
        if !text.is_empty() {
            output::line(format!("  {:15} {}", name.replace('_', " "), shown(text)))?;
        }
    }
    Ok(())
}

/// What is too long for people.
const ONLY_JSON: [&str; 2] = ["settings", "made_from"];
/// Members of a list that are shown.
const SHOWN: usize = 10;

/// A value for people; nothing where there is none.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => {
            let first: Vec<String> = all.iter().take(SHOWN).map(in_words).collect();
            let more = all.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            first.join(", ") + &more
        }
        Value::Object(all) => all
            .iter()
            .map(|(name, value)| format!("{name} {}", in_words(value)))
            .collect::<Vec<_>>()
            .join("; "),
        Value::Number(number) => number.to_string(),
    }
}

/// The built-in model.
const TINY: &str = "tiny";

type Facts = Map<String, Value>;

/// What kind of thing it is, and facts about it.
fn inspect(name: &str) -> Result<(&'static str, Facts)> {
    let path = Path::new(name);
    if path.is_dir() {
        of_folder(name, path)
    } else if path.is_file() {
        of_file(name, path)
    } else if name == TINY {
        Ok(("model", of_model(&open_model(name, &Compute::cpu(), &())?)?))
    } else {
        of_data(name)
    }
}

fn of_folder(name: &str, path: &Path) -> Result<(&'static str, Facts)> {
    let run = run_folder::described(path)?;
    let with_run = |mut facts: Facts| {
        if let Some((command, identity)) = &run {
            facts.insert("made_by".into(), json!(format!("gram {command}")));
            facts.insert("made_from".into(), identity.clone());
        }
        facts
    };
    if path.join("topics.json").is_file() {
        return Ok(("clusters", with_run(of_clusters(&Clusters::load(path)?))));
    }
    if path.join("features.safetensors").is_file() || path.join("img_emb").is_dir() {
        return Ok(("features of pairs", with_run(of_features(&FeatureFolder::open(path)?))));
    }
    if run.is_some() {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
            files.push(entry?.file_name().to_string_lossy().into_owned());
        }
        files.sort();
        return Ok(("run folder", with_run(Map::from_iter([("files".to_owned(), json!(files))]))));
    }
    let is_model = ["config.json", "open_clip_config.json"].iter().any(|file| path.join(file).is_file());
    if is_model {
        return Ok(("model", of_model(&open_model(name, &Compute::cpu(), &())?)?));
    }
    of_data(name)
}

fn of_file(name: &str, path: &Path) -> Result<(&'static str, Facts)> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let endings = [".safetensors", ".pt", ".pth", ".bin", ".npy"];
    if !endings.iter().any(|ending| file.ends_with(ending)) && !file.contains(".pth.tar") {
        return of_data(name);
    }
    let no_prompt = match PromptFile::load(path, &Device::flex()) {
        Ok(prompt) => return Ok((kind_of(&prompt), of_prompt(&prompt))),
        Err(error) => error,
    };
    if let Ok(matrix) = MatrixFile::read(path) {
        return Ok(("classifier", of_matrix(&matrix)));
    }
    match open_model(name, &Compute::cpu(), &()) {
        Ok(model) => Ok(("model", of_model(&model)?)),
        Err(no_model) => {
            bail!("{name}: it is no prompt ({no_prompt}), no classifier, and no model ({no_model})")
        }
    }
}

/// A dataset, or pairs.
fn of_data(name: &str) -> Result<(&'static str, Facts)> {
    let no_dataset = match open_dataset(name) {
        Ok(dataset) => return Ok(("dataset", of_dataset(&dataset))),
        Err(error) => error,
    };
    match open_pairs(name) {
        Ok(pairs) => {
            let facts = [("pairs", json!(pairs.pairs.len())), ("left_out", json!(pairs.skipped.len()))];
            Ok(("image-text pairs", facts_of(facts)))
        }
        Err(no_pairs) => bail!("{name}: it is no dataset ({no_dataset}), and no pairs ({no_pairs})"),
    }
}

fn facts_of<const N: usize>(facts: [(&str, Value); N]) -> Facts {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn kind_of(prompt: &PromptFile) -> &'static str {
    let is_start = prompt.header.classes.is_empty() && !prompt.regulator.is_empty();
    if is_start { "meta-trained initialisation" } else { "prompt" }
}

fn of_prompt(prompt: &PromptFile) -> Facts {
    let PromptFile { header, prompt: vectors, regulator, .. } = prompt;
    let shapes: Facts =
        vectors.parts().map(|(part, vectors)| (part.name().to_owned(), json!(vectors.dims()))).collect();
    facts_of([
        ("towers", json!(header.kind)),
        ("vectors", json!(shapes)),
        ("regulator", json!(!regulator.is_empty())),
        ("template", json!(header.template)),
        ("classes", json!(header.classes)),
        ("model", json!(header.model.name)),
        ("made_by", json!(header.command)),
        ("program", json!(header.program)),
        ("settings", header.settings.clone()),
    ])
}

fn of_matrix(matrix: &MatrixFile) -> Facts {
    facts_of([
        ("shape", json!(matrix.shape)),
        ("classes", json!(matrix.names)),
        ("model", json!(matrix.model.as_ref().map(|model| &model.name))),
    ])
}

fn of_model(model: &Model) -> Result<Facts> {
    let config = &model.clip.config;
    Ok(facts_of([
        ("name", json!(model.name)),
        ("fingerprint", json!(model.identity()?.fingerprint)),
        ("image_size", json!(model.preprocess.crop)),
        ("patch_size", json!(config.vision_config.patch_size)),
        ("joint_width", json!(config.projection_dim)),
        ("vision_layers", json!(config.vision_config.num_hidden_layers)),
        ("vision_width", json!(config.vision_config.hidden_size)),
        ("text_layers", json!(config.text_config.num_hidden_layers)),
        ("text_width", json!(config.text_config.hidden_size)),
        ("text_positions", json!(config.text_config.max_position_embeddings)),
        ("notes", json!(model.notes)),
    ]))
}

fn of_clusters(clusters: &Clusters) -> Facts {
    let names: Vec<&str> = clusters.topics.iter().map(|topic| topic.name.as_str()).collect();
    facts_of([
        ("pairs", json!(clusters.pairs.len())),
        ("topics", json!(names.len())),
        ("domains", json!(clusters.topics.iter().map(|topic| topic.domains.len()).sum::<usize>())),
        ("noise", json!(clusters.counts.noise)),
        ("largest_topics", json!(names[..names.len().min(10)])),
        ("model", json!(clusters.model.as_ref().map(|model| &model.name))),
        ("seed", json!(clusters.seed)),
        ("warnings", json!(clusters.warnings())),
    ])
}

fn of_features(features: &FeatureFolder) -> Facts {
    facts_of([
        ("pairs", json!(features.keys.len())),
        ("left_out", json!(features.skipped.len())),
        ("image_width", json!(features.images.shape().1)),
        ("caption_width", json!(features.caption_embeddings().shape().1)),
        ("model", json!(features.model.as_ref().map(|model| &model.name))),
    ])
}

fn of_dataset(dataset: &LabelledDataset) -> Facts {
    let of_split = |split: Split| {
        let images = dataset.images.iter().filter(|image| image.split == split).count();
        (split.to_string(), json!(images))
    };
    let images: Facts = [Split::Train, Split::Validation, Split::Test].map(of_split).into_iter().collect();
    facts_of([
        ("name", json!(dataset.name)),
        ("images", json!(images)),
        ("class_count", json!(dataset.classes.len())),
        ("classes", json!(dataset.classes)),
        ("domains", json!(dataset.domains)),
        ("left_out", json!(dataset.left_out.len())),
    ])
}
