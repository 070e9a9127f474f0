//! Topics to a meta-trained start: the prompt before meta-training, the data of episodes, and the run.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use burn::tensor::Device;
use gram_clip::{Model, ModelIdentity};
use gram_cluster::Clusters;
use gram_data::fingerprint;
use gram_features::ImageStore;
use gram_meta::{
    EpisodeData, EpisodeSource, LearnedEpisodes, MetaGradient, MetaState, MetaStep, MetaTraining,
    MetaTrainingSettings, Regulator, StepGradients, TopicPool, checkpoint,
};
use gram_prompt::prompt_file::VERSION;
use gram_prompt::{
    ClassStore, Header, Part, Placement, Prompt, PromptFile, PromptKind, PromptedClip, Source, Template,
};
use gram_tune::design::PromptDesign;
use serde_json::{Value, json};

use crate::error::{Context, Result, refuse, refused, require};
use crate::run_folder::{Run, beside_file, claim_for_file, model_identity};
use crate::starts::start_of;
use crate::{settings_file, tensorboard, whole_file};

/// The prompt before meta-training: the template's words or random vectors in the text, random ones in the
/// image.
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
    require!(
        !kind.has(Part::Visual) || design.visual_tokens > 0,
        "a visual prompt has 1 prompt token or more, not 0"
    );
    let placement = design.placement(kind, model, 1);
    let start = design.start(kind, placement, model, template, seed, &model.device())?;
    if kind.has(Part::Text) && start.get(Part::Text).is_none() {
        refuse!("template `{template}`: write words before {{}}, which initialise a textual prompt");
    }
    Ok(start)
}

/// What episodes are made of. `images` are those of the clusters' pairs in their order, as from
/// [`images_of`](crate::pair_images::images_of).
///
/// # Errors
/// If a topic's name is too long for the text tower.
pub fn episode_data(
    model: &Model,
    clusters: &Clusters,
    images: ImageStore,
    start: &Prompt,
    template: &Template,
    settings: &MetaTrainingSettings,
) -> Result<EpisodeData> {
    let names: Vec<String> = clusters.topics.iter().map(|topic| topic.name.clone()).collect();
    let classes = class_store(model, &names, start, template).with_context(|| {
        "the name of a topic, which topics.toml beside the clusters can change".to_owned()
    })?;
    Ok(EpisodeData { classes, images, pool: TopicPool::new(clusters, &settings.episodes) })
}

/// What listed episodes are made of, `images` of their pairs in order ([`EpisodesFile::numbered`]).
///
/// [`EpisodesFile::numbered`]: crate::episodes::EpisodesFile::numbered
///
/// # Errors
/// As [`episode_data`].
pub fn listed_episode_data(
    model: &Model,
    names: &[String],
    images: ImageStore,
    start: &Prompt,
    template: &Template,
) -> Result<EpisodeData> {
    let classes = class_store(model, names, start, template)?;
    Ok(EpisodeData { classes, images, pool: TopicPool::default() })
}

fn class_store(model: &Model, names: &[String], start: &Prompt, template: &Template) -> Result<ClassStore> {
    let (clip, tokenizer) = (&model.clip, &model.tokenizer);
    Ok(match start.get(Part::Text) {
        Some(context) => ClassStore::prompted(names, template, context.dims()[0], clip, tokenizer)?,
        None => ClassStore::hand_written(names, template, clip, tokenizer)?,
    })
}

/// The keys of clustered pairs.
pub fn keys(clusters: &Clusters) -> Vec<String> {
    clusters.pairs.iter().map(|pair| pair.key.clone()).collect()
}

/// A meta-training as a run: a start that goes into a file, and the run's folder beside it (`start.run` of
/// `start.safetensors`), from which it goes on to the same bytes wherever it was stopped.
pub struct MetaRun<'a> {
    /// The model.
    pub model: &'a Model,
    /// What is learned.
    pub kind: PromptKind,
    /// Where its vectors enter.
    pub placement: Placement,
    /// The sentence around a name.
    pub template: &'a Template,
    /// The model whose features made the topics and domains, for the file: any model may learn from them.
    pub clusters: Option<&'a ModelIdentity>,
    /// What episodes are made of.
    pub episode_data: &'a EpisodeData,
    /// The fingerprint of the pairs whose images these are.
    pub images: &'a str,
    /// Before the first step.
    pub start: MetaState,
    /// Where episodes come from.
    pub episodes: EpisodeSource,
    /// Settings.
    pub settings: &'a MetaTrainingSettings,
    /// The command, for the file that says what made it.
    pub command: &'a str,
    /// Whether an earlier run in its folder is deleted.
    pub restart: bool,
    /// Who computes meta-gradients; this process where nobody else does.
    pub elsewhere: Option<&'a Elsewhere<'a>>,
}

