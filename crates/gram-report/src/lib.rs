//! Tables and pages, from results alone.
//!
//! [`results`] is what an experiment measured, as it stands in `results.json`; [`tables`] and the pages of
//! [`report`] are computed from it, with the means and intervals of [`statistics`].
//!
//! ```
//! use gram_report::results::{BaseToNewRun, Method, Results};
//!
//! let mut results = Results::new("gram demo", "tiny", serde_json::json!({"shots": 16}));
//! results.datasets = vec!["food".into()];
//! for (seed, base, new) in [(1, 74.0, 61.0), (2, 76.0, 63.0)] {
//!     let dataset = "food".into();
//!     let run = BaseToNewRun { dataset, method: Method::Coop, seed, base, new, scores: Default::default() };
//!     results.base_to_new.push(run);
//! }
//! let table = gram_report::tables::base_to_new_average(&results).ok_or("nothing was run")?;
//! assert_eq!(table.rows[0].cells[0].text, "75.00 ± 12.71");
//! # Ok::<(), &str>(())
//! ```

pub mod report;
pub mod results;
pub mod statistics;
pub mod tables;
