//! How long each stage took.

use super::{Cell, Table};
use crate::results::Results;

/// Stages by time and share of the whole; none if no stage was timed.
pub fn stage_times(results: &Results) -> Option<Table> {
    let total: f64 = results.stages.iter().map(|stage| stage.seconds).sum();
    let mut table = Table::new("Time by stage", ["Stage", "Time", "Share"]);
    for stage in &results.stages {
        let share = if total > 0.0 { 100.0 * stage.seconds / total } else { 0.0 };
        table.push(
            &stage.name,
            vec![Cell::plain(duration(stage.seconds)), Cell::plain(format!("{share:.0} %"))],
        );
    }
    table.push("All", vec![Cell::plain(duration(total)), Cell::missing()]);
    (!results.stages.is_empty()).then_some(table)
}

/// `12.3 s`, `2 min 05 s` or `1 h 02 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn times_add_up_and_are_read_at_a_glance() {
        let table = stage_times(&example::results()).unwrap();
        let times: Vec<&str> = table.rows.iter().map(|row| row.cells[0].text.as_str()).collect();
        assert_eq!(times, ["1 min 16 s", "20.2 s", "1 min 36 s"]);
        assert_eq!(table.rows[0].cells[1].text, "79 %");
    }

    #[test]
    fn a_duration_has_the_units_that_suit_it() {
        assert_eq!(duration(59.4), "59.4 s");
        assert_eq!(duration(60.0), "1 min 00 s");
        assert_eq!(duration(3725.0), "1 h 02 min");
    }
}
