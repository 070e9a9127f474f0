//! The run: batches, loss, gradients, AdamW, checkpoints, and at the end a model folder.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use burn::module::{Module, ParamGroup};
use burn_optim::{AdamWConfig, ModuleOptimizer};
use gram_clip::checkpoint::to_f16_bytes;
use gram_clip::{Clip, ClipTokenizer, Compute, Preprocess};
use gram_data::{Augmentation, LabelledDataset, Pair};
use serde::Serialize;

use crate::PretrainError;
use crate::batches::{Batch, Batches};
use crate::byte_pairs::learn_tokenizer;
use crate::checkpoint::{self, Checkpoint};
use crate::config::PretrainConfig;
use crate::gradients::loss_and_gradients;
use crate::random_start::RandomStart;
use crate::zero_shot::zero_shot;

/// The sentence that a zero-shot class is compared with.
pub const TEMPLATE: &str = "a picture of a {}";
/// The logit scale is kept at 100 or below, as in CLIP (section 2.5).
const HIGHEST_LOGIT_SCALE: f64 = 4.605_170_185_988_092;

/// The files and folders that a pre-training makes in its folder.
pub const MAKES: [&str; 7] = [
    checkpoint::CHECKPOINT,
    "checkpoint.next",
    "checkpoint.old",
    "metrics.jsonl",
    "model",
    "model.next",
    "model.old",
];

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Metric {
    /// A step of training.
    Step {
        /// Steps done.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Contrastive loss of the batch.
        loss: f32,
        /// Learning rate.
        rate: f64,
        /// Pairs a second since the run was started or went on.
        pairs_per_second: f64,
    },
    /// Zero-shot accuracy, in percent.
    ZeroShot {
        /// Steps done.
        step: usize,
        /// The labelled dataset.
        dataset: String,
        /// Over all its images.
        accuracy: f64,
        /// By domain.
        domains: Vec<(String, f64)>,
    },
}

/// What a pre-training needs.
pub struct Pretraining<'a> {
    /// The configuration.
    pub config: PretrainConfig,
    /// The pairs.
    pub pairs: &'a [Pair],
    /// Labelled datasets by other hands, to report zero-shot accuracy on after every epoch.
    pub held_out: &'a [LabelledDataset],
    /// The run's folder.
    pub out: &'a Path,
}

