//! `gram adapt`: a prompt for your own classes, from a few labelled images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Args};
use gram_clip::Model;
use gram_data::whole_file::beside;
use gram_data::{ClassSubset, FewShotSplit, LabelledDataset, fingerprint};
use gram_experiments::coop_config::CoopConfig;
use gram_experiments::protocol::{Protocol, ProtocolSettings, TextMemory};
use gram_experiments::run_folder::{Run, claim_for_file, model_identity};
use gram_experiments::starts::{model_of, start_of};
use gram_experiments::tuned_prompt::{hand_written, prepared, tune};
use gram_experiments::tuning_settings::learned_template;
use gram_experiments::whole_file;
use gram_experiments::workbench::CheckedSettings;
use gram_features::Dataset;
use gram_hub::model::{is_built_in, note_what_tiny_knows, open_model_or_own};
use gram_prompt::{Part, PromptFile, Source, Template};
use gram_report::results::Method;
use gram_tune::adaptation::AdaptationSettings;
use gram_tune::method::Starts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::arguments::{Anew, Common};
use crate::commands::prompting::load_prompt;
use crate::commands::tuning::TuningArguments;
use crate::commands::{command_line, labelled};
use crate::progress::bar;
use crate::{destination, output};

/// Arguments of `gram adapt`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("input").args(["data", "features"]).required(true).multiple(true),
    after_help = "Examples:\n  gram adapt --model ViT-B/16 --data flowers/ --method coop --shots 16 --out flowers.safetensors\n  \
                  gram adapt --data demo:animals --method coop-gram --init start.safetensors --out animals.safetensors"
)]
pub struct AdaptArguments {
    /// A folder or file with a CLIP checkpoint, an id on the hub, or the built-in `tiny`. Default: the model
    /// that --init names, else that of the features, or `tiny`.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// A folder for each class, a manifest, an archive, a standard benchmark, or `demo:NAME`.
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// The features of the images, so that no image is needed: a folder by `gram embed --data`. With --data,
    /// which then gives the labels, also one by clip-retrieval or a matrix (.npy, .safetensors). Only for
    /// methods without a visual prompt; nothing is augmented.
    #[arg(long, value_name = "DIR")]
    features: Option<PathBuf>,
    /// A method that leaves a prompt.
    #[arg(long, help = methods())]
    method: Method,
    /// The meta-trained initialisation, from `gram meta-train`.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Training images per class.
    #[arg(long, value_name = "K")]
    shots: Option<usize>,
    /// A few-shot split from `gram data few-shot`, instead of one drawn here.
    #[arg(long, value_name = "FILE", conflicts_with = "shots")]
    few_shot: Option<PathBuf>,
    /// The classes: all (the default), base (the first half) or new (the second half).
    #[arg(long)]
    classes: Option<ClassSubset>,
    /// Prompt template. A textual prompt is initialised with its words before the class name.
    #[arg(long)]
    template: Option<Template>,
    /// The prompt file. The loss of every epoch is written beside it as .metrics.jsonl, and the run folder
    /// as .run.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// Configurations of CoOp's or CoCoOp's code (YAML), those that count more last. Prints what each key
    /// became; flags and --config come before it.
    #[arg(long, value_name = "FILE")]
    coop_config: Vec<PathBuf>,
    /// What stands behind the arguments of CoOp's scripts, such as `TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC
    /// True`.
    #[arg(long, value_name = "KEY VALUE", num_args = 1.., allow_hyphen_values = false)]
    coop_options: Vec<String>,
    /// Settings.
    #[command(flatten)]
    tuning: TuningArguments,
}

/// The help of `--method`.
fn methods() -> String {
    let (usual, with_gram) = (Method::list_of_prompts(), Method::list_with_gram());
    format!("{usual}; {with_gram} from a meta-trained initialisation")
}

