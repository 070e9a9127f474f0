//! The inner loop (eq. 7) and the exact meta-gradient of the outer loop (eqs. 8 to 10), from first-order autodiff.
//!
//! ```text
//! theta_{k+1} = theta_k - alpha R(g_k),    g_k = grad L_support(theta_k)                        (eq. 7)
//! v_K = grad L_query(theta_K);  for k = K-1 … 0, with u_k = (dR/dg at g_k)^T (alpha v_{k+1}):
//!     d_phi  accumulates  -(dR/dphi at g_k)^T (alpha v_{k+1})
//!     v_k    =  v_{k+1} - H_k u_k,   H_k the Hessian of L_support at theta_k
//! d_theta = v_0
//! ```
//!
//! `alpha` is a number for each tower; learned, its logarithm has the derivative `-alpha R(g_k) . v_{k+1}`, summed over k.
//! `H_k u_k` is the gradient of a directional derivative: one pass in dual numbers, one ordinary reverse pass. Only the K
//! small prompts and gradients are kept, and of the last step, whose Hessian comes first, the products of its passes; so
//! memory does not grow with K. First order drops `H_k u_k`.

use gram_clip::Products;
use gram_prompt::{Classes, Classification, Gradient, LabelledImages, Prompt, PromptedClip, Rates};
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
}

/// The inner loop's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerLoop {
    /// `K`, steps on the support set. "One or a few" in the paper. With 0 nothing is meta-learned: the prompt is trained on
    /// query sets as they are (the paper's "prompt pre-training").
    pub steps: usize,
    /// `alpha`, their rates. Above 0.
    pub rates: Rates,
    /// Whether the Hessian is left out of the meta-gradient.
    pub first_order: bool,
    /// Whether the rates are meta-learned too, from what they are here, by their logarithms (Meta-SGD's idea, a number for
    /// each tower).
    #[serde(default)]
    pub learn_rates: bool,
}

/// The inner loop's course.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// `theta_0 … theta_K`.
    pub prompts: Vec<Prompt>,
    /// `g_0 … g_{K-1}`.
    pub support_gradients: Vec<Prompt>,
}

impl Trajectory {
    /// `theta_K`.
    pub fn adapted(&self) -> &Prompt {
        &self.prompts[self.support_gradients.len()]
    }
}

/// The meta-gradient of one task, and what is known on the way.
#[derive(Clone, Debug)]
pub struct MetaGradient {
    /// `L_query(theta_K)`.
    pub query_loss: f32,
    /// Query images classified right at `theta_K`, in percent.
    pub query_accuracy: f32,
    /// Its gradient for the start `theta`.
    pub theta: Prompt,
    /// Its gradient for the regulator `phi`; none without a regulator.
    pub phi: Option<Regulator>,
    /// Its gradient for the logarithm of the inner rates; zero where they are not learned.
    pub log_rates: Rates,
    /// What the first inner step was like.
    pub measured: Measured,
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
    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        self.query_loss.is_finite()
            && self.theta.is_finite()
            && self.phi.as_ref().is_none_or(Regulator::is_finite)
    }
}

impl Measured {
    fn new(phi: Option<&Regulator>, trajectory: &Trajectory, query: &Prompt) -> Self {
        let Some(raw) = trajectory.support_gradients.first() else {
            return Self {
                alignment: f32::NAN,
                regulated_over_raw: f32::NAN,
                gamma: f32::NAN,
                beta: f32::NAN,
            };
        };
        let bent = regulated(phi, raw);
        let (gamma, beta) = phi.map_or((1.0, 0.0), |phi| phi.mean_gamma_beta(raw));
        Self { alignment: cosine(&bent, query), regulated_over_raw: bent.norm() / raw.norm(), gamma, beta }
    }
}

/// `R(g)`, or `g` without a regulator.
pub fn regulated(phi: Option<&Regulator>, gradient: &Prompt) -> Prompt {
    phi.map_or_else(|| gradient.clone(), |phi| phi.regulate(gradient))
}

