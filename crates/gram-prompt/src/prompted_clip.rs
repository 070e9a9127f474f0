//! Where prompts enter: logits and losses of a frozen CLIP under a prompt, over values or dual numbers.
//!
//! Frozen means frozen: a tower whose prompt is not learned gives the same features every time, so its side comes in as
//! features that were computed once. Only where the context depends on the image (CoCoOp), classes are computed for each
//! image. Several tasks, each with a prompt and classes of its own, pass the towers at once: a context for each, and each
//! class behind the context of its task.

use burn::tensor::{Gradients, Int, Tensor};
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences, Text};
use gram_clip::vision_tower::VisualPrompt;
use gram_clip::{Clip, Model, Products, Signal, side_by_side};
use gram_features::Images;

use crate::meta_net::MetaNet;
use crate::objective::{Answer, CrossEntropy, Objective};
use crate::placement::{ClassPosition, ClassSentence, Placement};
use crate::prompt::{Part, Prompt};

/// What images are compared with.
#[derive(Clone, Debug)]
pub enum Classes {
    /// The sentence of every class: the text tower reads it around the context.
    Sentences(Vec<ClassSentence>),
    /// Normalised features, `[classes, joint width]`: the text tower is not prompted.
    Features(Tensor<2>),
}

/// Images with their classes.
#[derive(Clone, Debug)]
pub struct LabelledImages {
    /// The images.
    pub images: Images,
    /// Class of every image, `[images]`.
    pub labels: Tensor<1, Int>,
}

/// A frozen CLIP that takes prompts.
#[derive(Clone, Copy, Debug)]
pub struct PromptedClip<'a> {
    /// The frozen model.
    pub clip: &'a Clip,
    /// Its start-of-text token.
    pub start: u32,
    /// Where the prompts enter.
    pub placement: Placement,
    /// Classes whose text features are differentiated at once. More are taken in parts, which gives the same gradient from
    /// less memory, for one forward pass more.
    pub classes_at_once: usize,
}

impl<'a> PromptedClip<'a> {
    /// A model with prompts where `placement` says.
    pub fn new(model: &'a Model, placement: Placement) -> Self {
        Self { clip: &model.clip, start: model.tokenizer.start(), placement, classes_at_once: usize::MAX }
    }

    /// Logits `[images, classes]` (eq. 1) under `prompt`.
    pub fn logits(&self, prompt: &Prompt, classes: &Classes, images: &Images) -> Tensor<2> {
        self.answer(prompt, classes, images).logits
    }

    /// Features and logits under `prompt`.
    pub fn answer(&self, prompt: &Prompt, classes: &Classes, images: &Images) -> Answer {
        let question = Question { prompt, tangent: None, classes, images };
        let image = self.image_features(&[question]).remove(0);
        let text = self.class_features(&[question], std::slice::from_ref(&image)).remove(0);
        let logits = self.compare(&question, image.clone(), text.clone()).value;
        Answer { images: image.value, texts: text.value, logits }
    }

    /// The answers to several questions, `[images, classes]` each, from one pass through each tower. Their prompts are of one
    /// kind and size.
    fn answers(&self, questions: &[Question]) -> Vec<Signal<2>> {
        let images = self.image_features(questions);
        let texts = self.class_features(questions, &images);
        let all = questions.iter().zip(images.into_iter().zip(texts));
        all.map(|(question, (image, text))| self.compare(question, image, text)).collect()
    }

