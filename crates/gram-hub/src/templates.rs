//! Sentences for zero-shot classification: one, a file of them, or an ensemble that is built in.

use std::path::Path;

use gram_data::{Benchmark, LabelledDataset};
use gram_prompt::Template;

use crate::OpenError;

/// The ensembles that are built in: OpenAI's 80 templates for ImageNet, and the 7 of them that do nearly as
/// well (notebooks of the CLIP repository).
pub const ENSEMBLES: [(&str, &str); 2] = [
    ("imagenet-80", include_str!("../../../assets/templates/imagenet-80.txt")),
    ("imagenet-7", include_str!("../../../assets/templates/imagenet-7.txt")),
];

/// The templates of an ensemble, or of a file with one on each line.
///
/// # Errors
/// If there is neither, or a line is no template; names the file and the line.
pub fn ensemble(name_or_path: &str) -> Result<Vec<Template>, OpenError> {
    let built_in =
        ENSEMBLES.iter().find(|(name, _)| *name == name_or_path).map(|(_, text)| (*text).to_owned());
    let text = match built_in {
        Some(text) => text,
        None => {
            let names = ENSEMBLES.map(|(name, _)| name).join("`, `");
            let what = format!("templates {name_or_path} (`{names}` are built in)");
            gram_data::read_text(Path::new(name_or_path)).map_err(OpenError::of(what))?
        }
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let template = |(index, line): (usize, &str)| {
        line.parse::<Template>().map_err(OpenError::of(format!("{name_or_path}: line {}", index + 1)))
    };
    let templates = lines.map(template).collect::<Result<Vec<_>, OpenError>>()?;
    if templates.is_empty() {
        let problem = "no template: write one on each line, as in `a photo of a {}.`";
        return Err(OpenError::Refused(format!("{name_or_path}: {problem}")));
    }
    Ok(templates)
}

/// The sentences that a dataset brings with it: those of its file, or the one that the literature uses;
/// mostly none.
///
/// # Errors
/// If one is no template; names the dataset.
pub fn of_dataset(dataset: &LabelledDataset) -> Result<Vec<Template>, OpenError> {
    let of_literature = dataset.benchmark.map(Benchmark::template);
    let own = dataset.templates.iter().map(String::as_str);
    let used = own.chain(of_literature.filter(|_| dataset.templates.is_empty()));
    let of_dataset = || OpenError::of(format!("dataset {}", dataset.name));
    used.map(|text| text.parse::<Template>().map_err(of_dataset())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ensembles_have_their_templates() {
        assert_eq!(ensemble("imagenet-80").unwrap().len(), 80);
        assert_eq!(ensemble("imagenet-7").unwrap()[0].to_string(), "itap of a {}.");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_template() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("templates.txt");
        std::fs::write(&path, "\u{feff}itap of a {}.\n").unwrap();
        assert_eq!(ensemble(&path.display().to_string()).unwrap()[0].to_string(), "itap of a {}.");
    }

    #[test]
    fn a_line_that_is_no_template_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("templates.txt");
        std::fs::write(&path, "a photo of a {}.\n\na photo\n").unwrap();
        let error = format!("{}", ensemble(&path.display().to_string()).unwrap_err());
        assert!(error.contains("templates.txt: line 3: template `a photo`"), "{error}");
        assert!(
            format!("{}", ensemble("nowhere").unwrap_err()).starts_with("templates nowhere (`imagenet-80`")
        );
    }
}
