//! Classifies images with a hand-written prompt template.
//!
//!     cargo run --release --example classify -- [MODEL] [IMAGE…]

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use gram::{Clip, Dataset};

fn main() -> Result<(), gram::Error> {
    let mut arguments = std::env::args().skip(1);
    let model = Clip::open(&arguments.next().unwrap_or("tiny".to_owned()))?;
    let paths: Vec<String> = arguments.collect();
    let animals = Dataset::open("demo:animals")?;
    let classifier = model.classifier(animals.classes.clone(), "a picture of a {}")?;
    let found = match paths.is_empty() {
        true => classifier.classify(&[animals.images[0].image.clone()])?,
        false => classifier.predict(&paths)?,
    };
    for prediction in found {
        println!("{} {:.1} %", prediction.class, 100.0 * prediction.probability);
    }
    Ok(())
}
