//! `gram cluster`: image-text pairs to topics and domains.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Args};
use gram_clip::Model;
use gram_cluster::cost::{self, StageCost};
use gram_cluster::{ChcSettings, Clusters, LeftOut, Rows, StagesIn, Topic};
use gram_data::{Pairs, SkipCause, Skipped};
use gram_experiments::clustering::{
    CLUSTERED, PairFeatures, cluster_features, cluster_pairs, once_clustered,
};
use gram_experiments::run_folder::{Run, RunFolder, encoder_identity, model_identity};
use gram_experiments::{defaults, settings_file, whole_file};
use gram_features::feature_folder::{self, FeatureFolder};
use gram_hub::model::{is_built_in, note_what_tiny_knows, open_model, open_model_or_own, open_pairs};
use gram_report::report::clusters_page;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::arguments::{Anew, Common};
use crate::destination;
use crate::output::{self, OutputError, shown};
use crate::progress::bar;
use crate::seeing_cost::{self, SeeingCost};

/// Topics that are printed.
const LARGEST: usize = 10;
/// Words of a topic that are printed.
const WORDS: usize = 5;

/// Arguments of `gram cluster`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("input").args(["pairs", "features"]).required(true).multiple(true),
    after_help = "Examples:\n  gram cluster --pairs demo --out runs/clusters\n  gram cluster --features features --pairs shards --out runs/clusters --similarity-quantile 0.1"
)]
pub struct ClusterArguments {
    /// A folder or file with a CLIP checkpoint, an id on the hub, or the built-in `tiny` (default). With
    /// --features it must be the model that they come from, and only checks names of topics in their images.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Image-text pairs: WebDataset shards, a folder of them, a manifest, or `demo`. With --features they
    /// give the pictures of the map; `demo` also has settings of its own.
    #[arg(long, value_name = "SRC")]
    pairs: Option<String>,
    /// Features computed before by `gram embed` or clip-retrieval. No model is needed.
    #[arg(long, value_name = "DIR", conflicts_with = "sentence_bert")]
    features: Option<PathBuf>,
    /// Folder for topics and domains. The same command continues where it was stopped.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// A Sentence-BERT folder that embeds the captions. Default: the model's text tower.
    #[arg(long, value_name = "DIR")]
    sentence_bert: Option<PathBuf>,
    /// Settings (TOML), any part of them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Drops pairs whose image and caption are less similar than this.
    #[arg(long, value_name = "COSINE")]
    minimum_similarity: Option<f32>,
    /// Drops this share of the pairs, those whose image and caption are least similar.
    #[arg(long, value_name = "PART")]
    similarity_quantile: Option<f32>,
    /// Embeds by UMAP and clusters only N of the pairs. The others join their nearest neighbours among
    /// these.
    #[arg(long, value_name = "N")]
    fit_sample: Option<usize>,
    /// Largest number of domains per topic.
    #[arg(long, value_name = "U")]
    domains: Option<usize>,
    /// Chooses the number of domains for each topic, up to --domains.
    #[arg(long)]
    choose_domains: bool,
    /// Smallest number of pairs per topic.
    #[arg(long, value_name = "N")]
    min_cluster_size: Option<usize>,
    /// Lets a topic word be two words, such as "ice cream".
    #[arg(long)]
    phrases: bool,
    /// The languages of the captions: two letters each (ISO 639-1), separated by commas, the most frequent
    /// first. Default: they are detected.
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    language: Vec<String>,
    /// Estimates time and memory, and does nothing else.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(arguments: &ClusterArguments, common: &Common) -> Result<()> {
    let resolved = arguments.resolve(common)?;
    if arguments.dry_run {
        return Ok(resolved.cost()?.print(common.json)?);
    }
    let (clusters, pairs, cut_captions) = resolved.run()?;
    match common.json {
        true => output::json(&summary(&clusters, &pairs, cut_captions, arguments))?,
        false => print(&clusters, &pairs, cut_captions, arguments)?,
    }
    Ok(())
}

/// What a clustering makes in its folder.
const MAKES: [&str; 6] =
    [STAGES, CLUSTERED, "pairs.parquet", "topics.json", "left_out.jsonl", "clusters.html"];
/// Stages that are done.
const STAGES: &str = "finished";

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a ClusterArguments,
    settings: ChcSettings,
    seed: u64,
    seen: Seen,
}

/// What a clustering works with.
enum Seen {
    /// Features, the model that they are of, and their pairs, if these are given.
    Features(FeatureFolder, Option<Model>, Option<Pairs>),
    /// Pairs, which a model is to see.
    Pairs(Model, Pairs),
}

