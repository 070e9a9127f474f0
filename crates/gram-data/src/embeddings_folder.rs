//! Features of image-text pairs that [clip-retrieval](https://github.com/rom1504/clip-retrieval) computed.
//!
//! `clip-retrieval inference` writes its output in parts, as many as its `write_batch_size` makes of the
//! pairs; the files of part 7 of 99 are
//!
//! | file | what |
//! |---|---|
//! | `img_emb/img_emb_07.npy` | features of the images, `[rows, width]`, normalised |
//! | `text_emb/text_emb_07.npy` | features of the captions, the same; not with `--enable_text False` |
//! | `metadata/metadata_07.parquet` | `image_path`, `caption`; more with `--enable_metadata`, such as `key` |
//!
//! Numbers are little-endian float16, or float32 where another model made them, row after row (`OutputSink`
//! and `ClipMapper` of clip-retrieval 2.45). `image_path` is the pair's key if the pairs came from shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use npyz::{DType, NpyHeader, Order};

use crate::DataError;
use crate::npy_header::check_npy_header;
use crate::table::{Table, Wanted, parquet_rows};

/// The most that the header of a matrix may take, in bytes; NumPy's take 128.
const HEADER_LIMIT: u64 = 1 << 16;

/// Bytes of a matrix that are turned into numbers at once.
const READ_AT_ONCE: u64 = 1 << 20;

/// A folder of features, in parts. Nothing but headers is in memory.
#[derive(Clone, Debug)]
pub struct EmbeddingsFolder {
    parts: Vec<EmbeddingsPart>,
    width: usize,
    /// None where captions have no features.
    text_width: Option<usize>,
    text_folder: PathBuf,
}

/// One part of an [`EmbeddingsFolder`]: features and descriptions of the same pairs in the same order.
#[derive(Clone, Debug)]
pub struct EmbeddingsPart {
    images: Matrix,
    texts: Option<Matrix>,
    metadata: PathBuf,
}

impl EmbeddingsFolder {
    /// Opens a folder with `img_emb`, `metadata` and, unless it was made of images alone, `text_emb`. Checks
    /// that every part has all of these files, that they have the same number of rows, and that all features
    /// of images have the same width, and all of captions. The two widths may differ: captions may have been
    /// seen by another model, such as a Sentence-BERT.
    ///
    /// # Errors
    /// [`DataError::Embeddings`] names the file that is missing, damaged or does not fit the others;
    /// [`DataError::File`] and [`DataError::Table`] one that cannot be read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let images = numbered(folder, "img_emb", "npy")?;
        let text_folder = folder.join("text_emb");
        let texts = text_folder.is_dir().then(|| numbered(folder, "text_emb", "npy")).transpose()?;
        let metadata = numbered(folder, "metadata", "parquet")?;
        let numbers: BTreeSet<u64> = images
            .keys()
            .chain(texts.iter().flat_map(BTreeMap::keys))
            .chain(metadata.keys())
            .copied()
            .collect();
        let mut parts = Vec::with_capacity(numbers.len());
        for number in numbers {
            let file = |files: &BTreeMap<u64, PathBuf>, kind: &str| {
                files.get(&number).cloned().ok_or_else(|| {
                    let problem =
                        format!("part {number} is missing, which other folders have: make it again");
                    DataError::Embeddings { path: folder.join(kind), problem }
                })
            };
            let texts = texts.as_ref().map(|texts| file(texts, "text_emb")).transpose()?;
            let (images, metadata) = (file(&images, "img_emb")?, file(&metadata, "metadata")?);
            parts.push(EmbeddingsPart::open(&images, texts.as_deref(), metadata)?);
        }
        let Some(first) = parts.first() else {
            let problem = "holds no features: give a folder that `clip-retrieval inference` wrote".to_owned();
            return Err(DataError::Embeddings { path: folder.to_path_buf(), problem });
        };
        let images = &first.images;
        let of_images = parts.iter().map(|part| (&part.images, images));
        let of_texts = parts.iter().filter_map(|part| part.texts.as_ref().zip(first.texts.as_ref()));
        let of_parts = of_images.chain(of_texts);
        if let Some((other, first)) = of_parts.into_iter().find(|(one, first)| one.width != first.width) {
            return Err(other.wrong(format!(
                "features of width {}, those of {} have {}: keep those of one model",
                other.width,
                first.path.display(),
                first.width
            )));
        }
        let text_width = first.texts.as_ref().map(|texts| texts.width);
        Ok(Self { width: images.width, text_width, text_folder, parts })
    }

    /// The parts, in the order of their numbers.
    pub fn parts(&self) -> &[EmbeddingsPart] {
        &self.parts
    }

    /// Pairs of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(EmbeddingsPart::rows).sum()
    }

    /// Numbers of an image's feature.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Numbers of a caption's feature.
    ///
    /// # Errors
    /// [`DataError::Embeddings`] where captions have no features.
    pub fn text_width(&self) -> Result<usize, DataError> {
        self.text_width.ok_or_else(|| no_folder(&self.text_folder))
    }
}

