//! The inner loop (eq. 7) and the exact meta-gradient of the outer loop (eqs. 8 to 10), from first-order
//! autodiff.
//!
//! ```text
//! theta_{k+1} = theta_k - alpha R(g_k),    g_k = grad L_support(theta_k)                        (eq. 7)
//! v_K = grad L_query(theta_K);  for k = K-1 … 0, with u_k = (dR/dg at g_k)^T (alpha v_{k+1}):
//!     d_phi  accumulates  -(dR/dphi at g_k)^T (alpha v_{k+1})
//!     v_k    =  v_{k+1} - H_k u_k,   H_k the Hessian of L_support at theta_k
//! d_theta = v_0
//! ```
//!
//! With momentum `mu`, the gradient or the velocity is regulated:
//!
//! ```text
//! gradient:  m_{k+1} = mu m_k + R(g_k),  theta_{k+1} = theta_k - alpha m_{k+1}
//!            w_k = mu w_{k+1} + alpha v_{k+1},  u_k = (dR/dg at g_k)^T w_k
//! velocity:  m_{k+1} = mu m_k + g_k,     theta_{k+1} = theta_k - alpha R(m_{k+1})
//!            w_k = u_k = mu w_{k+1} + (dR/dg at m_{k+1})^T (alpha v_{k+1})
//! ```
//!
//! with `w_K = 0`, and `d_phi` from the same reverse pass through `R`.
//!
//! `alpha` is a number for each tower; learned, its logarithm has the derivative `-alpha d_k . v_{k+1}`,
//! summed over k, where `d_k` is what step k multiplies by it. `H_k u_k` is the gradient of a directional
//! derivative: one pass in dual numbers, one ordinary reverse pass. Only the K small prompts and gradients
//! are kept, and of the last step, whose Hessian comes first, the products of its passes; so memory does not
//! grow with K. First order drops `H_k u_k`.

mod portable;
mod scalars;

use burn::tensor::Tensor;
use gram_clip::Products;
use gram_clip::scalars::read;
use gram_prompt::{Classes, Classification, Gradient, LabelledImages, Prompt, PromptedClip, Rates};
use scalars::Scalars;
use serde::{Deserialize, Serialize};

use crate::regulator::Regulator;

/// A classification task with a support set and a query set.
#[derive(Clone, Debug)]
pub struct Task {
    /// The classes of both sets.
    pub classes: Classes,
    /// What the inner loop learns from.
    pub support_set: LabelledImages,
    /// What the outer loop asks for.
    pub query_set: LabelledImages,
    /// What it asks for as well: classes of which the inner loop saw nothing, told apart among themselves.
    /// `L_query` is the mean of both losses then. The paper has none.
    pub new_classes: Option<NewClasses>,
}

/// Classes without a support set.
#[derive(Clone, Debug)]
pub struct NewClasses {
    /// The classes.
    pub classes: Classes,
    /// Their query set.
    pub query_set: LabelledImages,
}

impl Task {
    /// All that the outer loop asks for: classes, and the images to tell apart among them.
    pub fn queries(&self) -> impl Iterator<Item = (&Classes, &LabelledImages)> {
        let new = self.new_classes.iter().map(|new| (&new.classes, &new.query_set));
        std::iter::once((&self.classes, &self.query_set)).chain(new)
    }
}

/// The inner loop's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerLoop {
    /// `K`, steps on the support set. "One or a few" in the paper. With 0 nothing is meta-learned: the
    /// prompt is trained on query sets as they are (the paper's "prompt pre-training").
    pub steps: usize,
    /// `alpha`, their rates. Above 0.
    pub rates: Rates,
    /// Whether the Hessian is left out of the meta-gradient.
    pub first_order: bool,
    /// Whether the rates are meta-learned too, from what they are here, by their logarithms (Meta-SGD's
    /// idea, a number for each tower).
    #[serde(default)]
    pub learn_rates: bool,
    /// `mu`, momentum as at test time. 0 in the paper; at least 0 and below 1.
    #[serde(default)]
    pub momentum: f32,
    /// What is regulated; without momentum it is the same.
    #[serde(default = "velocity")]
    pub regulated: Regulated,
}

