//! Features that are left out, matched with pairs, and of two models.

use super::*;

#[test]
fn a_folder_of_clip_retrieval_is_one_matrix_of_all_its_parts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gram-data/tests/fixtures/embeddings");
    let parts = EmbeddingsFolder::open(&folder).unwrap();
    let features = FeatureFolder::open(&folder).unwrap();
    assert_eq!(features.images.shape(), (parts.rows(), parts.width()));
    let last = parts.parts().last().unwrap();
    let expected = last.text_features().unwrap();
    let read = features.texts.select(&[parts.rows() - 1]);
    let row = &expected[expected.len() - parts.width()..];
    assert!(read.iter().zip(row).all(|(found, expected)| (found - expected).abs() < 1e-3));
    assert_eq!(features.keys.last(), last.keys().unwrap().last());
    let similarities = features.similarities().unwrap();
    assert!(similarities.iter().all(|cosine| (-1.001..=1.001).contains(cosine)), "{similarities:?}");
}

/// A folder as `gram embed` writes it: image features, caption features of another width if they are given,
/// keys and captions.
fn written(images: &[Vec<f32>], texts: &[Vec<f32>], pairs: &[(String, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bytes =
        |rows: &[Vec<f32>]| rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (image_bytes, text_bytes) = (bytes(images), bytes(texts));
    let view = |rows: &[Vec<f32>], bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![rows.len(), rows[0].len()], bytes)
    };
    let tensors = [
        ("image_features", view(images, &image_bytes).unwrap()),
        ("text_features", view(texts, &text_bytes).unwrap()),
    ];
    let file = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(folder.path().join("features.safetensors"), file).unwrap();
    let line = |(key, caption): &(String, String)| {
        format!("{}\n", serde_json::json!({"key": key, "image": key, "caption": caption}))
    };
    std::fs::write(folder.path().join("pairs.jsonl"), pairs.iter().map(line).collect::<String>()).unwrap();
    folder
}

fn named(keys: &[&str]) -> Vec<(String, String)> {
    keys.iter().map(|key| ((*key).to_owned(), format!("caption of {key}"))).collect()
}

/// The pairs of these keys and captions.
fn pairs(named: &[(String, String)]) -> Pairs {
    let pair = |(key, caption): &(String, String)| Pair {
        key: key.clone(),
        caption: caption.clone(),
        image: gram_data::ImageFile::Path("nowhere.png".into()),
        metadata: None,
    };
    Pairs { pairs: named.iter().map(pair).collect(), ..Pairs::default() }
}

#[test]
fn a_row_without_a_direction_is_left_out_and_named() {
    let images = [[1.0, 2.0], [0.0, 0.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]].map(Vec::from);
    let texts = [[1.0, 0.0], [1.0, 0.0], [f32::NAN, 0.0], [f32::INFINITY, 1.0], [1.0, 0.0]].map(Vec::from);
    let folder = written(&images, &texts, &named(&["a", "b", "c", "d", "e"]));
    let features = FeatureFolder::open(folder.path()).unwrap();
    assert_eq!(features.keys, ["a", "e"]);
    assert_eq!(features.captions, ["caption of a", "caption of e"]);
    assert_eq!(features.images.shape(), (2, 2));
    assert_eq!(features.images.select(&[1]).row(0).to_vec(), [7.0, 8.0]);
    let told: Vec<String> = features.skipped.iter().map(Skipped::to_string).collect();
    let expected = [
        "b: its image feature is all zeros",
        "c: its text feature is not finite",
        "d: its text feature is not finite",
    ];
    assert_eq!(told, expected);
    let folder = written(&images[1..2], &texts[1..2], &named(&["b"]));
    let error = FeatureFolder::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("no pair has features that are numbers; first b: its image feature"), "{error}");
}

#[test]
fn features_of_other_pairs_are_refused() {
    let rows = [[1.0, 2.0], [3.0, 4.0]].map(Vec::from);
    let own = named(&["a", "b"]);
    let folder = written(&rows, &rows, &own);
    let matched = |given: &[(String, String)]| {
        FeatureFolder::open(folder.path())
            .unwrap()
            .match_with(&pairs(given))
            .map_err(|error| error.to_string())
    };
    assert!(matched(&named(&["c", "b", "a"])).is_ok());
    let error = matched(&named(&["b", "c"])).unwrap_err();
    assert!(error.contains("1 of 2 keys name none of the 2 pairs, first `a`: give the pairs"), "{error}");
    let other = [own[0].clone(), ("b".to_owned(), "another".to_owned())];
    let error = matched(&other).unwrap_err();
    assert!(
        error.contains("1 of 2 pairs have another caption, first `b`, which is now `another`"),
        "{error}"
    );
}

#[test]
fn keys_of_clip_retrieval_are_found_without_the_name_of_the_shard() {
    let rows = [[1.0, 2.0], [3.0, 4.0]].map(Vec::from);
    let folder = written(&rows, &rows, &named(&["a", "b"]));
    let mut features = FeatureFolder::open(folder.path()).unwrap();
    let shards = |keys: [&str; 2]| {
        let mut given = named(&["a", "b"]);
        given.iter_mut().zip(keys).for_each(|(pair, key)| pair.0 = key.to_owned());
        pairs(&given)
    };
    features.match_with(&shards(["00000/a", "00001/b"])).unwrap();
    assert_eq!(features.keys, ["00000/a", "00001/b"]);
}

#[test]
fn a_row_is_found_by_its_key_or_by_the_one_key_that_has_a_shard_before_it() {
    let found = |of_folder: &[&str], keys: &[&'static str]| {
        let of_folder: Vec<String> = of_folder.iter().map(|key| (*key).to_owned()).collect();
        let rows = rows_of(&of_folder, keys.iter().copied());
        keys.iter().map(|key| rows.get(key).copied()).collect::<Vec<_>>()
    };
    assert_eq!(found(&["a", "b"], &["b", "c"]), [Some(1), None]);
    assert_eq!(found(&["000", "001"], &["shard-0/001", "shard-0/000"]), [Some(1), Some(0)]);
    assert_eq!(found(&["shard-0/000", "000"], &["shard-0/000"]), [Some(0)]);
    // A name of two shards says nothing.
    assert_eq!(found(&["000"], &["shard-0/000", "shard-1/000"]), [None, None]);
    assert_eq!(found(&["000", "000#1"], &["shard-1/000"]), [None]);
}