    /// Normalised features of each question's images, `[images, joint width]`.
    fn image_features(&self, questions: &[Question]) -> Vec<Signal<2>> {
        let (mut pixels, mut vectors, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for question in questions {
            let Images::Pixels(own) = question.images else { continue };
            let prompt = question.part(Part::Visual);
            vectors.extend(prompt.map(|prompt| prompt.linear_map(|tensor| tensor.unsqueeze::<3>())));
            counts.push(own.dims()[0]);
            pixels.push(own.clone());
        }
        if vectors.len() > 1 {
            let of_images = |(vectors, images): (Signal<3>, &usize)| {
                let [_, rows, width] = vectors.value.dims();
                vectors.linear_map(|tensor| tensor.expand([*images, rows, width]))
            };
            vectors = vec![Signal::cat(vectors.into_iter().zip(&counts).map(of_images).collect(), 0)];
        }
        let prompt =
            vectors.pop().map(|vectors| VisualPrompt { vectors, depth: self.placement.visual_depth });
        let mut seen = match pixels.is_empty() {
            true => Vec::new().into_iter(),
            false => split(self.clip.vision.forward(Tensor::cat(pixels, 0), prompt), &counts).into_iter(),
        };
        let of = |question: &Question| match question.images {
            Images::Features(features) => Some(features.clone().into()),
            Images::Pixels(_) => seen.next(),
        };
        questions.iter().filter_map(of).collect()
    }

    /// Normalised features of each question's classes, `[classes, joint width]`, or one below the other for each image.
    fn class_features(&self, questions: &[Question], images: &[Signal<2>]) -> Vec<Signal<2>> {
        let asked: Vec<Vec<Around>> =
            questions.iter().zip(images).map(|(question, images)| self.contexts(question, images)).collect();
        let all: Vec<&Around> = asked.iter().flatten().collect();
        let (mut rest, mut features) = (all.as_slice(), Vec::new());
        while !rest.is_empty() {
            let mut texts = 0;
            let fits = |around: &&&Around| {
                texts += around.texts();
                texts <= TEXTS_AT_ONCE
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            features.extend(self.texts_around(now));
            rest = later;
        }
        let mut features = features.into_iter();
        let of = |(question, asked): (&Question, &Vec<Around>)| match question.classes {
            Classes::Features(features) => features.clone().into(),
            Classes::Sentences(_) => Signal::cat(features.by_ref().take(asked.len()).collect(), 0),
        };
        questions.iter().zip(&asked).map(of).collect()
    }

    /// The contexts that a question's classes stand around: the prompt's, or (CoCoOp) each image's own.
    fn contexts<'b>(&self, question: &Question<'b>, images: &Signal<2>) -> Vec<Around<'b>> {
        let Classes::Sentences(classes) = question.classes else { return Vec::new() };
        let context = question.part(Part::Text);
        let (Some(context), Some(net)) = (&context, question.net()) else {
            let rows = context.as_ref().map_or(0, |context| context.value.dims()[0]);
            return vec![Around { contexts: context, count: 1, rows, classes }];
        };
        let [rows, width] = context.value.dims();
        let shifts = net.shift(images.clone());
        let all = shifts.value.dims()[0];
        let at_once = (TEXTS_AT_ONCE / classes.len().max(1)).max(1);
        let of_images = |first: usize| {
            let count = at_once.min(all - first);
            let shape = [count, rows, width];
            let shift = shifts
                .clone()
                .linear_map(|tensor| tensor.narrow(0, first, count).reshape([count, 1, width]).expand(shape));
            let contexts = context.clone().linear_map(|tensor| tensor.unsqueeze::<3>().expand(shape));
            let contexts = contexts.plus(shift).linear_map(|tensor| tensor.reshape([count * rows, width]));
            Around { contexts: Some(contexts), count, rows, classes }
        };
        (0..all).step_by(at_once).map(of_images).collect()
    }

    /// Normalised features of classes around contexts, one pass for all.
    fn texts_around(&self, all: &[&Around]) -> Vec<Signal<2>> {
        let rows = all.first().map_or(0, |around| around.rows);
        let sets = all.iter().flat_map(|around| {
            let sentences = self.placement.sentences(self.start, around.classes, rows);
            std::iter::repeat_n(sentences, around.count)
        });
        let sentences = Sentences::stack(sets, rows);
        let contexts: Vec<Signal<2>> = all.iter().filter_map(|around| around.contexts.clone()).collect();
        let context = (!contexts.is_empty()).then(|| Signal::cat(contexts, 0));
        let features = self.clip.text.forward_sentences(&sentences, context, Batching::ByLength);
        split(features, &all.iter().map(|around| around.texts()).collect::<Vec<_>>())
    }

    /// Logits `[images, classes]` from features.
    fn compare(&self, question: &Question, images: Signal<2>, texts: Signal<2>) -> Signal<2> {
        if question.net().is_none() {
            return self.clip.logits(images, texts);
        }
        let ([count, width], [all, _]) = (images.value.dims(), texts.value.dims());
        let classes = all / count.max(1);
        let images = images.linear_map(|tensor| tensor.reshape([count, 1, width]));
        let texts = texts.linear_map(|tensor| tensor.reshape([count, classes, width]).swap_dims(1, 2));
        let scale = self.clip.logit_scale.val().exp().unsqueeze::<2>();
        images.matmul(texts).linear_map(|tensor| tensor.reshape([count, classes]) * scale.clone())
    }

    /// The vectors of a visual prompt in their layers.
    pub fn visual_prompt(&self, vectors: Option<&Tensor<2>>) -> Option<VisualPrompt> {
        let of = |vectors: &Tensor<2>| VisualPrompt {
            vectors: Signal::from(vectors.clone().unsqueeze::<3>()),
            depth: self.placement.visual_depth,
        };
        vectors.map(of)
    }