fn velocity() -> Regulated {
    Regulated::Velocity
}

impl Default for InnerLoop {
    /// The paper's one step, exact, at a rate of 1.
    fn default() -> Self {
        let (rates, regulated) = (Rates::both(1.0), velocity());
        Self { steps: 1, rates, first_order: false, learn_rates: false, momentum: 0.0, regulated }
    }
}

/// What is regulated where descent has momentum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regulated {
    /// The gradient, before momentum.
    #[default]
    Gradient,
    /// The velocity, after momentum.
    Velocity,
}

impl Regulated {
    /// What momentum gathers of `gradient`.
    pub fn gathered(self, phi: Option<&Regulator>, gradient: &Prompt) -> Prompt {
        match self {
            Self::Gradient => regulated(phi, gradient),
            Self::Velocity => gradient.clone(),
        }
    }

    /// Where a step with `velocity` goes.
    pub fn direction(self, phi: Option<&Regulator>, velocity: &Prompt) -> Prompt {
        match self {
            Self::Gradient => velocity.clone(),
            Self::Velocity => regulated(phi, velocity),
        }
    }
}

/// The inner loop's course.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// `theta_0 … theta_K`.
    pub prompts: Vec<Prompt>,
    /// `g_0 … g_{K-1}`.
    pub support_gradients: Vec<Prompt>,
    /// `m_1 … m_K`.
    pub velocities: Vec<Prompt>,
}

impl Trajectory {
    /// `theta_K`.
    pub fn adapted(&self) -> &Prompt {
        &self.prompts[self.support_gradients.len()]
    }
}

/// The meta-gradient of one task. What is known on the way are numbers that wait to be [read](Self::read).
#[derive(Clone, Debug)]
pub struct MetaGradient {
    /// The gradient of `L_query(theta_K)` for the start `theta`.
    pub theta: Prompt,
    /// For the regulator `phi`; none without a regulator.
    pub phi: Option<Regulator>,
    scalars: Scalars,
}

/// What is known of a meta-gradient.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// `L_query(theta_K)`.
    pub query_loss: f32,
    /// Query images classified right at `theta_K`, in percent.
    pub query_accuracy: f32,
    /// The gradient for the logarithm of the inner rates; zero where they are not learned.
    pub log_rates: Rates,
    /// What the first inner step was like.
    pub measured: Measured,
    /// Whether the loss and every number of the meta-gradient are finite.
    pub is_finite: bool,
}

/// What a first inner step is like; NaN without one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Cosine of the regulated support gradient and the query gradient (figure 3b).
    pub alignment: f32,
    /// Norm of the regulated support gradient over that of the raw one.
    pub regulated_over_raw: f32,
    /// Mean of gamma (eq. 5) over all vectors; 1 without a regulator.
    pub gamma: f32,
    /// Mean of the absolute value of beta (eq. 5); 0 without a regulator.
    pub beta: f32,
}

impl MetaGradient {
    /// What is known of it. It waits for the device: of several, [`read_all`](Self::read_all) waits once.
    pub fn read(&self) -> Reading {
        self.scalars.reading(&read(self.scalars.tensors()))
    }

    /// What is known of each of several, and the values of other scalars `[1]`, in one read.
    pub fn read_all(all: &[Self], others: Vec<Tensor<1>>) -> (Vec<Reading>, Vec<f32>) {
        let mut tensors: Vec<Tensor<1>> = all.iter().flat_map(|one| one.scalars.tensors()).collect();
        let own = tensors.len();
        tensors.extend(others);
        let values = read(tensors);
        let (mut rest, others) = values.split_at(own);
        let readings = all.iter().map(|one| {
            let (values, later) = rest.split_at(one.scalars.len());
            rest = later;
            one.scalars.reading(values)
        });
        (readings.collect(), others.to_vec())
    }
}

