//! A line plot as inline SVG, with its legend.
//!
//! Colours, type and dashes are classes that the page's style sheet fills in, so that one drawing suits a
//! light and a dark page. A value that is not finite is a gap in its line.

use super::axis::Axis;
use super::frame::{Frame, Labels};
use crate::tables::escape;

/// A series with at most this many points shows each of them as a dot.
const MOST_DOTS: usize = 30;

/// Beyond this a value counts as diverged and is left out, like one that is not finite.
const LARGEST: f64 = 1e30;

/// A line plot.
#[derive(Clone, Debug, Default)]
pub(super) struct Plot {
    /// What is shown, of what, averaged over what.
    pub(super) title: String,
    /// Name and unit of the horizontal axis, which counts in whole numbers.
    pub(super) x_label: String,
    /// Name and unit of the vertical axis.
    pub(super) y_label: String,
    /// A sentence below the drawing; may be empty.
    pub(super) note: String,
    /// The lines, drawn in this order.
    pub(super) series: Vec<Series>,
}

/// One line of a [`Plot`], with a band around it where there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Its name in the legend.
    pub(super) name: String,
    /// Classes of the style sheet: a colour, and `dashed` if it is.
    pub(super) class: &'static str,
    /// Whether it is only the background of another line.
    pub(super) faint: bool,
    /// The points, from left to right.
    pub(super) points: Vec<Point>,
}

/// One point of a [`Series`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// How far the band reaches up and down; 0 is no band.
    pub(super) half_width: f64,
}

impl Point {
    /// A point without a band.
    pub(super) fn new(x: f64, y: f64) -> Self {
        Point { x, y, half_width: 0.0 }
    }

    fn is_drawable(&self) -> bool {
        [self.x, self.y, self.half_width].into_iter().all(|value| value.abs() < LARGEST)
    }
}

impl Plot {
    /// A `figure` with caption, drawing and legend.
    pub(super) fn to_html(&self) -> String {
        let title = escape(&self.title);
        let drawing = self.frame().map_or_else(
            || "<p class=\"empty\">No finite value was recorded.</p>\n".to_owned(),
            |frame| self.drawing(&frame),
        );
        let legend: String = self.series.iter().map(Series::legend).collect();
        let note = escape(&self.note);
        let note = if note.is_empty() { note } else { format!("<p class=\"note\">{note}</p>\n") };
        format!(
            "<figure class=\"plot\">\n<figcaption>{title}</figcaption>\n{drawing}\
             <ul class=\"legend\">\n{legend}</ul>\n{note}</figure>\n"
        )
    }

    fn frame(&self) -> Option<Frame> {
        let points =
            || self.series.iter().flat_map(|series| &series.points).filter(|point| point.is_drawable());
        let x = Axis::around(points().map(|point| point.x), true)?;
        let y = Axis::around(
            points().flat_map(|point| [point.y - point.half_width, point.y + point.half_width]),
            false,
        )?;
        Some(Frame { x, y })
    }

    fn drawing(&self, frame: &Frame) -> String {
        let labels = Labels { title: &self.title, x: &self.x_label, y: &self.y_label };
        let description: Vec<String> = self.series.iter().filter_map(Series::in_words).collect();
        let series: String = self.series.iter().map(|series| series.drawing(frame)).collect();
        frame.drawing(&labels, &description.join("; "), &series)
    }
}

impl Series {
    fn drawing(&self, frame: &Frame) -> String {
        let runs: Vec<&[Point]> =
            self.points.split(|point| !point.is_drawable()).filter(|run| !run.is_empty()).collect();
        let band: String = runs.iter().map(|run| band(frame, run)).collect();
        let band = if band.is_empty() { band } else { format!("<path class=\"band\" d=\"{band}\"/>") };
        let line: String = runs.iter().map(|run| line(frame, run)).collect();
        format!(
            "<g class=\"{}\">{band}<path class=\"line\" d=\"{line}\"/>{}</g>\n",
            self.classes(),
            self.dots(frame)
        )
    }

