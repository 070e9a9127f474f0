//! The paper's studies: what becomes of GRAM when a part of it is left out (table 6, figure 3b), has other
//! sizes (table 7), or starts elsewhere (figure 1a), and how base and new classes fare from epoch to epoch
//! (figures 1b and 3a).
//!
//! Every condition has a start that is meta-trained once, `starts/NAME-N-steps.safetensors`, and a bench of
//! its own, `conditions/NAME/N-steps-M-epochs`, so that a study that was killed goes on where it stopped, and
//! one that is given more seeds, shots, steps or epochs keeps what is the same.

mod condition;
mod other_topics;

use std::path::PathBuf;

use gram_clip::Model;
use gram_data::{Pairs, Progress};
use gram_features::Dataset;
use gram_features::pixel_cache::USUAL_ROOM;
use gram_meta::MetaTrainingSettings;
use gram_prompt::PromptKind;
use gram_report::results::{CurvePoint, Method, Results};
use gram_tune::method::Starts;
use serde_json::{Value, json};

use crate::bench::{Bench, BenchPlan, Courses};
use crate::clustering::CLUSTERED;
use crate::error::{Context, Result, require};
use crate::meta_training::steps_of;
use crate::pair_images::{PairImages, images_of_clusters};
use crate::run_folder::{Run, RunFolder, model_identity};
use crate::workbench::{ClusteredPairs, Workbench};
use other_topics::{labelled, one_domain};

pub use condition::{Condition, StartSource};

/// A study: conditions of a method, side by side.
pub struct Study<'a> {
    /// The model, the template and the settings.
    pub workbench: Workbench<'a>,
    /// What initialisations are meta-trained on.
    pub source: ClusteredPairs<'a>,
    /// Labelled datasets.
    pub datasets: &'a [Dataset],
    /// How initialisations are meta-trained.
    pub meta_training: MetaTrainingSettings,
    /// The method with GRAM that is studied.
    pub method: Method,
    /// Where initialisations and runs go, from [`claim`].
    pub folder: &'a RunFolder,
}

/// The progress of a condition's bench.
struct Labelled<'a> {
    progress: &'a dyn Progress,
    label: &'a str,
}

impl Progress for Labelled<'_> {
    fn begin(&self, stage: &str, steps: usize) {
        self.progress.begin(&format!("{}: {stage}", self.label), steps);
    }

    fn advance(&self, message: &str) {
        self.progress.advance(message);
    }

    fn reach(&self, done: usize, message: &str) {
        self.progress.reach(done, message);
    }
}

/// Begins a study in the folder `out`, or goes on with it. `clusters` says which they are: a fingerprint, or
/// how they will be found.
///
/// # Errors
/// If the folder belongs to a study with another model, pairs, clusters, method or settings of meta-training.
pub fn claim(
    out: &std::path::Path,
    restart: bool,
    model: &Model,
    pairs: &Pairs,
    clusters: &Value,
    method: Method,
    meta_training: &MetaTrainingSettings,
) -> Result<RunFolder> {
    // Other numbers of steps have starts of their own.
    let settings = MetaTrainingSettings { steps: 0, ..meta_training.clone() };
    let identity = json!({
        "model": model_identity(model)?,
        "pairs": pairs.fingerprint(),
        "clusters": clusters,
        "method": method,
        "meta_training": settings,
    });
    let makes = ["clusters", CLUSTERED, "starts", "conditions", "study.md"];
    RunFolder::claim(out, &Run { command: "study", identity: &identity, makes: &makes, restart })
}

