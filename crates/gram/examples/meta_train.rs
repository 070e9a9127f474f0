//! Groups image-text pairs into topics and domains, meta-trains an initialisation on them, and tunes a prompt
//! from it.
//!
//!     cargo run --release --example meta_train

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use gram::{Clip, Dataset, MetaTrainer, Pairs, Tuner};

fn main() -> Result<(), gram::Error> {
    let (model, pairs) = (Clip::open("tiny")?, Pairs::open("demo")?);
    let clusters = model.cluster(&pairs, 1)?;
    println!("{} topics of {} pairs", clusters.topics.len(), pairs.pairs.len());
    let initialisation = MetaTrainer::textual(&model).steps(50).fit(&pairs, &clusters)?;
    let prompt = Tuner::coop(&model).from(&initialisation)?.shots(4).fit(&Dataset::open("demo:food")?)?;
    println!("loss {:.3} after tuning", prompt.losses().last().unwrap_or(&f32::NAN));
    Ok(())
}
