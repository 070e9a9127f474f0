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
//! `alpha` is a number for each tower. `H_k u_k` is the gradient of a directional derivative: one pass in dual numbers, one ordinary reverse pass. Only the
//! K small prompts and gradients are kept, so memory does not grow with K. First order drops `H_k u_k`.

use gram_prompt::{Classes, LabelledImages, Prompt, PromptedClip, Rates};
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
    /// Cosine of the first regulated support gradient and the query gradient (figure 3b); NaN without an inner step.
    pub alignment: f32,
    /// Norm of the first regulated support gradient over that of the raw one; NaN without an inner step.
    pub regulated_over_raw: f32,
}

/// `R(g)`, or `g` without a regulator.
pub fn regulated(phi: Option<&Regulator>, gradient: &Prompt) -> Prompt {
    phi.map_or_else(|| gradient.clone(), |phi| phi.regulate(gradient))
}

impl InnerLoop {
    /// Eq. 7, `steps` times from `theta`.
    pub fn run(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        task: &Task,
    ) -> Trajectory {
        let (mut prompts, mut support_gradients) = (vec![theta.clone()], Vec::new());
        for step in 0..self.steps {
            let g = clip.gradient(&prompts[step], &task.classes, &task.support_set).gradient;
            prompts.push(prompts[step].add_scaled(&self.rates.scale(&regulated(phi, &g), 1.0), -1.0));
            support_gradients.push(g);
        }
        Trajectory { prompts, support_gradients }
    }

    /// The gradient of the query loss after the inner loop, for its start and its regulator (eqs. 8 to 10).
    pub fn meta_gradient(
        &self,
        clip: &PromptedClip,
        theta: &Prompt,
        phi: Option<&Regulator>,
        task: &Task,
    ) -> MetaGradient {
        let trajectory = self.run(clip, theta, phi, task);
        let query = clip.gradient(trajectory.adapted(), &task.classes, &task.query_set);
        let (alignment, regulated_over_raw) = match trajectory.support_gradients.first() {
            Some(first) => {
                let bent = regulated(phi, first);
                (cosine(&bent, &query.gradient), bent.norm() / first.norm())
            }
            None => (f32::NAN, f32::NAN),
        };

        let (mut v, mut d_phi) = (query.gradient, phi.map(|_| Regulator::default()));
        for (theta_k, g_k) in trajectory.prompts.iter().zip(&trajectory.support_gradients).rev() {
            let alpha_v = self.rates.scale(&v, 1.0);
            let u = match (phi, &mut d_phi) {
                (Some(phi), Some(d_phi)) => {
                    let (u, along_phi) = phi.pull_back(g_k, &alpha_v);
                    *d_phi = d_phi.add_scaled(&along_phi, -1.0);
                    u
                }
                _ => alpha_v,
            };
            if !self.first_order {
                let bend = clip.hessian_vector_product(theta_k, &u, &task.classes, &task.support_set);
                v = v.add_scaled(&bend, -1.0);
            }
        }
        let (query_loss, query_accuracy) = (query.loss, query.accuracy);
        MetaGradient { query_loss, query_accuracy, theta: v, phi: d_phi, alignment, regulated_over_raw }
    }
}

/// The cosine of two gradients.
pub fn cosine(one: &Prompt, other: &Prompt) -> f32 {
    one.dot(other) / (one.norm() * other.norm())
}
