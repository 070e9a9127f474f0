//! What a bench leaves: results, tables in Markdown and LaTeX, and every run for other programs.

use std::path::{Path, PathBuf};

use gram_report::results::{Method, Results};
use gram_report::statistics::{Estimate, sample_standard_deviation};
use gram_report::tables;
use gram_tune::score::Score;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::whole_file;

/// A measured accuracy: the dataset it is of, the classes or domain, and percent.
struct Measured<'a> {
    protocol: &'static str,
    method: Method,
    seed: u64,
    tuned_on: &'a str,
    dataset: &'a str,
    part: &'a str,
    accuracy: f64,
    score: Option<&'a Score>,
}

/// Writes `results.json`, `tables.md`, `tables.tex`, `runs.csv`, `summary.csv` and `clip_benchmark.jsonl`
/// into `folder`, and names them.
///
/// # Errors
/// If a file cannot be written.
pub fn write_outputs(results: &Results, shots: usize, folder: &Path) -> Result<Vec<PathBuf>> {
    let tables = tables::all(results);
    let joined = |text: fn(&tables::Table) -> String| tables.iter().map(text).collect::<Vec<_>>().join("\n");
    let measured = measured(results);
    let csv: String = measured.iter().map(|run| run.csv(shots)).collect();
    let lines: String = measured.iter().map(|run| format!("{}\n", run.json(results, shots))).collect();
    let header = "protocol,method,shots,seed,tuned_on,dataset,part,accuracy\n";
    let files = [
        ("results.json", format!("{}\n", serde_json::to_string_pretty(results)?)),
        ("tables.md", joined(tables::Table::to_markdown)),
        ("tables.tex", joined(tables::Table::to_latex)),
        ("runs.csv", format!("{header}{csv}")),
        ("summary.csv", summary(&measured, shots)),
        ("clip_benchmark.jsonl", lines),
    ];
    let write = |(name, text): (&str, String)| {
        let path = folder.join(name);
        whole_file::write(&path, text.as_bytes()).map(|()| path)
    };
    files.into_iter().map(write).collect()
}

/// Mean, standard deviation and 95 % interval over seeds of what was measured.
fn summary(measured: &[Measured], shots: usize) -> String {
    let mut by_condition: Vec<([&str; 5], Vec<f64>)> = Vec::new();
    for run in measured {
        // Each seed tunes in a domain of its own: the domain is no condition.
        let tuned_on = if run.protocol == "cross-domain" && run.part != "all" { "" } else { run.tuned_on };
        let condition = [run.protocol, run.method.key(), tuned_on, run.dataset, run.part];
        match by_condition.iter_mut().find(|(known, _)| *known == condition) {
            Some((_, values)) => values.push(run.accuracy),
            None => by_condition.push((condition, vec![run.accuracy])),
        }
    }
    let mut text = String::from(
        "protocol,method,shots,tuned_on,dataset,part,seeds,mean,standard_deviation,half_width_95\n",
    );
    for ([protocol, method, rest @ ..], values) in by_condition {
        let [tuned_on, dataset, part] = rest.map(quoted);
        let number = |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
        let estimate = Estimate::of(&values);
        let (mean, half_width) =
            (number(estimate.map(|estimate| estimate.mean)), number(estimate.and_then(|one| one.half_width)));
        let (seeds, deviation) = (values.len(), number(sample_standard_deviation(&values)));
        text += &format!(
            "{protocol},{method},{shots},{tuned_on},{dataset},{part},{seeds},{mean},{deviation},{half_width}\n"
        );
    }
    text
}

/// A text in a field of a CSV file. One that a spreadsheet would take for a formula gets an apostrophe before
/// it, with which spreadsheets show it as it is.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match is_formula || text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

fn measured(results: &Results) -> Vec<Measured<'_>> {
    let mut all = Vec::new();
    for run in &results.base_to_new {
        for (part, accuracy) in [("base", run.base), ("new", run.new)] {
            let (method, seed, dataset) = (run.method, run.seed, run.dataset.as_str());
            let (protocol, score) = ("base-to-new", run.scores.get(part));
            all.push(Measured { protocol, method, seed, tuned_on: dataset, dataset, part, accuracy, score });
        }
    }
    let transfers = [("cross-domain", &results.cross_domain), ("cross-dataset", &results.cross_dataset)];
    for (protocol, runs) in transfers {
        for run in runs {
            for (target, accuracy) in &run.accuracies {
                let (method, seed, tuned_on) = (run.method, run.seed, run.source.as_str());
                let (dataset, part) = match run.source == run.dataset {
                    true => (target.as_str(), "all"),
                    false => (run.dataset.as_str(), target.as_str()),
                };
                let (accuracy, score) = (*accuracy, run.scores.get(target));
                all.push(Measured { protocol, method, seed, tuned_on, dataset, part, accuracy, score });
            }
        }
    }
    all
}

impl Measured<'_> {
    fn csv(&self, shots: usize) -> String {
        let Self { protocol, method, seed, tuned_on, dataset, part, accuracy, .. } = self;
        let [tuned_on, dataset, part] = [tuned_on, dataset, part].map(|text| quoted(text));
        format!("{protocol},{},{shots},{seed},{tuned_on},{dataset},{part},{accuracy}\n", method.key())
    }

    /// As CLIP_benchmark writes results: accuracies are fractions. What it does not know stands in keys of
    /// its own.
    fn json(&self, results: &Results, shots: usize) -> Value {
        let mut metrics = Map::from_iter([("acc1".to_owned(), json!(self.accuracy / 100.0))]);
        if let Some(score) = self.score {
            metrics.insert("acc5".into(), json!(score.top_five.map(|percent| percent / 100.0)));
            metrics.insert("mean_per_class_recall".into(), json!(score.mean_per_class / 100.0));
        }
        json!({
            "dataset": self.dataset,
            "model": results.model,
            "pretrained": self.method.key(),
            "task": "zeroshot_classification",
            "metrics": metrics,
            "language": "en",
            "protocol": self.protocol,
            "tuned_on": self.tuned_on,
            "part": self.part,
            "shots": shots,
            "seed": self.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_runs_no_name() {
        assert_eq!(quoted("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(
            ["+1", "-1", "@x", "\ty", "\rz"].map(quoted),
            ["\"'+1\"", "\"'-1\"", "\"'@x\"", "\"'\ty\"", "\"'\rz\""]
        );
        assert_eq!(
            ["a=b", "one, two", "a \"b\"", "c\rd"].map(quoted),
            ["a=b", "\"one, two\"", "\"a \"\"b\"\"\"", "\"c\rd\""]
        );
    }
}
