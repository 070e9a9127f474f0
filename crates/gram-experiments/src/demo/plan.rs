//! How much of the demo is run: what fits into the time, and what is said about the rest.

use gram_prompt::PromptKind;
use gram_report::results::Method;
use serde::Serialize;

use gram_hub::assets::DATASETS;

/// What a demo runs.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Labelled datasets.
    pub datasets: Vec<String>,
    /// Seeds of shots and tuning.
    pub seeds: Vec<u64>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Images of a class to tune on.
    pub shots: usize,
    /// How many datasets are also tested after every epoch, with the first seed.
    pub course_datasets: usize,
    /// Whether visual and joint meta-training are run too.
    pub everything_live: bool,
    first_seed: u64,
}

impl Plan {
    /// Within about 10 minutes on 2 cores.
    pub fn standard(first_seed: u64, seeds: usize) -> Self {
        Self {
            datasets: DATASETS.map(str::to_owned).to_vec(),
            seeds: (first_seed..).take(seeds).collect(),
            methods: Method::OF_GRAM.to_vec(),
            shots: 4,
            course_datasets: 2,
            everything_live: false,
            first_seed,
        }
    }

    /// Within about 2 minutes on 2 cores: two datasets and one seed.
    pub fn quick(first_seed: u64) -> Self {
        let datasets = DATASETS[..2].iter().map(|name| (*name).to_owned()).collect();
        Self { datasets, course_datasets: 1, ..Self::standard(first_seed, 1) }
    }

    /// Everything anew: visual and joint meta-training too. About an hour on 2 cores.
    pub fn full(first_seed: u64, seeds: usize) -> Self {
        Self { everything_live: true, course_datasets: DATASETS.len(), ..Self::standard(first_seed, seeds) }
    }

    /// Seed of clustering and meta-training.
    pub fn seed(&self) -> u64 {
        self.first_seed
    }

    /// Whether a meta-training is run, or its start taken from those that are shipped. Textual meta-training
    /// takes seconds.
    pub fn is_live(&self, kind: PromptKind) -> bool {
        self.everything_live || kind == PromptKind::Textual
    }

    /// What was left out or made smaller, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.datasets.len() < DATASETS.len() {
            let (run, all) = (self.datasets.len(), DATASETS.len());
            notes.push(format!("{run} of {all} datasets were run: {}.", self.datasets.join(", ")));
        }
        if self.course_datasets < self.datasets.len() {
            let shown = self.datasets[..self.course_datasets].join(", ");
            notes.push(format!("Accuracy by epoch was measured with the first seed on: {shown}."));
        }
        if !self.everything_live {
            notes.push(
                "The visual and joint initialisations are the shipped ones; --full trains them anew.".into(),
            );
        }
        if self.seeds.len() == 1 {
            notes.push("One seed was run: no intervals.".into());
        }
        notes
    }
}
