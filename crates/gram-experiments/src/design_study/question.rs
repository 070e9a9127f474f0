//! Questions of design, and the candidates that answer them.

use gram_meta::episode::QueryDomains;
use gram_meta::{InnerLoop, MetaTrainingSettings, OuterOptimizer};
use gram_prompt::RegulatorForm;
use gram_tune::adaptation::Regulated;

use super::Candidate;

/// A question of design and what answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the regulator is applied, and whether there is one.
    Regulator,
    /// Where gamma starts.
    RegulatorStart,
    /// Whether it regulates the gradient or the velocity at adaptation.
    Momentum,
    /// The size of alpha.
    InnerRate,
    /// K.
    InnerSteps,
    /// K with momentum, as at test time.
    InnerMomentum,
    /// Classes and images of an episode.
    Episodes,
    /// As many classes as datasets have.
    Ways,
    /// Query images of other domains only.
    QueryDomains,
    /// Classes that the query set alone shows.
    NewClasses,
    /// Whether the state is chosen by classes that were not adapted to, too.
    Validation,
    /// As many inner steps as at test time, in first order.
    LongInnerLoop,
    /// Outer steps and episodes of each.
    Length,
    /// Exact meta-gradient or first order.
    Order,
    /// The outer optimiser.
    Optimizer,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 15] = [
        Self::Regulator,
        Self::RegulatorStart,
        Self::Momentum,
        Self::InnerRate,
        Self::InnerSteps,
        Self::InnerMomentum,
        Self::Episodes,
        Self::Ways,
        Self::QueryDomains,
        Self::NewClasses,
        Self::Validation,
        Self::LongInnerLoop,
        Self::Length,
        Self::Order,
        Self::Optimizer,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regulator => "regulator",
            Self::RegulatorStart => "regulator-start",
            Self::Momentum => "momentum",
            Self::InnerRate => "inner-rate",
            Self::InnerSteps => "inner-steps",
            Self::InnerMomentum => "inner-momentum",
            Self::Episodes => "episodes",
            Self::Ways => "ways",
            Self::QueryDomains => "query-domains",
            Self::NewClasses => "new-classes",
            Self::Validation => "validation",
            Self::LongInnerLoop => "long-inner-loop",
            Self::Length => "length",
            Self::Order => "order",
            Self::Optimizer => "optimizer",
        }
    }

    /// What the question changes in `settings`. At adaptation `usual` is regulated.
    pub fn candidates(self, settings: &MetaTrainingSettings, usual: Regulated) -> Vec<Candidate> {
        let candidate = |name: String, regulated, change: &dyn Fn(&mut MetaTrainingSettings)| {
            let mut changed = settings.clone();
            change(&mut changed);
            Candidate { name, meta_training: Some(changed), regulated }
        };
        let with = |name: String, change: &dyn Fn(&mut MetaTrainingSettings)| candidate(name, usual, change);
        let mut all = Vec::new();
        match self {
            Self::Regulator => {
                all.push(with("no regulator".into(), &|settings| settings.regulator = None));
                let own = settings.regulator.map(|regulator| regulator.form);
                let others = RegulatorForm::ALL.into_iter().filter(|form| Some(*form) != own);
                for form in others {
                    let name = format!("regulator {}", format!("{form:?}").to_lowercase());
                    all.push(with(name, &|settings| {
                        settings.regulator.iter_mut().for_each(|regulator| regulator.form = form);
                    }));
                }
            }
            Self::RegulatorStart => {
                for bias in [1.0, 3.0] {
                    all.push(with(format!("gamma bias {bias}"), &|settings| {
                        settings.regulator.iter_mut().for_each(|regulator| regulator.gamma_bias = bias);
                    }));
                }
            }
            Self::Momentum => {
                all.push(candidate("regulated gradient".into(), Regulated::Gradient, &|_| {}));
                all.push(candidate("regulated velocity".into(), Regulated::Velocity, &|_| {}));
            }
            Self::InnerRate => {
                for factor in [0.1, 0.3, 3.0] {
                    all.push(with(format!("inner rate x {factor}"), &|settings| {
                        settings.inner.rates = settings.inner.rates.times(factor);
                    }));
                }
                all.push(with("inner rate learned".into(), &|settings| settings.inner.learn_rates = true));
            }
            Self::InnerSteps => {
                for steps in [2, 5] {
                    all.push(with(format!("{steps} inner steps"), &|settings| settings.inner.steps = steps));
                }
            }
            Self::InnerMomentum => {
                for steps in [5, 10] {
                    all.push(with(format!("{steps} inner steps with momentum"), &|settings| {
                        with_momentum(&mut settings.inner, steps);
                    }));
                }
            }
            Self::NewClasses => {
                // As many as there are others, or none where there are some.
                let ways = if settings.episodes.new_ways == 0 { settings.episodes.ways } else { 0 };
                all.push(with(format!("{ways} new classes"), &|settings| settings.episodes.new_ways = ways));
                all.push(with(format!("{ways} new classes, 5 inner steps with momentum"), &|settings| {
                    settings.episodes.new_ways = ways;
                    with_momentum(&mut settings.inner, 5);
                }));
            }
            Self::Ways => all.push(with("20 ways".into(), &|settings| settings.episodes.ways = 20)),
            Self::QueryDomains => {
                let others = |settings: &mut MetaTrainingSettings| {
                    settings.episodes.query_domains = QueryDomains::Others;
                };
                all.push(with("query images of other domains".into(), &others));
            }
            Self::Validation => {
                let mimics = |settings: &mut MetaTrainingSettings| {
                    settings.validation_new_ways = Some(settings.episodes.ways);
                };
                all.push(with("validation as base to new".into(), &mimics));
            }
            Self::LongInnerLoop => {
                all.push(with("10 inner steps with momentum, first order".into(), &|settings| {
                    with_momentum(&mut settings.inner, 10);
                    settings.inner.first_order = true;
                }));
            }
            Self::Episodes => {
                for ways in [4, 16] {
                    all.push(with(format!("{ways} ways"), &|settings| settings.episodes.ways = ways));
                }
                all.push(with("2 + 8 images".into(), &|settings| settings.episodes.support_shots = 2));
            }
            Self::Length => {
                for factor in [1, 4] {
                    let name = format!("{} steps", settings.steps * factor / 2);
                    all.push(with(name, &|settings| settings.steps = settings.steps * factor / 2));
                }
                for tasks in [1, 8] {
                    all.push(with(format!("{tasks} tasks"), &|settings| settings.meta_batch = tasks));
                }
            }
            Self::Order => {
                all.push(with("first order".into(), &|settings| settings.inner.first_order = true))
            }
            Self::Optimizer => {
                for rate in [0.01, 0.1] {
                    all.push(with(format!("SGD {rate}"), &|settings| {
                        settings.optimizer = OuterOptimizer::Sgd;
                        (settings.prompt_rate, settings.regulator_rate) = (rate, rate);
                    }));
                }
            }
        }
        all
    }
}

