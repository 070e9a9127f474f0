//! Accuracies of one method by seed, averaged within each seed.

use crate::results::{CrossDomainRun, Method, Results};
use crate::statistics::{BySeed, Estimate, average_within_seeds, harmonic_mean};

/// Base and new accuracy of one method, on one dataset or on the average of all.
#[derive(Default)]
pub(super) struct BaseToNew {
    pub(super) base: BySeed,
    pub(super) new: BySeed,
}

impl BaseToNew {
    /// On one dataset.
    pub(super) fn on_dataset(results: &Results, method: Method, dataset: &str) -> Self {
        let mut scores = BaseToNew::default();
        let runs = results.base_to_new.iter().filter(|run| run.method == method && run.dataset == dataset);
        for run in runs.filter(|run| run.base.is_finite() && run.new.is_finite()) {
            scores.base.insert(run.seed, run.base);
            scores.new.insert(run.seed, run.new);
        }
        scores
    }

    /// The average over datasets, for the seeds that ran every one of them.
    pub(super) fn average(results: &Results, method: Method) -> Self {
        let (base, new): (Vec<BySeed>, Vec<BySeed>) = results
            .datasets
            .iter()
            .map(|dataset| Self::on_dataset(results, method, dataset))
            .map(|scores| (scores.base, scores.new))
            .unzip();
        BaseToNew { base: average_within_seeds(&base), new: average_within_seeds(&new) }
    }

    /// H within each seed.
    pub(super) fn harmonic(&self) -> BySeed {
        let both = |(seed, base): (&u64, &f64)| Some((*seed, harmonic_mean(*base, *self.new.get(seed)?)));
        self.base.iter().filter_map(both).collect()
    }

    /// H of the mean base and the mean new accuracy, with the interval of H over seeds.
    pub(super) fn harmonic_of_means(&self) -> Option<Estimate> {
        let (base, new) = (Estimate::over_seeds(&self.base)?, Estimate::over_seeds(&self.new)?);
        Some(Estimate { mean: harmonic_mean(base.mean, new.mean), ..Estimate::over_seeds(&self.harmonic())? })
    }
}

/// A dataset and the domain of it that was tuned on.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Setting<'a> {
    pub(super) dataset: &'a str,
    pub(super) source: &'a str,
}

impl<'a> Setting<'a> {
    /// Every setting that was run, in the order of the runs.
    pub(super) fn all(results: &'a Results) -> Vec<Self> {
        let settings =
            results.cross_domain.iter().map(|run| Setting { dataset: &run.dataset, source: &run.source });
        distinct(settings)
    }

    fn runs(self, results: &'a Results) -> impl Iterator<Item = &'a CrossDomainRun> {
        results
            .cross_domain
            .iter()
            .filter(move |run| run.dataset == self.dataset && run.source == self.source)
    }

    /// The domains that were measured but not tuned on, in the order of the runs.
    pub(super) fn targets(self, results: &'a Results) -> Vec<&'a str> {
        distinct(
            self.runs(results).flat_map(CrossDomainRun::target_accuracies).map(|(domain, _)| domain.as_str()),
        )
    }

    /// Accuracy of a method in one domain.
    pub(super) fn in_domain(self, results: &'a Results, method: Method, domain: &str) -> BySeed {
        let accuracy = |run: &CrossDomainRun| {
            let (_, accuracy) = run.accuracies.iter().find(|(name, _)| name == domain)?;
            accuracy.is_finite().then_some((run.seed, *accuracy))
        };
        self.runs(results).filter(|run| run.method == method).filter_map(accuracy).collect()
    }

    /// The average over targets, for the seeds that measured every one of them.
    fn on_targets(self, results: &'a Results, method: Method) -> BySeed {
        let targets = self.targets(results);
        let scores: Vec<BySeed> =
            targets.iter().map(|domain| self.in_domain(results, method, domain)).collect();
        average_within_seeds(&scores)
    }
}

/// Source and average target accuracy of one method, averaged over some settings.
pub(super) struct CrossDomain {
    pub(super) source: BySeed,
    pub(super) target: BySeed,
}

impl CrossDomain {
    /// For every seed that ran all datasets, the average over its settings: each seed may tune in domains of
    /// its own.
    pub(super) fn average(results: &Results, settings: &[Setting<'_>], method: Method) -> Self {
        let datasets = distinct(settings.iter().map(|setting| setting.dataset)).len();
        let (mut source, mut target) = (BySeed::new(), BySeed::new());
        for seed in distinct(results.cross_domain.iter().map(|run| run.seed)) {
            let ran = |setting: &&Setting<'_>| setting.runs(results).any(|run| run.seed == seed);
            let own: Vec<&Setting<'_>> = settings.iter().filter(ran).collect();
            if distinct(own.iter().map(|setting| setting.dataset)).len() < datasets {
                continue;
            }
            let average = |scores: Vec<BySeed>| average_within_seeds(&scores).remove(&seed);
            let in_source = own.iter().map(|setting| setting.in_domain(results, method, setting.source));
            source.extend(average(in_source.collect()).map(|mean| (seed, mean)));
            let on_targets = own.iter().map(|setting| setting.on_targets(results, method));
            target.extend(average(on_targets.collect()).map(|mean| (seed, mean)));
        }
        CrossDomain { source, target }
    }
}

/// The methods among `ran`, in the order of the paper.
pub(crate) fn in_order_of_the_paper(ran: impl Iterator<Item = Method> + Clone) -> Vec<Method> {
    Method::ALL.into_iter().filter(|method| ran.clone().any(|other| other == *method)).collect()
}

/// Each item once, where it first came.
pub(crate) fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for item in items {
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn a_seed_that_lacks_a_dataset_is_not_averaged() {
        let results = example::results();
        assert_eq!(BaseToNew::average(&results, Method::Vpt).base, BySeed::new());
        assert_eq!(BaseToNew::average(&results, Method::Coop).base, BySeed::from([(1, 75.0), (2, 77.0)]));
    }

    #[test]
    fn a_number_that_is_not_finite_counts_as_missing() {
        let mut results = example::results();
        results.base_to_new[2].new = f64::NAN;
        assert_eq!(BaseToNew::average(&results, Method::Coop).base, BySeed::from([(2, 77.0)]));
    }
}
