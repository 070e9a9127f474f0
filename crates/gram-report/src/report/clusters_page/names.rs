//! How topics are named, how true their names are, and which of them no episode has.

use gram_cluster::{Clusters, Topic};

use super::numbers::grouped;
use crate::tables::escape;

/// Topics in the table at most: those in no episode first, then the largest.
const MOST: usize = 400;

/// What the page says of a topic's name.
pub(super) fn said_of(topic: &Topic) -> String {
    let mut said =
        format!("topic word: {}; {} of the captions say the name", topic.word, percent(topic.coverage));
    if let Some(share) = topic.recognition {
        said += &format!("; CLIP gives {} of the images to it among 20 names", percent(share));
    }
    if let Some(cause) = topic.left_out {
        said += &format!("; in no episode: {cause}");
    }
    said
}

/// The table.
pub(super) fn section(clusters: &Clusters) -> String {
    let mut topics: Vec<(usize, &Topic)> = clusters.topics.iter().enumerate().collect();
    topics.sort_by_key(|(number, topic)| (topic.left_out.is_none(), *number));
    let shown = topics.len().min(MOST);
    let rows: String = topics
        .iter()
        .take(MOST)
        .map(|(number, topic)| {
            let recognition = topic.recognition.map(percent).unwrap_or_default();
            let state = topic.left_out.map_or_else(|| "yes".to_owned(), |cause| format!("no: {cause}"));
            format!(
                "<tr><td>#{number}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{recognition}</td>\
                 <td>{}</td></tr>\n",
                escape(&topic.name),
                escape(&topic.word),
                grouped(topic.size),
                percent(topic.coverage),
                escape(&state)
            )
        })
        .collect();
    let out = clusters.topics.iter().filter(|topic| topic.left_out.is_some()).count();
    format!(
        "<p>The name is the class name in tasks, the topic word the one of highest TF-IDF. {} of {} topics are in no \
         episode. Names can be corrected, and topics merged or dropped, in <code>topics.toml</code>, by name or number. \
         {} topics are listed.</p>\n<div class=\"tables\"><table><thead><tr><th scope=\"col\">Number</th>\
         <th scope=\"col\">Name</th><th scope=\"col\">Topic word</th><th scope=\"col\">Pairs</th>\
         <th scope=\"col\">Captions that say the name</th><th scope=\"col\">Images that CLIP gives to it</th>\
         <th scope=\"col\">In episodes</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n",
        grouped(out),
        grouped(clusters.topics.len()),
        grouped(shown)
    )
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use gram_cluster::LeftOut;

    use super::*;
    use crate::report::clusters_page::tests::clusters;

    #[test]
    fn topics_in_no_episode_come_first_with_the_reason() {
        let mut clusters = clusters(&[&[5], &[4], &[3]], 0);
        clusters.topics[2].left_out = Some(LeftOut::Coverage);
        (clusters.topics[2].coverage, clusters.topics[2].recognition) = (0.125, Some(0.5));
        let html = section(&clusters);
        let first = html.split("<tbody>").nth(1).unwrap();
        assert!(first.trim().starts_with(
            "<tr><td>#2</td><th scope=\"row\">word2</th><td>word2</td><td>3</td><td>12 %</td><td>50 %</td>\
             <td>no: too few of its captions say its name</td></tr>"
        ), "{first}");
        assert!(html.contains("1 of 3 topics are in no"));
        let said = said_of(&clusters.topics[2]);
        assert!(
            said.ends_with("among 20 names; in no episode: too few of its captions say its name"),
            "{said}"
        );
    }
}
