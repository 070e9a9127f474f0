//! Adaptation runs, protocols, metrics, results and the report.
//!
//! [`adaptation`] tunes a prompt on a few shots, [`protocol`] runs it as the paper's tables do, for every method of the
//! [`method_table`].
//! [`results`] is what a run measured, as it stands in `results.json`; [`tables`] and [`report`] are computed
//! from it alone, with the means and intervals of [`statistics`].
//!
//! ```
//! use gram_eval::results::{BaseToNewRun, Method, Results};
//!
//! let mut results = Results::new("gram demo", "tiny", serde_json::json!({"shots": 16}));
//! results.datasets = vec!["food".into()];
//! for (seed, base, new) in [(1, 74.0, 61.0), (2, 76.0, 63.0)] {
//!     let dataset = "food".into();
//!     let run = BaseToNewRun { dataset, method: Method::Coop, seed, base, new, scores: Default::default() };
//!     results.base_to_new.push(run);
//! }
//! let table = gram_eval::tables::base_to_new_average(&results).ok_or("nothing was run")?;
//! assert_eq!(table.rows[0].cells[0].text, "75.00 ± 12.71");
//! # Ok::<(), &str>(())
//! ```

pub mod adaptation;
pub mod descent;
pub mod design;
pub mod gradient_chain;
pub mod kgcoop;
pub mod method;
pub mod method_table;
pub mod prepared;
pub mod prompt_distribution;
pub mod protocol;
pub mod report;
pub mod results;
pub mod score;
pub mod statistics;
pub mod tables;
pub mod tip_adapter;
pub mod tuned;
pub mod tuning;
pub mod views;