impl Study<'_> {
    /// Runs the conditions: the method that each ends in, and what it gave.
    ///
    /// # Errors
    /// If a start cannot be meta-trained, or a run fails.
    pub fn run(&self, conditions: &[Condition]) -> Result<Vec<(Method, Results)>> {
        self.bench(conditions, Courses::default())
    }

    /// A bench of each condition, some of its runs with their course by epoch.
    fn bench(&self, conditions: &[Condition], courses: Courses) -> Result<Vec<(Method, Results)>> {
        let images = self.images()?;
        conditions.iter().map(|condition| self.condition(condition, &images, courses)).collect()
    }

    /// The kind of the method's prompt.
    fn kind(&self) -> Result<PromptKind> {
        self.method.kind().context("a method with a prompt is studied")
    }

    /// The images of the clustered pairs, as meta-training wants them.
    fn images(&self) -> Result<PairImages> {
        let Workbench { model, progress, .. } = self.workbench;
        let ClusteredPairs { pairs, clusters } = self.source;
        images_of_clusters(model, clusters, pairs, self.kind()?, USUAL_ROOM, progress)
    }

    fn condition(
        &self,
        condition: &Condition,
        images: &PairImages,
        courses: Courses,
    ) -> Result<(Method, Results)> {
        let (method, starts) = self.start(condition, images)?;
        let progress = &Labelled { progress: self.workbench.progress, label: &condition.label };
        let workbench = Workbench { progress, ..self.workbench.clone() }.with(|settings| {
            settings.design = condition.design(settings.design);
            settings.start_seed = condition.start_seed;
        })?;
        let epochs = workbench.settings.adaptation(method).epochs;
        let length = match condition.start {
            StartSource::Usual => format!("{epochs}-epochs"),
            _ => format!("{}-steps-{epochs}-epochs", self.meta_training.steps),
        };
        let out = self.folder.path().join("conditions").join(&condition.name).join(length);
        let plan = BenchPlan {
            hand_written: Some(workbench.template),
            courses,
            ..BenchPlan::base_to_new(vec![method], workbench.settings.shots)
        };
        let starts = vec![starts; workbench.seeds.len()];
        let bench = Bench {
            workbench,
            datasets: self.datasets,
            starts: &starts,
            plan,
            out: &out,
            restart: false,
            others: &[],
        };
        Ok((method, bench.run()?.pop().context("no number of shots")?))
    }

    /// The method that a condition ends in, with its initialisation, which is meta-trained if it is not there
    /// yet.
    fn start(&self, condition: &Condition, images: &PairImages) -> Result<(Method, Starts)> {
        let mut starts = Starts::default();
        let baseline = self.method.baseline().context("a method with GRAM is studied")?;
        if condition.start == StartSource::Usual {
            return Ok((baseline, starts));
        }
        let settings = condition.start.settings(&self.meta_training);
        let ClusteredPairs { pairs, clusters } = self.source;
        let clusters = match condition.start {
            StartSource::WithoutDomainShift => &one_domain(clusters.clone()),
            StartSource::Supervised => &labelled(clusters, pairs)?,
            _ => clusters,
        };
        let (design, path) = (condition.design(self.workbench.settings.design), self.start_path(condition));
        let progress = self.workbench.progress;
        progress.begin(&format!("{}: meta-training", condition.label), settings.steps);
        let observe = &mut |_: &_| progress.advance("");
        let (state, placement) =
            self.workbench.meta_train(self.kind()?, design, (clusters, images), &settings, &path, observe)?;
        starts.insert(self.method, state, placement);
        Ok((self.method, starts))
    }

    fn start_path(&self, condition: &Condition) -> PathBuf {
        let name = format!("{}-{}-steps.safetensors", condition.name, self.meta_training.steps);
        self.folder.path().join("starts").join(name)
    }

    /// Figures 1b and 3a: base and new accuracy of each condition after every epoch, the start first,
    /// averaged over datasets and seeds.
    ///
    /// # Errors
    /// As [`Study::run`].
    pub fn courses(&self, conditions: &[Condition]) -> Result<Vec<Vec<[f64; 2]>>> {
        let everywhere = Courses { datasets: self.datasets.len(), seeds: self.workbench.seeds.len() };
        let found = self.bench(conditions, everywhere)?;
        let runs = self.datasets.len() * self.workbench.seeds.len();
        let course = |(method, results): (Method, Results)| {
            mean_course(&results.curves, self.workbench.settings.adaptation(method).epochs, runs)
        };
        found.into_iter().map(course).collect()
    }

    /// Figure 3b: the mean normalised inner product of support and query gradients in each quarter of each
    /// condition's meta-training.
    ///
    /// # Errors
    /// As [`Study::run`].
    pub fn alignments(&self, conditions: &[Condition]) -> Result<Vec<[f64; 4]>> {
        let images = self.images()?;
        let of = |condition: &Condition| {
            self.start(condition, &images)?;
            self.alignment(condition)
        };
        conditions.iter().map(of).collect()
    }

    fn alignment(&self, condition: &Condition) -> Result<[f64; 4]> {
        let steps = steps_of(&self.start_path(condition))?;
        Ok(means_of_quarters(&steps.iter().map(|step| f64::from(step.alignment)).collect::<Vec<_>>()))
    }
}

/// Base and new accuracy after every epoch, the start first, averaged over runs.
fn mean_course(points: &[CurvePoint], epochs: usize, runs: usize) -> Result<Vec<[f64; 2]>> {
    let mut by_epoch = vec![([0.0; 2], 0); epochs + 1];
    for point in points {
        let (sum, count) = by_epoch.get_mut(point.epoch).context("an epoch too many")?;
        sum[0] += point.base;
        sum[1] += point.new;
        *count += 1;
    }
    let mean = |(sum, count): ([f64; 2], usize)| {
        require!(count == runs, "{count} of {runs} runs have this epoch");
        Ok(sum.map(|sum| sum / runs as f64))
    };
    by_epoch.into_iter().map(mean).collect()
}

/// The mean of each quarter of four numbers or more.
fn means_of_quarters(course: &[f64]) -> [f64; 4] {
    [0, 1, 2, 3].map(|quarter| {
        let part = &course[quarter * course.len() / 4..(quarter + 1) * course.len() / 4];
        part.iter().sum::<f64>() / part.len() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(seed: u64, epoch: usize, base: f64, new: f64) -> CurvePoint {
        CurvePoint { dataset: "food".into(), method: Method::Coop, seed, epoch, loss: 1.0, base, new }
    }

    #[test]
    fn a_course_is_the_mean_of_all_runs_after_every_epoch() {
        let points =
            [point(1, 0, 10.0, 20.0), point(2, 0, 30.0, 40.0), point(2, 1, 5.0, 6.0), point(1, 1, 7.0, 8.0)];
        assert_eq!(mean_course(&points, 1, 2).unwrap(), [[20.0, 30.0], [6.0, 7.0]]);
        let missing = mean_course(&points[..3], 1, 2).unwrap_err().to_string();
        assert_eq!(missing, "1 of 2 runs have this epoch");
        assert_eq!(mean_course(&points, 0, 2).unwrap_err().to_string(), "an epoch too many");
    }

    #[test]
    fn quarters_cover_all_steps_once() {
        assert_eq!(means_of_quarters(&[1.0, 2.0, 3.0, 4.0]), [1.0, 2.0, 3.0, 4.0]);
        // 5 steps: quarters of 1, 1, 1 and 2.
        assert_eq!(means_of_quarters(&[1.0, 2.0, 3.0, 4.0, 6.0]), [1.0, 2.0, 3.0, 5.0]);
    }
}
