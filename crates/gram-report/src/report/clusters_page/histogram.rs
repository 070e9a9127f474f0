//! How many values lie where, as inline SVG.

use std::iter;

use crate::report::axis::Axis;
use crate::report::frame::{Frame, Labels};
use crate::tables::escape;

const BARS: usize = 40;

/// A histogram.
pub(super) struct Histogram<'a> {
    pub(super) title: &'a str,
    /// What is counted, and its unit.
    pub(super) x_label: &'a str,
    /// Of what the values are.
    pub(super) y_label: &'a str,
    /// A value that a line marks, and what it is.
    pub(super) mark: Option<(f64, &'a str)>,
}

impl Histogram<'_> {
    /// A `figure` with caption, drawing and legend. Values that are not finite are left out; without a finite
    /// one there is no figure.
    pub(super) fn to_html(&self, values: impl Iterator<Item = f64> + Clone) -> String {
        let values = values.filter(|value| value.is_finite());
        let marked = self.mark.map(|(mark, _)| mark).filter(|mark| mark.is_finite());
        let Some(x) = Axis::around(values.clone().chain(marked), false) else { return String::new() };
        let mut counts = [0; BARS];
        for value in values {
            counts[((x.place(value) * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        let heights = counts.iter().map(|count| *count as f64);
        let Some(y) = Axis::around(iter::once(0.0).chain(heights), true) else { return String::new() };
        let frame = Frame { x, y };
        let mark = self.mark.map(|(mark, name)| self::mark(&frame, mark, name)).unwrap_or_default();
        let labels = Labels { title: self.title, x: self.x_label, y: self.y_label };
        let content = bars(&frame, &counts) + &mark;
        let drawing = frame.drawing(&labels, &in_words(&frame, &counts), &content);
        let title = escape(self.title);
        format!("<figure class=\"plot\">\n<figcaption>{title}</figcaption>\n{drawing}</figure>\n")
    }
}

/// The values between which a bar counts.
fn borders(frame: &Frame, bar: usize) -> (f64, f64) {
    let border = |bar: usize| frame.x.value(bar as f64 / BARS as f64);
    (border(bar), border(bar + 1))
}

/// A bar for each count, with a gap to the next; each tells its numbers under the pointer.
fn bars(frame: &Frame, counts: &[usize]) -> String {
    let bar = |(bar, count): (usize, &usize)| {
        let (low, high) = borders(frame, bar);
        let (left, top) = (frame.right(low), frame.down(*count as f64));
        format!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{low:.3} to {high:.3}: {count}</title></rect>",
            frame.right(high) - left - 1.0,
            frame.down(0.0) - top
        )
    };
    let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    format!("<g class=\"bars blue\">{}</g>\n", filled.map(bar).collect::<String>())
}

/// A vertical line with its name, on the side with more room.
fn mark(frame: &Frame, value: f64, name: &str) -> String {
    let (x, top, bottom) = (frame.right(value), frame.down(frame.y.value(1.0)), frame.down(0.0));
    let (place, class) = if frame.x.place(value) < 0.5 { (x + 8.0, "name") } else { (x - 8.0, "name end") };
    format!(
        "<g class=\"series ink dashed\"><path class=\"line\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/></g>\n\
         <text x=\"{place:.1}\" y=\"{:.1}\" class=\"{class}\">{}</text>\n",
        top + 14.0,
        escape(name)
    )
}

/// Where most values lie, for those who cannot see the drawing.
fn in_words(frame: &Frame, counts: &[usize]) -> String {
    let most = counts.iter().copied().max().unwrap_or(0);
    let highest = counts.iter().position(|count| *count == most).unwrap_or(0);
    let (low, high) = borders(frame, highest);
    format!("the most, {most} of {}, from {low:.3} to {high:.3}", counts.iter().sum::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f64], mark: Option<(f64, &str)>) -> String {
        Histogram { title: "Values <1>", x_label: "value", y_label: "pairs", mark }
            .to_html(values.iter().copied())
    }

    #[test]
    fn every_finite_value_is_in_one_bar() {
        let html = histogram(&[0.0, 0.1, 0.1, 0.49, 1.0, f64::NAN, f64::INFINITY], None);
        let told: Vec<&str> =
            html.split("<title>").skip(1).filter_map(|rest| rest.split("</title>").next()).collect();
        assert_eq!(
            told,
            ["0.000 to 0.025: 1", "0.100 to 0.125: 2", "0.475 to 0.500: 1", "0.975 to 1.000: 1"]
        );
        assert!(html.contains("<desc>the most, 2 of 5, from 0.100 to 0.125</desc>"), "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf") && !html.contains("<1>"));
    }

    #[test]
    fn a_mark_outside_the_values_is_on_the_drawing() {
        let html = histogram(&[0.3, 0.4], Some((0.1, "threshold & more")));
        assert!(html.contains("threshold &amp; more"));
        assert!(html.contains("d=\"M66.0 12.0V288.0\""), "{html}");
    }

    #[test]
    fn a_single_value_has_a_bar_and_none_has_no_figure() {
        assert_eq!(histogram(&[0.25], None).matches("<rect").count(), 1);
        assert_eq!(histogram(&[f64::NAN], None), "");
    }
}
