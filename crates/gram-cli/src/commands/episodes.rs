//! `gram episodes`: the tasks of a meta-training, as a file.

use std::path::{Path, PathBuf};

use crate::destination;
use crate::output;
use anyhow::{Result, ensure};
use clap::Args;
use gram_cluster::Clusters;
use gram_data::Pairs;
use gram_experiments::episodes::EpisodesFile;
use gram_experiments::whole_file;
use gram_hub::model::open_pairs;
use gram_meta::{MetaTrainingSettings, TopicPool};
use gram_prompt::PromptKind;
use gram_report::report::episodes_page;
use serde_json::json;

use crate::arguments::Common;
use crate::commands::clusters::{load_clusters, told};
use crate::commands::meta_settings::MetaSettings;

/// Arguments of `gram episodes`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  gram episodes --clusters runs/clusters --count 100 --ways 5 --out episodes.json --html episodes.html --pairs demo"
)]
pub struct EpisodesArguments {
    /// Topics and domains, from `gram cluster`.
    #[arg(long, value_name = "DIR")]
    clusters: PathBuf,
    /// Number of episodes. They are the first that `gram meta-train` would draw with the same settings and
    /// seed.
    #[arg(long, value_name = "N")]
    count: usize,
    /// The file to write: episodes as keys of pairs (JSON).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also writes a page that shows the first episodes: classes, support and query pictures side by side.
    #[arg(long, value_name = "FILE", requires = "pairs")]
    html: Option<PathBuf>,
    /// The image-text pairs that were clustered, whose pictures --html shows.
    #[arg(long, value_name = "SRC", requires = "html")]
    pairs: Option<String>,
    /// The method whose defaults are used: coop, cocoop, vpt or joint.
    #[arg(long, default_value = "coop")]
    method: PromptKind,
    /// Settings. Only those of episodes, topics and the seed matter.
    #[command(flatten)]
    settings: MetaSettings,
}

/// Runs the command.
pub fn run(arguments: &EpisodesArguments, common: &Common) -> Result<()> {
    let resolved = arguments.resolve(common)?;
    let file = resolved.run()?;
    let page = arguments.html.as_deref().map(Path::to_string_lossy);
    match common.json {
        true => output::json(&json!({
            "file": arguments.out.to_string_lossy(),
            "episodes": file.episodes.len(),
            "other_domains": file.other_domains,
            "page": page,
        }))?,
        false => {
            if let Some(share) = file.other_domains {
                output::line(format!("{:.0} % of the query images are of another domain", 100.0 * share))?;
            }
            output::line(arguments.out.display())?;
            page.iter().try_for_each(output::line)?;
        }
    }
    Ok(())
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a EpisodesArguments,
    settings: MetaTrainingSettings,
    clusters: Clusters,
    /// Where the page goes, and the pairs that it shows.
    page: Option<(&'a Path, Pairs)>,
}

impl EpisodesArguments {
    /// Opens and checks everything, cheapest first.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        destination::file_of_kind("--out", &self.out, "file of episodes", |path| {
            EpisodesFile::read(path).is_ok()
        })?;
        ensure!(self.count > 0, "--count: 1 or more");
        ensure!(
            self.html.as_ref() != Some(&self.out),
            "--html {}: it is --out, too: name another file",
            self.out.display()
        );
        let settings = self.settings.in_force(self.method, common.seed)?;
        let clusters = load_clusters(&self.clusters)?;
        let page = match (&self.html, &self.pairs) {
            (Some(path), Some(pairs)) => {
                let is_page = |path: &Path| {
                    std::fs::read_to_string(path).is_ok_and(|page| page.contains("<title>GRAM episodes"))
                };
                destination::file_of_kind("--html", path, "page of episodes", is_page)?;
                Some((path.as_path(), open_pairs(pairs)?))
            }
            _ => None,
        };
        Ok(Resolved { arguments: self, settings, clusters, page })
    }
}

impl Resolved<'_> {
    /// Draws the episodes and writes them.
    fn run(&self) -> Result<EpisodesFile> {
        output::note(told(&TopicPool::new(&self.clusters, &self.settings.episodes)));
        let file = EpisodesFile::sample(&self.clusters, &self.settings, self.arguments.count)?;
        file.write(&self.arguments.out)?;
        if let Some((path, pairs)) = &self.page {
            let page = episodes_page(&file.shown(), file.other_domains, pairs);
            whole_file::write(path, page.as_bytes())?;
        }
        Ok(file)
    }
}
