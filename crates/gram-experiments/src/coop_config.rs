//! Configurations of CoOp's and CoCoOp's code, as settings.
//!
//! Their scripts read YAML files and options after them, `KEY VALUE` by `KEY VALUE`, of which the last counts
//! (yacs, as Dassl uses it). What is said is mapped, what only concerns their program (workers, folders,
//! printing) is left out, and what gram cannot do is refused. What is not said stays as it is in gram, but
//! the number of context tokens, which is 16 in their code.
//!
//! Reference: the configurations in Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022,
//! and "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, as released with the papers.

use std::path::PathBuf;

use gram_data::{ClassSubset, read_text};
use gram_prompt::PromptKind;
use gram_report::results::Method;
use serde_json::{Map, Value, json};

use crate::error::{Context, Result, refuse, refused, require};

/// Context tokens where none are named.
const CONTEXT_TOKENS: usize = 16;

/// What a configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoopConfig {
    /// Settings, as a file of settings says them.
    pub settings: Map<String, Value>,
    /// The model.
    pub model: Option<String>,
    /// Shots of a class.
    pub shots: Option<usize>,
    /// The classes.
    pub classes: Option<ClassSubset>,
    /// The template of the context's words.
    pub template: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
    /// What each key became, in the order in which they were said.
    pub told: Vec<String>,
}

/// A key with its value, and where it is said.
struct Said {
    key: String,
    value: Value,
    place: String,
}

