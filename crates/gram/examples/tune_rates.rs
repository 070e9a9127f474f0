//! How the demo's tuning rates were chosen: every method at several rates, inside the base classes of the built-in
//! datasets (training and validation images only).
//!
//!     cargo run --release --workspace --example tune_rates -- MODEL METHOD RATE,RATE,… SEEDS [START.safetensors]
//!
//! A rate is `0.02`, or `0.02/0.002` for text and visual. Prints a line for every rate: base, new and H, means over datasets, with 95 % intervals over seeds.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use gram::model::open_model;
use gram::starts::start_of;
use gram::{assets, defaults};
use gram_data::ClassSubset;
use gram_eval::method::Starts;
use gram_eval::prepared::Prepared;
use gram_eval::protocol::Protocol;
use gram_eval::results::Method;
use gram_eval::statistics::{Estimate, harmonic_mean, mean};
use gram_eval::tuning::among_base_classes;
use gram_prompt::{PromptFile, Rates};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, method, rates, seeds, start @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: tune_rates MODEL METHOD RATE,RATE,… SEEDS [START.safetensors]");
    };
    let method: Method = method.parse()?;
    let rates: Vec<Rates> =
        rates.split(',').map(str::parse).collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let seeds: u64 = seeds.parse().context("seeds")?;
    let device = Device::default();
    let model = open_model(model, &device)?;
    let template = defaults::TEMPLATE.parse()?;
    let mut starts = Starts::default();
    if let [path] = start {
        let path = Path::new(path);
        let file = PromptFile::load(path, &device)?;
        starts.insert(method, start_of(&file, path, &model)?, file.header.placement);
    }
    let names = &assets::DATASETS;
    // [rate][seed] -> base and new of every dataset
    let mut found: Vec<BTreeMap<u64, Vec<(f64, f64)>>> = vec![BTreeMap::new(); rates.len()];
    for name in names {
        let dataset = among_base_classes(&assets::dataset(name)?).context("too few base classes")?;
        let prepared =
            Prepared::new(&dataset, &model, &template, &template, &device)?.with_test_features()?;
        for seed in 1..=seeds {
            let runs = rates
                .par_iter()
                .map(|rate| {
                    let mut settings = defaults::protocol(defaults::SHOTS, model.preprocess.crop);
                    settings.baseline.rates = *rate;
                    settings.regulated.rates = *rate;
                    let protocol = Protocol { prepared: &prepared, settings: &settings, starts: &starts };
                    let shots = protocol.shots(ClassSubset::Base, None, &[method], seed)?;
                    let run =
                        protocol.base_to_new(method, &shots, false)?.context("pass the start's file")?.0;
                    Ok((run.base, run.new))
                })
                .collect::<Result<Vec<_>>>()?;
            for (by_seed, run) in found.iter_mut().zip(runs) {
                by_seed.entry(seed).or_default().push(run);
            }
        }
    }
    for (rate, by_seed) in rates.iter().zip(found) {
        let of = |value: fn(f64, f64) -> f64| {
            let per_seed: Vec<f64> = by_seed
                .values()
                .filter_map(|runs| {
                    let base = mean(&runs.iter().map(|run| run.0).collect::<Vec<_>>())?;
                    let new = mean(&runs.iter().map(|run| run.1).collect::<Vec<_>>())?;
                    Some(value(base, new))
                })
                .collect();
            Estimate::of(&per_seed).map(|estimate| estimate.to_string()).unwrap_or_default()
        };
        let (base, new, h) = (of(|base, _| base), of(|_, new| new), of(harmonic_mean));
        println!("{method} rate {rate}: base {base}, new {new}, H {h}");
    }
    Ok(())
}