/// What became of the pairs before they were clustered.
#[derive(Serialize, Deserialize)]
struct Clustered {
    /// Captions that were cut, where a model read them.
    cut_captions: Option<usize>,
    /// Keys of pairs whose images could not be decoded, and why.
    unreadable: Vec<(String, String)>,
}

/// The pairs whose images cannot be decoded, and why.
fn unreadable(pairs: &Pairs, features: &PairFeatures) -> Vec<(String, String)> {
    let key = |(row, problem): &(usize, String)| (pairs.pairs[*row].key.clone(), problem.clone());
    features.unreadable.iter().map(key).collect()
}

impl Resolved<'_> {
    /// Clusters what is not clustered yet, and writes what came out: topics and domains, the pairs, and how
    /// many captions were cut.
    fn run(self) -> Result<(Clusters, Pairs, Option<usize>)> {
        let (out, restart) = (&self.arguments.out, self.arguments.anew.restart);
        let identity = self.identity()?;
        let run = Run { command: "cluster", identity: &identity, makes: &MAKES, restart };
        let folder = RunFolder::claim(out, &run)?;
        let (clusters, done) = once_clustered(&folder, out, || self.cluster())?;
        let mut pairs = match self.seen {
            Seen::Pairs(_, pairs) => pairs,
            Seen::Features(features, _, pairs) => {
                let mut pairs = pairs.unwrap_or_default();
                pairs.skipped.extend(features.skipped);
                pairs
            }
        };
        let unreadable =
            |(name, problem)| Skipped { name, cause: SkipCause::UnreadableImage, detail: Some(problem) };
        pairs.skipped.extend(done.unreadable.into_iter().map(unreadable));
        pairs.write_skipped(&out.join("left_out.jsonl"))?;
        let page = clusters_page(&clusters, &pairs);
        whole_file::write(&out.join("clusters.html"), page.as_bytes())?;
        // Stages are kept until their outcome is.
        folder.forget(STAGES)?;
        Ok((clusters, pairs, done.cut_captions))
    }

    /// What decides the topics and domains.
    fn identity(&self) -> Result<Value> {
        let arguments = self.arguments;
        let (model, pairs) = match &self.seen {
            Seen::Features(_, model, pairs) => (model.as_ref(), pairs.as_ref()),
            Seen::Pairs(model, pairs) => (Some(model), Some(pairs)),
        };
        Ok(json!({
            "settings": self.settings,
            "seed": self.seed,
            "features": arguments.features.as_deref().map(feature_folder::fingerprint).transpose()?,
            "model": model.map(model_identity).transpose()?,
            "caption_encoder": encoder_identity(arguments.sentence_bert.as_deref())?,
            "pairs": pairs.map(Pairs::fingerprint),
        }))
    }

    /// Clusters, and says what became of the pairs before.
    fn cluster(&self) -> gram_experiments::Result<(Clusters, Clustered)> {
        let Self { arguments, settings, seed, seen } = self;
        let (stages, progress) = (arguments.out.join(STAGES), &bar("pairs"));
        let stages = StagesIn::Folder(&stages);
        let (clusters, cut_captions, unreadable) = match seen {
            Seen::Features(features, model, _) => {
                let model = model.as_ref();
                let clusters = cluster_features(features, model, settings, *seed, stages, progress)?;
                (clusters, None, Vec::new())
            }
            Seen::Pairs(model, pairs) => {
                let encoder = arguments.sentence_bert.as_deref();
                let (clusters, features) =
                    cluster_pairs(model, pairs, encoder, settings, *seed, stages, progress)?;
                let (cut, unreadable) = (features.cut_captions, unreadable(pairs, &features));
                (clusters, Some(cut), unreadable)
            }
        };
        Ok((clusters, Clustered { cut_captions, unreadable }))
    }

    /// What the command costs.
    fn cost(&self) -> Result<Cost> {
        // Before anything is tried, the process holds what it will hold all the time: the weights and the
        // tables.
        let held = seeing_cost::current_megabytes().unwrap_or(0.0);
        let ((points, width), of_features, mut seeing) = match &self.seen {
            Seen::Features(features, ..) => {
                (features.caption_embeddings().shape(), features.bytes_in_memory(), None)
            }
            Seen::Pairs(model, pairs) => {
                let see = |model: &Model, some: &Pairs| {
                    let sentence_bert = self.arguments.sentence_bert.as_deref();
                    PairFeatures::new(model, some, sentence_bert, &self.settings.topic_words, &())
                };
                let seeing = seeing_cost::of(model, pairs, see)?;
                let (points, width) = (pairs.pairs.len(), model.clip.config.projection_dim);
                // Images and captions, as `PairFeatures` holds them.
                ((points, width), 2 * points * width * size_of::<f32>(), Some(seeing))
            }
        };
        let of_features = of_features as f64 / f64::from(1 << 20);
        if let Some(SeeingCost { megabytes: Some(megabytes), .. }) = &mut seeing {
            *megabytes += of_features;
        }
        let mut stages = cost::of(points, width, &self.settings);
        stages.iter_mut().for_each(|stage| stage.megabytes += held + of_features);
        Ok(Cost { pairs: points, seeing, stages })
    }
}