    /// Dots that tell their numbers under the pointer.
    fn dots(&self, frame: &Frame) -> String {
        let few = self.points.len() <= MOST_DOTS;
        let points = self.points.iter().filter(|point| few && point.is_drawable());
        points
            .map(|point| {
                let Point { x, y, half_width } = *point;
                let spread = if half_width > 0.0 { format!(" ± {half_width:.2}") } else { String::new() };
                format!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\">\
                     <title>{}, {x}: {y:.2}{spread}</title></circle>",
                    frame.right(x),
                    frame.down(y),
                    escape(&self.name)
                )
            })
            .collect()
    }

    fn classes(&self) -> String {
        format!("series {}{}", self.class, if self.faint { " faint" } else { "" })
    }

    fn legend(&self) -> String {
        format!(
            "<li><svg class=\"key\" viewBox=\"0 0 30 10\" aria-hidden=\"true\"><g class=\"{}\">\
             <path class=\"line\" d=\"M2 5H28\"/></g></svg>{}</li>\n",
            self.classes(),
            escape(&self.name)
        )
    }

    /// First and last value, for those who cannot see the drawing.
    fn in_words(&self) -> Option<String> {
        let mut points = self.points.iter().filter(|point| point.is_drawable());
        let first = points.next()?;
        let last = points.next_back().unwrap_or(first);
        Some(format!("{}: {:.2} at {}, {:.2} at {}", self.name, first.y, first.x, last.y, last.x))
    }
}

/// A line through points without a gap; a lone point is a line of no length, which round caps turn into a
/// dot.
fn line(frame: &Frame, run: &[Point]) -> String {
    let places: Vec<String> = run.iter().map(|point| frame.place(point.x, point.y)).collect();
    if run.len() == 1 { format!("M{}h0", places[0]) } else { format!("M{}", places.join("L")) }
}

/// The outline of a band: its upper edge to the right, its lower edge back; nothing where it has no width.
fn band(frame: &Frame, run: &[Point]) -> String {
    if run.iter().all(|point| point.half_width == 0.0) {
        return String::new();
    }
    let upper = run.iter().map(|point| frame.place(point.x, point.y + point.half_width));
    let lower = run.iter().rev().map(|point| frame.place(point.x, point.y - point.half_width));
    format!("M{}Z", upper.chain(lower).collect::<Vec<_>>().join("L"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: &[f64]) -> Plot {
        let points = values.iter().enumerate().map(|(x, y)| Point::new(x as f64, *y)).collect();
        Plot {
            title: "Loss <1>".into(),
            x_label: "step".into(),
            y_label: "loss".into(),
            note: String::new(),
            series: vec![Series { name: "a & b".into(), class: "blue", faint: false, points }],
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_a_gap_and_breaks_nothing() {
        let html = plot(&[1.0, 2.0, f64::NAN, f64::INFINITY, 1.5, f64::MAX, 0.0]).to_html();
        // x from 66 to 626 in 6 steps, y from 288 (0) to 12 (2).
        assert!(html.contains("d=\"M66.0 150.0L159.3 12.0M439.3 81.0h0M626.0 288.0h0\""), "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"));
    }

    #[test]
    fn without_a_finite_value_the_plot_says_so() {
        assert!(plot(&[f64::NAN]).to_html().contains("No finite value was recorded."));
        assert!(plot(&[]).to_html().contains("No finite value was recorded."));
    }

    #[test]
    fn a_band_goes_out_along_its_upper_edge_and_back_along_its_lower() {
        let mut plot = plot(&[1.0, 1.0]);
        plot.series[0].points.iter_mut().for_each(|point| point.half_width = 1.0);
        assert!(
            plot.to_html().contains("class=\"band\" d=\"M66.0 12.0L626.0 12.0L626.0 288.0L66.0 288.0Z\"")
        );
    }

    #[test]
    fn names_are_escaped_and_the_course_is_told_in_words() {
        let html = plot(&[3.0, 1.0]).to_html();
        assert!(html.contains("Loss &lt;1&gt;") && !html.contains("<1>"));
        assert!(html.contains("<desc>a &amp; b: 3.00 at 0, 1.00 at 1</desc>"));
    }
}
