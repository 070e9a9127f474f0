//! The plots of a run: meta-training by step, adaptation by epoch.

use std::collections::BTreeSet;

use gram_prompt::PromptKind;

use super::plot::{Plot, Point, Series};
use crate::results::{CurvePoint, MetaCurve, MetaPoint, Method, Results};
use crate::statistics::{BySeed, Estimate, average_within_seeds};
use crate::tables::scores::{distinct, in_order_of_the_paper};
use gram_tune::method_table::Learned;

/// A curve with more points than this is smoothed, and its raw course drawn faintly below.
const MOST_RAW_POINTS: usize = 60;

/// Accuracy on base and on new classes and training loss by epoch, a line for each method: the mean over
/// datasets within a seed, then over seeds with the 95 % interval as a band.
pub(super) fn adaptation(results: &Results) -> Vec<Plot> {
    if results.curves.is_empty() {
        return Vec::new();
    }
    let methods = in_order_of_the_paper(results.curves.iter().map(|point| point.method));
    let trained: Vec<Method> = methods.iter().copied().filter(|method| *method != Method::ZeroShot).collect();
    vec![
        by_epoch(results, &methods, ("Accuracy on base classes", "accuracy (%)"), |point| point.base),
        by_epoch(results, &methods, ("Accuracy on new classes", "accuracy (%)"), |point| point.new),
        by_epoch(results, &trained, ("Training loss", "cross-entropy (nats)"), |point| point.loss),
    ]
}

fn by_epoch(
    results: &Results,
    methods: &[Method],
    (title, y_label): (&str, &str),
    value: fn(&CurvePoint) -> f64,
) -> Plot {
    let series = |method: &Method| Series {
        name: method.name().to_owned(),
        class: class(*method),
        faint: false,
        points: epochs(results, *method, value),
    };
    Plot {
        title: title.to_owned(),
        x_label: "epochs of adaptation".to_owned(),
        y_label: y_label.to_owned(),
        series: methods.iter().map(series).collect(),
        ..Plot::default()
    }
}

/// One point for each epoch that some seed finished on every dataset. What learns nothing and was measured at
/// the start alone stays what it was until the last epoch of the others.
fn epochs(results: &Results, method: Method, value: fn(&CurvePoint) -> f64) -> Vec<Point> {
    let datasets = distinct(results.curves.iter().map(|point| point.dataset.as_str()));
    let points = || results.curves.iter().filter(|point| point.method == method);
    let at_epoch = |epoch: usize| {
        let on_dataset = |dataset: &&str| -> BySeed {
            let points = points().filter(|point| point.epoch == epoch && point.dataset == *dataset);
            points.map(|point| (point.seed, value(point))).collect()
        };
        let by_dataset: Vec<BySeed> = datasets.iter().map(on_dataset).collect();
        let estimate = Estimate::over_seeds(&average_within_seeds(&by_dataset))?;
        Some(Point { x: epoch as f64, y: estimate.mean, half_width: estimate.half_width.unwrap_or(0.0) })
    };
    let measured = points().map(|point| point.epoch).collect::<BTreeSet<_>>();
    let mut course: Vec<Point> = measured.into_iter().filter_map(at_epoch).collect();
    if let (Method::ZeroShot, [start]) = (method, course.as_slice()) {
        let last = results.curves.iter().map(|point| point.epoch).max().unwrap_or(0);
        course.push(Point { x: last as f64, ..*start });
    }
    course
}

/// Loss of each meta-training, then the alignment and the length of the regulated gradient of all.
pub(super) fn meta_training(results: &Results) -> Vec<Plot> {
    if results.meta_training.is_empty() {
        return Vec::new();
    }
    let mut plots: Vec<Plot> = results.meta_training.iter().map(losses).collect();
    plots.push(by_step(
        results,
        "Alignment of support and query gradient",
        "normalised inner product",
        |point| point.alignment,
    ));
    plots.push(by_step(
        results,
        "Length of the regulated gradient",
        "regulated norm over raw norm",
        |point| point.regulated_over_raw,
    ));
    plots
}

fn losses(curve: &MetaCurve) -> Plot {
    let mut series =
        smoothed("query loss", class(curve.method), points(curve, |point| Some(point.query_loss)));
    let held_out = points(curve, |point| point.held_out_loss);
    if !held_out.is_empty() {
        series.push(Series {
            name: "query loss, held-out tasks".to_owned(),
            class: "ink dashed",
            faint: false,
            points: held_out,
        });
    }
    Plot {
        title: format!("Meta-training loss, {}", curve.method),
        note: format!("Source: {}.", curve.source),
        x_label: "steps of meta-training".to_owned(),
        y_label: "cross-entropy (nats)".to_owned(),
        series,
    }
}