/// Computes the meta-gradients of a step on other machines: asked with the bytes of a training state, it
/// gives what [`GradientWorker::pass`] says for each pass, in their order.
pub type Elsewhere<'a> = dyn Fn(&[u8]) -> Result<Vec<Vec<u8>>> + Sync + 'a;

/// What a run makes in its folder.
const MAKES: [&str; 5] = ["settings.toml", "start.safetensors", CHECKPOINT, METRICS, EVENTS];
const CHECKPOINT: &str = "checkpoint.safetensors";
const METRICS: &str = "metrics.jsonl";
const EVENTS: &str = "events.out.tfevents.0.gram";

/// Steps between checkpoints.
const CHECKPOINT_STEPS: usize = 10;

impl MetaRun<'_> {
    /// The start that all steps end in, without a folder. `observe` sees every step.
    ///
    /// # Errors
    /// If meta-training diverges.
    pub fn run_in_memory(&self, observe: &mut dyn FnMut(&MetaStep)) -> Result<MetaState> {
        let (device, clip) = (self.model.device(), PromptedClip::new(self.model, self.placement));
        let mut training = self.training(&clip, &device)?;
        // It reads weights and topics whole, and only workers ask for it.
        let identity = if self.elsewhere.is_some() { self.identity()? } else { Value::Null };
        while !training.is_finished() {
            observe(&self.advance(&mut training, &identity)?);
        }
        Ok(training.result().clone())
    }

    /// Goes on where the run stood, or begins it, and writes the start to `out`. `observe` sees every step,
    /// those done before among them.
    ///
    /// # Errors
    /// If the folder is another run's, a file cannot be written, or meta-training diverges.
    pub fn run(&self, out: &Path, observe: &mut dyn FnMut(&MetaStep)) -> Result<MetaState> {
        let device = self.model.device();
        let identity = self.identity()?;
        let run = Run { command: "meta-train", identity: &identity, makes: &MAKES, restart: self.restart };
        let claimed = claim_for_file(out, &[], &run)?;
        let folder = claimed.path();
        let clip = PromptedClip::new(self.model, self.placement);
        let mut training = self.training(&clip, &device)?;
        let checkpoint = folder.join(CHECKPOINT);
        if checkpoint.is_file() {
            let file = || checkpoint.display().to_string();
            let bytes = fs::read(&checkpoint).with_context(file)?;
            let training_state =
                checkpoint::from_bytes(&bytes, &identity, &self.start, self.settings, &device);
            training.go_on_from(training_state.with_context(|| format!("{}: {}", file(), OTHER_RUN))?);
        } else {
            whole_file::write(
                &folder.join("settings.toml"),
                settings_file::to_text(self.settings)?.as_bytes(),
            )?;
            self.save(&folder.join("start.safetensors"), &self.start)?;
        }
        let was_finished = training.is_finished();
        require!(
            !was_finished || !out.exists() || self.is_saved(out, training.result()),
            "{}: this is not what was meta-trained there: name another --out, or begin anew with --restart",
            out.display()
        );
        if was_finished && out.exists() {
            // Nothing is written anew: the file says which command made it.
            steps_of(out)?.iter().for_each(observe);
            return Ok(training.result().clone());
        }
        let mut record = Record::open(folder, training.training_state().step)?;
        record.before.iter().for_each(&mut *observe);
        while !training.is_finished() {
            let step = self.advance(&mut training, &identity)?;
            record.note(&step)?;
            observe(&step);
            if step.step.is_multiple_of(CHECKPOINT_STEPS) || training.is_finished() {
                whole_file::write(&checkpoint, &checkpoint::to_bytes(training.training_state(), &identity)?)?;
            }
        }
        self.save(out, training.result())?;
        Ok(training.result().clone())
    }

    fn training<'b>(&'b self, clip: &'b PromptedClip<'b>, device: &'b Device) -> Result<MetaTraining<'b>> {
        let (start, episodes) = (self.start.clone(), self.episodes.clone());
        Ok(MetaTraining::new(clip, self.episode_data, start, episodes, self.settings, device)?)
    }

    /// One outer step.
    fn advance(&self, training: &mut MetaTraining, identity: &Value) -> Result<MetaStep> {
        let Some(elsewhere) = self.elsewhere else { return Ok(training.advance()?) };
        let at = training.training_state().for_gradients(self.settings);
        let mut gradients = Vec::with_capacity(self.settings.meta_batch);
        for pass in elsewhere(&checkpoint::to_bytes(&at, identity)?)? {
            gradients.extend(split(&pass, &self.start, &self.model.device())?);
        }
        require!(
            gradients.len() == self.settings.meta_batch,
            "{} meta-gradients were computed, not {}",
            gradients.len(),
            self.settings.meta_batch
        );
        Ok(training.advance_by(&gradients)?)
    }

    /// Whether the file `out` is what this run ends in, and not another that was put there since.
    fn is_saved(&self, out: &Path, result: &MetaState) -> bool {
        let Ok(file) = PromptFile::load(out, &self.model.device()) else { return false };
        let same = file.header.kind == self.kind && file.header.placement == self.placement;
        same && start_of(&file, out, self.model)
            .is_ok_and(|state| state.fingerprint() == result.fingerprint())
    }

    /// What decides the numbers of the run.
    fn identity(&self) -> Result<Value> {
        let EpisodeData { classes, pool, .. } = self.episode_data;
        Ok(json!({
            "model": model_identity(self.model)?,
            "method": self.kind,
            "placement": self.placement,
            "template": self.template.to_string(),
            "settings": self.settings,
            "start": self.start.fingerprint(),
            "pairs": self.images,
            "classes": classes.fingerprint(),
            "topics": fingerprint::of_text(&format!("{pool:?}")),
            "episodes": match &self.episodes {
                EpisodeSource::Sampled => None,
                EpisodeSource::Listed(episodes) => {
                    Some(fingerprint::of_text(&serde_json::to_string(episodes)?))
                }
            },
        }))
    }

    /// A state as a prompt file, with what makes it.
    ///
    /// # Errors
    /// If the model's weights cannot be read.
    pub fn file(&self, state: &MetaState) -> Result<PromptFile> {
        let header = Header {
            version: VERSION,
            placement: self.placement,
            regulator_form: state.phi.as_ref().map(Regulator::form).unwrap_or_default(),
            program: env!("CARGO_PKG_VERSION").into(),
            model: self.model.identity()?,
            clusters: self.clusters.cloned(),
            kind: self.kind,
            template: self.template.to_string(),
            classes: Vec::new(),
            settings: serde_json::to_value(self.settings)?,
            command: self.command.into(),
        };
        let regulator = state.phi.as_ref().map(|phi| phi.named()).unwrap_or_default();
        let (prompt, source) = (state.theta.clone(), Source::Gram);
        Ok(PromptFile { header, prompt, regulator, source })
    }

    fn save(&self, path: &Path, state: &MetaState) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(self.file(state)?.save(path)?)
    }
}