impl EmbeddingsPart {
    fn open(images: &Path, texts: Option<&Path>, metadata: PathBuf) -> Result<Self, DataError> {
        let (images, texts) = (Matrix::open(images)?, texts.map(Matrix::open).transpose()?);
        let file = File::open(&metadata).map_err(DataError::at(&metadata))?;
        let described = parquet_rows::count(&metadata.display().to_string(), file)?;
        let of_texts = texts.iter().map(|texts| (&texts.path, texts.rows));
        for (path, rows) in of_texts.chain([(&metadata, described)]) {
            if rows != images.rows {
                let (found, expected) = (images.path.display(), images.rows);
                let problem = format!("{rows} rows, {found} has {expected}: make this part again");
                return Err(DataError::Embeddings { path: path.clone(), problem });
            }
        }
        Ok(Self { images, texts, metadata })
    }

    /// Pairs of this part.
    pub fn rows(&self) -> usize {
        self.images.rows
    }

    /// Features of the images, row after row: [`rows`](Self::rows) times [`width`](EmbeddingsFolder::width)
    /// numbers.
    ///
    /// # Errors
    /// [`DataError::File`] if they cannot be read.
    pub fn image_features(&self) -> Result<Vec<f32>, DataError> {
        self.images.read()
    }

    /// Features of the captions, row after row: [`rows`](Self::rows) times
    /// [`text_width`](EmbeddingsFolder::text_width) numbers; none where captions have no features.
    ///
    /// # Errors
    /// [`DataError::File`] if they cannot be read.
    pub fn text_features(&self) -> Result<Vec<f32>, DataError> {
        self.texts.as_ref().map_or_else(|| Ok(Vec::new()), Matrix::read)
    }

    /// The captions; an empty one where there is none.
    ///
    /// # Errors
    /// [`DataError::Table`] if they cannot be read, [`DataError::MissingColumn`] if there are none at all.
    pub fn captions(&self) -> Result<Vec<String>, DataError> {
        self.column(&["caption"])
    }

    /// The pairs' names: column `key` if there is one, else `image_path`.
    ///
    /// # Errors
    /// [`DataError::Table`] if they cannot be read, [`DataError::MissingColumn`] if there are none at all.
    pub fn keys(&self) -> Result<Vec<String>, DataError> {
        self.column(&["key", "image_path"])
    }

    /// The texts of the first of these columns that there is.
    fn column(&self, names: &[&str]) -> Result<Vec<String>, DataError> {
        let wanted = Wanted { known: &|column| names.contains(&column), others: false };
        let table = Table::read(&self.metadata, wanted)?.whole()?;
        let column = table.first_column(names).ok_or_else(|| table.missing(names))?;
        Ok(table.rows.iter().map(|row| row.text(column).unwrap_or_default().into_owned()).collect())
    }
}

/// That a folder of features is not there.
fn no_folder(path: &Path) -> DataError {
    let problem = "no such folder: run `clip-retrieval inference` with --enable_image, --enable_text and their output here";
    DataError::Embeddings { path: path.to_path_buf(), problem: problem.to_owned() }
}

