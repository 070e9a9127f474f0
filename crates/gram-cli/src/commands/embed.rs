//! `gram embed`: features of images and captions, in files.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};
use gram_clip::Model;
use gram_data::{LabelledDataset, Pairs};
use gram_experiments::embedding::{Embedded, Embedding, Precision, Summary, embed};
use gram_hub::model::{is_built_in, note_what_tiny_knows, open_model, open_pairs};
use serde_json::json;

use crate::arguments::{Anew, Common};
use crate::commands::labelled;
use crate::progress::bar;
use crate::{destination, output};

/// Arguments of `gram embed`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("input").args(["pairs", "data"]).required(true),
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
    #[arg(long, value_name = "SRC")]
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
    let resolved = arguments.resolve(common)?;
    let (out, summary) = (&arguments.out, resolved.run()?);
    match common.json {
        true => {
            let mut told = json!({"features": out.to_string_lossy(), "summary": summary});
            told["summary"]["resumed"] = summary.resumed.into();
            told["summary"]["waited_for_images"] = json!(summary.waited);
            output::json(&told)?;
        }
        false => output::line(format!(
            "{} images with features ({} of them from before), {} unreadable, {} captions cut\n{}",
            summary.rows,
            summary.resumed,
            summary.unreadable,
            summary.cut_captions,
            out.display()
        ))?,
    }
    if let Some(waited) = summary.waited {
        output::note(match waited {
            0.3.. => format!(
                "gram: images were decoded slower than the tower takes them: it waited {:.0} % of the time",
                100.0 * waited
            ),
            _ => format!(
                "gram: bound by the tower, which waited for images {:.0} % of the time",
                100.0 * waited
            ),
        });
    }
    Ok(())
}

/// What the arguments ask for, opened and checked.
struct Resolved<'a> {
    arguments: &'a EmbedArguments,
    model: Model,
    /// What is embedded, as it was named.
    source: &'a str,
    data: Data,
}

/// What is embedded.
enum Data {
    Pairs(Pairs),
    Dataset(LabelledDataset),
}

impl EmbedArguments {
    /// Opens and checks everything.
    fn resolve(&self, common: &Common) -> Result<Resolved<'_>> {
        destination::folder(&self.out)?;
        let mut model = open_model(&self.model, &common.compute()?, &bar("download"))?;
        let source = self.pairs.as_ref().or(self.data.as_ref()).map_or("", String::as_str);
        note_what_tiny_knows(&model, !is_built_in(source));
        if let Some(side) = self.image_size {
            model = model.at_image_size(side)?;
        }
        let data = match &self.data {
            Some(name) => {
                let dataset = labelled::open(name)?;
                output::note(format!("{} images of {} classes", dataset.images.len(), dataset.classes.len()));
                Data::Dataset(dataset)
            }
            None => {
                let pairs = open_pairs(source)?;
                output::note(format!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary()));
                Data::Pairs(pairs)
            }
        };
        Ok(Resolved { arguments: self, model, source, data })
    }
}

impl Resolved<'_> {
    /// Writes the features that are not there yet.
    fn run(&self) -> Result<Summary> {
        let Self { arguments, model, source, data } = self;
        let embedding = Embedding {
            model,
            sentence_bert: arguments.sentence_bert.as_deref(),
            precision: if arguments.full_precision { Precision::Single } else { Precision::Half },
        };
        let (images, embedded) = match data {
            Data::Pairs(pairs) => (pairs.pairs.len(), Embedded::Pairs(pairs)),
            Data::Dataset(dataset) => (dataset.images.len(), Embedded::Dataset(dataset)),
        };
        let (out, restart) = (&arguments.out, arguments.anew.restart);
        destination::room(out, size(&embedding, images))?;
        let summary = embed(&embedding, embedded, source, out, restart, &bar("images"))?;
        if let Data::Pairs(pairs) = data {
            pairs.write_skipped(&out.join("left_out.jsonl"))?;
        }
        Ok(summary)
    }
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
