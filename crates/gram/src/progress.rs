//! Progress bars on standard error, with the time that is left.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for the work called `name`; its length is set by whoever moves it.
pub fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>16} {bar:28} {pos}/{len}  {eta} left  {msg}");
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