/// The files `KIND_N.ENDING` in the folder `KIND`, by `N`, which zeros may precede.
fn numbered(folder: &Path, kind: &str, ending: &str) -> Result<BTreeMap<u64, PathBuf>, DataError> {
    let inside = folder.join(kind);
    let wrong = |problem: String| DataError::Embeddings { path: inside.clone(), problem };
    if !inside.is_dir() {
        return Err(no_folder(&inside));
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&inside).map_err(DataError::at(&inside))? {
        let path = entry.map_err(DataError::at(&inside))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name
            .strip_prefix(kind)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| rest.strip_suffix(ending))
            .and_then(|rest| rest.strip_suffix('.'));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
        if files.insert(number, path).is_some() {
            return Err(wrong(format!("two files of part {number}: keep those of one run")));
        }
    }
    Ok(files)
}

/// A matrix in a `.npy` file, and where its numbers are.
#[derive(Clone, Debug)]
struct Matrix {
    path: PathBuf,
    rows: usize,
    width: usize,
    /// Bytes of a number: 2 or 4.
    size: usize,
    /// Where the numbers begin in the file, in bytes.
    start: u64,
}

impl Matrix {
    /// Reads the header, and checks that the file has all the numbers of which it tells.
    fn open(path: &Path) -> Result<Self, DataError> {
        let wrong = |problem: String| DataError::Embeddings { path: path.to_path_buf(), problem };
        let file = File::open(path).map_err(DataError::at(path))?;
        let length = file.metadata().map_err(DataError::at(path))?.len();
        let mut beginning = Vec::new();
        file.take(HEADER_LIMIT).read_to_end(&mut beginning).map_err(DataError::at(path))?;
        let no_file = |problem: String| wrong(format!("no .npy file ({problem}): make it again"));
        check_npy_header(&beginning).map_err(no_file)?;
        let mut numbers = Cursor::new(beginning);
        let header = NpyHeader::from_reader(&mut numbers).map_err(|error| no_file(error.to_string()))?;
        let type_name = match header.dtype() {
            DType::Plain(name) => name.to_string(),
            other => other.descr(),
        };
        let size = match type_name.as_str() {
            "<f2" => 2,
            "<f4" => 4,
            _ => return Err(wrong(format!("numbers of type {type_name}: float16 or float32 is expected"))),
        };
        let &[rows, width] = header.shape() else {
            return Err(wrong(format!("its shape is {:?}: a matrix is expected", header.shape())));
        };
        if header.order() != Order::C {
            return Err(wrong("its columns come first: save it as `numpy.ascontiguousarray(matrix)`".into()));
        }
        let start = numbers.position();
        let expected = rows.checked_mul(width).and_then(|numbers| numbers.checked_mul(size));
        if expected.and_then(|bytes| bytes.checked_add(start)) != Some(length) {
            return Err(wrong(format!(
                "{length} bytes are not those of {rows} x {width} numbers: it was cut short; make it again"
            )));
        }
        // The file has as many bytes, so the numbers fit into memory's addresses.
        Ok(Self {
            path: path.to_path_buf(),
            rows: rows as usize,
            width: width as usize,
            size: size as usize,
            start,
        })
    }

    fn read(&self) -> Result<Vec<f32>, DataError> {
        self.numbers().map_err(DataError::at(&self.path))
    }

    fn numbers(&self) -> io::Result<Vec<f32>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start))?;
        let count = self.rows * self.width;
        let (mut numbers, mut bytes) = (Vec::with_capacity(count), Vec::new());
        while numbers.len() < count {
            bytes.clear();
            let left = ((count - numbers.len()) * self.size) as u64;
            (&mut file).take(left.min(READ_AT_ONCE)).read_to_end(&mut bytes)?;
            if bytes.len() < self.size {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match self.size {
                2 => numbers.extend(bytes.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two).to_f32())),
                _ => numbers.extend(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four))),
            }
        }
        Ok(numbers)
    }

    fn wrong(&self, problem: String) -> DataError {
        DataError::Embeddings { path: self.path.clone(), problem }
    }
}
