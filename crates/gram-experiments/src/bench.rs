//! Protocols over datasets, methods, shots and seeds, run by run: what is finished is never repeated.
//!
//! Every run has a file below `runs/`, written whole or not at all, that also says what it was made from: the
//! images that were tuned and tested on, and the start. Tables are made from these files alone, so that a
//! bench that was killed and started again gives the same as one that was not, and one with further datasets,
//! methods, shots or seeds keeps what it has.

pub(crate) mod names;
mod outputs;
mod task;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::thread;

use gram_clip::Model;
use gram_data::{ClassSubset, Split};
use gram_features::Dataset;
use gram_hub::templates;
use gram_prompt::Template;
use gram_report::results::{BaseToNewRun, CrossDomainRun, CurvePoint, Method, Results};
use gram_tune::method::Starts;
use gram_tune::prepared::Prepared;
pub use names::distinct_names;
pub use outputs::write_outputs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use task::Task;

use crate::error::{Context, ExperimentError, Result, require};
use crate::protocol::{Protocol, ProtocolSettings};
use crate::run_folder::{Run, RunFolder, model_identity};
use crate::workbench::Workbench;

/// A protocol of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolKind {
    /// Tuned on half of the classes, tested on both halves.
    BaseToNew,
    /// Tuned in one domain of a dataset, tested in all; or tuned on ImageNet, tested on its variants.
    CrossDomain,
    /// Tuned on one dataset, tested on the others.
    CrossDataset,
}

impl ProtocolKind {
    /// All three.
    pub const ALL: [ProtocolKind; 3] = [Self::BaseToNew, Self::CrossDomain, Self::CrossDataset];
}

impl fmt::Display for ProtocolKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BaseToNew => "base-to-new",
            Self::CrossDomain => "cross-domain",
            Self::CrossDataset => "cross-dataset",
        })
    }
}

impl FromStr for ProtocolKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.to_string() == name);
        known.ok_or_else(|| {
            format!("no protocol is called `{name}`: base-to-new, cross-domain or cross-dataset")
        })
    }
}

/// The model on a further device, with the initialisations there.
pub struct Card {
    /// The model.
    pub model: Model,
    /// Meta-trained initialisations, for each of the seeds.
    pub starts: Vec<Starts>,
}

/// A bench: methods on datasets, in a folder.
pub struct Bench<'a> {
    /// The model, the template and the settings, whose number of shots is replaced by each of the plan's.
    pub workbench: Workbench<'a>,
    /// Datasets.
    pub datasets: &'a [Dataset],
    /// Meta-trained initialisations, for each of the seeds.
    pub starts: &'a [Starts],
    /// What is measured.
    pub plan: BenchPlan<'a>,
    /// Where runs and tables go.
    pub out: &'a Path,
    /// Whether what an earlier bench left there is deleted.
    pub restart: bool,
    /// Devices beside that of the workbench's model, of the same kind: the seeds are divided among all, and
    /// every device computes its own.
    pub others: &'a [Card],
}

/// What a bench measures.
#[derive(Clone, Debug)]
pub struct BenchPlan<'a> {
    /// Protocols.
    pub protocols: Vec<ProtocolKind>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Images of a class.
    pub shots: Vec<usize>,
    /// The template of zero-shot classification and of unprompted text, where it is not the dataset's own.
    pub hand_written: Option<&'a Template>,
    /// The dataset that cross-dataset prompts are tuned on; the first, or ImageNet where it is among them.
    pub source: Option<&'a str>,
    /// Which base-to-new runs are also tested after every epoch.
    pub courses: Courses,
}

impl BenchPlan<'_> {
    /// Base-to-new accuracy of methods at a number of shots.
    pub fn base_to_new(methods: Vec<Method>, shots: usize) -> Self {
        let (protocols, shots) = (vec![ProtocolKind::BaseToNew], vec![shots]);
        Self { protocols, methods, shots, hand_written: None, source: None, courses: Courses::default() }
    }
}

