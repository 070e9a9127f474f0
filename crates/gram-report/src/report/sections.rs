//! The sections of the report, in their order on the page.

use super::plot::Plot;
use super::{curves, topic_map};
use crate::results::Results;
use crate::tables::{self, Table, escape};

/// A heading and what stands below it.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) heading: &'static str,
    pub(super) body: String,
}

impl Section {
    /// Its entry in the page's navigation.
    pub(super) fn link(&self) -> String {
        format!("<li><a href=\"#{}\">{}</a></li>\n", self.id, self.heading)
    }

    /// The section itself.
    pub(super) fn to_html(&self) -> String {
        let Section { id, heading, body } = self;
        format!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n\
             <h2 id=\"{id}-heading\">{heading}</h2>\n{body}</section>\n"
        )
    }
}

/// Every section that has something to show.
pub(super) fn all(results: &Results) -> Vec<Section> {
    let section = |id, heading, body| Section { id, heading, body };
    let sections = [
        section("run", "What was run", run(results)),
        section("base-to-new", "Base-to-new generalization", base_to_new(results)),
        section("cross-domain", "Cross-domain generalization", html(tables::cross_domain(results))),
        section("gram", "What GRAM changes", html(tables::differences(results))),
        section("paper", "Beside the paper", html(tables::beside_the_paper(results))),
        section("epochs", "Adaptation by epoch", plots(EPOCHS, &curves::adaptation(results))),
        section("meta-training", "Meta-training", plots(META_TRAINING, &curves::meta_training(results))),
        section(
            "topics",
            "Topics and domains",
            results.topics.as_ref().map(topic_map::section).unwrap_or_default(),
        ),
        section("time", "Time", html(tables::stage_times(results))),
        section("again", "How to repeat it", again(results)),
    ];
    sections.into_iter().filter(|section| !section.body.is_empty()).collect()
}

const EPOCHS: &str =
    "Mean over datasets, then over seeds; the band is the 95 % interval over seeds. Dashed: without GRAM.";
const META_TRAINING: &str = "The inner loop takes a regulated step on the support set; the loss after it is \
taken on the query set, which comes from more domains. Alignment is the inner product of the regulated \
support gradient and the query gradient, which the outer loop raises (equation 12), over the product of their \
lengths.";

fn run(results: &Results) -> String {
    let seeds: Vec<String> = results.seeds.iter().map(u64::to_string).collect();
    let terms = [
        ("Command", results.command.clone()),
        ("Model", results.model.clone()),
        ("Datasets", results.datasets.join(", ")),
        ("Seeds", seeds.join(", ")),
    ];
    let terms: String = terms
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    let notes: String = results.notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    let notes = if notes.is_empty() { notes } else { format!("<ul>\n{notes}</ul>\n") };
    format!("<dl>\n{terms}</dl>\n{notes}")
}

fn base_to_new(results: &Results) -> String {
    let by_dataset = html(tables::base_to_new_by_dataset(results));
    let average = html(tables::base_to_new_average(results));
    if average.is_empty() {
        return average;
    }
    format!(
        "<p>Prompts are tuned on the base classes; the new classes are never seen. H is the harmonic mean \
         of both. Numbers are means over seeds with their 95 % interval (Student's t).</p>\n{average}\
         <details>\n<summary>Each dataset by itself</summary>\n\
         <div class=\"tables\">\n{by_dataset}</div>\n</details>\n"
    )
}

fn html(tables: impl IntoIterator<Item = Table>) -> String {
    tables.into_iter().map(|table| table.to_html()).collect()
}

fn plots(text: &str, plots: &[Plot]) -> String {
    let drawings: String = plots.iter().map(Plot::to_html).collect();
    if drawings.is_empty() {
        drawings
    } else {
        format!("<p>{text}</p>\n<div class=\"plots\">\n{drawings}</div>\n")
    }
}

fn again(results: &Results) -> String {
    let settings = format!("{:#}", results.settings);
    let settings = if results.settings.is_null() {
        String::new()
    } else {
        format!(
            "<details>\n<summary>Every setting in force</summary>\n<pre>{}</pre>\n</details>\n",
            escape(&settings)
        )
    };
    format!(
        "<pre>{}</pre>\n<p>The same version with the same seeds draws the same few shots and starts. \
         The numbers behind this page are in the <code>results.json</code> of the run.</p>\n{settings}",
        escape(&results.command)
    )
}