/// Computes meta-gradients of a run on another machine.
pub struct GradientWorker<'a> {
    run: MetaRun<'a>,
    identity: Value,
    clip: PromptedClip<'a>,
    episodes: LearnedEpisodes,
    device: Device,
}

impl<'a> GradientWorker<'a> {
    /// Of a run that has the same settings and data.
    ///
    /// # Errors
    /// If too few episodes are listed, or the model's weights cannot be read.
    pub fn new(run: MetaRun<'a>) -> Result<Self> {
        let (identity, device) = (run.identity()?, run.model.device());
        let clip = PromptedClip::new(run.model, run.placement);
        let episodes = run.episodes.clone().learned(run.episode_data, run.settings)?;
        Ok(Self { run, identity, clip, episodes, device })
    }

    /// The meta-gradients of a pass ([`MetaTrainingSettings::passes`]) of the step that follows `at`, a
    /// training state in bytes.
    ///
    /// # Errors
    /// If the state is of a run with other settings or data, there is no such pass, or an image cannot be
    /// read.
    pub fn pass(&self, at: &[u8], pass: usize) -> Result<Vec<u8>> {
        let MetaRun { episode_data, settings, start, .. } = &self.run;
        let at = checkpoint::from_bytes(at, &self.identity, start, settings, &self.device)
            .map_err(|_| refused!("this worker sees other settings, another model or other pairs"))?;
        let episodes = settings.passes().into_iter().nth(pass);
        let episodes = episodes.with_context(|| format!("a step has no pass {pass}"))?;
        let (clip, episode_data, device) = (&self.clip, *episode_data, &self.device);
        let gradients = StepGradients { clip, episode_data, episodes: &self.episodes, settings, device };
        let found = gradients.of_pass(&at, episodes)?;
        joined(&found)
    }
}