fn by_step(results: &Results, title: &str, y_label: &str, value: fn(&MetaPoint) -> f64) -> Plot {
    let series = |curve: &MetaCurve| {
        smoothed(curve.method.name(), class(curve.method), points(curve, |point| Some(value(point))))
    };
    Plot {
        title: title.to_owned(),
        x_label: "steps of meta-training".to_owned(),
        y_label: y_label.to_owned(),
        series: results.meta_training.iter().flat_map(series).collect(),
        ..Plot::default()
    }
}

fn points(curve: &MetaCurve, value: impl Fn(&MetaPoint) -> Option<f64>) -> Vec<Point> {
    let point = |point: &MetaPoint| Some(Point::new(point.step as f64, value(point)?));
    curve.points.iter().filter_map(point).collect()
}

/// A short curve as it is; a long one as running means, over its raw course.
fn smoothed(name: &str, class: &'static str, points: Vec<Point>) -> Vec<Series> {
    if points.len() <= MOST_RAW_POINTS {
        return vec![Series { name: name.to_owned(), class, faint: false, points }];
    }
    let window = points.len() / 20;
    let means = points.windows(window).map(|run| {
        let sum = run.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.x, sum.1 + point.y));
        Point::new(sum.0 / window as f64, sum.1 / window as f64)
    });
    let means = means.collect();
    vec![
        Series { name: format!("{name}, every record"), class, faint: true, points },
        Series { name: format!("{name}, mean of {window} records"), class, faint: false, points: means },
    ]
}

/// A colour for what is learned, dashed without GRAM, so that a pair is told apart without colour.
fn class(method: Method) -> &'static str {
    let colours = match method.learned() {
        Learned::Nothing | Learned::Cache { .. } => return "ink",
        Learned::Collection | Learned::Prompt(PromptKind::Textual | PromptKind::Conditional) => {
            ["blue dashed", "blue"]
        }
        Learned::Prompt(PromptKind::Visual) => ["vermillion dashed", "vermillion"],
        Learned::Prompt(PromptKind::Joint) => ["green dashed", "green"],
    };
    colours[usize::from(method.baseline().is_some())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn an_epoch_is_averaged_over_seeds_with_a_band() {
        let mut results = example::results();
        let mut second = results.curves.clone();
        second.iter_mut().for_each(|point| (point.seed, point.base) = (2, point.base + 1.0));
        results.curves.extend(second);
        let plots = adaptation(&results);
        let point = plots[0].series[0].points[2];
        assert_eq!((point.x, point.y), (2.0, 80.5));
        assert!((point.half_width - 12.706 / 2.0).abs() < 1e-3);
    }

    #[test]
    fn what_learns_nothing_is_level_and_has_no_training_loss() {
        let mut results = example::results();
        let start = CurvePoint { method: Method::ZeroShot, ..results.curves[0].clone() };
        results.curves.push(start);
        let plots = adaptation(&results);
        assert_eq!(plots[0].series[0].points, [Point::new(0.0, 60.0), Point::new(2.0, 60.0)]);
        assert_eq!(plots[2].series.len(), 1);
    }

    #[test]
    fn a_diverged_loss_stays_a_gap_in_its_curve() {
        let mut results = example::results();
        results.curves[1].loss = f64::NAN;
        assert!(adaptation(&results)[2].series[0].points[1].y.is_nan());
    }

    #[test]
    fn held_out_losses_stand_at_the_steps_where_they_were_measured() {
        let plots = meta_training(&example::results());
        assert_eq!(plots[0].title, "Meta-training loss, CoOp + GRAM");
        assert_eq!(plots[0].note, "Source: trained live.");
        assert_eq!(plots[0].series[1].points, [Point::new(0.0, 2.625), Point::new(20.0, 1.75)]);
        assert_eq!(plots[1].series[0].points[2], Point::new(20.0, 0.375));
    }

    #[test]
    fn a_long_curve_is_smoothed_over_its_raw_course() {
        let points: Vec<Point> = (0..100).map(|x| Point::new(x as f64, (x % 2) as f64)).collect();
        let series = smoothed("loss", "blue", points);
        assert_eq!((series[0].points.len(), series[1].points.len()), (100, 96));
        assert_eq!(series[1].points[0], Point::new(2.0, 0.4));
        assert_eq!(series[1].name, "loss, mean of 5 records");
    }
}
