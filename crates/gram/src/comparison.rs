//! Methods side by side, over datasets and seeds.

use std::path::{Path, PathBuf};

use gram_data::Progress;
use gram_experiments::bench::{Bench, BenchPlan, Courses};
use gram_experiments::protocol::ProtocolSettings;
use gram_experiments::settings_file::SettingsFile;
use gram_experiments::tuning_settings::for_model;
use gram_experiments::workbench::{CheckedSettings, Workbench};
use gram_report::results::{Method, Results};
use gram_tune::method::Starts;
use serde_json::{Map, Value};

use crate::{Clip, Dataset, Error, Initialisation};

/// Tunes and measures methods on a few shots of each dataset: base-to-new accuracy, with intervals over
/// seeds. What is finished stays in a folder, and is not computed again.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    model: &'a Clip,
    folder: PathBuf,
    methods: Vec<Method>,
    starts: Starts,
    seeds: Vec<u64>,
    settings: ProtocolSettings,
    courses: Courses,
}

impl<'a> Comparison<'a> {
    /// A comparison of zero-shot CLIP with methods that are added to it, in a folder.
    pub fn new(model: &'a Clip, folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref().to_owned();
        let (methods, seeds, courses) = (vec![Method::ZeroShot], vec![1, 2, 3], Courses::default());
        let (starts, settings) = (Starts::default(), for_model(model, 16));
        Self { model, folder, methods, starts, seeds, settings, courses }
    }

    /// Adds a method by its name, such as `coop`.
    ///
    /// # Errors
    /// If there is no such method, which names those that there are; or it starts from a meta-trained
    /// initialisation.
    pub fn method(self, name: &str) -> Result<Self, Error> {
        let with = self.with(name)?;
        match with.methods.last().is_some_and(|method| method.baseline().is_some()) {
            true => Err(Error::Refused(format!(
                "{name}: it starts from a meta-trained initialisation: give it one"
            ))),
            false => Ok(with),
        }
    }

    fn with(mut self, name: &str) -> Result<Self, Error> {
        self.methods.push(name.parse().map_err(|error| Error::Refused(format!("{error}")))?);
        Ok(self)
    }

    /// Adds a method with GRAM, such as `coop-gram`, with what was meta-trained for it.
    ///
    /// # Errors
    /// If there is no such method, or the initialisation is of another kind of prompt.
    pub fn method_from(self, name: &str, initialisation: &Initialisation) -> Result<Self, Error> {
        let mut with = self.with(name)?;
        let method = with.methods[with.methods.len() - 1];
        if method.baseline().is_none() || method.kind() != Some(initialisation.kind) {
            let problem =
                format!("{name}: it does not start from a meta-trained {} prompt", initialisation.kind);
            return Err(Error::Refused(problem));
        }
        with.starts.insert(method, initialisation.state.clone(), initialisation.placement);
        Ok(with)
    }

    /// Seeds of shots and tuning; 1, 2 and 3 where nothing is said.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// Labelled images of a class; 16 where nothing is said.
    pub fn shots(mut self, shots: usize) -> Self {
        self.settings.shots = shots;
        self
    }

    /// Leaves out zero-shot CLIP.
    pub fn without_zero_shot(mut self) -> Self {
        self.methods.retain(|method| *method != Method::ZeroShot);
        self
    }

    /// Tests after every epoch, too: [`Results::curves`].
    pub fn every_epoch(mut self) -> Self {
        self.courses = Courses { datasets: usize::MAX, seeds: usize::MAX };
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

    /// Runs what is not finished yet.
    ///
    /// # Errors
    /// If the folder holds a comparison with another model or other settings, or a run fails.
    pub fn run(&self, datasets: &[Dataset]) -> Result<Results, Error> {
        self.run_with(datasets, &())
    }

    /// [`run`](Self::run), telling how far it is.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with(&self, datasets: &[Dataset], progress: &dyn Progress) -> Result<Results, Error> {
        let results = self.bench(datasets, progress, |bench| bench.run())?.pop();
        results.ok_or_else(|| Error::Refused("no number of shots".to_owned()))
    }

    /// The runs that are not finished: the number of the dataset, the seed and the method. Another comparison
    /// with the same settings may make one in a folder of its own, whose file then belongs at the same place
    /// in this one's.
    ///
    /// # Errors
    /// As [`run`](Self::run), if nothing is run.
    pub fn runs_left(&self, datasets: &[Dataset]) -> Result<Vec<(usize, u64, Method)>, Error> {
        let left = self.bench(datasets, &(), |bench| bench.runs_left())?;
        Ok(left.into_iter().map(|(dataset, place, method)| (dataset, self.seeds[place], method)).collect())
    }

    fn bench<T>(
        &self,
        datasets: &[Dataset],
        progress: &dyn Progress,
        ask: impl FnOnce(&Bench<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let template = self.model.template(None)?;
        let datasets: Vec<_> = datasets.iter().map(|dataset| dataset.0.clone()).collect();
        let workbench = Workbench {
            model: self.model,
            template: &template,
            settings: CheckedSettings::new(self.settings.clone(), self.model)?,
            seeds: self.seeds.clone(),
            command: "",
            progress,
        };
        ask(&Bench {
            workbench,
            datasets: &datasets,
            starts: &vec![self.starts.clone(); self.seeds.len()],
            plan: BenchPlan {
                courses: self.courses,
                ..BenchPlan::base_to_new(self.methods.clone(), self.settings.shots)
            },
            out: &self.folder,
            restart: false,
            others: &[],
        })
    }
}
