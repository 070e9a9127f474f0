//! What a protocol asks of datasets: where prompts are tuned, and where they are tested.

use gram_data::{Benchmark, ClassSubset, Split};
use gram_features::Dataset;

use super::{Bench, ProtocolKind};
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

impl<'a> Bench<'a> {
    /// What the protocols ask for, in the order of the datasets.
    pub(super) fn tasks(&self) -> Result<Vec<Task<'a>>> {
        let is_variant = |dataset: &&Dataset| {
            let trained = dataset.images.iter().any(|image| image.split == Split::Train);
            !trained
        };
        let image_net = self.datasets.iter().find(|dataset| dataset.benchmark == Some(Benchmark::Imagenet));
        let mut tasks = Vec::new();
        for protocol in &self.plan.protocols {
            let protocol = *protocol;
            let sources = self.datasets.iter().filter(|dataset| !is_variant(dataset));
            let before = tasks.len();
            match protocol {
                ProtocolKind::BaseToNew => {
                    tasks.extend(sources.map(|dataset| Task { protocol, dataset, targets: Vec::new() }));
                }
                ProtocolKind::CrossDomain => {
                    let several = sources.filter(|dataset| dataset.domains.len() > 1);
                    tasks.extend(several.map(|dataset| Task { protocol, dataset, targets: Vec::new() }));
                    let variants: Vec<_> = self.datasets.iter().filter(is_variant).collect();
                    if let (Some(dataset), false) = (image_net, variants.is_empty()) {
                        tasks.push(Task { protocol, dataset, targets: variants });
                    }
                }
                ProtocolKind::CrossDataset => {
                    let dataset = match self.plan.source {
                        Some(name) => self.datasets.iter().find(|dataset| dataset.name == name),
                        None => image_net.or_else(|| self.datasets.first()),
                    };
                    let Some(dataset) = dataset else {
                        refuse!("--source {}: no dataset has that name", self.plan.source.unwrap_or_default())
                    };
                    let others = self.datasets.iter().filter(|other| other.name != dataset.name);
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
}