impl CoopConfig {
    /// Reads files, and the options after them, for a method.
    ///
    /// # Errors
    /// If a file is no YAML, a key is unknown, or a value is nothing that gram can do; names the file and the
    /// key.
    pub fn read(files: &[PathBuf], options: &[String], method: Method) -> Result<Self> {
        let kind = method.kind();
        require!(
            matches!(kind, Some(PromptKind::Textual | PromptKind::Conditional)),
            "--coop-config: it is for coop and cocoop, not for {}",
            method.key()
        );
        let mut said = Vec::new();
        for path in files {
            let place = path.display().to_string();
            let text = read_text(path)?;
            let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
                let problem = error.to_string();
                refused!("{place}: it is no YAML: {}", problem.lines().next().unwrap_or_default())
            })?;
            require!(value.is_object() || value.is_null(), "{place}: it has no `KEY: value`");
            flatten("", value, &place, &mut said);
        }
        require!(
            options.len().is_multiple_of(2),
            "--coop-options: `{}` has no value",
            options.last().map_or("", |last| last)
        );
        for pair in options.chunks_exact(2) {
            let value = serde_saphyr::from_str(&pair[1]).unwrap_or_else(|_| json!(pair[1]));
            flatten(&pair[0], value, "--coop-options", &mut said);
        }
        let mut last: Vec<Said> = Vec::new();
        for next in said {
            last.retain(|earlier| earlier.key != next.key);
            last.push(next);
        }
        let mut config = Self::default();
        let is_conditional = kind == Some(PromptKind::Conditional);
        if method.baseline().is_none() {
            config.set(&["design", "context_tokens"], json!(CONTEXT_TOKENS));
        }
        for Said { key, value, place } in &last {
            let became = config
                .take(key, value, is_conditional)
                .with_context(|| format!("{place}: {key}: {value}"))?;
            config.told.extend(became.map(|became| format!("{key} {}: {became}", plain(value))));
        }
        if config.template.is_some() {
            // As in their code, words come before a number of tokens.
            config.set(&["design", "context_tokens"], json!(0));
        }
        Ok(config)
    }

    /// Takes over a key; says what it became, unless it is nothing that a prompt depends on.
    fn take(&mut self, key: &str, value: &Value, is_conditional: bool) -> Result<Option<String>> {
        let trainer = if is_conditional { "TRAINER.COCOOP." } else { "TRAINER.COOP." };
        let key = match key.strip_prefix(trainer) {
            Some(own) => own,
            None if key.starts_with("TRAINER.CO") => return Ok(Some("is of another trainer".into())),
            None => key,
        };
        let became = match key {
            "N_CTX" => self.put(&["design", "context_tokens"], json!(count(value)?)),
            "CSC" => self.put(&["design", "class_specific"], json!(flag(value)?)),
            "CLASS_TOKEN_POSITION" => {
                let position = one_of(value, &["end", "middle", "front"])?;
                self.put(&["design", "class_position"], json!(position))
            }
            "CTX_INIT" => match text(value)?.replace('_', " ").trim() {
                "" => return Ok(None),
                words => {
                    let template = format!("{words} {{}}.");
                    let became = format!("template `{template}`");
                    self.template = Some(template);
                    became
                }
            },
            "PREC" => {
                one_of(value, &["fp16", "fp32", "amp"])?;
                "f32, unless --precision says otherwise for the frozen towers".into()
            }
            "OPTIM.NAME" => is("sgd", value)?,
            "OPTIM.LR" => {
                let rate = number(value)?;
                self.adaptation("rates", json!({"text": rate, "visual": rate}));
                format!("--rate {rate}")
            }
            "OPTIM.MAX_EPOCH" => self.adaptation("epochs", json!(count(value)?)),
            "OPTIM.LR_SCHEDULER" => is("cosine", value)?,
            "OPTIM.WARMUP_EPOCH" => {
                // Their code has -1 for none.
                let epochs = number(value)?.max(0.0) as usize;
                self.adaptation("warmup_epochs", json!(epochs))
            }
            "OPTIM.WARMUP_TYPE" => is("constant", value)?,
            "OPTIM.WARMUP_CONS_LR" => self.adaptation("warmup_rate", json!(number(value)?)),
            "OPTIM.MOMENTUM" => self.adaptation("momentum", json!(number(value)?)),
            "OPTIM.WEIGHT_DECAY" => self.adaptation("weight_decay", json!(number(value)?)),
            "DATALOADER.TRAIN_X.BATCH_SIZE" if is_conditional => {
                self.put(&["conditional_batch_size"], json!(count(value)?))
            }
            "DATALOADER.TRAIN_X.BATCH_SIZE" => self.adaptation("batch_size", json!(count(value)?)),
            "INPUT.TRANSFORMS" => self.transforms(value)?,
            "INPUT.RRCROP_SCALE" => self.put(&["augmentation", "scale"], json!(numbers(value)?)),
            "INPUT.INTERPOLATION" => is("bicubic", value)?,
            "INPUT.PIXEL_MEAN" => are(&CLIP_MEAN, value)?,
            "INPUT.PIXEL_STD" => are(&CLIP_DEVIATION, value)?,
            "INPUT.SIZE" => "the model's own image size".into(),
            "MODEL.BACKBONE.NAME" => {
                self.model = Some(text(value)?.to_owned());
                "the model, where --model names none".into()
            }
            "DATASET.NUM_SHOTS" => {
                self.shots = Some(count(value)?);
                format!("--shots {}", count(value)?)
            }
            "DATASET.SUBSAMPLE_CLASSES" => {
                let classes = one_of(value, &["all", "base", "new"])?;
                self.classes = classes.parse().ok();
                format!("--classes {classes}")
            }
            "DATASET.NAME" => "the dataset is what --data names".into(),
            "SEED" => {
                self.seed = Some(count(value)? as u64);
                "the seed".into()
            }
            _ if LEFT_OUT.iter().any(|known| key == *known || key.starts_with(&format!("{known}."))) => {
                return Ok(None);
            }
            _ => refuse!("gram does not know this key: take it away, or say it in gram's own settings"),
        };
        Ok(Some(became))
    }

    /// A random crop and a mirrored image, or neither.
    fn transforms(&mut self, value: &Value) -> Result<String> {
        let names: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let known = ["random_resized_crop", "random_flip", "normalize", "center_crop", "resize"];
        if let Some(other) = names.iter().find(|name| !known.contains(name)) {
            refuse!("gram has no augmentation `{other}`: take it away");
        }
        let crops = names.contains(&"random_resized_crop");
        let scale = if crops { [0.08, 1.0] } else { [1.0, 1.0] };
        let flip = names.contains(&"random_flip");
        self.set(&["augmentation", "scale"], json!(scale));
        self.set(&["augmentation", "flip"], json!(flip));
        Ok(format!("augmentation.scale {}, augmentation.flip {flip}", json!(scale)))
    }

    /// A setting of tuning, with and without a regulator.
    fn adaptation(&mut self, name: &str, value: Value) -> String {
        self.set(&["regulated", name], value.clone());
        self.put(&["baseline", name], value)
    }

    fn put(&mut self, keys: &[&str], value: Value) -> String {
        let became = format!("{} {value}", keys.join("."));
        self.set(keys, value);
        became
    }

    fn set(&mut self, keys: &[&str], value: Value) {
        let mut table = &mut self.settings;
        for key in &keys[..keys.len() - 1] {
            let below = table.entry(*key).or_insert_with(|| json!({}));
            match below {
                Value::Object(below) => table = below,
                _ => return,
            }
        }
        table.insert(keys[keys.len() - 1].to_owned(), value);
    }
}

