//! Progress bars on standard error, with the time that is left.

use std::fmt::Display;
use std::time::Duration;

use crate::output::shown;
use gram_experiments::clustering::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar for the work called `name`; its length is set by whoever moves it.
pub fn bar(name: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix:>16} {bar:28} {pos}/{len}  {per_sec}  {eta} left  {msg}");
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A sign that work goes on whose steps are not counted; what is being done is its message.
pub fn working(message: &'static str) -> ProgressBar {
    let sign = ProgressBar::new_spinner().with_message(message);
    sign.enable_steady_tick(Duration::from_millis(200));
    sign
}

/// Says beside a bar what is being done.
pub fn say(bar: &ProgressBar, message: impl Display) {
    bar.set_message(shown(message));
}

/// A bar for pairs on their way to topics.
pub struct PairsBar(ProgressBar);

/// A bar for pairs on their way to topics.
pub fn pairs_bar() -> PairsBar {
    PairsBar(bar("pairs"))
}

impl PairsBar {
    /// Shows how far the work is.
    pub fn show(&mut self, now: Progress) {
        match now {
            Progress::Images { done, of } => {
                self.0.set_length(of as u64);
                self.0.set_position(done as u64);
            }
            Progress::Captions => self.0.set_message("reading captions"),
            Progress::Stage(stage) => self.0.set_message(stage.to_string()),
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}
