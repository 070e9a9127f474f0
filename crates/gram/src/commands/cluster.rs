//! `gram cluster`: image-text pairs to topics and domains.

use std::path::PathBuf;

use clap::Args;
use gram::clustering::{PairFeatures, cluster_pairs};
use gram::defaults;
use gram::model::{open_model, open_pairs};
use gram_cluster::{ChcSettings, Clusters, Topic};
use serde_json::json;

use crate::arguments::Common;
use crate::progress::pairs_bar;

/// Topics that are printed.
const LARGEST: usize = 10;
/// Words of a topic that are printed.
const WORDS: usize = 5;

/// Arguments of `gram cluster`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram cluster --pairs demo --out runs/clusters")]
pub struct ClusterArguments {
    /// A CLIP folder, or `tiny`, which is built in.
    #[arg(long, value_name = "M", default_value = "tiny")]
    model: String,
    /// Image-text pairs: WebDataset shards, a folder of them, a manifest, or `demo`.
    #[arg(long, value_name = "SRC")]
    pairs: String,
    /// Where topics and domains are saved.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A Sentence-BERT folder that embeds the captions; else the model's text tower does.
    #[arg(long, value_name = "DIR")]
    sentence_bert: Option<PathBuf>,
    /// The most domains of a topic.
    #[arg(long, value_name = "U")]
    domains: Option<usize>,
    /// The fewest pairs of a topic.
    #[arg(long, value_name = "N")]
    min_cluster_size: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: &ClusterArguments, common: &Common) -> anyhow::Result<()> {
    let model = open_model(&arguments.model, &common.device()?)?;
    let pairs = open_pairs(&arguments.pairs)?;
    eprintln!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary());
    let (settings, seed) = (arguments.settings(), common.seed);
    let mut progress = pairs_bar();
    let (clusters, features) =
        cluster_pairs(&model, &pairs, arguments.sentence_bert.as_deref(), &settings, seed, &mut |now| {
            progress.show(now);
        })?;
    progress.finish();
    clusters.save(&arguments.out)?;
    let unreadable = pairs.pairs.len() - features.rows.len();
    match common.json {
        true => println!("{}", summary(&clusters, &features, unreadable, arguments)),
        false => print(&clusters, &features, unreadable, arguments),
    }
    Ok(())
}

impl ClusterArguments {
    fn settings(&self) -> ChcSettings {
        let mut settings = defaults::clustering(&self.pairs);
        settings.domains = self.domains.unwrap_or(settings.domains);
        settings.hdbscan.min_cluster_size =
            self.min_cluster_size.unwrap_or(settings.hdbscan.min_cluster_size);
        settings
    }
}

fn summary(
    clusters: &Clusters,
    features: &PairFeatures,
    unreadable: usize,
    arguments: &ClusterArguments,
) -> serde_json::Value {
    json!({
        "clusters": arguments.out,
        "pairs": clusters.pairs.len(),
        "unreadable_images": unreadable,
        "cut_captions": features.cut_captions,
        "left_out": clusters.counts,
        "topics": clusters.topics,
        "seed": clusters.seed,
        "settings": clusters.settings,
    })
}

fn print(clusters: &Clusters, features: &PairFeatures, unreadable: usize, arguments: &ClusterArguments) {
    let counts = &clusters.counts;
    let domains: usize = clusters.topics.iter().map(|topic| topic.domains.len()).sum();
    println!("{} pairs: {} topics with {domains} domains", clusters.pairs.len(), clusters.topics.len());
    println!(
        "left out: {} of low similarity, {} noise, {} of dropped topics",
        counts.filtered, counts.noise, counts.dropped
    );
    println!("unreadable images: {unreadable}; captions cut: {}", features.cut_captions);
    println!("\nlargest topics:");
    clusters.topics.iter().take(LARGEST).for_each(print_topic);
    println!("\n{}", arguments.out.display());
}

fn print_topic(topic: &Topic) {
    let words: Vec<&str> = topic.words.iter().take(WORDS).map(|(word, _)| word.as_str()).collect();
    println!("{:>6}  {:16} {}", topic.size, topic.label, words.join(", "));
}