/// What their program needs and no prompt depends on; also all keys below them.
const LEFT_OUT: [&str; 14] = [
    "DATALOADER.TEST",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TRAIN_X.SAMPLER",
    "DATASET.ROOT",
    "DATASET.NUM_LABELED",
    "TRAIN",
    "TEST",
    "TRAINER.NAME",
    "OUTPUT_DIR",
    "RESUME",
    "USE_CUDA",
    "VERBOSE",
    "VERSION",
    "MODEL.INIT_WEIGHTS",
];

/// The mean and the standard deviation of colours that CLIP's images are normalised by.
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_DEVIATION: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

fn flatten(key: &str, value: Value, place: &str, said: &mut Vec<Said>) {
    match value {
        Value::Object(below) => below.into_iter().for_each(|(name, value)| {
            let key = if key.is_empty() { name } else { format!("{key}.{name}") };
            flatten(&key, value, place, said);
        }),
        Value::Null if key.is_empty() => {}
        value => said.push(Said { key: key.to_owned(), value, place: place.to_owned() }),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("it is a text")
}

fn one_of<'a>(value: &'a Value, known: &[&str]) -> Result<&'a str> {
    let text = text(value)?;
    require!(known.contains(&text), "it is one of {}", known.join(", "));
    Ok(text)
}

fn is(known: &str, value: &Value) -> Result<String> {
    require!(value.as_str() == Some(known), "gram has {known} alone");
    Ok("as in gram".into())
}

/// Python writes some numbers so that YAML reads a text.
fn number(value: &Value) -> Result<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).context("it is a number")
}

fn count(value: &Value) -> Result<usize> {
    let count = number(value)?;
    require!(count >= 0.0 && count.fract() == 0.0, "it is a whole number");
    Ok(count as usize)
}

fn flag(value: &Value) -> Result<bool> {
    let said = value.as_bool().or_else(|| value.as_str()?.to_lowercase().parse().ok());
    said.context("it is True or False")
}

/// A list, or a tuple as Python writes it, which YAML reads as a text.
fn numbers(value: &Value) -> Result<Vec<f64>> {
    match value {
        Value::Array(all) => all.iter().map(number).collect(),
        Value::String(text) => {
            let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
            inner
                .split(',')
                .map(|number| number.trim().parse().ok().context("it is a list of numbers"))
                .collect()
        }
        _ => refuse!("it is a list of numbers"),
    }
}

