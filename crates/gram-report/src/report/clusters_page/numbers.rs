//! How much became part of a topic, what was left out and why.

use gram_cluster::Clusters;
use gram_data::{Pairs, SkipCause};

use super::histogram::Histogram;

/// A list of numbers and the histogram of similarities.
pub(super) fn section(clusters: &Clusters, pairs: &Pairs) -> String {
    let terms: String = included(clusters)
        .into_iter()
        .chain(left_out(clusters, pairs))
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"))
        .collect();
    let histogram = Histogram {
        title: "How well captions match their images",
        x_label: "CLIP's similarity of image and caption",
        y_label: "pairs",
        mark: threshold(clusters).map(|threshold| (threshold, "least that is kept")),
    };
    let similarities = clusters.pairs.iter().map(|pair| f64::from(pair.similarity));
    format!("<div class=\"plots\">\n<dl>\n{terms}</dl>\n{}</div>\n", histogram.to_html(similarities))
}

fn included(clusters: &Clusters) -> Vec<(String, String)> {
    let of_topics: usize = clusters.topics.iter().map(|topic| topic.size).sum();
    let domains: usize = clusters.topics.iter().map(|topic| topic.domains.len()).sum();
    [
        ("Pairs", clusters.pairs.len()),
        ("Pairs of topics", of_topics),
        ("Topics", clusters.topics.len()),
        ("Domains", domains),
    ]
    .map(|(name, count)| (name.to_owned(), grouped(count)))
    .into()
}

/// Every cause, and of those that come before clustering the ones that occurred.
fn left_out(clusters: &Clusters, pairs: &Pairs) -> Vec<(String, String)> {
    let counts = &clusters.counts;
    let dropped = format!(
        "{} (topics too small for a domain: {}, topics without a word of their own: {}, topics that cannot give an \
         episode both support and query set: {})",
        grouped(counts.dropped),
        grouped(counts.small_topics),
        grouped(counts.unnamed_topics),
        grouped(counts.unfit_topics)
    );
    let skipped = pairs.skipped_by_cause();
    // Those that nobody has listed.
    let listed = [SkipCause::UnreadableImage, SkipCause::BadFeature]
        .iter()
        .filter_map(|cause| skipped.get(cause))
        .sum::<usize>();
    let unreadable = pairs.pairs.len().saturating_sub(clusters.pairs.len() + listed);
    let skipped = skipped.into_iter().map(|(cause, count)| (cause.to_string(), count));
    let before = skipped.chain([("the image cannot be read".to_owned(), unreadable)]);
    [
        ("image and caption do not match".to_owned(), grouped(counts.filtered)),
        ("in no dense group (noise)".to_owned(), grouped(counts.noise)),
        ("of dropped topics".to_owned(), dropped),
    ]
    .into_iter()
    .chain(before.filter(|(_, count)| *count > 0).map(|(cause, count)| (cause, grouped(count))))
    .map(|(cause, count)| (format!("Left out: {cause}"), count))
    .collect()
}

/// The least similarity that passed, if pairs are filtered by it.
fn threshold(clusters: &Clusters) -> Option<f64> {
    let settings = &clusters.settings;
    let least_kept = || {
        let kept = clusters.pairs.iter().filter(|pair| pair.kept && pair.similarity.is_finite());
        kept.map(|pair| pair.similarity).reduce(f32::min)
    };
    // A share of the pairs has no threshold until they are seen.
    let by_share = (settings.similarity_quantile > 0.0).then(least_kept).flatten();
    settings.minimum_similarity.into_iter().chain(by_share).reduce(f32::max).map(f64::from)
}

/// A number with a comma between thousands.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use gram_data::Skipped;

    use super::*;
    use crate::report::clusters_page::tests::clusters;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn every_cause_is_counted() {
        let mut clusters = clusters(&[&[30, 20], &[10]], 1_240);
        clusters.counts.filtered = 1_234;
        clusters.counts.noise = 4;
        clusters.counts.dropped = 25;
        (clusters.counts.small_topics, clusters.counts.unnamed_topics) = (1, 0);
        clusters.counts.unfit_topics = 3;
        let skipped = vec![Skipped { name: "a".into(), cause: SkipCause::NoCaption, detail: None }];
        let html = section(&clusters, &Pairs { skipped, ..Pairs::default() });
        for (name, value) in [
            ("Pairs", "1,300"),
            ("Pairs of topics", "60"),
            ("Topics", "2"),
            ("Domains", "3"),
            ("Left out: image and caption do not match", "1,234"),
            ("Left out: in no dense group (noise)", "4"),
            (
                "Left out: of dropped topics",
                "25 (topics too small for a domain: 1, topics without a word of their own: 0, topics that cannot \
                 give an episode both support and query set: 3)",
            ),
            ("Left out: no caption", "1"),
        ] {
            assert!(html.contains(&format!("<dt>{name}</dt><dd>{value}</dd>")), "{name}: {html}");
        }
        assert!(!html.contains("cannot be read"));
    }

    #[test]
    fn the_threshold_is_the_stricter_of_the_two() {
        let mut clusters = clusters(&[&[3]], 0);
        assert_eq!(threshold(&clusters), None);
        clusters.settings.minimum_similarity = Some(0.25);
        assert_eq!(threshold(&clusters), Some(0.25));
        clusters.settings.similarity_quantile = 0.1;
        for (pair, similarity) in clusters.pairs.iter_mut().zip([0.1, 0.5, 0.75]) {
            (pair.similarity, pair.kept) = (similarity, similarity > 0.2);
        }
        assert_eq!(threshold(&clusters), Some(0.5));
        assert!(section(&clusters, &Pairs::default()).contains("least that is kept"));
    }
}
