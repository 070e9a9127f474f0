//! The page of an evaluation: which classes and images are wrong, and whether probabilities can be trusted.

use std::fmt::Write;

use gram_data::ImageFile;
use gram_tune::examination::{Answer, Calibration, ClassScore, Confusion, Examination};
use rayon::prelude::*;

use super::Document;
use super::clusters_page::thumbnails;
use super::plot::{Plot, Point, Series};
use super::sections::Section;
use crate::tables::{Cell, Row, Table, escape};

/// Classes that a matrix shows at most: more are a list of those that are mixed up.
const MOST_IN_MATRIX: usize = 40;
/// Mistakes with a picture at most.
const MOST_MISTAKES: usize = 60;
/// Confusions in the list at most.
const MOST_CONFUSIONS: usize = 30;

/// An evaluation as it is shown.
pub struct ShownEvaluation<'a> {
    /// The dataset.
    pub dataset: &'a str,
    /// What classified its images: names and values, such as the model and the prompt.
    pub terms: Vec<(&'static str, String)>,
    /// Measures with their unit.
    pub measures: Vec<(String, String)>,
    /// What became of every image.
    pub examination: &'a Examination,
    /// The images by their numbers in the answers.
    pub images: &'a (dyn Fn(usize) -> ImageFile + Sync),
}

/// The page. It is one file that loads nothing. An image that cannot be read any more has no picture.
pub fn evaluation_page(shown: &ShownEvaluation) -> String {
    let (examination, count) = (shown.examination, shown.examination.answers.len());
    let mistakes = examination.mistakes();
    let sections = [
        Section { id: "measures", heading: "Result", body: measures(shown) },
        Section { id: "classes", heading: "Classes", body: classes(examination) },
        Section { id: "confusions", heading: "What is mixed up", body: confusions(examination) },
        Section { id: "mistakes", heading: "Worst mistakes", body: pictures(shown, &mistakes) },
        Section {
            id: "calibration",
            heading: "Can probabilities be trusted?",
            body: calibration(&examination.calibration()),
        },
    ];
    Document {
        title: format!("GRAM evaluation: {}", shown.dataset),
        heading: "Evaluation",
        introduction: format!(
            "{count} images of {}, classified among {} classes: {} are named rightly, {} are not.",
            shown.dataset,
            examination.classes.len(),
            count - mistakes.len(),
            mistakes.len()
        ),
        sections: sections.into_iter().filter(|section| !section.body.is_empty()).collect(),
        script: "",
    }
    .to_html()
}

fn measures(shown: &ShownEvaluation) -> String {
    let measured = shown.measures.iter().map(|(name, value)| (name.as_str(), value));
    let terms = shown.terms.iter().map(|(name, value)| (*name, value));
    let items =
        |(name, value): (&str, &String)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
    format!("<dl>\n{}</dl>\n", measured.chain(terms).map(items).collect::<String>())
}

/// Every class, the worst first.
fn classes(examination: &Examination) -> String {
    let confusions = examination.confusions();
    let mut scores = examination.by_class();
    scores.retain(|score| score.images > 0);
    scores.sort_by(|one, other| {
        let accuracy = |score: Option<f64>| score.unwrap_or_default();
        accuracy(one.accuracy).total_cmp(&accuracy(other.accuracy)).then(one.class.cmp(&other.class))
    });
    let row = |score: &ClassScore| {
        let taken_for = confusions.iter().find(|confusion| confusion.class == score.class);
        let taken_for =
            taken_for.map(|confusion| Cell::plain(format!("{} ({})", confusion.named, confusion.images)));
        Row {
            name: score.class.clone(),
            cells: vec![
                Cell::plain(score.images.to_string()),
                score.accuracy.map_or_else(Cell::missing, |accuracy| Cell::plain(format!("{accuracy:.1}"))),
                taken_for.unwrap_or_else(Cell::missing),
            ],
            below: false,
        }
    };
    let table = Table {
        title: "Accuracy by class, the worst first".into(),
        header: ["Class", "Images", "Named rightly (%)", "Most often taken for"].map(str::to_owned).to_vec(),
        rows: scores.iter().map(row).collect(),
        notes: Vec::new(),
    };
    table.to_html()
}

/// The matrix, or a list where it would be too large; nothing where nothing is mixed up.
fn confusions(examination: &Examination) -> String {
    let confusions = examination.confusions();
    if confusions.is_empty() {
        return String::new();
    }
    if examination.classes.len() <= MOST_IN_MATRIX {
        return matrix(examination);
    }
    let row = |confusion: &Confusion| Row {
        name: confusion.class.clone(),
        cells: vec![Cell::plain(confusion.named.clone()), Cell::plain(confusion.images.to_string())],
        below: false,
    };
    let table = Table {
        title: "Classes that are taken for others, the most usual first".into(),
        header: ["Class", "Taken for", "Images"].map(str::to_owned).to_vec(),
        rows: confusions.iter().take(MOST_CONFUSIONS).map(row).collect(),
        notes: match confusions.len() > MOST_CONFUSIONS {
            true => vec![format!("The first {MOST_CONFUSIONS} of {}.", confusions.len())],
            false => Vec::new(),
        },
    };
    table.to_html()
}

