//! The conditions of the paper's studies: what each leaves out, resizes, or starts from.

use gram_meta::MetaTrainingSettings;
use gram_prompt::PromptKind;
use gram_tune::design::PromptDesign;

/// What a condition changes.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its name in files.
    pub name: String,
    /// What it is, in the words of the paper.
    pub label: String,
    /// Base, new and H as the paper prints them, if it does.
    pub printed: Option<[f64; 3]>,
    /// Where its start comes from.
    pub start: StartSource,
    /// Context tokens that start at random, where that is not as set.
    pub context_tokens: Option<usize>,
    /// Vectors of a visual prompt, where that is not as set.
    pub visual_tokens: Option<usize>,
    /// What draws vectors that start at random.
    pub start_seed: Option<u64>,
}

/// Where a condition's start comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartSource {
    /// Nothing is meta-trained: the method without GRAM.
    Usual,
    /// GRAM's meta-training as it is.
    MetaTrained,
    /// Support and query sets from the same domains.
    WithoutDomainShift,
    /// No gradient regulating function.
    WithoutRegulator,
    /// Neither inner loop nor regulator: the prompt is trained on the topics.
    WithoutMetaLearning,
    /// Tasks of labelled classes and their domains in the place of topics and domains.
    Supervised,
}

impl Condition {
    fn new(name: &str, label: &str, printed: Option<[f64; 3]>, start: StartSource) -> Self {
        let (name, label) = (name.to_owned(), label.to_owned());
        let (context_tokens, visual_tokens, start_seed) = (None, None, None);
        Self { name, label, printed, start, context_tokens, visual_tokens, start_seed }
    }

    /// Those of table 6.
    pub fn ablations() -> Vec<Self> {
        use StartSource::{
            MetaTrained, Supervised, Usual, WithoutDomainShift, WithoutMetaLearning, WithoutRegulator,
        };
        vec![
            Self::new("gram", "GRAM", Some([80.34, 75.92, 78.07]), MetaTrained),
            Self::new(
                "without-domain-shift",
                "- domain shift simulating",
                Some([79.68, 75.56, 77.57]),
                WithoutDomainShift,
            ),
            Self::new(
                "without-regulator",
                "- gradient regulating",
                Some([77.9, 74.79, 76.31]),
                WithoutRegulator,
            ),
            Self::new(
                "without-meta-learning",
                "- meta-learning (prompt pre-training)",
                Some([75.9, 74.32, 75.1]),
                WithoutMetaLearning,
            ),
            Self::new(
                "supervised",
                "- clustering (supervised meta-learning)",
                Some([78.68, 74.47, 76.52]),
                Supervised,
            ),
            Self::new("usual", "no meta-training", Some([77.41, 72.85, 75.06]), Usual),
        ]
    }

    /// Those of table 7: 2, 4, 6 and 8 vectors, half of them in each tower.
    pub fn token_numbers(kind: PromptKind) -> Vec<Self> {
        let printed =
            [[77.49, 76.09, 76.78], [80.34, 75.92, 78.07], [80.09, 75.63, 77.8], [80.31, 74.79, 77.45]];
        let towers = kind.parts().len().min(2);
        let condition = |(printed, tokens): ([f64; 3], usize)| {
            let each = Some(tokens / towers);
            let name = format!("tokens-{tokens}");
            let condition =
                Self::new(&name, &format!("{tokens} tokens"), Some(printed), StartSource::MetaTrained);
            Self { context_tokens: each, visual_tokens: each, ..condition }
        };
        printed.into_iter().zip([2, 4, 6, 8]).map(condition).collect()
    }

    /// Those of figure 1a: as many random starts, and GRAM's.
    pub fn initialisations(count: u64) -> Vec<Self> {
        let random = |seed| {
            let name = format!("random-{seed}");
            let condition =
                Self::new(&name, &format!("random initialisation {seed}"), None, StartSource::Usual);
            Self { context_tokens: Some(4), start_seed: Some(seed), ..condition }
        };
        let gram = Self::new("gram", "GRAM's initialisation", None, StartSource::MetaTrained);
        (1..=count).map(random).chain([gram]).collect()
    }

    /// The design of its prompts, where the settings say `design`.
    pub(super) fn design(&self, design: PromptDesign) -> PromptDesign {
        PromptDesign {
            context_tokens: self.context_tokens.unwrap_or(design.context_tokens),
            visual_tokens: self.visual_tokens.unwrap_or(design.visual_tokens),
            ..design
        }
    }
}

impl StartSource {
    /// How the start is meta-trained.
    pub(super) fn settings(self, settings: &MetaTrainingSettings) -> MetaTrainingSettings {
        let mut settings = settings.clone();
        match self {
            Self::WithoutRegulator => settings.regulator = None,
            Self::WithoutMetaLearning => {
                settings.regulator = None;
                settings.inner.steps = 0;
            }
            Self::Usual | Self::MetaTrained | Self::WithoutDomainShift | Self::Supervised => {}
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;

    #[test]
    fn the_tokens_of_table_7_are_divided_between_the_towers() {
        let design = PromptDesign::default();
        let tokens = |kind| {
            let designs = Condition::token_numbers(kind).into_iter().map(|one| one.design(design));
            designs.map(|design| (design.context_tokens, design.visual_tokens)).collect::<Vec<_>>()
        };
        assert_eq!(tokens(PromptKind::Joint), [(1, 1), (2, 2), (3, 3), (4, 4)]);
        assert_eq!(tokens(PromptKind::Textual), [(2, 2), (4, 4), (6, 6), (8, 8)]);
    }

    #[test]
    fn what_a_condition_does_not_say_stays_as_it_is_set() {
        let design = PromptDesign { context_tokens: 7, visual_tokens: 5, ..PromptDesign::default() };
        for condition in Condition::ablations() {
            assert_eq!(condition.design(design), design);
        }
        let mut random = Condition::initialisations(3);
        let gram = random.pop().unwrap();
        assert_eq!((gram.start, gram.start_seed), (StartSource::MetaTrained, None));
        let seeds: Vec<Option<u64>> = random.iter().map(|condition| condition.start_seed).collect();
        assert_eq!(seeds, [Some(1), Some(2), Some(3)]);
        assert!(random.iter().all(|condition| condition.design(design).context_tokens == 4));
    }

    #[test]
    fn an_ablation_leaves_out_what_its_name_says_and_nothing_else() {
        let usual = defaults::meta_training(PromptKind::Textual, 1);
        let of = |source: StartSource| source.settings(&usual);
        assert_eq!(of(StartSource::MetaTrained), usual);
        let without = of(StartSource::WithoutRegulator);
        assert_eq!(without, MetaTrainingSettings { regulator: None, ..usual.clone() });
        let without = of(StartSource::WithoutMetaLearning);
        assert_eq!((without.regulator, without.inner.steps), (None, 0));
    }

    #[test]
    fn names_of_conditions_are_names_of_folders_and_no_two_are_alike() {
        for conditions in [
            Condition::ablations(),
            Condition::token_numbers(PromptKind::Joint),
            Condition::initialisations(4),
        ] {
            let mut names: Vec<&str> = conditions.iter().map(|one| one.name.as_str()).collect();
            let is_plain = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || one == '-');
            assert!(names.iter().all(|name| is_plain(name)), "{names:?}");
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}
