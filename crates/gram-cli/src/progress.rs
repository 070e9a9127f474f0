//! Progress bars on standard error, with the time that is left.

use std::ops::Deref;

use gram_data::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{is_quiet, shown};

/// A bar that is seen while its work goes on. Whoever does the work moves it.
pub struct Bar(ProgressBar);

/// A bar for the work called `name`.
pub fn bar(name: &str) -> Bar {
    let style =
        ProgressStyle::with_template("{prefix:>16} {bar:28} {pos}/{len}  {per_sec}  {eta} left  {msg}");
    let bar = if is_quiet() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let bar = bar.with_prefix(shown(name));
    Bar(match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    })
}

impl Progress for Bar {
    fn begin(&self, stage: &str, steps: usize) {
        self.0.set_prefix(shown(stage));
        self.0.set_message("");
        self.0.reset();
        self.0.set_length(steps as u64);
    }

    fn advance(&self, message: &str) {
        self.0.inc(1);
        self.0.set_message(shown(message));
    }

    fn reach(&self, done: usize, message: &str) {
        self.0.set_position(done as u64);
        self.0.set_message(shown(message));
    }
}

impl Deref for Bar {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