/// Runs that are tested after every epoch: those of the first datasets and seeds, so many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Courses {
    /// Datasets.
    pub datasets: usize,
    /// Seeds.
    pub seeds: usize,
}

/// A run: what it measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Measured {
    BaseToNew(BaseToNewRun),
    Transfer(CrossDomainRun),
}

/// A finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Finished {
    measured: Measured,
    /// Its course by epoch, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    course: Vec<CurvePoint>,
}

impl<'a> Bench<'a> {
    /// Runs what has no file yet; the workbench's progress hears of every run.
    ///
    /// # Errors
    /// If the folder belongs to a bench with other settings, a run was made from other data or another start,
    /// or one fails.
    pub fn run(&self) -> Result<Vec<Results>> {
        let Workbench { model, seeds, progress, .. } = &self.workbench;
        let (tasks, planned) = self.planned()?;
        let identity = self.identity()?;
        let folder = self.claim(&identity)?;
        progress.begin("runs", self.plan.shots.len() * tasks.len() * seeds.len() * self.plan.methods.len());
        let cards = 1 + self.others.len();
        match self.others {
            [] => self.measure(&tasks, &planned, &folder, |_| true)?,
            others => thread::scope(|scope| {
                let (tasks, planned, folder) = (&tasks, &planned, &folder);
                let of_card = |(number, card): (usize, &'a Card)| {
                    let workbench = Workbench { model: &card.model, ..self.workbench.clone() };
                    let bench = Bench {
                        workbench,
                        starts: &card.starts,
                        plan: self.plan.clone(),
                        others: &[],
                        ..*self
                    };
                    let own = move |seed: usize| seed % cards == number;
                    scope.spawn(move || bench.measure(tasks, planned, folder, own))
                };
                let running: Vec<_> = (1..).zip(others).map(of_card).collect();
                let own = self.measure(tasks, planned, folder, |seed| seed % cards == 0);
                let others = running
                    .into_iter()
                    .map(|card| card.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                // Every card ends what it has begun before the first failure is reported.
                others.fold(own, Result::and)
            })?,
        }
        let mut results = Vec::new();
        for (plans, ProtocolSettings { shots, .. }) in &planned {
            let started = json!({"bench": identity, "shots": shots});
            let mut of_shots = Results::new("gram bench", model.name.clone(), started);
            of_shots.seeds.clone_from(seeds);
            for (task, plans) in tasks.iter().zip(plans) {
                collect(task, plans, &folder, &mut of_shots)?;
            }
            of_shots.notes.extend(self.left_out());
            results.push(of_shots);
        }
        Ok(results)
    }

    /// The runs that have no file yet: the number of the dataset that is tuned on, the place of the seed
    /// among the seeds, and the method. Any bench of the same settings may make one in a folder of its own,
    /// where its file has the same name.
    ///
    /// # Errors
    /// As [`run`](Self::run), if nothing is run.
    pub fn runs_left(&self) -> Result<Vec<(usize, usize, Method)>> {
        let (tasks, planned) = self.planned()?;
        let folder = self.claim(&self.identity()?)?;
        let mut left = Vec::new();
        for (plans, _) in &planned {
            for (task, plans) in tasks.iter().zip(plans) {
                for plan in plans {
                    if folder.find::<Finished>(&plan.name, &plan.made_from)?.is_none() {
                        left.push((self.number(task.dataset), plan.seed, plan.method));
                    }
                }
            }
        }
        Ok(left)
    }

    fn claim(&self, identity: &Value) -> Result<RunFolder> {
        let run = Run { command: "bench", identity, makes: &["runs", "*-shot"], restart: self.restart };
        RunFolder::claim(self.out, &run)
    }

    /// All tasks, and for each number of shots the plans of every task, and the settings.
    fn planned(&self) -> Result<(Vec<Task<'a>>, Vec<Planned>)> {
        let Workbench { settings, seeds, .. } = &self.workbench;
        names::check(self.datasets)?;
        require!(!seeds.is_empty(), "--seeds: 1 or more");
        require!(!self.plan.shots.contains(&0), "--shots: 1 or more");
        require!(
            self.runnable().next().is_some(),
            "no method can be run without a meta-trained initialisation: pass one with --start METHOD=FILE"
        );
        let tasks = task::tasks(self.datasets, &self.plan)?;
        let tested = self.tested_on(&tasks);
        let mut planned = Vec::new();
        for shots in &self.plan.shots {
            let settings = ProtocolSettings { shots: *shots, ..(**settings).clone() };
            let plans = tasks.iter().map(|task| self.plans(task, &settings, &tested));
            planned.push((plans.collect::<Result<Vec<_>>>()?, settings));
        }
        Ok((tasks, planned))
    }

    /// Runs what has no file yet, of the seeds that are its own by their place.
    fn measure(
        &self,
        tasks: &[Task<'a>],
        planned: &[Planned],
        folder: &RunFolder,
        is_own: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let note = |name: &str| self.workbench.progress.advance(name);
        let mut prepared = BTreeMap::new();
        for (plans, settings) in planned {
            for (task, plans) in tasks.iter().zip(plans) {
                let own: Vec<&Plan> = plans.iter().filter(|plan| is_own(plan.seed)).collect();
                let place = || format!("{}, dataset {}", task.protocol, task.dataset.name);
                self.task(task, settings, &own, folder, &mut prepared, &note).with_context(place)?;
            }
        }
        Ok(())
    }

    /// What all runs have in common: another folder is needed where it differs.
    fn identity(&self) -> Result<Value> {
        let Workbench { model, template, settings, .. } = &self.workbench;
        let without_shots = ProtocolSettings { shots: 0, ..(**settings).clone() };
        Ok(json!({
            "model": model_identity(model)?,
            "template": template.to_string(),
            "zero_shot_template": self.plan.hand_written.map(ToString::to_string),
            "settings": without_shots,
        }))
    }

    /// Fingerprints of the images that are tested on, by the number of their dataset.
    fn tested_on(&self, tasks: &[Task]) -> BTreeMap<usize, String> {
        let mut tested = BTreeMap::new();
        for dataset in tasks.iter().flat_map(|task| std::iter::once(&task.dataset).chain(&task.targets)) {
            let of_test = || dataset.fingerprint_of(&dataset.select(Split::Test, ClassSubset::All, None));
            tested.entry(self.number(dataset)).or_insert_with(of_test);
        }
        tested
    }

    /// The runs of a task, and what each is made from.
    fn plans(
        &self,
        task: &Task,
        settings: &ProtocolSettings,
        tested: &BTreeMap<usize, String>,
    ) -> Result<Vec<Plan>> {
        let on = |dataset: &Dataset| tested[&self.number(dataset)].as_str();
        let mut targets = BTreeMap::new();
        for target in &task.targets {
            let sentences: Vec<String> = self.sentences_of(target)?.iter().map(ToString::to_string).collect();
            targets.insert(
                target.name.as_str(),
                json!({"tested_on": on(target), "zero_shot_template": sentences}),
            );
        }
        let sentences = self.sentences_of(task.dataset)?;
        let hand_written: Vec<String> = sentences.iter().map(ToString::to_string).collect();
        let mut plans = Vec::new();
        for (place, (seed, starts)) in self.workbench.seeds.iter().zip(self.starts).enumerate() {
            let domain = task.domain(*seed);
            let (chosen, validation) =
                settings.sampling.draw(task.dataset, task.classes(), domain, settings.shots, *seed);
            let tuned_on = task.dataset.fingerprint_of(&[chosen, validation].concat());
            for method in self.runnable() {
                let with_course = place < self.plan.courses.seeds
                    && task.protocol == ProtocolKind::BaseToNew
                    && self.number(task.dataset) < self.plan.courses.datasets;
                let run = names::of_run(task.protocol, &task.dataset.name, settings.shots, *seed, *method);
                let name = run + if with_course { ".course.json" } else { ".json" };
                let made_from = json!({
                    "dataset": task.dataset.name,
                    "tuned_on": tuned_on,
                    "tested_on": on(task.dataset),
                    "targets": targets,
                    "domain": domain.and_then(|domain| task.dataset.domains.get(domain)),
                    "zero_shot_template": hand_written,
                    "start": starts.fingerprint(*method),
                });
                plans.push(Plan { seed: place, method: *method, name, made_from, with_course });
            }
        }
        Ok(plans)
    }

    /// A dataset's number.
    fn number(&self, dataset: &Dataset) -> usize {
        self.datasets.iter().take_while(|other| !std::ptr::eq(*other, dataset)).count()
    }

    /// The sentences of zero-shot classification of a dataset: the one that is given, its own, or that of
    /// learned prompts.
    fn sentences_of(&self, dataset: &Dataset) -> Result<Vec<Template>> {
        if let Some(given) = self.plan.hand_written {
            return Ok(vec![given.clone()]);
        }
        let own = templates::of_dataset(dataset)?;
        Ok(if own.is_empty() { vec![self.workbench.template.clone()] } else { own })
    }

    /// The dataset with the features of its test images, which every protocol and number of shots uses.
    fn prepare(&self, dataset: &'a Dataset) -> Result<Prepared<'a>> {
        let sentences = self.sentences_of(dataset)?;
        let one = sentences.first().unwrap_or(self.workbench.template);
        let mut prepared = Prepared::new(dataset, self.workbench.model, self.workbench.template, one)?;
        if sentences.len() > 1 {
            prepared = prepared.asked_in(&sentences)?;
        }
        prepared.with_test_features().with_context(|| format!("dataset {}", dataset.name))
    }

    /// Runs of one task that are not finished; datasets that they need are `prepared` once.
    fn task(
        &self,
        task: &Task<'a>,
        settings: &ProtocolSettings,
        plans: &[&Plan],
        folder: &RunFolder,
        prepared: &mut BTreeMap<usize, Prepared<'a>>,
        note: &(dyn Fn(&str) + Sync),
    ) -> Result<()> {
        let title = |plan: &Plan| {
            let seed = self.workbench.seeds[plan.seed];
            format!("{}, {}, seed {seed}, {}", task.protocol, task.dataset.name, plan.method)
        };
        let mut missing = Vec::new();
        for plan in plans.iter().copied() {
            match folder.find::<Finished>(&plan.name, &plan.made_from)? {
                Some(_) => note(&title(plan)),
                None => missing.push(plan),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for dataset in std::iter::once(&task.dataset).chain(&task.targets) {
            if let Entry::Vacant(place) = prepared.entry(self.number(dataset)) {
                place.insert(self.prepare(dataset)?);
            }
        }
        let of = |dataset: &Dataset| &prepared[&self.number(dataset)];
        let targets: Vec<&Prepared> = task.targets.iter().map(|target| of(target)).collect();
        for (place, (seed, starts)) in self.workbench.seeds.iter().zip(self.starts).enumerate() {
            let missing: Vec<&Plan> = missing.iter().copied().filter(|plan| plan.seed == place).collect();
            if missing.is_empty() {
                continue;
            }
            let protocol = Protocol { prepared: of(task.dataset), settings, starts, progress: &() };
            let methods: Vec<Method> = missing.iter().map(|plan| plan.method).collect();
            let domain = task.domain(*seed);
            let shots = protocol.shots(task.classes(), domain, &methods, *seed)?;
            let measure = |plan: &&Plan| {
                let method = plan.method;
                let (measured, course) = match (task.protocol, domain) {
                    (ProtocolKind::BaseToNew, _) => {
                        let (run, course) = protocol.base_to_new(method, &shots, plan.with_course)?.unzip();
                        (run.map(Measured::BaseToNew), course.unwrap_or_default())
                    }
                    (_, Some(source)) => {
                        (protocol.cross_domain(method, &shots, source)?.map(Measured::Transfer), Vec::new())
                    }
                    (_, None) => (
                        protocol.cross_dataset(method, &shots, &targets)?.map(Measured::Transfer),
                        Vec::new(),
                    ),
                };
                if let Some(measured) = measured {
                    folder.keep(&plan.name, &plan.made_from, Finished { measured, course })?;
                }
                note(&title(plan));
                Ok::<_, ExperimentError>(())
            };
            self.workbench.model.compute().each::<_, _, Result<()>>(&missing, measure)?;
        }
        Ok(())
    }

    /// The methods whose starts are there.
    fn runnable(&self) -> impl Iterator<Item = &Method> {
        self.plan.methods.iter().filter(|method| self.starts.iter().all(|starts| starts.has(**method)))
    }

    /// What is said of methods that are not run; nothing if all are.
    pub fn left_out(&self) -> Option<String> {
        let left_out =
            self.plan.methods.iter().filter(|method| self.runnable().all(|other| other != *method));
        let names: Vec<&str> = left_out.map(|method| method.name()).collect();
        (!names.is_empty()).then(|| {
            let names = names.join(", ");
            format!("Not run without a meta-trained initialisation: {names}. Pass one with --start.")
        })
    }
}

/// The plans of every task at a number of shots, and the settings.
type Planned = (Vec<Vec<Plan>>, ProtocolSettings);

/// A run that is wanted.
struct Plan {
    /// The place of its seed among the seeds.
    seed: usize,
    method: Method,
    /// Its file in the folder.
    name: String,
    made_from: Value,
    with_course: bool,
}

/// Adds the finished runs of a task to the results.
fn collect(task: &Task, plans: &[Plan], folder: &RunFolder, results: &mut Results) -> Result<()> {
    if task.protocol == ProtocolKind::BaseToNew {
        results.datasets.push(task.dataset.name.clone());
    }
    for plan in plans {
        let Some(finished) = folder.find::<Finished>(&plan.name, &plan.made_from)? else { continue };
        results.curves.extend(finished.course);
        match (task.protocol, finished.measured) {
            (_, Measured::BaseToNew(run)) => results.base_to_new.push(run),
            (ProtocolKind::CrossDataset, Measured::Transfer(run)) => results.cross_dataset.push(run),
            (_, Measured::Transfer(run)) => results.cross_domain.push(run),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn protocols_are_read_as_they_are_written() {
        for kind in ProtocolKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(json!(kind), json!(kind.to_string()));
        }
        let refused = "base".parse::<ProtocolKind>().unwrap_err();
        assert_eq!(refused, "no protocol is called `base`: base-to-new, cross-domain or cross-dataset");
    }

    #[test]
    fn a_run_is_read_back_as_what_it_measured() {
        let base_to_new = BaseToNewRun {
            dataset: "food".into(),
            method: Method::Coop,
            seed: 1,
            base: 70.0,
            new: 60.0,
            scores: Default::default(),
        };
        let finished = Finished { measured: Measured::BaseToNew(base_to_new), course: Vec::new() };
        let written = json!(finished);
        assert!(written.get("course").is_none(), "{written}");
        assert_eq!(serde_json::from_value::<Finished>(written).unwrap(), finished);
    }

    #[test]
    fn a_plan_of_base_to_new_has_no_more_than_that() {
        let plan = BenchPlan::base_to_new(vec![Method::Coop], 4);
        assert_eq!(
            (plan.protocols.as_slice(), plan.shots.as_slice()),
            (&[ProtocolKind::BaseToNew][..], &[4][..])
        );
        assert_eq!((plan.courses.datasets, plan.courses.seeds), (0, 0));
    }
}
