//! Labelled datasets: `manifest.csv` and the pictures that it names, in one archive.

use std::fmt::Write;
use std::path::Path;

use crate::archive::{self, Member};

/// One labelled picture.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its path inside the archive.
    pub image: String,
    /// The class's name.
    pub label: String,
    /// The set that drew it.
    pub domain: &'static str,
    /// `train`, `validation` or `test`.
    pub split: &'static str,
    /// The JPEG file.
    pub jpeg: Vec<u8>,
}

/// Writes the dataset with its manifest first; returns its length in bytes.
pub fn write(path: &Path, examples: Vec<Example>) -> anyhow::Result<u64> {
    let mut manifest = String::from("image,label,domain,split\n");
    for Example { image, label, domain, split, .. } in &examples {
        // Labels are plain words and paths are made of slugs: nothing needs quoting.
        writeln!(manifest, "{image},{label},{domain},{split}")?;
    }
    let mut members: Vec<Member> = vec![("manifest.csv".to_owned(), manifest.into_bytes())];
    members.extend(examples.into_iter().map(|example| (example.image, example.jpeg)));
    archive::write_tar_gz(path, &members)
}
