//! The methods: one table, a row of facts for each.
//!
//! Everything that lists, names or tells methods apart reads this table. A new method is a row here, a file
//! of its own if it minimises something of its own, and a test that holds it to its paper.

mod names;

use burn::tensor::Tensor;
use gram_prompt::{CrossEntropy, Objective, Part, PromptKind};
use serde::{Deserialize, Serialize};

use crate::kgcoop::{KgcoopSettings, KnowledgeGuided};
use crate::out_of_range::OutOfRange;
pub use names::UnknownMethod;

/// What is known of a method.
struct Facts {
    /// The name on the command line and in JSON.
    key: &'static str,
    /// The name in tables and reports.
    name: &'static str,
    learned: Learned,
    /// The method without GRAM, for one with it: such a method starts at a meta-trained prompt, and its
    /// gradient is regulated.
    baseline: Option<Method>,
    /// The method whose meta-trained initialisation it takes where it has none of its own.
    initialised_as: Option<Method>,
    /// Whether visual tokens stand before every layer, whatever the settings say of their depth.
    deep: bool,
    /// What is minimised in the place of cross-entropy, where it is compared with the hand-written prompt.
    objective: Option<GuidedObjective>,
    transformations: Transformations,
    paper: &'static str,
}

/// From settings and the normalised features of classes under the hand-written prompt, `[classes, joint
/// width]`, to what is minimised.
type GuidedObjective = fn(&ObjectiveSettings, Tensor<2>) -> Box<dyn Objective>;

/// Settings of what is minimised, by the method that minimises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectiveSettings {
    /// KgCoOp's.
    pub kgcoop: KgcoopSettings,
}

impl ObjectiveSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`OutOfRange`] names the first that is out of its range.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        self.kgcoop.validate()
    }
}

/// What a method learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: the hand-written prompt classifies.
    Nothing,
    /// A prompt of this kind, by descent.
    Prompt(PromptKind),
    /// A collection of textual prompts (ProDA).
    Collection,
    /// A cache of the shots (Tip-Adapter), whose keys are tuned or not.
    Cache {
        /// Whether the keys are tuned.
        tuned: bool,
    },
}

/// What becomes of a gradient before what is learned moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transformations {
    /// There is no gradient.
    None,
    /// Stochastic gradient descent: weight decay, momentum, the schedule of the learning rate; with GRAM the
    /// regulator before or behind momentum.
    Sgd,
    /// Adam's moments, the schedule of the learning rate, and weight decay apart from both.
    AdamW,
}