fn matrix(examination: &Examination) -> String {
    let mut rows = String::new();
    for (class, counts) in examination.matrix().iter().enumerate() {
        let images: usize = counts.iter().sum();
        let mut cells = String::new();
        for (named, count) in counts.iter().enumerate() {
            let share = 100.0 * *count as f64 / images.max(1) as f64;
            let kind = if class == named { "right" } else { "wrong" };
            let title = format!(
                "{} as {}: {count} of {images}",
                escape(&examination.classes[class]),
                escape(&examination.classes[named])
            );
            let text = if *count > 0 { count.to_string() } else { String::new() };
            // Writing to a text cannot fail.
            _ = write!(
                cells,
                "<td class=\"{kind}\" style=\"--share: {share:.0}%\" title=\"{title}\">{text}</td>"
            );
        }
        let name = escape(&examination.classes[class]);
        _ = writeln!(rows, "<tr><th scope=\"row\">{name}</th>{cells}</tr>");
    }
    let columns: String = examination
        .classes
        .iter()
        .map(|name| format!("<th scope=\"col\"><span>{}</span></th>", escape(name)))
        .collect();
    format!(
        "<figure class=\"confusion\"><div class=\"scroll\" role=\"region\" aria-label=\"Confusion matrix\" tabindex=\"0\"><table><caption>Images of the class on the left that were named as \
         the class above</caption>\n<thead><tr><td></td>{columns}</tr></thead>\n<tbody>\n{rows}</tbody></table></div></figure>\n"
    )
}

fn pictures(shown: &ShownEvaluation, mistakes: &[Answer]) -> String {
    if mistakes.is_empty() {
        return String::new();
    }
    let worst = &mistakes[..mistakes.len().min(MOST_MISTAKES)];
    let figure = |answer: &Answer| {
        let image = (shown.images)(answer.image);
        let [class, named] =
            [answer.class, answer.named].map(|class| escape(&shown.examination.classes[class]));
        let name = escape(&image.name());
        let picture = thumbnails::of_image(&image, 128).map_or_else(
            || format!("<span class=\"caption\">{name}</span>"),
            |file| format!("<img src=\"data:image/jpeg;base64,{file}\" alt=\"{class}\" title=\"{name}\">"),
        );
        format!(
            "<figure>{picture}<figcaption>{named} <span class=\"quiet\">({:.0} %)</span><br><span class=\"quiet\">is {class} \
             ({:.0} %)</span></figcaption></figure>\n",
            100.0 * answer.confidence,
            100.0 * answer.own
        )
    };
    let figures: String = worst.par_iter().map(figure).collect::<Vec<_>>().concat();
    let count = match mistakes.len() > MOST_MISTAKES {
        true => format!(" The first {MOST_MISTAKES} of {} are shown.", mistakes.len()),
        false => String::new(),
    };
    format!(
        "<p>What each image was named with its probability, and what it is: the most confident mistakes first.{count}</p>\n\
         <div class=\"mistakes\">\n{figures}</div>\n"
    )
}

fn calibration(calibration: &Calibration) -> String {
    if calibration.bins.is_empty() {
        return String::new();
    }
    let points = calibration.bins.iter().map(|bin| Point::new(bin.confidence, bin.accuracy)).collect();
    let ideal = [0.0, 100.0].map(|percent| Point::new(percent, percent)).to_vec();
    let plot = Plot {
        title: "Accuracy of images by the probability of what they are named".into(),
        x_label: "mean probability (%)".into(),
        y_label: "named rightly (%)".into(),
        note: "Below the dashed line the model is surer than it should be.".into(),
        series: vec![
            Series { name: "ideal".into(), class: "ink dashed", faint: true, points: ideal },
            Series { name: "measured".into(), class: "blue", faint: false, points },
        ],
    };
    format!(
        "<p>Probability and accuracy are {:.1} percentage points apart, as a mean over all images (expected calibration error, \
         15 intervals).</p>\n{}",
        calibration.expected_error,
        plot.to_html()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::assert_whole;

    fn page(classes: usize, images: usize) -> String {
        let answer = |image: usize| {
            let logits: Vec<f32> = (0..classes).map(|class| ((image * 7 + class * 3) % 5) as f32).collect();
            Answer::new(image, image % classes, &logits).unwrap()
        };
        let examination = Examination {
            classes: (0..classes).map(|class| format!("class {class} <b>")).collect(),
            answers: (0..images).map(answer).collect(),
        };
        let picture = |number: usize| match number % 2 {
            0 => ImageFile::of_pixels(format!("<{number}>"), image::DynamicImage::new_rgb8(300, 200)),
            _ => ImageFile::Path("nowhere.png".into()),
        };
        evaluation_page(&ShownEvaluation {
            dataset: "flowers <b>",
            terms: vec![("Model", "tiny".into())],
            measures: vec![("Accuracy".into(), "12.00 %".into())],
            examination: &examination,
            images: &picture,
        })
    }

    #[test]
    fn classes_mistakes_and_calibration_are_shown() {
        let page = page(4, 90);
        assert_whole(&page);
        for id in ["measures", "classes", "confusions", "mistakes", "calibration"] {
            assert!(page.contains(&format!("<section id=\"{id}\"")), "{id}");
        }
        assert!(!page.contains("<b>") && page.contains("class 3 &lt;b&gt;"));
        assert!(
            page.contains("<figure class=\"confusion\">")
                && page.contains("<img src=\"data:image/jpeg;base64,")
        );
        assert!(page.contains("<span class=\"caption\">nowhere.png</span>"));
        assert!(page.contains("The first 60 of "));
    }

    #[test]
    fn many_classes_are_a_list_of_confusions() {
        let page = page(MOST_IN_MATRIX + 1, 90);
        assert_whole(&page);
        assert!(!page.contains("class=\"confusion\"") && page.contains("<th scope=\"col\">Taken for</th>"));
    }

    #[test]
    fn where_nothing_is_wrong_there_are_no_mistakes() {
        let page = page(1, 5);
        assert_whole(&page);
        assert!(page.contains("5 are named rightly, 0 are not."));
        assert!(!page.contains("id=\"mistakes\"") && !page.contains("id=\"confusions\""));
    }
}
