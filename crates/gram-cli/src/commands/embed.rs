//! `gram embed`: features of images and captions, in files.

use std::path::PathBuf;

use crate::destination;
use crate::output;
use anyhow::Result;
use clap::Args;
use gram_experiments::embedding::{Embedding, Precision, embed};
use gram_hub::model::{is_built_in, note_what_tiny_knows, open_model, open_pairs};
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::progress::bar;

/// Arguments of `gram embed`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  gram embed --model ViT-B/16 --pairs shards --out features")]
pub struct EmbedArguments {
    /// A checkpoint, an id on the hub, or the built-in `tiny`.
    #[arg(long, value_name = "M", default_value = "tiny")]
    model: String,
    /// Image size in pixels, if it is not the model's own. Position embeddings are interpolated.
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Image-text pairs: WebDataset shards, a folder of them, a manifest, or `demo`.
    #[arg(long, value_name = "SRC")]
    pairs: String,
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
    note_what_tiny_knows(&model, !is_built_in(&arguments.pairs));
    if let Some(side) = arguments.image_size {
        model = model.at_image_size(side)?;
    }
    let pairs = open_pairs(&arguments.pairs)?;
    output::note(format!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary()));
    let embedding = Embedding {
        model: &model,
        sentence_bert: arguments.sentence_bert.as_deref(),
        precision: if arguments.full_precision { Precision::Single } else { Precision::Half },
    };
    let (out, restart) = (&arguments.out, arguments.anew.restart);
    destination::room(out, size(&embedding, pairs.pairs.len()))?;
    let summary = embed(&embedding, &pairs, &arguments.pairs, out, restart, &bar("pairs"))?;
    pairs.write_skipped(&arguments.out.join("left_out.jsonl"))?;
    match common.json {
        true => {
            let mut told = json!({"features": arguments.out.to_string_lossy(), "summary": summary});
            told["summary"]["resumed"] = summary.resumed.into();
            output::json(&told)?;
        }
        false => output::line(format!(
            "{} pairs with features ({} of them from before), {} unreadable, {} captions cut\n{}",
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
