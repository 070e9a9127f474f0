//! Adaptation runs, protocols, metrics, results and the report.