    /// The features of classes under a prompt that does not move any more, computed once for all images; the classes as
    /// they are where each image has its own.
    pub fn fixed(&self, prompt: &Prompt, classes: Classes) -> Classes {
        match &classes {
            Classes::Sentences(sentences) if prompt.get(Part::HiddenWeight).is_none() => {
                let contexts = prompt.get(Part::Text).cloned().map(Signal::from);
                let rows = contexts.as_ref().map_or(0, |contexts| contexts.value.dims()[0]);
                let around = Around { contexts, count: 1, rows, classes: sentences };
                let features = self.texts_around(&[&around]).into_iter().next();
                features.map_or(classes, |features| Classes::Features(features.value))
            }
            _ => classes,
        }
    }

    /// The mean cross-entropy `[1]` of each of several tasks, from one pass through each tower. With tangents, the prompts
    /// move along them and so do the losses.
    fn losses(&self, tasks: &[Classification], tangents: Option<&[Prompt]>) -> Vec<(Signal<2>, Signal<1>)> {
        let mut questions = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let tangent = tangents.map(|tangents| &tangents[index]);
            let Classification { prompt, classes, set } = *task;
            questions.push(Question { prompt, tangent, classes, images: &set.images });
        }
        let of = |(logits, task): (Signal<2>, &Classification)| {
            (logits.clone(), logits.cross_entropy(task.set.labels.clone()))
        };
        self.answers(&questions).into_iter().zip(tasks).map(of).collect()
    }

    /// Cross-entropy, accuracy and gradient at `prompt`. Many classes pass the text tower in parts, a core each.
    pub fn gradient(&self, prompt: &Prompt, classes: &Classes, set: &LabelledImages) -> Gradient {
        self.gradient_of(&CrossEntropy, prompt, classes, set)
    }

    /// [`gradient`](Self::gradient) of another loss.
    pub fn gradient_of(
        &self,
        objective: &dyn Objective,
        prompt: &Prompt,
        classes: &Classes,
        set: &LabelledImages,
    ) -> Gradient {
        if let (Classes::Sentences(sentences), None, Some(context)) =
            (classes, prompt.get(Part::HiddenWeight), prompt.get(Part::Text))
            && sentences.len() > CLASSES_OF_A_PART.min(self.classes_at_once)
        {
            return self.gradient_in_parts(objective, prompt, context, sentences, set);
        }
        self.gradient_at_once(objective, prompt, classes, set)
    }

    /// Loss, accuracy and gradient of each of several tasks at its own prompt: as [`gradient`](Self::gradient) gives them one
    /// by one, from one pass through each tower. The prompts are of one kind and size.
    pub fn gradients(&self, tasks: &[Classification]) -> Vec<Gradient> {
        self.pass(tasks, |_| ())
    }

    /// [`gradients`](Self::gradients), and what the towers' products gave on the way: for the Hessian-vector products of the
    /// same tasks at the same prompts.
    pub fn gradients_and_products(&self, tasks: &[Classification]) -> (Vec<Gradient>, Products) {
        let products = Products::default();
        let clip = self.clip.with_products(&products);
        let gradients = self.of(&clip).pass(tasks, |gradients| products.learn(gradients));
        (gradients, products)
    }

    /// The same prompts in `clip`.
    fn of<'b>(&self, clip: &'b Clip) -> PromptedClip<'b> {
        PromptedClip { clip, ..*self }
    }

    /// A forward and a reverse pass, whose gradients `learn` sees.
    fn pass(&self, tasks: &[Classification], learn: impl FnOnce(&Gradients)) -> Vec<Gradient> {
        let leaves: Vec<Prompt> = tasks.iter().map(|task| task.prompt.leaf()).collect();
        let moved = tasks.iter().zip(&leaves).map(|(task, prompt)| Classification { prompt, ..*task });
        let losses = self.losses(&moved.collect::<Vec<_>>(), None);
        let Some(sum) = sum(losses.iter().map(|(_, loss)| loss.value.clone())) else { return Vec::new() };
        let gradients = sum.backward();
        learn(&gradients);
        let all = tasks.iter().zip(losses).zip(derivatives(&gradients, &leaves));
        all.map(|((task, (logits, loss)), gradient)| Gradient {
            loss: loss.value.inner().into_scalar::<f32>(),
            accuracy: accuracy(logits.value.inner(), task.set.labels.clone()),
            gradient,
        })
        .collect()
    }

    /// [`gradient`](Self::gradient) by the chain rule over the classes' features: the loss is differentiated for the features,
    /// and each part of the classes sends its share back to the context. The parts and the order of their sum are fixed: the
    /// number of threads changes no number. Where all classes at once are too many for the memory, nothing is kept of the
    /// way to the features, and sections that fit walk it again.
    fn gradient_in_parts(
        &self,
        objective: &dyn Objective,
        prompt: &Prompt,
        context: &Tensor<2>,
        sentences: &[ClassSentence],
        set: &LabelledImages,
    ) -> Gradient {
        let Sentences { prefixes, texts } =
            self.placement.sentences(self.start, sentences, context.dims()[0]);
        let forward = |texts: &[Text], context: Tensor<2>| {
            let part = Sentences { prefixes: prefixes.clone(), texts: texts.to_vec() };
            let features =
                self.clip.text.forward_sentences(&part, Some(context.clone().into()), Batching::ByLength);
            PartOfClasses { context, features: features.value }
        };
        let walked = |section: &[Text]| -> Vec<PartOfClasses> {
            let parts = section.chunks(CLASSES_OF_A_PART).collect();
            side_by_side(parts, |part| forward(part, leaf(context.clone())))
        };
        let fit = texts.len() <= self.classes_at_once;
        let (kept, features) = if fit {
            let parts = walked(&texts);
            let features = parts.iter().map(|part| part.features.clone().inner()).collect();
            (Some(parts), features)
        } else {
            let parts = texts.chunks(CLASSES_OF_A_PART.min(self.classes_at_once)).collect();
            (None, side_by_side(parts, |part| forward(part, context.clone()).features))
        };
        let text = leaf(Tensor::cat(features, 0));
        let other = prompt.leaf();
        let answer = self.answer(&other, &Classes::Features(text.clone()), &set.images);
        let accuracy = accuracy(answer.logits.clone().inner(), set.labels.clone());
        let loss = objective.loss(answer, set.labels.clone());
        let value = loss.clone().inner().into_scalar::<f32>();
        let gradients = loss.backward();
        let along = text.grad(&gradients).unwrap_or_else(|| text.clone().inner().zeros_like());
        let mut of_context = context.zeros_like();
        let mut sent_back = |parts: Vec<PartOfClasses>, first: usize| {
            let parts = parts.into_iter().enumerate().collect();
            let shares = side_by_side(parts, |(part, of): (usize, PartOfClasses)| {
                of.backward(&along, first + part * CLASSES_OF_A_PART)
            });
            shares.into_iter().for_each(|share| of_context = of_context.clone() + share);
        };
        match kept {
            Some(parts) => sent_back(parts, 0),
            None => {
                let sections = texts.chunks(self.classes_at_once).enumerate();
                sections.for_each(|(section, texts)| {
                    sent_back(walked(texts), section * self.classes_at_once);
                });
            }
        }
        let gradient = other.map(|part, tensor| match part {
            Part::Text => of_context.clone(),
            _ => tensor.grad(&gradients).unwrap_or_else(|| tensor.inner().zeros_like()),
        });
        Gradient { loss: value, accuracy, gradient }
    }

    /// Bytes, about, that the gradient for the context keeps of each of `classes`: what the layers keep of every position
    /// of a class's own.
    pub fn bytes_of_class(&self, sentences: &[ClassSentence], context_tokens: usize) -> usize {
        /// Values of the width of the tower that a layer keeps of a position (measured: see docs/method.md).
        const KEPT: usize = 18;
        let own = sentences.iter().map(|sentence| sentence.ids.len()).max().unwrap_or(0);
        let shared =
            self.placement.class_position == ClassPosition::End && !self.placement.is_class_specific();
        let positions = own + if shared { 0 } else { context_tokens };
        let config = &self.clip.config.text_config;
        positions * config.num_hidden_layers * KEPT * config.hidden_size * size_of::<f32>()
    }

    /// For each of several tasks the Hessian of its loss at its own prompt times a direction: the gradient of the directional
    /// derivative, by reverse over forward. One pass through each tower for all. `products` are those of the gradients there,
    /// where they were kept.
    pub fn hessian_vector_products(
        &self,
        tasks: &[Classification],
        directions: &[Prompt],
        products: Option<&Products>,
    ) -> Vec<Prompt> {
        if let Some(products) = products {
            let clip = self.clip.with_products(products);
            return self.of(&clip).hessian_vector_products(tasks, directions, None);
        }
        let leaves: Vec<Prompt> = tasks.iter().map(|task| task.prompt.leaf()).collect();
        let moved = tasks.iter().zip(&leaves).map(|(task, prompt)| Classification { prompt, ..*task });
        let losses = self.losses(&moved.collect::<Vec<_>>(), Some(directions));
        match sum(losses.into_iter().filter_map(|(_, loss)| loss.tangent)) {
            Some(along) => derivatives(&along.backward(), &leaves),
            None => tasks.iter().map(|task| task.prompt.map(|_, tensor| tensor.zeros_like())).collect(),
        }
    }
}