/// Runs the command.
pub fn run(arguments: &AdaptArguments, common: &Common) -> Result<()> {
    let adapt = arguments.resolve(common)?;
    let adapted = adapt.run()?;
    let out = &adapt.out;
    match common.json {
        true => output::json(&json!({
            "prompt": out.to_string_lossy(),
            "classes": adapted.classes,
            "images": adapted.images,
            "loss": adapted.loss,
            "settings": *adapt.settings,
        }))?,
        false => output::line(format!("{} (loss {:.3})", out.display(), adapted.loss))?,
    }
    Ok(())
}

/// What the arguments ask for, opened and checked.
struct Resolved {
    method: Method,
    model: Model,
    dataset: Dataset,
    classes: ClassSubset,
    template: Template,
    settings: CheckedSettings,
    starts: Starts,
    /// Images that are tuned on.
    chosen: Vec<usize>,
    /// Images that settings are chosen on.
    validation: Vec<usize>,
    seed: u64,
    out: PathBuf,
    restart: bool,
}

/// The ending of the file with the loss of every epoch.
const METRICS: &str = "metrics.jsonl";
/// What a tuning left, in the prompt's run folder.
const ADAPTED: &str = "adapted.json";

/// What came out of a tuning.
#[derive(Serialize, Deserialize)]
struct Adapted {
    /// The fingerprint of the prompt's file.
    prompt: String,
    classes: usize,
    images: usize,
    /// Mean loss of the last epoch.
    loss: f32,
}

impl Adapted {
    /// Whether the file is the prompt that was tuned, and not another that was put there since.
    fn is_still_in(&self, path: &Path) -> bool {
        std::fs::read(path).is_ok_and(|bytes| fingerprint::of_bytes(&bytes) == self.prompt)
    }
}

/// The settings that a method is tuned with, of all.
fn in_force(settings: &ProtocolSettings, method: Method) -> Result<Value> {
    let mut of_method = serde_json::to_value(settings)?;
    if let Some(all) = of_method.as_object_mut() {
        ["baseline", "regulated", "collection", "tip_adapter"].iter().for_each(|key| drop(all.remove(*key)));
        if !method.is_guided() {
            all.remove("objective");
        }
        all.insert("tuning".into(), serde_json::to_value(settings.adaptation(method))?);
    }
    Ok(of_method)
}

/// Says what the text tower takes for a gradient.
fn note_memory(memory: TextMemory) {
    let parts = memory.classes.div_ceil(memory.classes_at_once);
    let gigabytes = memory.bytes as f64 / f64::from(1 << 30);
    if parts > 1 || gigabytes >= 1.0 {
        output::note(format!(
            "about {gigabytes:.1} GB for the gradient through the text tower, in {parts} part(s)"
        ));
    }
}

impl Resolved {
    /// Tunes the prompt, unless it is tuned already.
    fn run(&self) -> Result<Adapted> {
        let (out, identity) = (&self.out, self.identity()?);
        let run = Run { command: "adapt", identity: &identity, makes: &[ADAPTED], restart: self.restart };
        let folder = claim_for_file(out, &[beside(out, METRICS)], &run)?;
        let done: Option<Adapted> = folder.find(ADAPTED, &Value::Null)?;
        ensure!(
            done.as_ref().is_none_or(|done| done.is_still_in(out)) || !out.exists(),
            "{}: this is not the prompt that was tuned there: name another --out, or begin anew with --restart",
            out.display()
        );
        if let Some(adapted) = done.filter(|done| done.is_still_in(out)) {
            output::note("this prompt is tuned already; --restart tunes it again");
            return Ok(adapted);
        }
        let adapted = self.tune()?;
        folder.keep(ADAPTED, &Value::Null, &adapted)?;
        Ok(adapted)
    }

