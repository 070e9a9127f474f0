//! The axes around a drawing, and the way from values to places in it.

use super::axis::Axis;
use crate::tables::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 52.0;

/// Both axes.
pub(super) struct Frame {
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// What is drawn, and names and units of the axes.
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

impl Frame {
    /// The axes with `content`, SVG, inside; `description` is for those who cannot see it.
    pub(super) fn drawing(&self, labels: &Labels, description: &str, content: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n\
             <desc>{}</desc>\n{}{content}</svg>\n",
            escape(&format!("{}: {} by {}", labels.title, labels.y, labels.x)),
            escape(description),
            self.axes(labels),
        )
    }

    /// How far to the right a value lies.
    pub(super) fn right(&self, x: f64) -> f64 {
        LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT)
    }

    /// How far down a value lies.
    pub(super) fn down(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM)
    }

    /// Where a point lies, as a path says it.
    pub(super) fn place(&self, x: f64, y: f64) -> String {
        format!("{:.1} {:.1}", self.right(x), self.down(y))
    }

    fn axes(&self, labels: &Labels) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = String::from("<g class=\"axes\">\n");
        for (tick, label) in self.y.ticks() {
            let y = self.down(tick);
            svg += &format!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            svg += &format!("<text x=\"{}\" y=\"{:.1}\" class=\"end\">{label}</text>\n", LEFT - 8.0, y + 4.5);
        }
        for (tick, label) in self.x.ticks() {
            let x = self.right(tick);
            svg += &format!("<path class=\"tick\" d=\"M{x:.1} {bottom}v5\"/>");
            svg += &format!("<text x=\"{x:.1}\" y=\"{}\" class=\"middle\">{label}</text>\n", bottom + 20.0);
        }
        svg += &format!("<path class=\"tick\" d=\"M{LEFT} {bottom}H{right}\"/>\n");
        let (across, down) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        svg += &format!(
            "<text x=\"{across}\" y=\"{}\" class=\"middle name\">{}</text>\n",
            HEIGHT - 8.0,
            escape(labels.x)
        );
        svg += &format!(
            "<text transform=\"translate(16 {down}) rotate(-90)\" class=\"middle name\">{}</text>\n</g>\n",
            escape(labels.y)
        );
        svg
    }
}