/// Labelled images to be classified under a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Classification<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The classes.
    pub classes: &'a Classes,
    /// The images.
    pub set: &'a LabelledImages,
}

/// What the towers are asked: logits of images for classes under a prompt, which may move along a tangent.
#[derive(Clone, Copy)]
struct Question<'a> {
    prompt: &'a Prompt,
    tangent: Option<&'a Prompt>,
    classes: &'a Classes,
    images: &'a Images,
}

impl Question<'_> {
    fn part(&self, part: Part) -> Option<Signal<2>> {
        let value = self.prompt.get(part)?.clone();
        Some(Signal { value, tangent: self.tangent.and_then(|tangent| tangent.get(part).cloned()) })
    }

    /// CoCoOp's net, where the classes are read around what it moves.
    fn net(&self) -> Option<MetaNet> {
        let read = matches!(self.classes, Classes::Sentences(_)) && self.prompt.get(Part::Text).is_some();
        if read { MetaNet::of(|part| self.part(part)) } else { None }
    }
}

/// Texts of a pass through the tower. More are taken in several passes.
const TEXTS_AT_ONCE: usize = 2048;

/// Classes whose gradient one core computes: enough that a product of matrices is more arithmetic than reading weights, and
/// few enough that a hundred classes keep two cores busy.
const CLASSES_OF_A_PART: usize = 50;

