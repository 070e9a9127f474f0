//! Clusters as commands read them, with what people corrected told.

use std::path::Path;

use gram_cluster::{ClusterError, Clusters, LeftOut};
use gram_meta::TopicPool;

use crate::output;

/// Reads clusters, and says what `topics.toml` changes in them.
///
/// # Errors
/// As [`Clusters::load`].
pub fn load_clusters(folder: &Path) -> Result<Clusters, ClusterError> {
    let found = Clusters::load_as_found(folder)?;
    let names: Vec<String> = found.topics.iter().map(|topic| topic.name.clone()).collect();
    let clusters = found.corrected(folder)?;
    let path = folder.join(Clusters::CORRECTIONS);
    if path.is_file() {
        let renamed = clusters.topics.iter().zip(&names).filter(|(topic, name)| topic.name != **name).count();
        output::note(format!(
            "{}: {renamed} topics renamed, {} dropped, {} joined to others",
            path.display(),
            clusters.topics_left_out(LeftOut::Dropped),
            clusters.topics_left_out(LeftOut::Merged)
        ));
    }
    Ok(clusters)
}

/// How many topics episodes are drawn from, and how many are left out for which reason.
pub fn told(pool: &TopicPool) -> String {
    let TopicPool { topics, too_small, unnamed, dropped } = pool;
    let dropped = if *dropped > 0 { format!(", {dropped} are dropped by hand") } else { String::new() };
    format!(
        "{} topics; {too_small} more are too small, and of {unnamed} no name is true{dropped}",
        topics.len()
    )
}