/// Meta-gradients as bytes, each after its length.
fn joined(gradients: &[MetaGradient]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for gradient in gradients {
        let bytes = gradient.to_bytes()?;
        all.extend((bytes.len() as u64).to_le_bytes());
        all.extend(bytes);
    }
    Ok(all)
}

/// The meta-gradients in [`joined`] bytes.
fn split(mut bytes: &[u8], like: &MetaState, device: &Device) -> Result<Vec<MetaGradient>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (one, rest) =
            rest.split_at_checked(length).with_context(|| "a meta-gradient was cut".to_owned())?;
        found.push(MetaGradient::from_bytes(one, like, device)?);
        bytes = rest;
    }
    Ok(found)
}

/// What to do about a checkpoint that does not belong to the run.
const OTHER_RUN: &str = "a run stands here: name another --out, or delete its folder";

/// What the steps of the run that wrote `out` measured.
///
/// # Errors
/// Names the file.
pub fn steps_of(out: &Path) -> Result<Vec<MetaStep>> {
    let path = beside_file(out).join(METRICS);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| path.display().to_string())).collect()
}

/// What a run measures, on its way to `metrics.jsonl` and TensorBoard's event file.
struct Record {
    metrics: File,
    events: File,
    /// The steps of the run before it was stopped.
    before: Vec<MetaStep>,
}

impl Record {
    /// Of a run that stands at `step`: what was written of later steps is forgotten.
    fn open(folder: &Path, step: usize) -> Result<Self> {
        let path = folder.join(METRICS);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let kept: Vec<&str> = before.lines().take(step).collect();
        require!(
            kept.len() == step,
            "{}: {} of {step} steps are there: {OTHER_RUN}",
            path.display(),
            kept.len()
        );
        let parse = |line: &&str| serde_json::from_str(line).with_context(|| path.display().to_string());
        let steps = kept.iter().map(parse).collect::<Result<Vec<MetaStep>>>()?;
        let text: String = kept.iter().map(|line| format!("{line}\n")).collect();
        whole_file::write(&path, text.as_bytes())?;
        let events = folder.join(EVENTS);
        let written: Vec<u8> = steps.iter().flat_map(event).collect();
        whole_file::write(&events, &[tensorboard::header(), written].concat())?;
        let append = |path: &Path| {
            let file = File::options().append(true).open(path);
            file.with_context(|| path.display().to_string())
        };
        Ok(Self { metrics: append(&path)?, events: append(&events)?, before: steps })
    }

    fn note(&mut self, step: &MetaStep) -> Result<()> {
        self.metrics.write_all(format!("{}\n", serde_json::to_string(step)?).as_bytes())?;
        Ok(self.events.write_all(&event(step))?)
    }
}

/// The scalars of a step.
fn event(step: &MetaStep) -> Vec<u8> {
    let mut scalars = vec![
        ("query/loss", step.query_loss),
        ("query/accuracy", step.query_accuracy),
        ("gradients/alignment", step.alignment),
        ("gradients/meta_gradient_norm", step.meta_gradient_norm),
        ("regulator/regulated_over_raw", step.regulated_over_raw),
        ("regulator/gamma", step.gamma),
        ("regulator/beta", step.beta),
    ];
    if let Some(rates) = step.inner_rates {
        scalars.extend([("inner_rate/text", rates.text), ("inner_rate/visual", rates.visual)]);
    }
    if let Some(validation) = step.validation {
        scalars.extend([("held_out/loss", validation.loss), ("held_out/accuracy", validation.accuracy)]);
    }
    tensorboard::scalars(step.step as u64, &scalars)
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;

    use super::*;

    #[test]
    fn a_start_has_the_vectors_of_its_kind() {
        let model = gram_hub::assets::tiny(&Compute::cpu()).unwrap();
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
        let model = gram_hub::assets::tiny(&Compute::cpu()).unwrap();
        let bare: Template = "{}".parse().unwrap();
        let design = PromptDesign { visual_tokens: 0, ..PromptDesign::default() };
        let refused = |kind| start_prompt(&model, kind, &bare, design, 1).unwrap_err().to_string();
        assert!(refused(PromptKind::Textual).contains("write words before {}"));
        assert!(refused(PromptKind::Visual).contains("1 prompt token or more"));
    }
}
