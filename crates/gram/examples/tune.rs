//! Tunes a prompt on a few labelled images, and classifies an image with it.
//!
//!     cargo run --release --example tune -- [DATASET]

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use gram::{Clip, Dataset, Tuner};

fn main() -> Result<(), gram::Error> {
    let name = std::env::args().nth(1).unwrap_or("demo:food".to_owned());
    let (model, dataset) = (Clip::open("tiny")?, Dataset::open(&name)?);
    let prompt = Tuner::coop(&model).shots(4).fit(&dataset)?;
    prompt.save("runs/tune.safetensors")?;
    println!("loss {:.3}, in runs/tune.safetensors", prompt.losses().last().unwrap_or(&f32::NAN));
    let classifier = prompt.classifier(dataset.classes.clone())?;
    for prediction in classifier.classify(&[dataset.images[0].image.clone()])? {
        println!("{} {:.1} %", prediction.class, 100.0 * prediction.probability);
    }
    Ok(())
}