    /// What decides the numbers.
    fn identity(&self) -> Result<Value> {
        let tuned_on = [self.chosen.as_slice(), &self.validation].concat();
        let hand_written = hand_written(self.method, &self.dataset)?;
        let mut identity = json!({
            "model": model_identity(&self.model)?,
            "method": self.method,
            "classes": self.dataset.class_names(self.classes),
            "template": self.template.to_string(),
            "settings": in_force(&self.settings, self.method)?,
            "seed": self.seed,
            "tuned_on": self.dataset.fingerprint_of(&tuned_on),
            "start": self.starts.fingerprint(self.method),
        });
        if !hand_written.is_empty() {
            identity["hand_written"] =
                json!(hand_written.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        Ok(identity)
    }

    /// Tunes the prompt and writes it down, with the loss of every epoch.
    fn tune(&self) -> Result<Adapted> {
        let (method, classes) = (self.method, self.classes);
        let prepared = prepared(method, &self.dataset, &self.model, &self.template)?;
        let (settings, progress) = (&self.settings, &bar("images"));
        let protocol = Protocol { prepared: &prepared, settings, starts: &self.starts, progress };
        let names = self.dataset.class_names(classes);
        output::note(format!("{method}: {} images of {} classes", self.chosen.len(), names.len()));
        note_memory(protocol.text_memory(method, classes)?);
        let AdaptationSettings { epochs, warmup_epochs, warmup_rate, .. } = settings.adaptation(method);
        if epochs <= warmup_epochs {
            output::note(format!(
                "all epochs are warm-up, at the learning rate {warmup_rate}: give more --epochs, or --warmup-epochs 0"
            ));
        }
        let (chosen, validation) = (self.chosen.clone(), self.validation.clone());
        let shots = protocol.shots_of(classes, chosen, validation, &[method], self.seed)?;
        let tuned = tune(&protocol, method, classes, &shots, self.seed, &command_line())?;
        tuned.file.save(&self.out)?;
        let line = |(epoch, loss)| json!({"epoch": epoch + 1, "loss": loss}).to_string() + "\n";
        let lines: String = tuned.losses.iter().enumerate().map(line).collect();
        whole_file::write(&beside(&self.out, METRICS), lines.as_bytes())?;
        let written = std::fs::read(&self.out).with_context(|| self.out.display().to_string())?;
        Ok(Adapted {
            prompt: fingerprint::of_bytes(&written),
            classes: names.len(),
            images: shots.chosen.len(),
            loss: tuned.losses.last().copied().unwrap_or(f32::NAN),
        })
    }
}

impl AdaptArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved> {
        destination::file(&self.out)?;
        let (method, compute) = (self.method, common.compute()?);
        ensure!(
            method.kind().is_some(),
            "--method {}: it leaves no prompt; `gram bench` measures it",
            method.key()
        );
        ensure!(
            self.features.is_none() || !method.prompts(Part::Visual),
            "--features: {} needs images, not features: give them with --data",
            method.key()
        );
        let of_init = match &self.init {
            Some(path) => model_of(path)?.map(|own| (path.as_path(), own)),
            None => None,
        };
        let dataset = labelled::open_with_features(self.data.as_deref(), self.features.as_deref())?;
        let of_features = || dataset.model().map(|(path, own)| (path, own.clone()));
        let own = of_init.or_else(of_features);
        let coop = self.coop(common)?;
        let named = self.model.as_deref().or(coop.as_ref().and_then(|coop| coop.model.as_deref()));
        ensure!(
            self.model.is_some() || named.is_none_or(|name| !name.starts_with("RN")),
            "MODEL.BACKBONE.NAME {}: gram reads vision transformers: name one with --model",
            named.unwrap_or_default()
        );
        let model = open_model_or_own(named, own, &compute, &bar("download"))?;
        note_what_tiny_knows(&model, self.data.as_deref().is_some_and(|name| !is_built_in(name)));
        let shots = self.shots.or(coop.as_ref().and_then(|coop| coop.shots));
        let settings = self.tuning.settings(&model, shots, dataset.has_features(), None, coop.as_ref())?;
        let template = self.template(&model, coop.as_ref())?;
        let starts = self.starts(&template, &model)?;
        let classes = self.classes.or(coop.and_then(|coop| coop.classes)).unwrap_or(ClassSubset::All);
        let (chosen, validation) = self.draw(&dataset, classes, &settings, common.seed)?;
        let seed = common.seed;
        let (out, restart) = (self.out.clone(), self.anew.restart);
        Ok(Resolved {
            method,
            model,
            dataset,
            classes,
            template,
            settings,
            starts,
            chosen,
            validation,
            seed,
            out,
            restart,
        })
    }

    /// What CoOp's files say, if there are any. Prints what each key became.
    fn coop(&self, common: &Common) -> Result<Option<CoopConfig>> {
        if self.coop_config.is_empty() && self.coop_options.is_empty() {
            return Ok(None);
        }
        let coop = CoopConfig::read(&self.coop_config, &self.coop_options, self.method)?;
        coop.told.iter().for_each(|told| output::note(format!("gram: {told}")));
        if let Some(seed) = coop.seed.filter(|seed| *seed != common.seed) {
            bail!("SEED {seed}: the seed is {}: give --seed {seed}, or take SEED away", common.seed);
        }
        Ok(Some(coop))
    }

    /// The images that are tuned on, and those that settings are chosen on: from a file, or drawn.
    fn draw(
        &self,
        dataset: &LabelledDataset,
        classes: ClassSubset,
        settings: &ProtocolSettings,
        seed: u64,
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        match &self.few_shot {
            Some(path) => Ok(FewShotSplit::read(path)?.find(dataset, classes, path)?),
            None => {
                labelled::tell_shortfall(dataset, &[(classes, None)], settings.shots);
                Ok(settings.sampling.draw(dataset, classes, None, settings.shots, seed))
            }
        }
    }

    /// The prompt template: the one that is given, else that of the initialisation, else the model's usual
    /// one.
    fn template(&self, model: &Model, coop: Option<&CoopConfig>) -> Result<Template> {
        let of_coop = coop.and_then(|coop| coop.template.as_deref()).map(str::parse).transpose()?;
        let given = self.template.clone().or(of_coop);
        let initialisation = match (&given, &self.init) {
            (None, Some(path)) => Some(load_prompt(path, self.tuning.class_position(), &model.device())?),
            _ => None,
        };
        match initialisation.filter(|file| file.source == Source::Gram) {
            Some(file) => Ok(file.header.template.parse()?),
            None => Ok(learned_template(given.as_ref(), model)?),
        }
    }

    /// The start that the method asks for.
    fn starts(&self, template: &Template, model: &Model) -> Result<Starts> {
        let mut starts = Starts::default();
        match (&self.init, self.method.baseline()) {
            (None, None) => {}
            (Some(path), Some(_)) => {
                let device = model.device();
                let file = load_prompt(path, self.tuning.class_position(), &device)?;
                add_start(&mut starts, self.method, path, &file, template, model)?;
            }
            (Some(_), None) => bail!(
                "--init: {} takes no meta-trained initialisation; the methods with GRAM do, such as coop-gram",
                self.method.key()
            ),
            (None, Some(_)) => {
                bail!(
                    "--method {}: it needs a meta-trained initialisation: pass one with --init",
                    self.method.key()
                )
            }
        }
        Ok(starts)
    }
}

/// Adds the start of a file for a method, if it has the parts that the method tunes. Says where it was
/// meta-trained in another prompt template.
pub fn add_start(
    starts: &mut Starts,
    method: Method,
    path: &Path,
    file: &PromptFile,
    template: &Template,
    model: &Model,
) -> Result<()> {
    for part in [Part::Text, Part::Visual] {
        ensure!(
            method.prompts(part) == file.prompt.get(part).is_some(),
            "{}: an initialisation of {}, which {} does not tune: meta-train one for it",
            path.display(),
            file.header.kind,
            method.key()
        );
    }
    if file.source == Source::Gram && file.header.settings.get("tuning").is_some() {
        output::note_once(format!(
            "gram: {}: it was tuned, not meta-trained: {} starts there without a gradient regulator",
            path.display(),
            method.key()
        ));
    }
    let (own, used) = (&file.header.template, template.to_string());
    if file.source == Source::Gram && method.prompts(Part::Text) && *own != used {
        output::note_once(format!(
            "gram: {}: meta-trained in the prompt template `{own}`, tuned in `{used}`: give --template \"{own}\" if you \
             do not mean this",
            path.display()
        ));
    }
    starts.insert(method, start_of(file, path, model)?, file.header.placement);
    Ok(())
}