impl ClusterArguments {
    /// Opens and checks everything.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        if !self.dry_run {
            destination::folder(&self.out)?;
            let corrections = self.out.join(Clusters::CORRECTIONS);
            let are_found = self.out.join("topics.json").is_file() && !self.anew.restart;
            ensure!(
                are_found || !corrections.exists(),
                "{}: it corrects topics of an earlier clustering, and topics are found anew now: move it away, and adapt it \
                 to the new ones before you put it back",
                corrections.display()
            );
        }
        let settings = self.settings()?;
        settings.validate()?;
        let mut features = self.features.as_deref().map(FeatureFolder::open).transpose()?;
        let model = self.model(features.as_ref(), common)?;
        let pairs = self.pairs.as_deref().map(open_pairs).transpose()?;
        if let Some(model) = &model {
            note_what_tiny_knows(model, !self.pairs.as_deref().is_none_or(is_built_in));
        }
        if let Some(pairs) = &pairs {
            output::note(format!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary()));
        }
        if let (Some(features), Some(pairs)) = (&mut features, &pairs) {
            features.match_with(pairs)?;
        }
        let seen = match (features, model, pairs) {
            (Some(features), model, pairs) => Seen::Features(features, model, pairs),
            (None, Some(model), Some(pairs)) => Seen::Pairs(model, pairs),
            _ => bail!("neither --pairs nor --features is given"),
        };
        Ok(Resolved { arguments: self, settings, seed: common.seed, seen })
    }

    /// The model. Beside features, which must be of it, only the one that is given.
    fn model(&self, features: Option<&FeatureFolder>, common: &Common) -> Result<Option<Model>> {
        let (Some(path), Some(features)) = (&self.features, features) else {
            let model = open_model_or_own(self.model.as_deref(), None, &common.compute()?, &bar("download"))?;
            return Ok(Some(model));
        };
        let Some(given) = &self.model else { return Ok(None) };
        match &features.model {
            Some(own) => {
                let given = open_model(given, &common.compute()?, &bar("download"))?;
                own.check(&given.identity()?).with_context(|| path.display().to_string())?;
                Ok(Some(given))
            }
            None => {
                output::note_once(format!(
                    "gram: {}: it does not say which model its features are of: --model {given} is not used",
                    path.display()
                ));
                Ok(None)
            }
        }
    }

    fn settings(&self) -> Result<ChcSettings> {
        let mut settings = defaults::clustering(self.pairs.as_deref().unwrap_or_default());
        if let Some(path) = &self.config {
            settings = settings_file::over(&settings, path)?;
        }
        settings.minimum_similarity = self.minimum_similarity.or(settings.minimum_similarity);
        settings.similarity_quantile = self.similarity_quantile.unwrap_or(settings.similarity_quantile);
        settings.fit_sample = self.fit_sample.or(settings.fit_sample);
        settings.domains = self.domains.unwrap_or(settings.domains);
        settings.choose_domains |= self.choose_domains;
        settings.hdbscan.min_cluster_size =
            self.min_cluster_size.unwrap_or(settings.hdbscan.min_cluster_size);
        settings.topic_words.phrases |= self.phrases;
        if !self.language.is_empty() {
            settings.topic_words.languages = self
                .language
                .iter()
                .map(|code| code.trim().to_lowercase())
                .filter(|code| !code.is_empty())
                .collect();
        }
        Ok(settings)
    }
}

/// What the command costs.
struct Cost {
    pairs: usize,
    /// What seeing the pairs costs, where that is not done.
    seeing: Option<SeeingCost>,
    /// What the steps of the clustering cost, whatever else the process holds included.
    stages: Vec<StageCost>,
}

