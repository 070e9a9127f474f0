//! Few labelled images to a prompt.

use std::path::Path;

use gram_data::{ClassSubset, Progress};
use gram_experiments::protocol::{Protocol, ProtocolSettings};
use gram_experiments::settings_file::SettingsFile;
use gram_experiments::tuned_prompt::{TunedPrompt, prepared, tune};
use gram_experiments::tuning_settings::for_model;
use gram_experiments::workbench::CheckedSettings;
use gram_prompt::PromptFile;
use gram_report::results::Method;
use gram_tune::method::Starts;
use serde_json::{Map, Value};

use crate::classifier::Classifier;
use crate::{Clip, Dataset, Error, Initialisation};

/// Tunes a prompt on a few labelled images, with the settings of the command line unless others are given.
#[derive(Clone, Debug)]
pub struct Tuner<'a> {
    model: &'a Clip,
    method: Method,
    settings: ProtocolSettings,
    starts: Starts,
    template: Option<String>,
    classes: ClassSubset,
    seed: u64,
}

impl<'a> Tuner<'a> {
    /// A tuner of any method that leaves a prompt.
    pub fn new(model: &'a Clip, method: Method) -> Self {
        let (settings, starts) = (for_model(model, 16), Starts::default());
        Self { model, method, settings, starts, template: None, classes: ClassSubset::All, seed: 1 }
    }

    /// CoOp: context tokens of a textual prompt.
    pub fn coop(model: &'a Clip) -> Self {
        Self::new(model, Method::Coop)
    }

    /// VPT: vectors of a visual prompt.
    pub fn vpt(model: &'a Clip) -> Self {
        Self::new(model, Method::Vpt)
    }

    /// Both at once.
    pub fn joint(model: &'a Clip) -> Self {
        Self::new(model, Method::Joint)
    }

    /// Labelled images of a class; 16 where nothing is said.
    pub fn shots(mut self, shots: usize) -> Self {
        self.settings.shots = shots;
        self
    }

    /// The seed of shots, their order and their augmentation; 1 where nothing is said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Passes over the shots.
    pub fn epochs(mut self, epochs: usize) -> Self {
        (self.settings.baseline.epochs, self.settings.regulated.epochs) = (epochs, epochs);
        self
    }

    /// The classes that are tuned on; all where nothing is said.
    pub fn classes(mut self, classes: ClassSubset) -> Self {
        self.classes = classes;
        self
    }

    /// The prompt template, with `{}` where a class's name goes: a textual prompt starts from its words.
    pub fn template(mut self, template: &str) -> Self {
        self.template = Some(template.to_owned());
        self
    }

    /// Any other settings.
    pub fn settings(mut self, change: impl FnOnce(&mut ProtocolSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Any other settings, as a file of settings says them.
    ///
    /// # Errors
    /// Names a key that is unknown, or whose value is wrong.
    pub fn settings_of(mut self, said: &Map<String, Value>) -> Result<Self, Error> {
        self.settings = SettingsFile::of_object("settings", said).over(&self.settings)?;
        Ok(self)
    }

    /// Starts from a meta-trained initialisation and regulates the gradient as it learned to: the method with
    /// GRAM.
    ///
    /// # Errors
    /// If the initialisation is of another kind of prompt, or there is no such method.
    pub fn from(mut self, initialisation: &Initialisation) -> Result<Self, Error> {
        let with_gram = |method: &Method| method.baseline() == Some(self.method) || *method == self.method;
        let method = Method::ALL.into_iter().find(|method| method.baseline().is_some() && with_gram(method));
        let refused = |problem: &str| Error::Refused(format!("{}: {problem}", self.method.key()));
        let method = method.ok_or_else(|| refused("it cannot start from a meta-trained initialisation"))?;
        if method.kind() != Some(initialisation.kind) {
            return Err(refused(&format!("the initialisation is of a {} prompt", initialisation.kind)));
        }
        self.method = method;
        self.starts.insert(method, initialisation.state.clone(), initialisation.placement);
        Ok(self)
    }

    /// Tunes on shots of the dataset's training images.
    ///
    /// # Errors
    /// If a setting is out of its range, an image cannot be read, or the descent diverges.
    pub fn fit(&self, dataset: &Dataset) -> Result<Prompt<'a>, Error> {
        self.fit_with(dataset, &())
    }

    /// [`fit`](Self::fit), telling how far it is: epochs with their `loss`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_with(&self, dataset: &Dataset, progress: &dyn Progress) -> Result<Prompt<'a>, Error> {
        let settings = CheckedSettings::new(self.settings.clone(), self.model)?;
        let template = self.model.template(self.template.as_deref())?;
        let prepared = prepared(self.method, &dataset.0, self.model, &template)?;
        let protocol = Protocol { prepared: &prepared, settings: &settings, starts: &self.starts, progress };
        let shots = protocol.shots(self.classes, None, &[self.method], self.seed)?;
        let command = format!("{} on {}", self.method.key(), dataset.name);
        let TunedPrompt { file, losses } =
            tune(&protocol, self.method, self.classes, &shots, self.seed, &command)?;
        Ok(Prompt { model: self.model, file, losses })
    }
}

/// A learned prompt and the model that it is for.
#[derive(Clone, Debug)]
pub struct Prompt<'a> {
    model: &'a Clip,
    file: PromptFile,
    losses: Vec<f32>,
}

impl<'a> Prompt<'a> {
    /// Reads a prompt file of gram's, CoOp's or CoCoOp's.
    ///
    /// # Errors
    /// If it cannot be read, or is for another model; names both.
    pub fn open(path: impl AsRef<Path>, model: &'a Clip) -> Result<Self, Error> {
        let file = PromptFile::load(path.as_ref(), &model.device())?;
        file.check_model(path.as_ref(), model)?;
        Ok(Self { model, file, losses: Vec::new() })
    }

    /// A prompt file and the model that it is for.
    ///
    /// # Errors
    /// If it is for another model; names both.
    pub fn of_file(file: PromptFile, model: &'a Clip) -> Result<Self, Error> {
        file.check_model(Path::new("the prompt"), model)?;
        Ok(Self { model, file, losses: Vec::new() })
    }

    /// Writes the prompt file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Ok(self.file.save(path.as_ref())?)
    }

    /// The mean loss of every epoch; none of a prompt that was read from a file.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// The classes that it was tuned on.
    pub fn classes(&self) -> &[String] {
        &self.file.header.classes
    }

    /// The prompt file: vectors, and what made them.
    pub fn file(&self) -> &PromptFile {
        &self.file
    }

    /// Any classes under the prompt.
    ///
    /// # Errors
    /// If there is none, one is too long, or the prompt has a context for each of other classes.
    pub fn classifier(
        &self,
        classes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Classifier<'a>, Error> {
        let names = classes.into_iter().map(Into::into).collect();
        Classifier::prompted(self.model, Some(names), Path::new("the prompt"), &self.file)
    }
}
