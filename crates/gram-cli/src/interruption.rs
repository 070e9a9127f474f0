//! What happens when the program is stopped: a word on how to go on, and the exit code that shells expect.

use std::io::{self, IsTerminal};
use std::thread;

use crate::output;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// From now on SIGINT (Ctrl-C) and SIGTERM say `way_on` and end the program with 130 or 143.
///
/// Files are written under other names and renamed when they are whole: there is nothing to put in order.
pub fn watch(way_on: &'static str) {
    // Where the system gives no handler, signals end the program as they would without one.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // A terminal stands behind `^C`, or behind a bar.
            let line_break = if io::stderr().is_terminal() { "\n" } else { "" };
            output::error(format!("{line_break}gram: stopped: {way_on}"));
            // At once: the other threads are in the middle of something.
            low_level::exit(128 + signal);
        }
    });
}
