//! The paper's protocols: base-to-new, cross-domain and cross-dataset generalisation.
//!
//! **Base to new** (table 1): a few shots of the first half of the classes are tuned on; test images of these
//! classes and, with names it has never seen, of the other half are classified. **Cross-domain** (table 2):
//! the few shots are of all classes but of one domain; test images of every domain are classified.
//! **Cross-dataset** (table 3): the few shots are of all classes of one dataset; test images of the others
//! are classified under what was learned there. In all, each half, domain or dataset is classified among its
//! own classes only.

use std::collections::BTreeMap;

use gram_data::{Augmentation, ClassSubset, Progress, Sampling, Split};
use gram_prompt::{Classes, Part, Placement, Prompt, PromptKind, PromptedClip};
use gram_report::results::{BaseToNewRun, CrossDomainRun, CurvePoint};
use gram_tune::adaptation::{AdaptationSettings, Tuner};
use gram_tune::descent::TuningSet;
use gram_tune::design::PromptDesign;
use gram_tune::method::{Start, Starts};
use gram_tune::method_table::{Learned, Method, ObjectiveSettings};
use gram_tune::prepared::{EvaluationError, Prepared};
use gram_tune::prompt_distribution::{self, CollectionSettings, PromptCollection};
use gram_tune::tip_adapter::{TipAdapter, TipAdapterSettings, tune_keys};
use gram_tune::tuned::Tuned;
use gram_tune::views::{Views, Wanted};
use serde::{Deserialize, Serialize};

/// What the runs of a table have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolSettings {
    /// K, images of a class.
    pub shots: usize,
    /// Whose draws they are.
    pub sampling: Sampling,
    /// The design of prompts.
    pub design: PromptDesign,
    /// What draws vectors that start at random, where it is not the run's own seed.
    pub start_seed: Option<u64>,
    /// Tuning of methods that start as usual.
    pub baseline: AdaptationSettings,
    /// Tuning of methods with a meta-trained start and regulator.
    pub regulated: AdaptationSettings,
    /// Memory in megabytes, about, that the text tower may take for a gradient: more classes are taken in
    /// parts.
    pub text_megabytes: usize,
    /// Images of a step of CoCoOp: each has its own text features.
    pub conditional_batch_size: usize,
    /// ProDA's collection.
    pub collection: CollectionSettings,
    /// Tip-Adapter's cache.
    pub tip_adapter: TipAdapterSettings,
    /// What is minimised, where it is not cross-entropy alone.
    #[serde(default)]
    pub objective: ObjectiveSettings,
    /// How tuning images are varied.
    pub augmentation: Augmentation,
}

impl ProtocolSettings {
    /// The tuning of `method`.
    pub fn adaptation(&self, method: Method) -> AdaptationSettings {
        let settings = if method.baseline().is_some() { self.regulated } else { self.baseline };
        match method.kind() {
            Some(PromptKind::Conditional) => {
                AdaptationSettings { batch_size: self.conditional_batch_size, ..settings }
            }
            _ => settings,
        }
    }

    /// What methods ask of the shots' views.
    fn wanted(&self, methods: &[Method]) -> Wanted<'static> {
        let visual = |method: &&Method| method.prompts(Part::Visual);
        let epochs = methods.iter().map(|method| match method.learned() {
            Learned::Cache { .. } => self.tip_adapter.epochs,
            _ => self.adaptation(*method).epochs,
        });
        let (features, pixels) =
            (methods.iter().any(|method| !visual(&method)), methods.iter().any(|method| visual(&method)));
        Wanted::new(epochs.max().unwrap_or(0), features, pixels)
    }
}

/// What the text tower takes for a gradient, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextMemory {
    /// Classes whose features depend on the prompt.
    pub classes: usize,
    /// Classes that are taken at once.
    pub classes_at_once: usize,
    /// Bytes that these take.
    pub bytes: usize,
}

/// A dataset under the settings of a table, with the starts of every method.
pub struct Protocol<'a> {
    /// The dataset.
    pub prepared: &'a Prepared<'a>,
    /// Settings.
    pub settings: &'a ProtocolSettings,
    /// Starts.
    pub starts: &'a Starts,
    /// Hears of the epochs of images and of tuning.
    pub progress: &'a dyn Progress,
}