fn are(known: &[f64; 3], value: &Value) -> Result<String> {
    let found = numbers(value)?;
    let near = found.len() == 3 && found.iter().zip(known).all(|(one, other)| (one - other).abs() < 1e-4);
    require!(near, "CLIP's images are normalised by {known:?}");
    Ok("as in gram".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str, options: &[&str], method: Method) -> Result<CoopConfig> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        CoopConfig::read(&[file.path().to_owned()], &options, method)
    }

    const FILE: &str = "DATALOADER:\n  TRAIN_X:\n    BATCH_SIZE: 16\n  NUM_WORKERS: 8\nINPUT:\n  SIZE: (224, 224)\n  \
                        TRANSFORMS: [\"random_resized_crop\", \"normalize\"]\nOPTIM:\n  NAME: \"sgd\"\n  LR: 0.004\n  \
                        MAX_EPOCH: 7\n  WARMUP_EPOCH: -1\n  WARMUP_CONS_LR: 1e-5\nTRAINER:\n  COOP:\n    CSC: True\n    \
                        CLASS_TOKEN_POSITION: middle\n  COCOOP:\n    CTX_INIT: \"a_photo of a\"\n";

    #[test]
    fn what_a_file_says_becomes_settings() {
        let config = read(FILE, &[], Method::Coop).unwrap();
        let baseline = &config.settings["baseline"];
        let expected = json!({"batch_size": 16, "rates": {"text": 0.004, "visual": 0.004}, "epochs": 7,
                              "warmup_epochs": 0, "warmup_rate": 1e-5});
        assert_eq!((baseline, &config.settings["regulated"]), (&expected, &expected));
        let design = json!({"context_tokens": 16, "class_specific": true, "class_position": "middle"});
        assert_eq!(config.settings["design"], design);
        assert_eq!(config.settings["augmentation"], json!({"scale": [0.08, 1.0], "flip": false}));
        assert_eq!(config.template, None);
        assert!(
            config.told.contains(&"TRAINER.COCOOP.CTX_INIT a_photo of a: is of another trainer".to_owned())
        );
        assert!(!config.told.iter().any(|told| told.contains("NUM_WORKERS")));
    }

    #[test]
    fn words_of_a_context_are_the_template_of_their_trainer() {
        let config = read(FILE, &["TRAINER.COCOOP.N_CTX", "4"], Method::Cocoop).unwrap();
        assert_eq!(config.template.as_deref(), Some("a photo of a {}."));
        assert_eq!(config.settings["design"], json!({"context_tokens": 0}));
        assert_eq!(config.settings["conditional_batch_size"], 16);
    }

    #[test]
    fn options_come_after_files() {
        let options =
            ["OPTIM.LR", "0.1", "DATASET.NUM_SHOTS", "4", "DATASET.SUBSAMPLE_CLASSES", "base", "SEED", "3"];
        let more = [
            "INPUT.RRCROP_SCALE",
            "(0.5, 1)",
            "TRAINER.COOP.CSC",
            "False",
            "MODEL.BACKBONE.NAME",
            "ViT-B/16",
        ];
        let config = read(FILE, &[&options[..], &more].concat(), Method::Coop).unwrap();
        assert_eq!(config.settings["baseline"]["rates"]["text"], 0.1);
        assert_eq!(config.settings["augmentation"]["scale"], json!([0.5, 1.0]));
        assert_eq!(config.settings["design"]["class_specific"], false);
        assert_eq!((config.shots, config.classes, config.seed), (Some(4), Some(ClassSubset::Base), Some(3)));
        assert_eq!(config.model.as_deref(), Some("ViT-B/16"));
    }

    #[test]
    fn what_gram_cannot_do_is_refused_by_its_key() {
        let refused = |options: &[&str]| read(FILE, options, Method::Coop).unwrap_err().to_string();
        let cases = [
            (["OPTIM.NAME", "adam"], "gram has sgd alone"),
            (["OPTIM.LR_SCHEDULER", "single_step"], "gram has cosine alone"),
            (["OPTIM.MAX_EPOCH", "many"], "it is a number"),
            (["INPUT.TRANSFORMS", "[colorjitter]"], "gram has no augmentation `colorjitter`"),
            (["INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"], "CLIP's images are normalised by"),
            (["TRAINER.COOP.CLASS_TOKEN_POSITION", "start"], "it is one of end, middle, front"),
            (["TRAINER.OTHER.N", "1"], "gram does not know this key"),
        ];
        for (option, problem) in cases {
            let said = refused(&option);
            assert!(
                said.starts_with(&format!("--coop-options: {}", option[0])) && said.contains(problem),
                "{said}"
            );
        }
        assert!(refused(&["SEED"]).contains("`SEED` has no value"));
        assert!(read("a: [", &[], Method::Coop).unwrap_err().to_string().contains("it is no YAML: "));
        assert!(read("text", &[], Method::Coop).unwrap_err().to_string().contains("it has no `KEY: value`"));
        assert!(read(FILE, &[], Method::Vpt).unwrap_err().to_string().contains("it is for coop and cocoop"));
    }
}
