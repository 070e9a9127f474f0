//! Formats of tables, told by the names of their files.

use std::path::Path;

/// Formats of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text whose fields this usually divides; its first line says more.
    Delimited(u8),
    /// A JSON object a line.
    JsonLines,
    /// A list of JSON objects, or the captions of COCO.
    Json,
    /// Parquet.
    Parquet,
}

impl Format {
    /// The format that a file's name tells; texts may be compressed with gzip.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let (text, is_compressed) = name.strip_suffix(".gz").map_or((&*name, false), |name| (name, true));
        match text.rsplit_once('.')?.1 {
            "csv" => Some(Self::Delimited(b',')),
            "tsv" => Some(Self::Delimited(b'\t')),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            "parquet" if !is_compressed => Some(Self::Parquet),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_told_by_its_name() {
        for name in ["a.csv", "A.TSV", "a.b.jsonl.gz", "a.parquet", "a.csv.gz", "captions.json"] {
            assert!(Format::of(Path::new(name)).is_some(), "{name}");
        }
        for name in ["csv", "a.parquet.gz", "a.gz", "a.tar.gz", "a.xlsx", "a.txt"] {
            assert!(Format::of(Path::new(name)).is_none(), "{name}");
        }
    }
}
