//! The way through JSON.

use super::*;

#[test]
fn results_survive_the_way_through_json() {
    let results = example::results();
    let text = serde_json::to_string(&results).unwrap();
    assert_eq!(Results::parse(&text, Path::new("results.json")).unwrap(), results);
}

#[test]
fn a_diverged_loss_is_written_as_null_and_read_as_nan() {
    let mut results = example::results();
    results.curves[0].loss = f64::NAN;
    let text = serde_json::to_string(&results).unwrap();
    assert!(text.contains(r#""loss":null"#));
    assert!(Results::parse(&text, Path::new("results.json")).unwrap().curves[0].loss.is_nan());
}

#[test]
fn another_version_is_named_before_anything_else() {
    let error = Results::parse(r#"{"version": 9, "odd": true}"#, Path::new("results.json")).unwrap_err();
    assert!(error.to_string().starts_with("results.json: version 9, this program reads version 1"));
}
