use std::sync::Mutex;

use gram_data::ImageFile;
use safetensors::tensor::Metadata;

use super::*;

/// How far an embedding was, each time it said so.
#[derive(Default)]
struct Heard(Mutex<Vec<usize>>);

impl Progress for Heard {
    fn reach(&self, done: usize, _: &str) {
        self.0.lock().unwrap().push(done);
    }
}

/// What an embedding leaves.
struct Left {
    summary: Summary,
    texts: [String; 2],
    metadata: Metadata,
    features: Vec<f32>,
}

/// Embeds the first pairs of the demo, two of which have no image, by parts of a size.
fn embedded_in_parts(size: usize) -> Left {
    let model = gram_hub::assets::tiny(&Default::default()).unwrap();
    let mut pairs = gram_hub::assets::pairs().unwrap();
    pairs.pairs.truncate(150);
    for row in [0, 70] {
        pairs.pairs[row].image = ImageFile::Path("nowhere.png".into());
    }
    let embedding = Embedding { model: &model, sentence_bert: None, precision: Precision::Single };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let heard = Heard::default();
    let summary = embed_in_parts(&embedding, Embedded::Pairs(&pairs), "demo", out, size, &heard).unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert_eq!((heard.len(), heard.last()), (150_usize.div_ceil(size), Some(&150)));
    let texts = ["pairs.jsonl", "unreadable.jsonl"].map(|name| fs::read_to_string(out.join(name)).unwrap());
    let file = fs::read(out.join("features.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&file).unwrap();
    let numbers = file[8 + header..].chunks_exact(4);
    let features = numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    Left { summary, texts, metadata, features }
}

#[test]
fn rows_and_features_are_the_same_wherever_parts_end() {
    let whole = embedded_in_parts(PART);
    assert_eq!((whole.summary.rows, whole.summary.unreadable, whole.summary.resumed), (148, 2, 0));
    // Parts that end within a batch, with it and after it, and parts of one pair, of which one has no row.
    for size in [50, 64, 71, 1] {
        let left = embedded_in_parts(size);
        assert_eq!((left.summary.rows, left.summary.unreadable), (148, 2));
        assert_eq!(left.texts, whole.texts);
        assert_eq!(left.metadata.offset_keys(), whole.metadata.offset_keys());
        // Products of larger batches may be added up in another order.
        let apart = left.features.iter().zip(&whole.features).map(|(one, other)| (one - other).abs());
        let furthest = apart.fold(0.0, f32::max);
        assert!(furthest < 1e-6, "parts of {size}: {furthest}");
    }
}
