//! Gradients and Hessian-vector products of the loss for prompts, from first-order automatic differentiation.

use burn::tensor::{Gradients, Tensor};
use gram_clip::{Contents, Products, Signal};
use gram_features::Images;

use super::features::Question;
use super::{Classes, Classification, Gradient, LabelledImages, PromptedClip, accuracy};
use crate::objective::{CrossEntropy, Objective};
use crate::prompt::{Part, Prompt};

impl PromptedClip<'_> {
    /// The mean cross-entropy `[1]` of each of several tasks, from one pass through each tower. With
    /// tangents, the prompts move along them and so do the losses. The towers' products are kept in
    /// `products`, or taken from there.
    fn losses(
        &self,
        tasks: &[Classification],
        tangents: Option<&[Prompt]>,
        products: Option<&Products>,
    ) -> Vec<(Signal<2>, Signal<1>)> {
        let mut questions = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let tangent = tangents.map(|tangents| &tangents[index]);
            let Classification { prompt, classes, set } = *task;
            questions.push(Question { prompt, tangent, classes, images: &set.images });
        }
        let of = |(logits, task): (Signal<2>, &Classification)| {
            (logits.clone(), logits.cross_entropy(task.set.labels.clone()))
        };
        self.answers(&questions, products).into_iter().zip(tasks).map(of).collect()
    }

    /// Cross-entropy, accuracy and gradient at `prompt`. Many classes pass the text tower in parts, a core
    /// each.
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
            && self.are_taken_in_parts(sentences.len())
        {
            return self.gradient_in_parts(objective, prompt, context, sentences, set);
        }
        self.gradient_at_once(objective, prompt, classes, set)
    }

    /// Loss, accuracy and gradient at `prompt`, all classes at once.
    fn gradient_at_once(
        &self,
        objective: &dyn Objective,
        prompt: &Prompt,
        classes: &Classes,
        set: &LabelledImages,
    ) -> Gradient {
        let leaf = prompt.leaf();
        let answer = self.answer(&leaf, classes, &set.images);
        let accuracy = accuracy(answer.logits.clone().inner(), set.labels.clone());
        let loss = objective.loss(answer, set.labels.clone());
        let gradient = derivatives(&loss.backward(), &[leaf]).remove(0);
        Gradient { loss: loss.inner(), accuracy, gradient }
    }

    /// Loss, accuracy and gradient of each of several tasks at its own prompt: as
    /// [`gradient`](Self::gradient) gives them one by one, from one pass through each tower. The prompts are
    /// of one kind and size.
    pub fn gradients(&self, tasks: &[Classification]) -> Vec<Gradient> {
        self.pass(tasks, None)
    }

    /// [`gradients`](Self::gradients), and what the towers' products gave on the way: for the Hessian-vector
    /// products of the same tasks at the same prompts.
    pub fn gradients_and_products(&self, tasks: &[Classification]) -> (Vec<Gradient>, Products) {
        let products = Products::towards(&self.contents(tasks));
        (self.pass(tasks, Some(&products)), products)
    }

    /// What the losses of these tasks are computed from, the model aside.
    fn contents(&self, tasks: &[Classification]) -> Contents {
        let mut contents = Contents::default();
        contents.value(&(self.start, self.placement));
        tasks.iter().for_each(|task| task.take_into(&mut contents));
        contents
    }

    /// A forward and a reverse pass, whose products are kept in `products`.
    fn pass(&self, tasks: &[Classification], products: Option<&Products>) -> Vec<Gradient> {
        let leaves: Vec<Prompt> = tasks.iter().map(|task| task.prompt.leaf()).collect();
        let moved = tasks.iter().zip(&leaves).map(|(task, prompt)| Classification { prompt, ..*task });
        let losses = self.losses(&moved.collect::<Vec<_>>(), None, products);
        let Some(sum) = sum(losses.iter().map(|(_, loss)| loss.value.clone())) else { return Vec::new() };
        let gradients = sum.backward();
        products.iter().for_each(|products| products.learn(&gradients));
        let all = tasks.iter().zip(losses).zip(derivatives(&gradients, &leaves));
        all.map(|((task, (logits, loss)), gradient)| Gradient {
            loss: loss.value.inner(),
            accuracy: accuracy(logits.value.inner(), task.set.labels.clone()),
            gradient,
        })
        .collect()
    }

    /// For each of several tasks the Hessian of its loss at its own prompt times a direction: the gradient of
    /// the directional derivative, by reverse over forward. One pass through each tower for all. `products`
    /// are those of the gradients there, where they were kept; products of other tasks or prompts are refused
    /// ([`Products::refused`]), and all is computed anew.
    pub fn hessian_vector_products(
        &self,
        tasks: &[Classification],
        directions: &[Prompt],
        products: Option<&Products>,
    ) -> Vec<Prompt> {
        let products = products.filter(|products| products.are_of(&self.contents(tasks)));
        let leaves: Vec<Prompt> = tasks.iter().map(|task| task.prompt.leaf()).collect();
        let moved = tasks.iter().zip(&leaves).map(|(task, prompt)| Classification { prompt, ..*task });
        let losses = self.losses(&moved.collect::<Vec<_>>(), Some(directions), products);
        match sum(losses.into_iter().filter_map(|(_, loss)| loss.tangent)) {
            Some(along) => derivatives(&along.backward(), &leaves),
            None => tasks.iter().map(|task| task.prompt.map(|_, tensor| tensor.zeros_like())).collect(),
        }
    }
}

impl Classification<'_> {
    /// Lets `contents` take in the prompt, the classes, the images and their labels.
    fn take_into(&self, contents: &mut Contents) {
        for (part, tensor) in self.prompt.parts() {
            contents.value(part.name());
            contents.tensor(tensor);
        }
        match self.classes {
            Classes::Sentences(sentences) => contents.value(sentences),
            Classes::Features(features) => contents.tensor(features),
        }
        match &self.set.images {
            Images::Pixels(pixels) => contents.tensor(pixels),
            Images::Features(features) => contents.tensor(features),
        }
        contents.data(&self.set.labels.clone().into_data());
    }
}

fn sum(scalars: impl Iterator<Item = Tensor<1>>) -> Option<Tensor<1>> {
    scalars.reduce(|sum, scalar| sum + scalar)
}

/// The gradients of the vectors of each of `leaves`; zero where a loss does not depend on them.
fn derivatives(gradients: &Gradients, leaves: &[Prompt]) -> Vec<Prompt> {
    let of = |part: Tensor<2>| part.grad(gradients).unwrap_or_else(|| part.inner().zeros_like());
    leaves.iter().map(|leaf| leaf.map(|_, part| of(part))).collect()
}
