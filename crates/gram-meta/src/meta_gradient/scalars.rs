//! What is measured on the way to a meta-gradient, as tensors until it is read.

use burn::tensor::Tensor;
use gram_prompt::{Gradient, Prompt, Rates};
use serde::{Deserialize, Serialize};

use super::{Measured, Reading, Trajectory, WayBack, regulated};
use crate::regulator::Regulator;

/// What a scalar says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Name {
    QueryLoss,
    QueryAccuracy,
    /// Sums of squares of the meta-gradient for theta and for phi.
    Theta,
    Phi,
    /// Inner products of the first inner step's gradients: regulated, raw, and that of the query loss.
    RegulatedQuery,
    Regulated,
    Query,
    Raw,
    Gamma,
    Beta,
    TextRate,
    VisualRate,
}

/// Scalars `[1]` of a meta-gradient, by name. One that is not there is not known.
#[derive(Clone, Debug)]
pub(super) struct Scalars {
    named: Vec<(Name, Tensor<1>)>,
    has_regulator: bool,
}

impl Scalars {
    pub(super) fn new(
        phi: Option<&Regulator>,
        trajectory: &Trajectory,
        query: Gradient,
        way: &WayBack,
    ) -> Self {
        let product = |one: &Prompt, other: &Prompt| one.inner_product(other);
        let mut all = vec![
            (Name::QueryLoss, Some(query.loss)),
            (Name::QueryAccuracy, Some(query.accuracy)),
            (Name::Theta, product(&way.v, &way.v)),
            (Name::Phi, way.phi.as_ref().and_then(Regulator::sum_of_squares)),
            (Name::TextRate, way.log_rates[0].clone()),
            (Name::VisualRate, way.log_rates[1].clone()),
        ];
        if let Some(raw) = trajectory.support_gradients.first() {
            let own = regulated(phi, raw);
            let (gamma, beta) = phi.and_then(|phi| phi.mean_gamma_beta(raw)).unzip();
            all.extend([
                (Name::RegulatedQuery, product(&own, &query.gradient)),
                (Name::Regulated, product(&own, &own)),
                (Name::Query, product(&query.gradient, &query.gradient)),
                (Name::Raw, product(raw, raw)),
                (Name::Gamma, gamma),
                (Name::Beta, beta),
            ]);
        }
        let named = all.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))).collect();
        Self { named, has_regulator: phi.is_some() }
    }

    /// Of values `[scalars]` by their names.
    pub(super) fn of_values(names: Vec<Name>, values: Tensor<1>, has_regulator: bool) -> Self {
        let value = |(place, name)| (name, values.clone().narrow(0, place, 1));
        Self { named: names.into_iter().enumerate().map(value).collect(), has_regulator }
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.named.iter().map(|(name, _)| *name).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    pub(super) fn tensors(&self) -> Vec<Tensor<1>> {
        self.named.iter().map(|(_, tensor)| tensor.clone()).collect()
    }

    /// What the values say, in the order of [`tensors`](Self::tensors).
    pub(super) fn reading(&self, values: &[f32]) -> Reading {
        let find = |wanted: Name| {
            self.named.iter().zip(values).find(|((name, _), _)| *name == wanted).map(|(_, value)| *value)
        };
        let of = |name: Name| find(name).unwrap_or(f32::NAN);
        let has_step = find(Name::Raw).is_some();
        let usual = |usual: f32| if has_step && !self.has_regulator { usual } else { f32::NAN };
        let norm = |name: Name| of(name).sqrt();
        let finite = |name: Name| find(name).is_none_or(f32::is_finite);
        Reading {
            query_loss: of(Name::QueryLoss),
            query_accuracy: of(Name::QueryAccuracy),
            log_rates: Rates {
                text: find(Name::TextRate).unwrap_or(0.0),
                visual: find(Name::VisualRate).unwrap_or(0.0),
            },
            measured: Measured {
                alignment: of(Name::RegulatedQuery) / (norm(Name::Regulated) * norm(Name::Query)),
                regulated_over_raw: norm(Name::Regulated) / norm(Name::Raw),
                gamma: find(Name::Gamma).unwrap_or(usual(1.0)),
                beta: find(Name::Beta).unwrap_or(usual(0.0)),
            },
            is_finite: of(Name::QueryLoss).is_finite() && finite(Name::Theta) && finite(Name::Phi),
        }
    }
}
