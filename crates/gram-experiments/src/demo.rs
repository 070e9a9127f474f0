//! The whole paper in small: pairs → topics and domains → meta-training → few-shot adaptation → the two
//! tables.
//!
//! Every stage is the library's own; this file only says in which order, on how much, and writes down what
//! came out.

mod plan;
mod topic_map;

use std::path::Path;
use std::time::Instant;

use gram_clip::{Compute, Model};
use gram_cluster::{Clusters, StagesIn};
use gram_data::{Pairs, Progress};
use gram_features::pixel_cache::USUAL_ROOM;
use gram_features::{Dataset, ImageStore};
use gram_hub::assets;
use gram_meta::MetaStep;
use gram_prompt::{Part, PromptKind, Template};
use gram_report::results::{MetaCurve, Method, Results, StageTime};
use gram_tune::design::PromptDesign;
use gram_tune::method::Starts;
pub use plan::Plan;
use serde_json::{Value, json};

use crate::bench::{Bench, BenchPlan, Courses, ProtocolKind};
use crate::clustering::{CLUSTERED, PairFeatures, once_clustered};
use crate::defaults;
use crate::error::{Context, Result};
use crate::pair_images::PairImages;
use crate::run_folder::{Run, RunFolder, model_identity};
use crate::starts::{TrainedStart, curve_point, shipped_start};
use crate::workbench::{CheckedSettings, Workbench};

/// What a demo makes in its folder.
const MAKES: [&str; 6] = ["clusters", CLUSTERED, "starts", "bench", "results.json", "report.html"];

/// Runs the plan and writes `results.json`, `report.html` and the artefacts into `out`; with `restart`, what
/// an earlier demo left there is deleted.
///
/// # Errors
/// If the folder is that of a demo with another seed or other settings; what any stage says.
pub fn run(
    plan: &Plan,
    command: &str,
    out: &Path,
    restart: bool,
    compute: &Compute,
    progress: &dyn Progress,
) -> Result<Results> {
    let mut demo = Demo::new(plan, command, compute, progress)?;
    let identity = demo.identity()?;
    let run = Run { command: "demo", identity: &identity, makes: &MAKES, restart };
    let claimed = RunFolder::claim(out, &run)?;
    let (clusters, features, pairs) = demo.stage("clustering", |demo| demo.cluster(&claimed))?;
    demo.results.topics = Some(topic_map::topic_map(&clusters, &pairs.pairs)?);
    let starts = demo.stage("meta-training", |demo| demo.meta_train(&clusters, &features, &pairs, out))?;
    demo.stage("adaptation", |demo| demo.protocols(&starts, &out.join("bench")))?;
    demo.results.write(&out.join("results.json"))?;
    gram_report::report::write_report(&demo.results, &out.join("report.html"))?;
    Ok(demo.results)
}

struct Demo<'a> {
    plan: &'a Plan,
    command: &'a str,
    model: Model,
    template: Template,
    progress: &'a dyn Progress,
    results: Results,
}

impl<'a> Demo<'a> {
    fn new(plan: &'a Plan, command: &'a str, compute: &Compute, progress: &'a dyn Progress) -> Result<Self> {
        let model = assets::tiny(compute)?;
        let settings = serde_json::json!({
            "plan": plan,
            "template": defaults::TEMPLATE,
            "protocol": defaults::protocol(plan.shots, model.preprocess.crop),
            "clustering": defaults::demo_clustering(),
            "textual_meta_training": defaults::meta_training(PromptKind::Textual, plan.seed()),
        });
        let mut results = Results::new(command, model.name.clone(), settings);
        results.notes = plan.notes();
        results.datasets = plan.datasets.clone();
        results.seeds = plan.seeds.clone();
        Ok(Self { plan, command, model, template: defaults::TEMPLATE.parse()?, progress, results })
    }

    /// What decides its numbers. More datasets, seeds and methods are told apart by the bench.
    fn identity(&self) -> Result<Value> {
        let plan = self.plan;
        let kinds = [PromptKind::Textual, PromptKind::Visual, PromptKind::Joint];
        Ok(json!({
            "model": model_identity(&self.model)?,
            "seed": plan.seed(),
            "shots": plan.shots,
            "everything_live": plan.everything_live,
            "template": self.template.to_string(),
            "protocol": defaults::protocol(plan.shots, self.model.preprocess.crop),
            "clustering": defaults::demo_clustering(),
            "meta_training": kinds.map(|kind| defaults::meta_training(kind, plan.seed())),
        }))
    }

