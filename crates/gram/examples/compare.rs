//! Compares methods over seeds: base and new classes, with 95 % intervals.
//!
//!     cargo run --release --example compare

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use gram::{Clip, Comparison, Dataset, tables};

fn main() -> Result<(), gram::Error> {
    let model = Clip::open("tiny")?;
    let datasets = [Dataset::open("demo:food")?, Dataset::open("demo:animals")?];
    let comparison = Comparison::new(&model, "runs/compare").method("coop")?.method("vpt")?;
    let results = comparison.shots(4).seeds(1..=3).run(&datasets)?;
    if let Some(table) = tables::base_to_new_average(&results) {
        println!("{}", table.to_text());
    }
    Ok(())
}