/// Some classes on their way through a tower that shares its weights, and nothing of the graph, with the others.
struct PartOfClasses {
    /// A leaf of this part alone, `[rows, width]`.
    context: Tensor<2>,
    /// `[classes, joint width]`
    features: Tensor<2>,
}

impl PartOfClasses {
    /// The part's share of the context's gradient, from the derivatives of the loss by all features; its own begin at
    /// `first`.
    fn backward(self, along: &Tensor<2>, first: usize) -> Tensor<2> {
        let own = along.clone().narrow(0, first, self.features.dims()[0]);
        let gradients = (self.features * own).sum().backward();
        self.context.grad(&gradients).unwrap_or_else(|| self.context.inner().zeros_like())
    }
}

/// Classes around each of some contexts.
struct Around<'a> {
    /// `[count * rows, width]`
    contexts: Option<Signal<2>>,
    count: usize,
    rows: usize,
    classes: &'a [ClassSentence],
}

impl Around<'_> {
    fn texts(&self) -> usize {
        self.count * self.classes.len()
    }
}

/// Rows of `signal`, so many in each part.
fn split(signal: Signal<2>, counts: &[usize]) -> Vec<Signal<2>> {
    if let [_] = counts {
        return vec![signal];
    }
    let mut first = 0;
    let part = |count: &usize| {
        first += count;
        signal.clone().linear_map(|tensor| tensor.narrow(0, first - count, *count))
    };
    counts.iter().map(part).collect()
}

fn sum(scalars: impl Iterator<Item = Tensor<1>>) -> Option<Tensor<1>> {
    scalars.reduce(|sum, scalar| sum + scalar)
}

/// A loss, and what is known once its gradient is.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The loss: mean cross-entropy, or another objective's.
    pub loss: f32,
    /// Images whose own class has the largest logit, in percent.
    pub accuracy: f32,
    /// The gradient for the prompt.
    pub gradient: Prompt,
}

/// Images whose own class has the largest logit, in percent.
///
/// # Shapes
/// - logits: `[images, classes]`
/// - labels: `[images]`
pub fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> f32 {
    let images = labels.dims()[0];
    let chosen = logits.argmax(1).reshape([images]);
    100.0 * chosen.equal(labels).float().mean().into_scalar::<f32>()
}

/// The gradients of the vectors of each of `leaves`; zero where a loss does not depend on them.
fn derivatives(gradients: &Gradients, leaves: &[Prompt]) -> Vec<Prompt> {
    let of = |part: Tensor<2>| part.grad(gradients).unwrap_or_else(|| part.inner().zeros_like());
    leaves.iter().map(|leaf| leaf.map(|_, part| of(part))).collect()
}
