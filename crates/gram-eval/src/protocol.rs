//! The paper's protocols: base-to-new and cross-domain generalisation.
//!
//! **Base to new** (table 1): a few shots of the first half of the classes are tuned on; test images of these classes
//! and, with names it has never seen, of the other half are classified. **Cross-domain** (table 2): the few shots
//! are of all classes but of one domain; test images of every domain are classified. In both, each half or domain is
//! classified among its own classes only.

use burn::tensor::Device;
use gram_clip::Model;
use gram_data::{Augmentation, ClassSubset, Split, few_shot};
use gram_prompt::{Prompt, Template};
use serde::{Deserialize, Serialize};

use crate::adaptation::{AdaptationSettings, adapt};
use crate::method::{Start, Starts};
use crate::prepared::{EvaluationError, Prepared, Views};
use crate::results::{BaseToNewRun, CrossDomainRun, CurvePoint, Method};

/// What the runs of a table have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProtocolSettings {
    /// K, images of a class.
    pub shots: usize,
    /// Vectors of a visual prompt.
    pub visual_tokens: usize,
    /// Tuning of methods that start as usual.
    pub baseline: AdaptationSettings,
    /// Tuning of methods with a meta-trained start and regulator.
    pub regulated: AdaptationSettings,
    /// How tuning images are varied.
    pub augmentation: Augmentation,
}

impl ProtocolSettings {
    /// The tuning of `method`.
    pub fn adaptation(&self, method: Method) -> &AdaptationSettings {
        if method.baseline().is_some() { &self.regulated } else { &self.baseline }
    }
}

/// A dataset under the settings of a table, with the starts of every method.
pub struct Protocol<'a> {
    /// The dataset.
    pub prepared: &'a Prepared<'a>,
    /// Settings.
    pub settings: &'a ProtocolSettings,
    /// Starts.
    pub starts: &'a Starts,
    /// Model.
    pub model: &'a Model,
    /// The sentence.
    pub template: &'a Template,
    /// Where tensors live.
    pub device: &'a Device,
}

/// Few shots of one seed, the same for every method.
pub struct Shots {
    classes: ClassSubset,
    chosen: Vec<usize>,
    views: Views,
    seed: u64,
}

impl Protocol<'_> {
    /// Draws the shots of a seed.
    ///
    /// # Errors
    /// [`EvaluationError::Empty`] if there are none.
    pub fn shots(
        &self,
        classes: ClassSubset,
        domain: Option<usize>,
        seed: u64,
    ) -> Result<Shots, EvaluationError> {
        let dataset = self.prepared.dataset;
        let chosen = few_shot::sample(dataset, Split::Train, classes, domain, self.settings.shots, seed);
        if chosen.is_empty() {
            let (dataset, classes) = (dataset.name.clone(), format!("{classes:?}").to_lowercase());
            return Err(EvaluationError::Empty { dataset, split: Split::Train, classes });
        }
        let epochs = self.settings.baseline.epochs.max(self.settings.regulated.epochs);
        let views = self.prepared.views(&chosen, &self.settings.augmentation, epochs, seed)?;
        Ok(Shots { classes, chosen, views, seed })
    }

    /// Tunes a method on the shots; the prompt after every epoch, the start first, with the epoch's loss. `None` if the
    /// method's start is not there.
    fn tune(&self, method: Method, shots: &Shots) -> Result<Option<Vec<(Prompt, f32)>>, EvaluationError> {
        let visual = self.settings.visual_tokens;
        let start = self.starts.of(method, self.model, self.template, visual, shots.seed, self.device)?;
        let Some(start) = start else { return Ok(None) };
        let mut course = vec![(start.theta.clone(), f32::NAN)];
        if method != Method::ZeroShot {
            self.descend(method, shots, &start, &mut course)?;
        }
        Ok(Some(course))
    }

    fn descend(
        &self,
        method: Method,
        shots: &Shots,
        start: &Start,
        course: &mut Vec<(Prompt, f32)>,
    ) -> Result<(), EvaluationError> {
        let set =
            self.prepared.tuning_set(method, &start.theta, &shots.chosen, shots.classes, &shots.views)?;
        let settings = self.settings.adaptation(method);
        let mut observe = |_: usize, theta: &Prompt, loss: f32| course.push((theta.clone(), loss));
        adapt(&self.prepared.clip(), &set, start, settings, shots.seed, self.device, &mut observe)?;
        Ok(())
    }

    /// Base-to-new generalisation of a method, and, if asked for, its course by epoch. `None` if the method's start is
    /// not there.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn base_to_new(
        &self,
        method: Method,
        shots: &Shots,
        with_course: bool,
    ) -> Result<Option<(BaseToNewRun, Vec<CurvePoint>)>, EvaluationError> {
        let Some(course) = self.tune(method, shots)? else { return Ok(None) };
        let base_set = self.prepared.test_set(ClassSubset::Base, None)?;
        let new_set = self.prepared.test_set(ClassSubset::New, None)?;
        let (dataset, seed) = (self.prepared.dataset.name.clone(), shots.seed);
        let mut points = Vec::new();
        for (epoch, (prompt, loss)) in course.iter().enumerate() {
            if with_course || epoch + 1 == course.len() {
                let base = self.prepared.accuracy(prompt, &base_set)?;
                let new = self.prepared.accuracy(prompt, &new_set)?;
                let (dataset, loss) = (dataset.clone(), f64::from(*loss));
                points.push(CurvePoint { dataset, method, seed, epoch, loss, base, new });
            }
        }
        let last = points.last().map_or((0.0, 0.0), |point| (point.base, point.new));
        let run = BaseToNewRun { dataset, method, seed, base: last.0, new: last.1 };
        Ok(Some((run, if with_course { points } else { Vec::new() })))
    }

    /// Cross-domain generalisation of a method that was tuned on shots of the domain `source`. `None` if the method's
    /// start is not there.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn cross_domain(
        &self,
        method: Method,
        shots: &Shots,
        source: usize,
    ) -> Result<Option<CrossDomainRun>, EvaluationError> {
        let Some(course) = self.tune(method, shots)? else { return Ok(None) };
        let Some((prompt, _)) = course.last() else { return Ok(None) };
        let dataset = self.prepared.dataset;
        let mut accuracies = Vec::new();
        for (domain, name) in dataset.domains.iter().enumerate() {
            let set = self.prepared.test_set(ClassSubset::All, Some(domain))?;
            accuracies.push((name.clone(), self.prepared.accuracy(prompt, &set)?));
        }
        let source = dataset.domains[source].clone();
        Ok(Some(CrossDomainRun {
            dataset: dataset.name.clone(),
            method,
            seed: shots.seed,
            source,
            accuracies,
        }))
    }
}
