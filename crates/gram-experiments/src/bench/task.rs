//! What a protocol asks of datasets: where prompts are tuned, and where they are tested.

use gram_data::{Benchmark, ClassSubset, Split};
use gram_features::Dataset;

use super::{BenchPlan, ProtocolKind};
use crate::error::{Result, refuse, require};

/// Where prompts of a protocol are tuned and tested.
#[derive(Clone, Debug)]
pub(super) struct Task<'a> {
    pub(super) protocol: ProtocolKind,
    pub(super) dataset: &'a Dataset,
    /// Other datasets that are tested.
    pub(super) targets: Vec<&'a Dataset>,
}

impl Task<'_> {
    /// The domain that a seed tunes in: each seed in another one, the same for the demo and every bench.
    pub(super) fn domain(&self, seed: u64) -> Option<usize> {
        let domains = self.dataset.domains.len().max(1) as u64;
        let one_dataset = self.protocol == ProtocolKind::CrossDomain && self.targets.is_empty();
        one_dataset.then(|| (seed % domains) as usize)
    }

    /// The classes that are tuned on.
    pub(super) fn classes(&self) -> ClassSubset {
        if self.protocol == ProtocolKind::BaseToNew { ClassSubset::Base } else { ClassSubset::All }
    }
}

/// What the protocols of a plan ask for, in the order of the datasets.
///
/// # Errors
/// If no dataset serves a protocol, or none has the name of the source.
pub(super) fn tasks<'a>(datasets: &'a [Dataset], plan: &BenchPlan) -> Result<Vec<Task<'a>>> {
    let is_variant = |dataset: &&Dataset| {
        let trained = dataset.images.iter().any(|image| image.split == Split::Train);
        !trained
    };
    let image_net = datasets.iter().find(|dataset| dataset.benchmark == Some(Benchmark::Imagenet));
    let mut tasks = Vec::new();
    for protocol in &plan.protocols {
        let protocol = *protocol;
        let sources = datasets.iter().filter(|dataset| !is_variant(dataset));
        let before = tasks.len();
        match protocol {
            ProtocolKind::BaseToNew => {
                tasks.extend(sources.map(|dataset| Task { protocol, dataset, targets: Vec::new() }));
            }
            ProtocolKind::CrossDomain => {
                let several = sources.filter(|dataset| dataset.domains.len() > 1);
                tasks.extend(several.map(|dataset| Task { protocol, dataset, targets: Vec::new() }));
                let variants: Vec<_> = datasets.iter().filter(is_variant).collect();
                if let (Some(dataset), false) = (image_net, variants.is_empty()) {
                    tasks.push(Task { protocol, dataset, targets: variants });
                }
            }
            ProtocolKind::CrossDataset => {
                let dataset = match plan.source {
                    Some(name) => datasets.iter().find(|dataset| dataset.name == name),
                    None => image_net.or_else(|| datasets.first()),
                };
                let Some(dataset) = dataset else {
                    refuse!("--source {}: no dataset has that name", plan.source.unwrap_or_default())
                };
                let others = datasets.iter().filter(|other| other.name != dataset.name);
                let targets: Vec<_> = others.filter(|other| !is_variant(other)).collect();
                if !targets.is_empty() {
                    tasks.push(Task { protocol, dataset, targets });
                }
            }
        }
        require!(
            tasks.len() > before,
            "{protocol}: none of the datasets serves it: base-to-new needs training images, cross-domain several \
             domains or ImageNet with its variants, cross-dataset two datasets"
        );
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use gram_data::{ImageFile, LabelledDataset, LabelledImage};
    use gram_report::results::Method;

    use super::*;

    /// A dataset of two classes and so many domains; one without training images is a variant.
    fn dataset(name: &str, domains: usize, split: Split, benchmark: Option<Benchmark>) -> Dataset {
        let image = |class: usize| LabelledImage {
            key: class.to_string(),
            image: ImageFile::Path("nowhere.png".into()),
            class,
            domain: None,
            split,
        };
        Dataset::from(LabelledDataset {
            name: name.into(),
            classes: vec!["cat".into(), "dog".into()],
            domains: (0..domains).map(|domain| domain.to_string()).collect(),
            images: (0..2).map(image).collect(),
            benchmark,
            ..LabelledDataset::default()
        })
    }

    fn plan(protocol: ProtocolKind) -> BenchPlan<'static> {
        BenchPlan { protocols: vec![protocol], ..BenchPlan::base_to_new(vec![Method::Coop], 1) }
    }

    /// The source and the targets of each task.
    fn names(datasets: &[Dataset], plan: &BenchPlan) -> Vec<(String, Vec<String>)> {
        let of = |task: Task| {
            let targets = task.targets.iter().map(|target| target.name.clone()).collect();
            (task.dataset.name.clone(), targets)
        };
        tasks(datasets, plan).unwrap().into_iter().map(of).collect()
    }

    fn pair(source: &str, targets: &[&str]) -> (String, Vec<String>) {
        (source.to_owned(), targets.iter().map(|target| (*target).to_owned()).collect())
    }

    #[test]
    fn every_protocol_tunes_and_tests_where_the_literature_does() {
        let datasets = [
            dataset("pets", 1, Split::Train, None),
            dataset("imagenet", 0, Split::Train, Some(Benchmark::Imagenet)),
            dataset("home", 3, Split::Train, None),
            dataset("sketch", 0, Split::Test, None),
        ];
        let found = |protocol| names(&datasets, &plan(protocol));
        let alone = ["pets", "imagenet", "home"].map(|name| pair(name, &[]));
        assert_eq!(found(ProtocolKind::BaseToNew), alone);
        assert_eq!(found(ProtocolKind::CrossDomain), [pair("home", &[]), pair("imagenet", &["sketch"])]);
        assert_eq!(found(ProtocolKind::CrossDataset), [pair("imagenet", &["pets", "home"])]);
        let from_pets = BenchPlan { source: Some("pets"), ..plan(ProtocolKind::CrossDataset) };
        assert_eq!(names(&datasets, &from_pets), [pair("pets", &["imagenet", "home"])]);
    }

    #[test]
    fn a_protocol_that_no_dataset_serves_and_an_unknown_source_are_refused() {
        let one = [dataset("pets", 1, Split::Train, None)];
        for protocol in [ProtocolKind::CrossDomain, ProtocolKind::CrossDataset] {
            let problem = tasks(&one, &plan(protocol)).unwrap_err().to_string();
            assert!(problem.starts_with(&format!("{protocol}: none of the datasets serves it")), "{problem}");
        }
        let unknown = BenchPlan { source: Some("cars"), ..plan(ProtocolKind::CrossDataset) };
        let problem = tasks(&one, &unknown).unwrap_err().to_string();
        assert_eq!(problem, "--source cars: no dataset has that name");
    }

    #[test]
    fn each_seed_tunes_in_another_domain_of_one_dataset_only() {
        let (home, sketch) =
            (dataset("home", 3, Split::Train, None), dataset("sketch", 0, Split::Test, None));
        let mut task = Task { protocol: ProtocolKind::CrossDomain, dataset: &home, targets: Vec::new() };
        assert_eq!([0, 1, 2, 3, 4].map(|seed| task.domain(seed)), [0, 1, 2, 0, 1].map(Some));
        task.targets.push(&sketch);
        assert_eq!(task.domain(1), None);
        task = Task { protocol: ProtocolKind::BaseToNew, targets: Vec::new(), ..task };
        assert_eq!((task.domain(1), task.classes()), (None, ClassSubset::Base));
    }
}