impl Cost {
    fn print(&self, as_json: bool) -> Result<(), OutputError> {
        let seeing = self.seeing.map(|cost| (cost.seconds, cost.megabytes.unwrap_or(0.0)));
        let of_stages = self.stages.iter().map(|stage| (stage.seconds, stage.megabytes));
        let seconds: f64 = of_stages.clone().chain(seeing).map(|(seconds, _)| seconds).sum();
        let megabytes = of_stages.chain(seeing).map(|(_, megabytes)| megabytes).fold(0.0, f64::max);
        if as_json {
            let seeing =
                seeing.map(|(seconds, megabytes)| json!({"seconds": seconds, "megabytes": megabytes}));
            return output::json(
                &json!({"pairs": self.pairs, "seconds": seconds, "peak_megabytes": megabytes, "seeing": seeing,
                    "stages": self.stages}),
            );
        }
        output::line(format!("{} pairs: about {}, {megabytes:.0} MB at most", self.pairs, time(seconds)))?;
        let line = |seconds, megabytes: f64, what: &dyn std::fmt::Display| {
            output::line(format!("{:>12}  {megabytes:>6.0} MB  {what}", time(seconds)))
        };
        if let Some((seconds, megabytes)) = seeing {
            line(seconds, megabytes, &"images and captions through the model")?;
        }
        self.stages.iter().try_for_each(|stage| line(stage.seconds, stage.megabytes, &stage.stage))
    }
}

/// A duration in words.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds if seconds < 6000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

fn summary(
    clusters: &Clusters,
    pairs: &Pairs,
    cut_captions: Option<usize>,
    arguments: &ClusterArguments,
) -> serde_json::Value {
    let causes = pairs.skipped_by_cause().into_iter();
    let causes: BTreeMap<String, usize> = causes.map(|(cause, count)| (cause.to_string(), count)).collect();
    json!({
        "clusters": arguments.out.to_string_lossy(),
        "pairs": clusters.pairs.len(),
        "skipped": causes,
        "unreadable_images": pairs.skipped_by_cause().get(&SkipCause::UnreadableImage).unwrap_or(&0),
        "cut_captions": cut_captions,
        "left_out": clusters.counts,
        "topics": clusters.topics,
        "warnings": clusters.warnings(),
        "seed": clusters.seed,
        "model": clusters.model,
        "settings": clusters.settings,
    })
}

fn print(
    clusters: &Clusters,
    pairs: &Pairs,
    cut_captions: Option<usize>,
    arguments: &ClusterArguments,
) -> Result<(), OutputError> {
    let counts = &clusters.counts;
    let domains: usize = clusters.topics.iter().map(|topic| topic.domains.len()).sum();
    output::line(format!(
        "{} pairs: {} topics with {domains} domains",
        clusters.pairs.len(),
        clusters.topics.iter().filter(|topic| topic.size > 0).count()
    ))?;
    output::line(format!(
        "languages of the captions: {}",
        clusters.settings.topic_words.languages.join(", ")
    ))?;
    output::line(format!(
        "pairs left out: {} of low similarity, {} noise, {} in topics that were dropped",
        counts.filtered, counts.noise, counts.dropped
    ))?;
    output::line(format!(
        "topics dropped: {} too small for a domain, {} without a word, {} that cannot give an episode both sets",
        counts.small_topics, counts.unnamed_topics, counts.unfit_topics
    ))?;
    let dropped = clusters.topics_left_out(LeftOut::Dropped);
    let by_hand = if dropped > 0 { format!(", {dropped} dropped by hand") } else { String::new() };
    output::line(format!(
        "topics in no episode: {} of which no name is true{by_hand}; {} share their name with another, and no episode with it",
        counts.topics_in_no_episode, counts.ambiguous_topics
    ))?;
    output::line(pairs.skipped_summary())?;
    if let Some(cut) = cut_captions.filter(|cut| *cut > 0) {
        output::line(format!("captions cut: {cut}"))?;
    }
    clusters.warnings().iter().for_each(|warning| output::note(format!("gram: {}", shown(warning))));
    output::line("\nlargest topics: number, pairs, captions that say the name, name, words")?;
    let mut topics: Vec<(usize, &Topic)> =
        clusters.topics.iter().enumerate().filter(|(_, topic)| topic.size > 0).collect();
    topics.sort_by_key(|(_, topic)| Reverse(topic.size));
    topics.into_iter().take(LARGEST).try_for_each(print_topic)?;
    output::line(format!("\n{}", arguments.out.display()))?;
    output::line(format!("{}: all topics, with pictures", arguments.out.join("clusters.html").display()))
}

fn print_topic((number, topic): (usize, &Topic)) -> Result<(), OutputError> {
    let words: Vec<&str> = topic.words.iter().take(WORDS).map(|(word, _)| word.as_str()).collect();
    let state = topic.left_out.map(|cause| format!(" (in no episode: {cause})")).unwrap_or_default();
    let coverage = format!("{:.0} %", 100.0 * topic.coverage);
    output::line(format!(
        "{:>6} {:>6}  {coverage:>5}  {:20} {}{state}",
        format!("#{number}"),
        topic.size,
        shown(&topic.name),
        shown(words.join(", "))
    ))
}
