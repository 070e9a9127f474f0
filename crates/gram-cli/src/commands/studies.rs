//! What `gram study` and `gram study design` have in common.

use std::path::Path;

use anyhow::{Context, Result};
use gram_clip::{Model, ModelIdentity};
use gram_experiments::whole_file;
use gram_hub::model::{is_built_in, note_other_clusters, note_what_tiny_knows, open_model_or_own};
use gram_prompt::PromptKind;
use gram_report::results::Method;
use gram_report::tables::Table;
use serde_json::{Value, json};

use crate::arguments::Common;
use crate::output;
use crate::progress::bar;

/// The prompt of a method with GRAM.
pub fn kind_with_gram(method: Method) -> Result<PromptKind> {
    let kind = method.kind().filter(|_| method.baseline().is_some());
    kind.with_context(|| format!("--method {}: {} is expected", method.key(), Method::list_with_gram()))
}

/// The model that is named, or that of the clusters; what it may not know of the data is said.
pub fn model_of_clusters<'a>(
    named: Option<&str>,
    grouped_by: Option<(&Path, ModelIdentity)>,
    mut data: impl Iterator<Item = &'a String>,
    common: &Common,
) -> Result<Model> {
    let model = open_model_or_own(named, grouped_by.clone(), &common.compute()?, &bar("download"))?;
    grouped_by.iter().try_for_each(|(path, own)| note_other_clusters(&model, path, own))?;
    note_what_tiny_knows(&model, !data.all(|name| is_built_in(name)));
    Ok(model)
}

/// Writes the tables of a study to a file and prints them; for machines, what stands behind them under a key.
pub fn show(path: &Path, tables: &[Table], (key, found): (&str, Value), common: &Common) -> Result<()> {
    let joined = |text: fn(&Table) -> String| tables.iter().map(text).collect::<Vec<_>>().join("\n");
    whole_file::write(path, joined(Table::to_markdown).as_bytes())?;
    match common.json {
        true => output::json(&json!({"table": path.to_string_lossy(), key: found}))?,
        false => output::line(format!("{}\n{}", joined(Table::to_text), path.display()))?,
    }
    Ok(())
}
