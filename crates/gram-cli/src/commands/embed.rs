//! `gram embed`: features of images and captions, in files.

use std::path::PathBuf;

use crate::destination;
use crate::output;
use anyhow::Result;
use clap::Args;
use gram_data::Pairs;
use gram_experiments::embedding::{Embedded, Embedding, Precision, embed};
use gram_hub::model::{is_built_in, note_what_tiny_knows, open_model, open_pairs};
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::commands::labelled;
use crate::progress::bar;

/// Arguments of `gram embed`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  gram embed --model ViT-B/16 --pairs shards --out features\n  gram embed --model ViT-B/16 --data flowers/ --out flowers-features"
)]
pub struct EmbedArguments {
    /// A checkpoint, an id on the hub, or the built-in `tiny`.
    #[arg(long, value_name = "M", default_value = "tiny")]
    model: String,
    /// Image size in pixels, if it is not the model's own. Position embeddings are interpolated.
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Image-text pairs: WebDataset shards, a folder of them, a manifest, or `demo`.
    #[arg(long, value_name = "SRC", required_unless_present = "data", conflicts_with = "data")]
    pairs: Option<String>,
    /// A labelled dataset instead: a folder for each class, a manifest, an archive, a standard benchmark, or
    /// `demo:NAME`. `gram adapt --features` and `gram bench --features` then need no image.
    #[arg(long, value_name = "D", conflicts_with = "sentence_bert")]
    data: Option<String>,
    /// Folder for the features. A run that was stopped continues from there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Whether the run begins anew.
    #[command(flatten)]
    anew: Anew,
    /// A Sentence-BERT folder. Its caption embeddings are written too, and topics are found in them.
    #[arg(long, value_name = "DIR")]
    sentence_bert: Option<PathBuf>,
    /// Writes 32-bit numbers instead of 16-bit ones.
    #[arg(long)]
    full_precision: bool,
}

/// Runs the command.
pub fn run(arguments: &EmbedArguments, common: &Common) -> Result<()> {
    destination::folder(&arguments.out)?;
    let mut model = open_model(&arguments.model, &common.device()?, &bar("download"))?;
    let source = arguments.pairs.as_ref().or(arguments.data.as_ref()).map_or("", String::as_str);
    note_what_tiny_knows(&model, !is_built_in(source));
    if let Some(side) = arguments.image_size {
        model = model.at_image_size(side)?;
    }
    let (pairs, dataset) = match &arguments.data {
        Some(name) => (Pairs::default(), Some(labelled::open(name)?)),
        None => (open_pairs(source)?, None),
    };
    let embedded = match &dataset {
        Some(dataset) => {
            output::note(format!("{} images of {} classes", dataset.images.len(), dataset.classes.len()));
            Embedded::Dataset(dataset)
        }
        None => {
            output::note(format!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary()));
            Embedded::Pairs(&pairs)
        }
    };
    let images = dataset.as_ref().map_or(pairs.pairs.len(), |dataset| dataset.images.len());
    let embedding = Embedding {
        model: &model,
        sentence_bert: arguments.sentence_bert.as_deref(),
        precision: if arguments.full_precision { Precision::Single } else { Precision::Half },
    };
    let (out, restart) = (&arguments.out, arguments.anew.restart);
    destination::room(out, size(&embedding, images))?;
    let summary = embed(&embedding, embedded, source, out, restart, &bar("images"))?;
    if dataset.is_none() {
        pairs.write_skipped(&arguments.out.join("left_out.jsonl"))?;
    }
    match common.json {
        true => {
            let mut told = json!({"features": arguments.out.to_string_lossy(), "summary": summary});
            told["summary"]["resumed"] = summary.resumed.into();
            output::json(&told)?;
        }
        false => output::line(format!(
            "{} images with features ({} of them from before), {} unreadable, {} captions cut\n{}",
            summary.rows,
            summary.resumed,
            summary.unreadable,
            summary.cut_captions,
            arguments.out.display()
        ))?,
    }
    Ok(())
}

/// About the bytes that the features of so many pairs take: in parts, then joined, and as NumPy's files.
fn size(embedding: &Embedding, pairs: usize) -> u64 {
    let number = match embedding.precision {
        Precision::Half => 2,
        Precision::Single => 4,
    };
    let row = 2 * embedding.model.clip.config.projection_dim * number;
    3 * (pairs * row) as u64
}