/// Few shots of one seed, the same for every method.
pub struct Shots<'a> {
    classes: ClassSubset,
    /// Images of the dataset that are tuned on.
    pub chosen: Vec<usize>,
    /// Images that settings are chosen on.
    pub validation: Vec<usize>,
    views: Views<'a>,
    seed: u64,
}

/// What a method is at some point of its tuning, and the mean loss of the epoch before.
pub type Point = (Tuned, f32);

impl<'a> Protocol<'a> {
    /// Draws the shots of a seed, and makes the views that `methods` ask for.
    ///
    /// # Errors
    /// [`EvaluationError::Empty`] if there are none.
    pub fn shots(
        &self,
        classes: ClassSubset,
        domain: Option<usize>,
        methods: &[Method],
        seed: u64,
    ) -> Result<Shots<'a>, EvaluationError> {
        let dataset = self.prepared.dataset;
        let ProtocolSettings { sampling, shots, .. } = self.settings;
        let (chosen, validation) = sampling.draw(dataset, classes, domain, *shots, seed);
        self.shots_of(classes, chosen, validation, methods, seed)
    }

    /// Shots that were drawn elsewhere: images that are tuned on, and images that settings are chosen on.
    ///
    /// # Errors
    /// As [`Protocol::shots`].
    pub fn shots_of(
        &self,
        classes: ClassSubset,
        chosen: Vec<usize>,
        validation: Vec<usize>,
        methods: &[Method],
        seed: u64,
    ) -> Result<Shots<'a>, EvaluationError> {
        let dataset = self.prepared.dataset;
        if chosen.is_empty() {
            let (dataset, classes) = (dataset.name.clone(), format!("{classes:?}").to_lowercase());
            return Err(EvaluationError::Empty { dataset, split: Split::Train, classes });
        }
        let augmentation = self.settings.augmentation;
        let wanted = Wanted { progress: self.progress, ..self.settings.wanted(methods) };
        let views = Views::new(dataset, chosen.clone(), augmentation, self.prepared.model, seed, wanted)?;
        Ok(Shots { classes, chosen, validation, views, seed })
    }

    /// Tunes a method on the shots: what it is after every epoch, its start first. `None` if its start is not
    /// there.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn tune(&self, method: Method, shots: &Shots) -> Result<Option<Vec<Point>>, EvaluationError> {
        let numbers: Vec<usize> = shots.classes.indices(self.prepared.dataset.classes.len()).collect();
        match method.learned() {
            Learned::Nothing => Ok(Some(vec![(Tuned::zero_shot(), f32::NAN)])),
            Learned::Cache { tuned } => self.cache(tuned, shots, &numbers).map(Some),
            Learned::Collection => self.collection(method, shots, &numbers).map(Some),
            Learned::Prompt(_) => {
                let (design, classes) = (self.settings.design, numbers.len());
                let seed = self.settings.start_seed.unwrap_or(shots.seed);
                let start = self.starts.of(
                    method,
                    design,
                    classes,
                    self.prepared.model,
                    self.prepared.template,
                    seed,
                )?;
                start.map(|start| self.descend(method, shots, &start, &numbers)).transpose()
            }
        }
    }

    fn descend(
        &self,
        method: Method,
        shots: &Shots,
        start: &Start,
        numbers: &[usize],
    ) -> Result<Vec<Point>, EvaluationError> {
        if method.prompts(Part::Text) && start.theta.get(Part::Text).is_none() {
            return Err(EvaluationError::NoWords { template: self.prepared.template.to_string() });
        }
        let Classes::Features(hand_written) = self.prepared.hand_written(numbers) else {
            return Ok(Vec::new());
        };
        let placement = start.placement;
        let pixels = method.prompts(Part::Visual);
        let set = TuningSet {
            classes: self.prepared.classes(&start.theta, placement, numbers)?,
            images: &|epoch, chosen| shots.views.images(epoch, chosen, pixels, &self.prepared.device),
            labels: self.labels(shots, &shots.chosen),
        };
        let mut course = vec![(Tuned::Prompt(start.theta.clone(), placement), f32::NAN)];
        let mut observe = |_: usize, theta: &Prompt, losses: &[f32]| {
            self.progress.measured("loss", course.len(), f64::from(mean(losses)));
            course.push((Tuned::Prompt(theta.clone(), placement), mean(losses)));
            self.progress.advance(&format!("loss {:.3}", mean(losses)));
        };
        let clip = PromptedClip {
            classes_at_once: self.memory(&set.classes, &start.theta, placement).classes_at_once,
            ..PromptedClip::new(self.prepared.model, placement)
        };
        let objective = method.objective(&self.settings.objective, hand_written);
        let settings = self.settings.adaptation(method);
        self.progress.begin("epochs", settings.epochs);
        let tuner = Tuner { clip: &clip, objective: objective.as_ref(), settings: &settings };
        tuner.tune(&set, start, shots.seed, &self.prepared.device, &mut observe)?;
        Ok(course)
    }

    /// What the gradient of classes under a prompt takes.
    fn memory(&self, classes: &Classes, prompt: &Prompt, placement: Placement) -> TextMemory {
        let (Classes::Sentences(sentences), Some(context)) = (classes, prompt.get(Part::Text)) else {
            return TextMemory { classes: 0, classes_at_once: usize::MAX, bytes: 0 };
        };
        let tokens = context.dims()[0] / placement.contexts;
        let each = PromptedClip::new(self.prepared.model, placement).bytes_of_class(sentences, tokens).max(1);
        let compute = self.prepared.model.compute();
        let bytes = compute.bytes_of_a_graph((self.settings.text_megabytes as u64) << 20) as usize;
        let classes_at_once = (bytes / each).max(1);
        let classes = sentences.len();
        TextMemory { classes, classes_at_once, bytes: each * classes.min(classes_at_once) }
    }

    /// An estimate of the memory that the text tower takes for a step of `method` on some classes.
    ///
    /// # Errors
    /// [`EvaluationError`] for a class that is too long.
    pub fn text_memory(&self, method: Method, classes: ClassSubset) -> Result<TextMemory, EvaluationError> {
        let numbers: Vec<usize> = classes.indices(self.prepared.dataset.classes.len()).collect();
        let design = self.settings.design;
        let start =
            self.starts.of(method, design, numbers.len(), self.prepared.model, self.prepared.template, 0)?;
        let Some(Start { theta, placement, .. }) = start else {
            return Ok(TextMemory { classes: 0, classes_at_once: usize::MAX, bytes: 0 });
        };
        let classes = self.prepared.classes(&theta, placement, &numbers)?;
        Ok(self.memory(&classes, &theta, placement))
    }

    fn collection(
        &self,
        method: Method,
        shots: &Shots,
        numbers: &[usize],
    ) -> Result<Vec<Point>, EvaluationError> {
        let collection = self.settings.collection;
        let start =
            PromptCollection::random(&collection, self.prepared.model, shots.seed, &self.prepared.device);
        let set = TuningSet {
            classes: Classes::Sentences(self.prepared.sentences(start.tokens(), numbers)?),
            images: &|epoch, chosen| shots.views.images(epoch, chosen, false, &self.prepared.device),
            labels: self.labels(shots, &shots.chosen),
        };
        let mut course = vec![(Tuned::Collection(start.clone()), f32::NAN)];
        let clip = PromptedClip::new(self.prepared.model, Placement::default());
        let settings = self.settings.adaptation(method);
        let mut losses = Vec::new();
        let mut observe = |_: usize, _: &PromptCollection, loss: f32| losses.push(loss);
        let tuned =
            prompt_distribution::tune(&clip, &set, start, &collection, &settings, shots.seed, &mut observe)?;
        let last = losses.len() - losses.len() / settings.epochs.max(1);
        course.push((Tuned::Collection(tuned), mean(&losses[last..])));
        Ok(course)
    }

    fn cache(&self, tuned: bool, shots: &Shots, numbers: &[usize]) -> Result<Vec<Point>, EvaluationError> {
        let settings = self.settings.tip_adapter;
        let labels = self.labels(shots, &shots.chosen);
        let Classes::Features(text) = self.prepared.hand_written(numbers) else { return Ok(Vec::new()) };
        let clip = &self.prepared.model.clip;
        let views = shots.views.features(settings.epochs);
        let mut cache = TipAdapter::new(views, &labels, numbers.len(), settings.alpha, settings.beta);
        let mut losses = Vec::new();
        if tuned {
            let set = TuningSet {
                classes: Classes::Features(text.clone()),
                images: &|epoch, chosen| shots.views.images(epoch, chosen, false, &self.prepared.device),
                labels,
            };
            let mut observe = |_: &TipAdapter, loss: f32| losses.push(loss);
            cache = tune_keys(clip, cache, &set, &settings, shots.seed, &mut observe)?;
        }
        let images = self.prepared.features(&shots.validation)?;
        let cache = cache.searched(clip, images, text, &self.labels(shots, &shots.validation));
        Ok(vec![(
            Tuned::Cache(cache, self.prepared.names(numbers)),
            losses.last().copied().unwrap_or(f32::NAN),
        )])
    }

    /// Classes of images, counted from the first of the shots' subset.
    fn labels(&self, shots: &Shots, images: &[usize]) -> Vec<usize> {
        let dataset = self.prepared.dataset;
        let first = shots.classes.indices(dataset.classes.len()).start;
        images.iter().map(|image| dataset.images[*image].class - first).collect()
    }

    /// Base-to-new generalisation of a method, and, if asked for, its course by epoch. `None` if the method's
    /// start is not there.
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
        let (mut points, mut scores) = (Vec::new(), BTreeMap::new());
        for (epoch, (tuned, loss)) in course.iter().enumerate() {
            if with_course || epoch + 1 == course.len() {
                let base = self.prepared.score(tuned, &base_set)?;
                let new = self.prepared.score(tuned, &new_set)?;
                scores = BTreeMap::from([("base".to_owned(), base), ("new".to_owned(), new)]);
                let (dataset, loss) = (dataset.clone(), f64::from(*loss));
                let (base, new) = (base.accuracy, new.accuracy);
                points.push(CurvePoint { dataset, method, seed, epoch, loss, base, new });
            }
        }
        let (base, new) = points.last().map_or((0.0, 0.0), |point| (point.base, point.new));
        let run = BaseToNewRun { dataset, method, seed, base, new, scores };
        Ok(Some((run, if with_course { points } else { Vec::new() })))
    }

    /// Cross-dataset generalisation of a method that was tuned on this dataset: accuracy here, then on each
    /// of `targets`. `None` if the method's start is not there.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn cross_dataset(
        &self,
        method: Method,
        shots: &Shots,
        targets: &[&Prepared],
    ) -> Result<Option<CrossDomainRun>, EvaluationError> {
        let Some(course) = self.tune(method, shots)? else { return Ok(None) };
        let Some((tuned, _)) = course.last() else { return Ok(None) };
        let mut measured = Vec::new();
        for prepared in std::iter::once(&self.prepared).chain(targets) {
            let set = prepared.test_set(ClassSubset::All, None)?;
            measured.push((prepared.dataset.name.clone(), prepared.score(tuned, &set)?));
        }
        let source = self.prepared.dataset.name.clone();
        Ok(Some(CrossDomainRun::new(source.clone(), method, shots.seed, source, measured)))
    }

    /// Cross-domain generalisation of a method that was tuned on shots of the domain `source`. `None` if the
    /// method's start is not there.
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
        let Some((tuned, _)) = course.last() else { return Ok(None) };
        let dataset = self.prepared.dataset;
        let mut measured = Vec::new();
        for (domain, name) in dataset.domains.iter().enumerate() {
            let set = self.prepared.test_set(ClassSubset::All, Some(domain))?;
            measured.push((name.clone(), self.prepared.score(tuned, &set)?));
        }
        let (name, source) = (dataset.name.clone(), dataset.domains[source].clone());
        Ok(Some(CrossDomainRun::new(name, method, shots.seed, source, measured)))
    }
}

fn mean(losses: &[f32]) -> f32 {
    losses.iter().sum::<f32>() / losses.len() as f32
}