impl InnerLoop {
    /// Eq. 7, `steps` times from `theta`, for each of several tasks; one pass through the towers serves them all.
    pub fn run(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        tasks: &[Task],
    ) -> Vec<Trajectory> {
        let start = || Trajectory { prompts: vec![theta.clone()], support_gradients: Vec::new() };
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
        let Some(last) = self.steps.checked_sub(1).filter(|_| !self.first_order) else {
            return (self.run(clip, theta, phi, tasks), None);
        };
        let mut trajectories = Self { steps: last, ..*self }.run(clip, theta, phi, tasks);
        let (gradients, products) = clip.gradients_and_products(&support_sets(tasks, &trajectories, last));
        self.descend(phi, &mut trajectories, gradients);
        (trajectories, Some(products))
    }

    /// A step of eq. 7 for each task.
    fn descend(&self, phi: Option<&Regulator>, trajectories: &mut [Trajectory], gradients: Vec<Gradient>) {
        for (trajectory, found) in trajectories.iter_mut().zip(gradients) {
            let step = self.rates.scale(&regulated(phi, &found.gradient), 1.0);
            trajectory.prompts.push(trajectory.adapted().add_scaled(&step, -1.0));
            trajectory.support_gradients.push(found.gradient);
        }
    }

    /// The gradient of each task's query loss after the inner loop, for its start and its regulator (eqs. 8 to 10).
    pub fn meta_gradients(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        tasks: &[Task],
    ) -> Vec<MetaGradient> {
        let (trajectories, mut products) = self.run_keeping_products(clip, theta, phi, tasks);
        let query_sets = trajectories.iter().zip(tasks).map(|(trajectory, task)| Classification {
            prompt: trajectory.adapted(),
            classes: &task.classes,
            set: &task.query_set,
        });
        let queries = clip.gradients(&query_sets.collect::<Vec<_>>());
        let measured: Vec<Measured> = trajectories
            .iter()
            .zip(&queries)
            .map(|(trajectory, query)| Measured::new(phi, trajectory, &query.gradient))
            .collect();

        let mut v: Vec<Prompt> = queries.iter().map(|query| query.gradient.clone()).collect();
        let mut d_phi: Vec<Option<Regulator>> = vec![phi.map(|_| Regulator::default()); tasks.len()];
        let mut d_rates = vec![Rates::both(0.0); tasks.len()];
        for k in (0..self.steps).rev() {
            let mut u = Vec::with_capacity(tasks.len());
            for (task, trajectory) in trajectories.iter().enumerate() {
                let g = &trajectory.support_gradients[k];
                if self.learn_rates {
                    let along = self.rates.along_logarithm(&regulated(phi, g), &v[task]);
                    d_rates[task] = d_rates[task].plus(&along);
                }
                let alpha_v = self.rates.scale(&v[task], 1.0);
                u.push(match (phi, &mut d_phi[task]) {
                    (Some(phi), Some(d_phi)) => {
                        let (u, along_phi) = phi.pull_back(g, &alpha_v);
                        *d_phi = d_phi.add_scaled(&along_phi, -1.0);
                        u
                    }
                    _ => alpha_v,
                });
            }
            if !self.first_order {
                let at = support_sets(tasks, &trajectories, k);
                let bends = clip.hessian_vector_products(&at, &u, products.take().as_ref());
                v = v.iter().zip(&bends).map(|(v, bend)| v.add_scaled(bend, -1.0)).collect();
            }
        }
        let found = v.into_iter().zip(d_phi).zip(d_rates).zip(queries.iter().zip(measured));
        found
            .map(|(((theta, phi), log_rates), (query, measured))| MetaGradient {
                query_loss: query.loss,
                query_accuracy: query.accuracy,
                theta,
                phi,
                log_rates,
                measured,
            })
            .collect()
    }
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

/// The cosine of two gradients.
pub fn cosine(one: &Prompt, other: &Prompt) -> f32 {
    one.dot(other) / (one.norm() * other.norm())
}