/// `R(g)`, or `g` without a regulator.
pub fn regulated(phi: Option<&Regulator>, gradient: &Prompt) -> Prompt {
    phi.map_or_else(|| gradient.clone(), |phi| phi.regulate(gradient))
}

impl InnerLoop {
    /// Eq. 7, `steps` times from `theta`, for each of several tasks; one pass through the towers serves them
    /// all.
    pub fn run(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        tasks: &[Task],
    ) -> Vec<Trajectory> {
        let start = || Trajectory {
            prompts: vec![theta.clone()],
            support_gradients: Vec::new(),
            velocities: Vec::new(),
        };
        let mut trajectories: Vec<Trajectory> = tasks.iter().map(|_| start()).collect();
        for k in 0..self.steps {
            let gradients = clip.gradients(&support_sets(tasks, &trajectories, k));
            self.descend(phi, &mut trajectories, gradients);
        }
        trajectories
    }

    /// [`run`](Self::run), and the products of the last step's passes where its Hessian will be wanted.
    fn run_keeping_products(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        tasks: &[Task],
    ) -> (Vec<Trajectory>, Option<Products>) {
        let keeps = !self.first_order && clip.clip.compute.keeps_products();
        let Some(last) = self.steps.checked_sub(1).filter(|_| keeps) else {
            return (self.run(clip, theta, phi, tasks), None);
        };
        let mut trajectories = Self { steps: last, ..*self }.run(clip, theta, phi, tasks);
        let (gradients, products) = clip.gradients_and_products(&support_sets(tasks, &trajectories, last));
        self.descend(phi, &mut trajectories, gradients);
        (trajectories, Some(products))
    }

    /// A step of eq. 7 for each task.
    fn descend(&self, phi: Option<&Regulator>, trajectories: &mut [Trajectory], gradients: Vec<Gradient>) {
        for (trajectory, Gradient { gradient, .. }) in trajectories.iter_mut().zip(gradients) {
            let gathered = self.regulated.gathered(phi, &gradient);
            let velocity = match trajectory.velocities.last() {
                Some(before) if self.momentum > 0.0 => gathered.add_scaled(before, self.momentum),
                _ => gathered,
            };
            let step = self.rates.scale(&self.regulated.direction(phi, &velocity), 1.0);
            trajectory.prompts.push(trajectory.adapted().add_scaled(&step, -1.0));
            trajectory.support_gradients.push(gradient);
            trajectory.velocities.push(velocity);
        }
    }

    /// The gradient of each task's query loss after the inner loop, for its start and its regulator (eqs. 8
    /// to 10).
    pub fn meta_gradients(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        tasks: &[Task],
    ) -> Vec<MetaGradient> {
        let (trajectories, mut products) = self.run_keeping_products(clip, theta, phi, tasks);
        let query_sets = trajectories.iter().zip(tasks).flat_map(|(trajectory, task)| {
            let at = |(classes, set)| Classification { prompt: trajectory.adapted(), classes, set };
            task.queries().map(at)
        });
        let mut found = clip.gradients(&query_sets.collect::<Vec<_>>()).into_iter();
        let queries = tasks.iter().filter_map(|task| {
            let own = found.next()?;
            Some(mean(own, found.by_ref().take(task.new_classes.iter().count())))
        });
        let queries: Vec<Gradient> = queries.collect();

        let back = |query: &Gradient| WayBack {
            v: query.gradient.clone(),
            w: None,
            phi: phi.map(|_| Regulator::default()),
            log_rates: [None, None],
        };
        let mut ways: Vec<WayBack> = queries.iter().map(back).collect();
        for k in (0..self.steps).rev() {
            let through = |(way, trajectory): (&mut WayBack, &Trajectory)| way.step(self, phi, trajectory, k);
            let u: Vec<Prompt> = ways.iter_mut().zip(&trajectories).map(through).collect();
            if !self.first_order {
                let at = support_sets(tasks, &trajectories, k);
                let hessian_products = clip.hessian_vector_products(&at, &u, products.take().as_ref());
                ways.iter_mut()
                    .zip(&hessian_products)
                    .for_each(|(way, product)| way.v = way.v.add_scaled(product, -1.0));
            }
        }
        let found = ways.into_iter().zip(queries).zip(&trajectories);
        found
            .map(|((way, query), trajectory)| {
                let scalars = Scalars::new(phi, trajectory, query, &way);
                MetaGradient { theta: way.v, phi: way.phi, scalars }
            })
            .collect()
    }
}

