//! The settings of the demo, and of commands that are given none.

use crate::protocol::ProtocolSettings;
use gram_cluster::{ChcSettings, HdbscanSettings, UmapSettings};
use gram_data::{Augmentation, Sampling};
use gram_meta::episode::{QueryDomains, TopicDraw};
use gram_meta::{EpisodeSettings, InnerLoop, MetaTrainingSettings, OuterOptimizer, RegulatorStart};
use gram_prompt::{Part, PromptKind, Rates, RegulatorForm};
use gram_tune::adaptation::{AdaptationSettings, Regulated};
use gram_tune::design::PromptDesign;
use gram_tune::method_table::ObjectiveSettings;
use gram_tune::prompt_distribution::CollectionSettings;
use gram_tune::tip_adapter::TipAdapterSettings;

use gram_hub::model::DEMO;

/// The sentence around a name, in the words of the built-in model's captions.
pub const TEMPLATE: &str = "a picture of a {}";
/// Images of a class that the demo tunes on.
pub const SHOTS: usize = 4;
/// Seeds that the demo runs.
pub const DEMO_SEEDS: usize = 2;

/// Tuning rates of prompts that start as usual.
pub const BASELINE_RATES: Rates = Rates { text: 0.1, visual: 0.002 };
/// Tuning rates of prompts with a meta-trained start and a regulator.
pub const REGULATED_RATES: Rates = Rates { text: 0.1, visual: 0.004 };
/// Those of joint prompts among them.
pub const REGULATED_JOINT_RATES: Rates = Rates { text: 0.01, visual: 0.004 };

/// What the demo's captions say of a picture's look.
const LOOK_WORDS: &str = "blurry pixelated noisy faded small tiny large tilted upside inverted colours striped \
    black white grey red orange yellow green blue purple pink brown monochrome simple duotone \
    flat shaded outlined outline solid cartoon line bold silhouette";

/// How the pairs `source` are clustered: the paper's steps with BERTopic's settings, but the demo's pairs as
/// [`demo_clustering`] says.
pub fn clustering(source: &str) -> ChcSettings {
    if source == DEMO { demo_clustering() } else { ChcSettings::default() }
}

/// How the demo's pairs are clustered: 16 pictures of every concept, captions that also speak of looks.
pub fn demo_clustering() -> ChcSettings {
    let mut settings = ChcSettings {
        // 500 passes, the default for so few pairs, find the same topics in twice the time.
        umap: UmapSettings { epochs: Some(200), ..UmapSettings::default() },
        hdbscan: HdbscanSettings { min_cluster_size: 10, min_samples: Some(3) },
        ..ChcSettings::default()
    };
    settings.topic_words.languages = vec!["en".to_owned()];
    // A set of cards is not a card here, nor are glasses a glass: names are two words at most.
    settings.topic_words.merge_forms = false;
    settings.topic_words.caption_words.extend(LOOK_WORDS.split_whitespace().map(str::to_owned));
    settings
}

/// How a start of that kind is meta-trained.
pub fn meta_training(kind: PromptKind, seed: u64) -> MetaTrainingSettings {
    // A visual prompt passes every image through the tower, forward and backward: fewer of everything.
    let textual = !kind.has(Part::Visual);
    // New classes in the query set help the visual prompt; of others that could not be shown
    // (docs/results.md).
    let new_ways = if kind == PromptKind::Visual { 8 } else { 0 };
    MetaTrainingSettings {
        seed,
        episodes: EpisodeSettings {
            ways: 8,
            support_shots: 4,
            query_shots: 8,
            new_ways,
            topic_draw: TopicDraw::default(),
            query_domains: QueryDomains::default(),
        },
        inner: InnerLoop {
            steps: 1,
            rates: Rates { text: 0.5, visual: 0.03 },
            first_order: false,
            learn_rates: false,
            momentum: 0.0,
            regulated: Regulated::Velocity,
        },
        regulator: Some(RegulatorStart { deviation: 0.01, gamma_bias: 2.0, form: RegulatorForm::Paper }),
        optimizer: OuterOptimizer::Adam,
        prompt_rate: 1e-3,
        regulator_rate: 1e-3,
        steps: 200,
        meta_batch: 4,
        // Few rows are faster together; those of images are many.
        tasks_at_once: if textual { 2 } else { 1 },
        clip_norm: None,
        inner_rates_rate: 1e-2,
        validation_topics: 0.2,
        validation_episodes: if textual { 40 } else { 12 },
        validation_new_ways: None,
        validation_steps: 25,
        patience: None,
    }
}

/// How prompts are tuned and tested: 10 epochs of SGD with momentum 0.9 and weight decay 5e-4 in batches of
/// 32, a warm-up epoch at 1e-5, then a cosine, as in CoCoOp. The rates are those that did best inside the
/// base classes (`gram study design --data demo`).
pub fn protocol(shots: usize, image_size: u32) -> ProtocolSettings {
    // Before momentum, what the regulator adds to every gradient alike would be taken ten times
    // (docs/results.md).
    let adaptation = |rates, joint_rates| AdaptationSettings {
        epochs: 10,
        batch_size: 32,
        rates,
        joint_rates,
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 1,
        warmup_rate: 1e-5,
        regulated: Regulated::Velocity,
    };
    ProtocolSettings {
        shots,
        sampling: Sampling::Gram,
        design: PromptDesign::default(),
        start_seed: None,
        baseline: adaptation(BASELINE_RATES, None),
        regulated: adaptation(REGULATED_RATES, Some(REGULATED_JOINT_RATES)),
        text_megabytes: 4096,
        conditional_batch_size: 1,
        collection: CollectionSettings::default(),
        tip_adapter: TipAdapterSettings::default(),
        objective: ObjectiveSettings::default(),
        augmentation: Augmentation { scale: (0.6, 1.0), flip: true, size: image_size },
    }
}

/// The settings of CoCoOp's paper, for models other than the built-in one: [`protocol`] with rate 0.002 and
/// crops that take 8 % of an image or more.
pub fn literature(shots: usize, image_size: u32) -> ProtocolSettings {
    let mut settings = protocol(shots, image_size);
    for adaptation in [&mut settings.baseline, &mut settings.regulated] {
        (adaptation.rates, adaptation.joint_rates) = (Rates::both(0.002), None);
    }
    settings.augmentation = Augmentation::coop(image_size);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_range() {
        for kind in [PromptKind::Textual, PromptKind::Visual, PromptKind::Joint] {
            meta_training(kind, 1).validate().unwrap();
        }
        clustering(DEMO).validate().unwrap();
        clustering("pairs.tar").validate().unwrap();
    }
}
