//! What decides the numbers of a run, and how two runs differ.

use std::path::Path;

use gram_clip::Model;
use gram_data::fingerprint;
use serde_json::{Map, Value, json};

use crate::error::{Context, Result, refuse};

/// Differences that a refusal names one by one.
const NAMED: usize = 3;

/// What decides what a model makes of images and texts, for the identity of a run: its weights, and where and
/// in which number format it computes. Its name does not: the same weights may lie in another place.
///
/// # Errors
/// If its weights cannot be read from the device.
pub fn model_identity(model: &Model) -> Result<Value> {
    Ok(json!({
        "device": model.compute().identity(),
        "weights": model.fingerprint()?.to_string(),
        "image_size": model.clip.config.vision_config.image_size,
        "preprocessing": format!("{:?}", model.preprocess),
        "tokenizer": fingerprint::of_text(&model.tokenizer.description()?),
    }))
}

/// The fingerprint of a caption encoder's folder, if there is one, for the identity of a run.
///
/// # Errors
/// If a file of it cannot be read.
pub fn encoder_identity(sentence_bert: Option<&Path>) -> Result<Option<String>> {
    let of = |folder: &Path| {
        fingerprint::of_folder(folder).with_context(|| format!("Sentence-BERT model {}", folder.display()))
    };
    sentence_bert.map(of).transpose()
}

/// Refuses a run in one line if what stands there was made from something else.
pub(super) fn refuse_differences(path: &Path, there: &Value, here: &Value) -> Result<()> {
    let mut found = Vec::new();
    differences("", there, here, &mut found);
    if found.is_empty() {
        return Ok(());
    }
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    let only_the_device = found.iter().all(|(place, _)| place.ends_with("device"));
    let as_before = if only_the_device { "compute as before (--device, --precision), " } else { "" };
    let named: Vec<String> =
        found.into_iter().take(NAMED).map(|(place, change)| format!("{place} {change}")).collect();
    refuse!(
        "{}: another run was begun here: {}{more}: {as_before}name another --out, or begin anew with --restart",
        path.display(),
        named.join("; ")
    )
}

/// Where two values differ, and how: `settings.shots`, `was 4, now 16`.
fn differences(place: &str, there: &Value, here: &Value, found: &mut Vec<(String, String)>) {
    match (there, here) {
        (Value::Object(one), Value::Object(other)) => {
            let absent = Value::Null;
            let new = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(new) {
                let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                let [there, here] = [one, other].map(|map: &Map<_, _>| map.get(key).unwrap_or(&absent));
                differences(&inner, there, here, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => {
            found.push((place.to_owned(), format!("was {}, now {}", short(one), short(other))));
        }
    }
}

/// A value in few letters.
fn short(value: &Value) -> String {
    const LETTERS: usize = 40;
    let text = if value.is_null() { "none".to_owned() } else { value.to_string() };
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