/// The enum of all methods, and its table.
macro_rules! methods {
    ($($(#[$about:meta])+ $method:ident { $($fact:ident: $value:expr,)+ })+) => {
        /// A way of using a few labelled images, in the order of the paper's tables.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Method {
            $($(#[$about])+ $method,)+
        }

        impl Method {
            /// Every method, in the order of the tables.
            pub const ALL: [Method; [$(Method::$method),+].len()] = [$(Method::$method),+];

            fn facts(self) -> Facts {
                match self {
                    $(Self::$method => Facts { $($fact: $value,)+ ..USUAL },)+
                }
            }
        }
    };
}

/// What a row need not say.
const USUAL: Facts = Facts {
    key: "",
    name: "",
    learned: Learned::Nothing,
    baseline: None,
    initialised_as: None,
    deep: false,
    objective: None,
    transformations: Transformations::Sgd,
    paper: "",
};

/// KgCoOp's, with GRAM or without.
const KNOWLEDGE_GUIDED: Option<GuidedObjective> =
    Some(|settings, hand_written| Box::new(KnowledgeGuided { hand_written, weight: settings.kgcoop.weight }));

const GRAM: &str = "Li et al., ICCV 2023";
const TIP_ADAPTER: &str = "Zhang et al., ECCV 2022";
const VPT: &str = "Jia et al., ECCV 2022";

methods! {
    /// Hand-written prompt, nothing learned.
    ZeroShot {
        key: "zero-shot",
        name: "CLIP",
        transformations: Transformations::None,
        paper: "Radford et al., ICML 2021",
    }
    /// Hand-written prompt and a cache of the shots.
    TipAdapter {
        key: "tip-adapter",
        name: "Tip-Adapter",
        learned: Learned::Cache { tuned: false },
        transformations: Transformations::None,
        paper: TIP_ADAPTER,
    }
    /// The same, and the cache is tuned.
    TipAdapterF {
        key: "tip-adapter-f",
        name: "Tip-Adapter-F",
        learned: Learned::Cache { tuned: true },
        transformations: Transformations::AdamW,
        paper: TIP_ADAPTER,
    }
    /// A distribution of textual prompts.
    Proda {
        key: "proda",
        name: "ProDA",
        learned: Learned::Collection,
        paper: "Lu et al., CVPR 2022",
    }
    /// Textual prompt that the image moves.
    Cocoop {
        key: "cocoop",
        name: "CoCoOp",
        learned: Learned::Prompt(PromptKind::Conditional),
        paper: "Zhou et al., CVPR 2022",
    }
    /// The same, meta-learned initialisation and regulated gradient. A textual initialisation serves its
    /// context too.
    CocoopGram {
        key: "cocoop-gram",
        name: "CoCoOp + GRAM",
        learned: Learned::Prompt(PromptKind::Conditional),
        baseline: Some(Method::Cocoop),
        initialised_as: Some(Method::CoopGram),
        paper: GRAM,
    }
    /// Textual prompt.
    Coop {
        key: "coop",
        name: "CoOp",
        learned: Learned::Prompt(PromptKind::Textual),
        paper: "Zhou et al., IJCV 2022",
    }
    /// Textual prompt, meta-learned initialisation and regulated gradient.
    CoopGram {
        key: "coop-gram",
        name: "CoOp + GRAM",
        learned: Learned::Prompt(PromptKind::Textual),
        baseline: Some(Method::Coop),
        paper: GRAM,
    }
    /// Textual prompt that is kept near the hand-written one.
    Kgcoop {
        key: "kgcoop",
        name: "KgCoOp",
        learned: Learned::Prompt(PromptKind::Textual),
        objective: KNOWLEDGE_GUIDED,
        paper: "Yao et al., CVPR 2023",
    }
    /// The same, from CoOp's meta-learned initialisation, regulated gradient.
    KgcoopGram {
        key: "kgcoop-gram",
        name: "KgCoOp + GRAM",
        learned: Learned::Prompt(PromptKind::Textual),
        baseline: Some(Method::Kgcoop),
        initialised_as: Some(Method::CoopGram),
        objective: KNOWLEDGE_GUIDED,
        paper: GRAM,
    }
    /// Visual prompt.
    Vpt {
        key: "vpt",
        name: "VPT",
        learned: Learned::Prompt(PromptKind::Visual),
        paper: VPT,
    }
    /// Visual prompt, meta-learned initialisation and regulated gradient.
    VptGram {
        key: "vpt-gram",
        name: "VPT + GRAM",
        learned: Learned::Prompt(PromptKind::Visual),
        baseline: Some(Method::Vpt),
        paper: GRAM,
    }
    /// Visual prompt with tokens before every layer.
    VptDeep {
        key: "vpt-deep",
        name: "VPT, deep",
        learned: Learned::Prompt(PromptKind::Visual),
        deep: true,
        paper: VPT,
    }
    /// Textual and visual prompt at once.
    Joint {
        key: "joint",
        name: "Joint",
        learned: Learned::Prompt(PromptKind::Joint),
        paper: GRAM,
    }
    /// Textual and visual prompt at once, meta-learned initialisation and regulated gradient.
    Unigram {
        key: "unigram",
        name: "UNIGRAM",
        learned: Learned::Prompt(PromptKind::Joint),
        baseline: Some(Method::Joint),
        paper: GRAM,
    }
}

impl Method {
    /// The methods with GRAM that the demo shows, and what they are compared with.
    pub const OF_GRAM: [Method; 7] = [
        Method::ZeroShot,
        Method::Coop,
        Method::CoopGram,
        Method::Vpt,
        Method::VptGram,
        Method::Joint,
        Method::Unigram,
    ];

    /// The name on the command line and in JSON, such as `coop-gram`.
    pub fn key(self) -> &'static str {
        self.facts().key
    }

    /// The name in the paper's tables, such as `CoOp + GRAM`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// What the method learns.
    pub fn learned(self) -> Learned {
        self.facts().learned
    }

    /// The same prompt without GRAM, for the methods that have it.
    pub fn baseline(self) -> Option<Method> {
        self.facts().baseline
    }

    /// The method whose meta-trained initialisation it takes where it has none of its own: itself, or
    /// another.
    pub fn initialised_as(self) -> Method {
        self.facts().initialised_as.unwrap_or(self)
    }

    /// Whether visual tokens stand before every layer, whatever the settings say of their depth.
    pub fn is_deep(self) -> bool {
        self.facts().deep
    }

    /// Whether the hand-written prompt has a part in what is minimised.
    pub fn is_guided(self) -> bool {
        self.facts().objective.is_some()
    }

    /// What is minimised: cross-entropy, unless the method has an objective of its own.
    ///
    /// # Shapes
    /// - hand_written: `[classes, joint width]`, normalised features of the classes under the hand-written
    ///   prompt
    pub fn objective(self, settings: &ObjectiveSettings, hand_written: Tensor<2>) -> Box<dyn Objective> {
        match self.facts().objective {
            Some(objective) => objective(settings, hand_written),
            None => Box::new(CrossEntropy),
        }
    }

    /// What becomes of its gradient.
    pub fn transformations(self) -> Transformations {
        self.facts().transformations
    }

    /// Where it was published: authors, venue and year.
    pub fn paper(self) -> &'static str {
        self.facts().paper
    }

    /// Which prompt the method tunes by descent; none for those that do something else.
    pub fn kind(self) -> Option<PromptKind> {
        match self.learned() {
            Learned::Prompt(kind) => Some(kind),
            Learned::Nothing | Learned::Collection | Learned::Cache { .. } => None,
        }
    }

    /// Whether the method learns that part.
    pub fn prompts(self, part: Part) -> bool {
        self.kind().is_some_and(|kind| kind.has(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_says_what_a_reader_of_tables_needs() {
        for method in Method::ALL {
            assert!(!method.name().is_empty() && !method.paper().is_empty(), "{method:?}");
            assert_eq!(Method::ALL.into_iter().filter(|other| other.name() == method.name()).count(), 1);
        }
    }

    #[test]
    fn a_method_with_gram_learns_what_its_baseline_learns() {
        for (method, baseline) in
            Method::ALL.into_iter().filter_map(|method| Some((method, method.baseline()?)))
        {
            assert_eq!((baseline.learned(), baseline.baseline()), (method.learned(), None), "{method}");
            assert!(method.initialised_as().baseline().is_some(), "{method}");
        }
    }
}