/// `steps` with momentum as at test time, at a fifth of the rate, since steps in one direction add up.
fn with_momentum(inner: &mut InnerLoop, steps: usize) {
    (inner.steps, inner.momentum, inner.rates) = (steps, 0.9, inner.rates.times(0.2));
}

impl std::str::FromStr for Question {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|question| question.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        known.ok_or_else(|| format!("no question is called `{name}`: {names}"))
    }
}

#[cfg(test)]
mod tests {
    use gram_prompt::PromptKind;

    use super::*;
    use crate::defaults;

    #[test]
    fn every_question_is_found_by_its_name_and_an_unknown_one_lists_them() {
        for question in Question::ALL {
            assert_eq!(question.name().parse(), Ok(question));
        }
        let problem = "rate".parse::<Question>().unwrap_err();
        assert!(problem.starts_with("no question is called `rate`: regulator, "), "{problem}");
    }

    #[test]
    fn every_candidate_differs_from_what_is_set_and_from_the_others() {
        for kind in [PromptKind::Textual, PromptKind::Visual] {
            let settings = defaults::meta_training(kind, 1);
            for question in Question::ALL {
                let candidates = question.candidates(&settings, Regulated::Gradient);
                let as_set = (Some(settings.clone()), Regulated::Gradient);
                let mut seen = vec![("as set".to_owned(), as_set)];
                for candidate in candidates {
                    let changed = (candidate.meta_training, candidate.regulated);
                    // Momentum asks about both of its answers, one of which is what is set.
                    let is_new = seen.iter().all(|(_, known)| *known != changed);
                    assert!(is_new || question == Question::Momentum, "{question:?}: {}", candidate.name);
                    assert!(seen.iter().all(|(name, _)| *name != candidate.name), "{}", candidate.name);
                    seen.push((candidate.name, changed));
                }
                assert!(seen.len() > 1, "{question:?}");
            }
        }
    }

    #[test]
    fn candidates_can_be_meta_trained() {
        let settings = defaults::meta_training(PromptKind::Textual, 1);
        for candidate in Question::ALL.iter().flat_map(|one| one.candidates(&settings, Regulated::Gradient)) {
            let changed = candidate.meta_training.unwrap();
            assert!(changed.validate().is_ok(), "{}: {:?}", candidate.name, changed.validate());
        }
    }
}