    fn stage<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let clock = Instant::now();
        let done = work(self).with_context(|| format!("in {name}"))?;
        self.results.stages.push(StageTime { name: name.to_owned(), seconds: clock.elapsed().as_secs_f64() });
        Ok(done)
    }

    fn cluster(&mut self, run: &RunFolder) -> Result<(Clusters, PairFeatures, Pairs)> {
        let pairs = assets::pairs()?;
        let settings = defaults::demo_clustering();
        let features = PairFeatures::new(&self.model, &pairs, None, &settings.topic_words, self.progress)?;
        let seed = self.plan.seed();
        let cluster = || {
            Ok((features.cluster(&self.model, &pairs, &settings, seed, StagesIn::Memory, self.progress)?, ()))
        };
        let (clusters, ()) = once_clustered(run, &run.path().join("clusters"), cluster)?;
        Ok((clusters, features, pairs))
    }

    /// Meta-trains what the plan says, and takes the rest from the shipped starts.
    fn meta_train(
        &mut self,
        clusters: &Clusters,
        features: &PairFeatures,
        pairs: &Pairs,
        out: &Path,
    ) -> Result<Starts> {
        let mut starts = Starts::default();
        for method in [Method::CoopGram, Method::VptGram, Method::Unigram] {
            let Some(kind) = method.kind().filter(|_| self.plan.methods.contains(&method)) else { continue };
            let start = match self.plan.is_live(kind) {
                true => self.meta_train_live(kind, clusters, features, pairs, out)?,
                false => shipped_start(kind, &self.model, &self.model.device())?,
            };
            let TrainedStart { source, state, placement, course } = start;
            self.results.meta_training.push(MetaCurve { method, source, points: course });
            starts.insert(method, state, placement);
        }
        Ok(starts)
    }

    fn meta_train_live(
        &self,
        kind: PromptKind,
        clusters: &Clusters,
        features: &PairFeatures,
        pairs: &Pairs,
        out: &Path,
    ) -> Result<TrainedStart> {
        let settings = defaults::meta_training(kind, self.plan.seed());
        let store = match kind.has(Part::Visual) {
            true => ImageStore::Pixels(features.pixels(pairs, &self.model, USUAL_ROOM)?),
            false => ImageStore::Features(features.image_tensor(&self.model.device())),
        };
        let images = PairImages { store, fingerprint: pairs.fingerprint() };
        self.progress.begin(&format!("meta-training {kind}"), settings.steps);
        let mut course = Vec::new();
        let out = out.join("starts").join(format!("{kind}.safetensors"));
        let mut observe = |step: &MetaStep| {
            self.progress.advance(&format!("query loss {:.3}", step.query_loss));
            course.push(curve_point(step));
        };
        let (workbench, source) = (self.workbench()?, (clusters, &images));
        let (state, placement) =
            workbench.meta_train(kind, PromptDesign::default(), source, &settings, &out, &mut observe)?;
        Ok(TrainedStart { source: "trained live".into(), state, placement, course })
    }

    fn workbench(&self) -> Result<Workbench<'_>> {
        let Self { plan, command, model, template, progress, .. } = self;
        let settings = defaults::protocol(plan.shots, model.preprocess.crop);
        let settings = CheckedSettings::new(settings, model)?;
        Ok(Workbench { model, template, settings, seeds: plan.seeds.clone(), command, progress: *progress })
    }

    fn protocols(&mut self, starts: &Starts, out: &Path) -> Result<()> {
        let plan = self.plan;
        let datasets = plan.datasets.iter().map(|name| Ok(assets::dataset(name)?.into()));
        let datasets = datasets.collect::<Result<Vec<Dataset>>>()?;
        let bench = Bench {
            workbench: self.workbench()?,
            datasets: &datasets,
            starts: &vec![starts.clone(); plan.seeds.len()],
            plan: BenchPlan {
                protocols: vec![ProtocolKind::BaseToNew, ProtocolKind::CrossDomain],
                hand_written: Some(&self.template),
                courses: Courses { datasets: plan.course_datasets, seeds: 1 },
                ..BenchPlan::base_to_new(plan.methods.clone(), plan.shots)
            },
            out,
            restart: false,
            others: &[],
        };
        let found = bench.run()?.pop().context("no number of shots")?;
        self.results.base_to_new = found.base_to_new;
        self.results.cross_domain = found.cross_domain;
        self.results.curves = found.curves;
        Ok(())
    }
}
