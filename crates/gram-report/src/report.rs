//! What a run found, as HTML pages that open offline and load nothing.
//!
//! The report of a run is made from [`Results`] alone: tables, plots as inline SVG, the map of the topics
//! with its pictures, times, and the command that repeats the run. A part that was not measured has no
//! section. [`clusters_page()`] shows the topics and domains of up to millions of pairs, [`episodes_page()`]
//! what is learned from, [`evaluation_page()`] which images are named wrongly. Style sheet and
//! scripts stand in `report/` and are written into the pages.

mod axis;
mod centres;
mod clusters_page;
mod curves;
mod episodes_page;
mod evaluation_page;
mod frame;
mod palette;
mod plot;
mod sections;
mod topic_map;

use std::io;
use std::path::{Path, PathBuf};

use gram_data::whole_file::write_whole;
use serde_json::Value;

use crate::results::Results;
use crate::tables::escape;
pub use clusters_page::clusters_page;
pub use episodes_page::{ShownClass, ShownEpisode, episodes_page};
pub use evaluation_page::{ShownEvaluation, evaluation_page};
use sections::Section;

const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = concat!(include_str!("report/elements.js"), include_str!("report/topics.js"));

/// What a page may do: show what is inside it. It cannot load or send anything.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The file could not be written.
    #[error("{}: {source}: check that the folder exists and is yours", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes the report of a run, commonly to `report.html`.
///
/// # Errors
/// [`ReportError::File`] if the file cannot be written.
pub fn write_report(results: &Results, path: &Path) -> Result<(), ReportError> {
    write_whole(path, page(results).as_bytes())
        .map_err(|source| ReportError::File { path: path.to_owned(), source })
}

/// The whole report.
fn page(results: &Results) -> String {
    Document {
        title: format!("GRAM report: {}", results.model),
        heading: "Gradient-regulated meta-prompt learning",
        introduction: "Prompts for a frozen image-text model, tuned on a few images, with and without GRAM: \
                       what one run measured."
            .to_owned(),
        sections: sections::all(results),
        script: SCRIPT,
    }
    .to_html()
}

/// A page: everything but what is particular to it.
struct Document {
    title: String,
    heading: &'static str,
    introduction: String,
    sections: Vec<Section>,
    script: &'static str,
}

impl Document {
    fn to_html(&self) -> String {
        let links: String = self.sections.iter().map(Section::link).collect();
        let body: String = self.sections.iter().map(Section::to_html).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{}</h1>\n<p>{}</p>\n\
             <nav aria-label=\"Sections\"><ul>\n{links}</ul></nav>\n</header>\n<main>\n{body}</main>\n\
             <footer>Written by gram. This page holds all it shows and loads nothing.</footer>\n\
             <script>\n{}</script>\n</body>\n</html>\n",
            escape(&self.title),
            escape(self.heading),
            escape(&self.introduction),
            self.script
        )
    }
}

/// JSON that stays JSON inside a script element: nothing in it can end the element or open a comment.
fn for_script(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::results::example;

    /// Opening tags without a closing one are the sign of a page cut short.
    pub(crate) fn assert_whole(page: &str) {
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        for name in ["main", "section", "figure", "table", "details", "svg", "g", "ul", "script"] {
            let opened =
                page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
            assert_eq!(opened, page.matches(&format!("</{name}>")).count(), "{name}");
        }
    }

    #[test]
    fn a_full_report_has_every_section_and_reaches_for_nothing_outside() {
        let page = page(&example::results());
        assert_whole(&page);
        for id in [
            "run",
            "base-to-new",
            "cross-domain",
            "gram",
            "epochs",
            "meta-training",
            "topics",
            "time",
            "again",
        ] {
            assert!(page.contains(&format!("<section id=\"{id}\"")), "{id}");
            assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
        }
        for outside in ["http://", "https://", "//cdn", "@import", "url(", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    /// The page without its style and scripts. `INSTA_UPDATE=always cargo test --release --workspace --lib
    /// report` accepts what changed.
    #[test]
    fn the_page_says_what_it_said_when_it_was_read_last() {
        let mut page = page(&example::results());
        for (begin, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
            while let Some(from) = page.find(begin) {
                let to = page[from..].find(end).unwrap() + from + end.len();
                page.replace_range(from..to, "");
            }
        }
        insta::assert_snapshot!(page.replace("><", ">\n<"));
    }

    #[test]
    fn a_report_of_base_to_new_alone_is_whole() {
        let mut results = Results::new("gram bench", "tiny", serde_json::Value::Null);
        results.datasets = example::results().datasets;
        results.base_to_new = example::results().base_to_new;
        let page = page(&results);
        assert_whole(&page);
        assert!(page.contains("77.50 ± 6.35"));
        for id in ["cross-domain", "epochs", "meta-training", "topics", "time"] {
            assert!(!page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn a_run_that_measured_nothing_still_has_a_page() {
        assert_whole(&page(&Results::new("gram demo", "tiny", serde_json::Value::Null)));
    }

    #[test]
    fn texts_from_outside_stay_texts() {
        let mut results = example::results();
        for text in
            [&mut results.command, &mut results.model, &mut results.notes[0], &mut results.stages[0].name]
        {
            *text = "<img src=x onerror=alert(1)>".into();
        }
        results.settings = serde_json::json!({"name": "<img src=x onerror=alert(1)>"});
        let page = page(&results);
        assert_whole(&page);
        assert!(!page.contains("<img"));
    }

    #[test]
    fn diverged_losses_do_not_break_a_path() {
        let mut results = example::results();
        results.meta_training[0].points[1].query_loss = f64::NAN;
        results.curves[0].loss = f64::INFINITY;
        let page = page(&results);
        let paths = page.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for path in paths {
            let allowed = |character: char| character.is_ascii_digit() || " .-MLHVhvZ".contains(character);
            assert!(path.chars().all(allowed), "{path}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        // No folder can be made below a file.
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/report.html");
        let error = write_report(&example::results(), Path::new(place)).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{place}: ")), "{error}");
    }
}