impl Pretraining<'_> {
    /// Trains to the end, from the last checkpoint in the run's folder if there is one, and writes
    /// `OUT/model/`.
    ///
    /// # Errors
    /// [`PretrainError`]; the last checkpoint stays.
    pub fn run(mut self, compute: &Compute, observe: &mut dyn FnMut(&Metric)) -> Result<(), PretrainError> {
        let batch_size = self.config.training.batch_size;
        if self.pairs.len() < batch_size {
            return Err(PretrainError::TooFewPairs { found: self.pairs.len(), batch_size });
        }
        fs::create_dir_all(self.out)
            .map_err(|source| PretrainError::File { path: self.out.to_owned(), source })?;
        let start = match checkpoint::load(self.out, &self.config, self.optimizer(), compute)? {
            Some(checkpoint) => checkpoint,
            None => self.fresh(compute)?,
        };
        self.forget_metrics_after(start.step)?;
        let tokenizer = ClipTokenizer::from_bytes(start.tokenizer.as_bytes())?;
        self.config.model = start.clip.config.clone();
        let preprocess = Preprocess::clip(self.config.model.vision_config.image_size as u32);
        let (clip, text) = self.train(start, &tokenizer, &preprocess, compute, observe)?;
        self.write_model(&clip, &text, &preprocess)
    }

    /// AdamW with CLIP's moments; no decay on biases, norms and the scale.
    fn optimizer(&self) -> ModuleOptimizer {
        let adamw = |decay| {
            AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.98).with_epsilon(1e-6).with_weight_decay(decay)
        };
        let undecayed =
            ParamGroup::from_any_predicates(vec!["norm", "bias", "logit_scale", "class_embedding"]);
        adamw(self.config.training.weight_decay).init().with_group(undecayed, adamw(0.0).build(), None)
    }

    fn fresh(&self, compute: &Compute) -> Result<Checkpoint, PretrainError> {
        let captions: Vec<&str> = self.pairs.iter().map(|pair| pair.caption.as_str()).collect();
        let learned = learn_tokenizer(&captions, self.config.vocabulary)?;
        let mut model = self.config.model.clone();
        model.text_config.vocab_size = learned.get_vocab_size(true);
        let tokenizer = learned
            .to_string(false)
            .map_err(|error| PretrainError::Tokenizer { problem: error.to_string() })?;
        let marks = ClipTokenizer::from_bytes(tokenizer.as_bytes())?;
        (model.text_config.bos_token_id, model.text_config.eos_token_id) = (marks.start(), marks.end());
        let clip = Clip::read(&model, &mut RandomStart::new(&model, self.config.seed), compute)?;
        Ok(Checkpoint { step: 0, clip, optimizer: self.optimizer(), tokenizer })
    }

    fn train(
        &self,
        start: Checkpoint,
        tokenizer: &ClipTokenizer,
        preprocess: &Preprocess,
        compute: &Compute,
        observe: &mut dyn FnMut(&Metric),
    ) -> Result<(Clip, String), PretrainError> {
        let training = &self.config.training;
        let batches = Batches {
            pairs: self.pairs,
            tokenizer,
            preprocess,
            augmentation: Augmentation {
                scale: (training.smallest_crop, 1.0),
                flip: false,
                size: preprocess.crop,
            },
            longest_caption: training.longest_caption,
            batch_size: training.batch_size,
            seed: self.config.seed,
        };
        let per_epoch = batches.per_epoch();
        let steps = training.epochs * per_epoch;
        let Checkpoint { step: first, clip, mut optimizer, tokenizer: text } = start;
        let mut clip = clip.train();
        let mut order = batches.order(first / per_epoch);
        let clock = Instant::now();
        for step in first..steps {
            let (epoch, index) = (step / per_epoch, step % per_epoch);
            if index == 0 {
                order = batches.order(epoch);
            }
            let batch = batches.batch(&order, epoch, index, &compute.device())?;
            let rate = training.rate(step, steps);
            let loss;
            (clip, loss) = descend(clip, &mut optimizer, &batch, tokenizer.start(), rate);
            if !loss.is_finite() {
                return Err(PretrainError::Diverged { step });
            }
            let pairs = ((step + 1 - first) * training.batch_size) as f64;
            let pairs_per_second = pairs / clock.elapsed().as_secs_f64();
            self.record(Metric::Step { step: step + 1, steps, loss, rate, pairs_per_second }, observe)?;
            if (step + 1) % per_epoch == 0 {
                self.report(&clip.valid(), tokenizer, preprocess, step + 1, compute, observe)?;
            }
            if (step + 1) % training.checkpoint_steps == 0 || step + 1 == steps {
                checkpoint::save(self.out, step + 1, &self.config, &clip, &optimizer, &text)?;
            }
        }
        Ok((clip.valid(), text))
    }

    fn report(
        &self,
        clip: &Clip,
        tokenizer: &ClipTokenizer,
        preprocess: &Preprocess,
        step: usize,
        compute: &Compute,
        observe: &mut dyn FnMut(&Metric),
    ) -> Result<(), PretrainError> {
        for dataset in self.held_out {
            let (accuracy, domains) =
                zero_shot(clip, tokenizer, preprocess, dataset, TEMPLATE, &compute.device())?;
            let metric = Metric::ZeroShot { step, dataset: dataset.name.clone(), accuracy, domains };
            self.record(metric, observe)?;
        }
        Ok(())
    }

    fn record(&self, metric: Metric, observe: &mut dyn FnMut(&Metric)) -> Result<(), PretrainError> {
        observe(&metric);
        let path = self.out.join("metrics.jsonl");
        let line = serde_json::to_string(&metric).unwrap_or_default();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|source| PretrainError::File { path, source })
    }

    /// Drops the metrics of steps that an interrupted run did after its last checkpoint: they are done again.
    fn forget_metrics_after(&self, step: usize) -> Result<(), PretrainError> {
        let path = self.out.join("metrics.jsonl");
        if !path.exists() {
            return Ok(());
        }
        let text =
            fs::read_to_string(&path).map_err(|source| PretrainError::File { path: path.clone(), source })?;
        let done = |line: &&str| {
            let metric = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
            metric["step"].as_u64().is_some_and(|of| of <= step as u64)
        };
        let kept: String = text.lines().filter(done).flat_map(|line| [line, "\n"]).collect();
        checkpoint::write(&path, kept.as_bytes())
    }

    fn write_model(
        &self,
        clip: &Clip,
        tokenizer: &str,
        preprocess: &Preprocess,
    ) -> Result<(), PretrainError> {
        let mut config = serde_json::to_value(&clip.config).unwrap_or_default();
        config["architectures"] = serde_json::json!(["CLIPModel"]);
        config["model_type"] = serde_json::json!("clip");
        for tower in ["text_config", "vision_config"] {
            config[tower]["projection_dim"] = serde_json::json!(clip.config.projection_dim);
        }
        checkpoint::replace(self.out, "model", |folder| {
            checkpoint::write(&folder.join("config.json"), format!("{config:#}\n").as_bytes())?;
            checkpoint::write(&folder.join("model.safetensors"), &to_f16_bytes(&clip.named_weights())?)?;
            checkpoint::write(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
            checkpoint::write(
                &folder.join("preprocessor_config.json"),
                Preprocess::clip_json(preprocess.crop).as_bytes(),
            )
        })
    }
}

/// One step of AdamW on one batch; the loss before it.
fn descend(clip: Clip, optimizer: &mut ModuleOptimizer, batch: &Batch, start: u32, rate: f64) -> (Clip, f32) {
    let (loss, gradients) = loss_and_gradients(&clip, batch, start);
    let mut clip = optimizer.step(rate, clip, gradients);
    clip.logit_scale = clip.logit_scale.map(|scale| {
        let clamped = scale.clone().inner().clamp_max(HIGHEST_LOGIT_SCALE);
        gram_clip::signal::leaf(clamped)
    });
    (clip, loss)
}
