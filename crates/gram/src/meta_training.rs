//! Topics to a meta-trained start: the prompt before meta-training, the material of episodes, and the file after it.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gram_clip::Model;
use gram_cluster::Clusters;
use gram_data::{Pair, Pairs};
use gram_eval::design::PromptDesign;
use gram_meta::{Material, MetaState, MetaTrainingSettings, TopicPool};
use gram_prompt::prompt_file::VERSION;
use gram_prompt::{
    ClassStore, Header, ImageStore, Part, Placement, Prompt, PromptFile, PromptKind, Template,
};

use crate::clustering::{Progress, decoded, device, image_features, tensor};

/// The prompt before meta-training: the template's words, and `visual_tokens` vectors from N(0, 0.02²).
///
/// # Errors
/// If a part that `kind` asks for would have no vectors.
pub fn start_prompt(
    model: &Model,
    kind: PromptKind,
    template: &Template,
    design: PromptDesign,
    seed: u64,
) -> Result<Prompt> {
    ensure!(
        !kind.has(Part::Visual) || design.visual_tokens > 0,
        "a visual prompt has 1 vector or more, not 0"
    );
    let placement = design.placement(kind, model, 1);
    let start = design.start(kind, placement, model, template, seed, &device(model))?;
    if kind.has(Part::Text) && start.get(Part::Text).is_none() {
        bail!("template `{template}`: write words before {{}}, for a textual prompt starts from them");
    }
    Ok(start)
}

/// What episodes are made of. `images` are those of the clusters' pairs in their order, as from [`images_of`].
///
/// # Errors
/// If a topic's name is too long for the text tower.
pub fn material(
    model: &Model,
    clusters: &Clusters,
    images: ImageStore,
    start: &Prompt,
    template: &Template,
    settings: &MetaTrainingSettings,
) -> Result<Material> {
    let names: Vec<String> = clusters.topics.iter().map(|topic| topic.label.clone()).collect();
    let (clip, tokenizer) = (&model.clip, &model.tokenizer);
    let classes = match start.get(Part::Text) {
        Some(context) => ClassStore::prompted(&names, template, context.dims()[0], clip, tokenizer)?,
        None => ClassStore::hand_written(&names, template, clip, tokenizer)?,
    };
    Ok(Material { classes, images, pool: TopicPool::new(clusters, &settings.episodes) })
}

/// The images of the clusters' pairs, found in `pairs` by key: pixels if a visual prompt is learned, features
/// otherwise.
///
/// # Errors
/// If a pair is not there, or its image cannot be read.
pub fn images_of(
    model: &Model,
    clusters: &Clusters,
    pairs: &Pairs,
    kind: PromptKind,
    progress: &mut dyn FnMut(Progress),
) -> Result<ImageStore> {
    let clustered = clustered_pairs(clusters, pairs)?;
    if kind.has(Part::Visual) {
        return Ok(ImageStore::Pixels(decoded(model, clustered.iter())?));
    }
    let (rows, features) = image_features(model, &clustered, progress)?;
    if let Some(unreadable) = (0..clustered.len()).find(|pair| rows.get(*pair) != Some(pair)) {
        // Decoding it once more says why.
        clustered[unreadable].image.decode()?;
    }
    Ok(ImageStore::Features(tensor(&features, &device(model))))
}

fn clustered_pairs(clusters: &Clusters, pairs: &Pairs) -> Result<Vec<Pair>> {
    let by_key: HashMap<&str, &Pair> = pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair)).collect();
    let find = |key: &str| {
        let pair = by_key.get(key).map(|pair| (*pair).clone());
        pair.with_context(|| {
            format!("pair {key} was clustered, but is not given: give the pairs that were clustered")
        })
    };
    clusters.pairs.iter().map(|pair| find(&pair.key)).collect()
}

/// Writes a meta-trained start with its regulator.
///
/// # Errors
/// If the file cannot be written.
pub fn save_start(
    path: &Path,
    model: &Model,
    kind: PromptKind,
    placement: Placement,
    template: &Template,
    settings: &MetaTrainingSettings,
    state: &MetaState,
    command: &str,
) -> Result<()> {
    let header = Header {
        version: VERSION,
        placement,
        program: env!("CARGO_PKG_VERSION").into(),
        model: model.name.clone(),
        kind,
        template: template.to_string(),
        classes: Vec::new(),
        settings: serde_json::to_value(settings)?,
        command: command.into(),
    };
    let regulator = state.phi.as_ref().map(|phi| phi.named()).unwrap_or_default();
    Ok(PromptFile { header, prompt: state.theta.clone(), regulator }.save(path)?)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_start_has_the_vectors_of_its_kind() {
        let model = crate::assets::tiny(&Device::default()).unwrap();
        let template: Template = "a picture of a {}".parse().unwrap();
        let design = PromptDesign { visual_depth: 0, ..PromptDesign::default() };
        let start = start_prompt(&model, PromptKind::Joint, &template, design, 1).unwrap();
        let words = model.tokenizer.encode("a picture of a").unwrap().len();
        let (width, layers) = (model.clip.config.vision_config.hidden_size, model.clip.vision.blocks.len());
        assert_eq!(start.get(Part::Text).unwrap().dims()[0], words);
        assert_eq!(start.get(Part::Visual).unwrap().dims(), [2 * layers, width]);
    }

    #[test]
    fn a_start_without_vectors_is_refused() {
        let model = crate::assets::tiny(&Device::default()).unwrap();
        let bare: Template = "{}".parse().unwrap();
        let design = PromptDesign { visual_tokens: 0, ..PromptDesign::default() };
        let refused = |kind| start_prompt(&model, kind, &bare, design, 1).unwrap_err().to_string();
        assert!(refused(PromptKind::Textual).contains("write words before {}"));
        assert!(refused(PromptKind::Visual).contains("1 vector or more"));
    }
}
