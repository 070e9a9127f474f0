//! Shows an old run again: reads its `results.json`, prints the tables and writes the report.
//!
//! ```text
//! cargo run --release --workspace --example report -- results.json report.html
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of this repository's own, read as it runs"
)]

use std::error::Error;
use std::path::Path;

use gram_report::report::write_report;
use gram_report::results::Results;
use gram_report::tables;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: report RESULTS.json REPORT.html".into());
    };
    let results = Results::read(Path::new(&input))?;
    for table in tables::all(&results) {
        println!("{}", table.to_text());
    }
    write_report(&results, Path::new(&output))?;
    Ok(())
}
