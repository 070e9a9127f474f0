//! A bench on several devices.
#![allow(clippy::unwrap_used)]

use gram_clip::Compute;
use gram_experiments::bench::{Bench, BenchPlan, Card};
use gram_experiments::defaults;
use gram_experiments::workbench::{CheckedSettings, Workbench};
use gram_features::Dataset;
use gram_hub::assets;
use gram_report::results::Method;
use gram_tune::method::Starts;

#[test]
fn several_devices_give_the_results_of_one() {
    let model = assets::tiny(&Compute::cpu()).unwrap();
    let template = defaults::TEMPLATE.parse().unwrap();
    let mut settings = defaults::protocol(1, model.preprocess.crop);
    settings.baseline.epochs = 1;
    let settings = CheckedSettings::new(settings, &model).unwrap();
    let (seeds, datasets) = (vec![1, 2, 3], [Dataset::from(assets::dataset("food").unwrap())]);
    let starts = vec![Starts::default(); seeds.len()];
    let run = |others: &[Card]| {
        let (template, progress) = (&template, &());
        let workbench = Workbench {
            model: &model,
            template,
            settings: settings.clone(),
            seeds: seeds.clone(),
            command: "",
            progress,
        };
        let plan = BenchPlan::base_to_new(vec![Method::ZeroShot, Method::Coop], 1);
        let out = tempfile::tempdir().unwrap();
        let (datasets, out) = (datasets.as_slice(), out.path());
        let results =
            Bench { workbench, datasets, starts: &starts, plan, out, restart: false, others }.run().unwrap();
        serde_json::to_value(results).unwrap()
    };
    let card = || Card { model: model.clone(), starts: starts.clone() };
    let expected = run(&[]);
    assert_eq!(expected[0]["base_to_new"].as_array().unwrap().len(), 2 * 3);
    assert_eq!(run(&[card()]), expected);
    assert_eq!(run(&[card(), card(), card()]), expected, "a card without a seed");
}