/// The derivative of a task's query loss on its way back through the inner loop.
struct WayBack {
    /// For `theta_k`.
    v: Prompt,
    /// Minus that for `m_k`, by way of later steps; none where it is zero.
    w: Option<Prompt>,
    /// For the regulator.
    phi: Option<Regulator>,
    /// For the logarithms of the rates of text and vision, `[1]`; none where it is zero.
    log_rates: [Option<Tensor<1>>; 2],
}

impl WayBack {
    /// Back through step `k`, but for its Hessian: `u_k`.
    fn step(
        &mut self,
        inner: &InnerLoop,
        phi: Option<&Regulator>,
        trajectory: &Trajectory,
        k: usize,
    ) -> Prompt {
        let (g, m) = (&trajectory.support_gradients[k], &trajectory.velocities[k]);
        if inner.learn_rates {
            let along = inner.rates.along_logarithm(&inner.regulated.direction(phi, m), &self.v);
            for (sum, along) in self.log_rates.iter_mut().zip(along) {
                *sum = match (sum.take(), along) {
                    (Some(sum), Some(along)) => Some(sum + along),
                    (sum, along) => sum.or(along),
                };
            }
        }
        let alpha_v = inner.rates.scale(&self.v, 1.0);
        let before = self.w.take();
        let gathered = |part: Prompt| match before {
            Some(before) => part.add_scaled(&before, 1.0),
            None => part,
        };
        let (w, u) = match inner.regulated {
            Regulated::Gradient => {
                let w = gathered(alpha_v);
                let u = self.pull_back(phi, g, &w);
                (w, u)
            }
            Regulated::Velocity => {
                let w = gathered(self.pull_back(phi, m, &alpha_v));
                (w.clone(), w)
            }
        };
        self.w = (inner.momentum > 0.0).then(|| w.map(|_, part| part * inner.momentum));
        u
    }

    /// `(dR/dg at g)^T w`; the regulator's own derivative is gathered.
    fn pull_back(&mut self, phi: Option<&Regulator>, g: &Prompt, w: &Prompt) -> Prompt {
        match (phi, &mut self.phi) {
            (Some(phi), Some(d_phi)) => {
                let (u, along_phi) = phi.pull_back(g, w);
                *d_phi = d_phi.add_scaled(&along_phi, -1.0);
                u
            }
            _ => w.clone(),
        }
    }
}

/// `L_query` of a task and its gradient, from that for its classes and those for new classes, if there are
/// any.
fn mean(own: Gradient, new: impl Iterator<Item = Gradient>) -> Gradient {
    new.fold(own, |own, new| Gradient {
        loss: (own.loss + new.loss) * 0.5,
        accuracy: (own.accuracy + new.accuracy) * 0.5,
        gradient: own.gradient.zip(&new.gradient, |own, new| (own + new) * 0.5),
    })
}

/// Each task's support set at `theta_k`.
fn support_sets<'a>(tasks: &'a [Task], trajectories: &'a [Trajectory], k: usize) -> Vec<Classification<'a>> {
    let at = |(task, trajectory): (&'a Task, &'a Trajectory)| Classification {
        prompt: &trajectory.prompts[k],
        classes: &task.classes,
        set: &task.support_set,
    };
    tasks.iter().zip(trajectories).map(at).collect()
}
