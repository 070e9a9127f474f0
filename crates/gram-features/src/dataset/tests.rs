//! Features that are matched with labels, and those that are refused.

use gram_data::LabelledImage;

use super::*;

/// A dataset of two classes whose images have these keys, and are nowhere.
fn labelled(keys: &[&str]) -> Dataset {
    let image = |(number, key): (usize, &&str)| LabelledImage {
        key: (*key).to_owned(),
        image: ImageFile::Path((*key).into()),
        class: number % 2,
        domain: None,
        split: Split::Train,
    };
    Dataset::from(LabelledDataset {
        name: "two".into(),
        classes: vec!["cat".into(), "dog".into()],
        images: keys.iter().enumerate().map(image).collect(),
        ..LabelledDataset::default()
    })
}

/// A matrix in a file, row-major with two columns.
fn matrix(folder: &Path, values: &[f32]) -> PathBuf {
    let path = folder.join("features.npy");
    let shape = [values.len() / 2, 2];
    MatrixFile { shape, values: values.to_vec(), names: None, model: None }.write(&path).unwrap();
    path
}

fn refused(dataset: Result<Dataset, FeatureError>) -> String {
    dataset.err().unwrap().to_string()
}

#[test]
fn a_matrix_has_a_row_for_each_image_in_the_order_of_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = matrix(folder.path(), &[3.0, 4.0, 0.0, 1.0]);
    let two = || labelled(&["a.png", "b.png"]);
    let known = two().with_features(&path, true).unwrap();
    // Rows are brought to length 1.
    assert_eq!(known.known.as_ref().unwrap().rows.row(0).to_vec(), [3.0 / 5.0, 4.0 / 5.0]);
    assert!(refused(two().with_features(&path, false)).contains("does not say which row is which image"));
    let three = labelled(&["a.png", "b.png", "c.png"]);
    let problem = refused(three.with_features(&path, true));
    assert!(problem.ends_with("2 rows, but the labels are of 3 images: one row each"), "{problem}");
    let path = matrix(folder.path(), &[3.0, 4.0, 0.0, 0.0]);
    let problem = refused(two().with_features(&path, true));
    assert!(problem.ends_with("b.png: its feature is zero or not finite: compute it again"), "{problem}");
}

/// The rows of images in keys that another tool wrote, or `gram embed`.
fn rows(keys: &[&str], of: &[&str], are_ours: bool) -> Result<Vec<usize>, String> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    matched(&labelled(of), &keys, are_ours)
}

#[test]
fn rows_are_found_by_keys_that_lack_something_or_have_more_before_them() {
    let images = ["cat/1.png", "dog/2.png"];
    for (keys, expected) in [
        (&["other", "dog/2.png", "cat/1.png"][..], [2, 1]),
        (&["dog/2", "cat/1"], [1, 0]),
        (&["1.png", "2.png"], [0, 1]),
        (&["2", "1"], [1, 0]),
        (&["/home/pets/dog/2.png", "/home/pets/cat/1.png"], [1, 0]),
        (&["./cat/1", "./dog/2"], [0, 1]),
    ] {
        assert_eq!(rows(keys, &images, false), Ok(expected.to_vec()), "{keys:?}");
    }
    // Those of gram are whole.
    assert_eq!(rows(&["dog/2.png", "cat/1.png"], &images, true), Ok(vec![1, 0]));
    assert!(rows(&["dog/2", "cat/1"], &images, true).is_err());
}

#[test]
fn a_key_that_says_something_else_is_no_image_s() {
    let problem = rows(&["1", "1"], &["cat/1.png", "dog/1.png"], false).unwrap_err();
    assert!(problem.starts_with("image cat/1.png: no row has its key: give the features"), "{problem}");
    // Another folder, another ending, and a dot in the name that is no ending.
    assert!(rows(&["dog/1.png", "cat/2.png"], &["cat/1.png", "dog/2.png"], false).is_err());
    assert!(rows(&["cat/1.jpg", "dog/2.jpg"], &["cat/1.png", "dog/2.png"], false).is_err());
    assert_eq!(rows(&["c/7.1.2", "c/7.1", "d/8"], &["c/7.1.jpg", "d/8.jpg"], false), Ok(vec![1, 2]));
    assert!(rows(&["c/7.1.2", "d/8"], &["c/7.1.jpg", "d/8.jpg"], false).is_err());
    // One row is never that of two images, and two rows of one key are nobody's.
    assert!(rows(&["1"], &["cat/1.png", "dog/1.png"], false).is_err());
    assert!(rows(&["cat/1.png", "cat/1.png"], &["cat/1.png"], false).unwrap_err().contains("several rows"));
}

#[test]
fn features_of_clip_retrieval_belong_to_the_images_that_their_keys_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gram-data/tests/fixtures/embeddings");
    let parts = EmbeddingsFolder::open(&folder).unwrap();
    let last = parts.parts().last().unwrap();
    let (keys, values) = (last.keys().unwrap(), last.image_features().unwrap());
    let ends: Vec<&str> = vec![&keys[keys.len() - 1], &keys[0]];
    let known = labelled(&ends).with_features(&folder, false).unwrap();
    let rows = &known.known.as_ref().unwrap().rows;
    let expected = &values[values.len() - parts.width()..];
    let norm = expected.iter().map(|value| value * value).sum::<f32>().sqrt();
    for (found, expected) in rows.row(0).iter().zip(expected) {
        assert!((found - expected / norm).abs() < 1e-2, "{found} {expected}");
    }
    let problem = refused(labelled(&[&keys[0], "nowhere.jpg"]).with_features(&folder, false));
    assert!(problem.contains("image nowhere.jpg: no row has its key"), "{problem}");
}

#[test]
fn features_stand_for_the_images_in_the_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let of = |values: &[f32], images: &[usize]| {
        let known = labelled(&["a.png", "b.png"]).with_features(&matrix(folder.path(), values), true);
        known.unwrap().fingerprint_of(images)
    };
    assert_eq!(of(&[1.0, 0.0, 0.0, 1.0], &[0, 1]), of(&[1.0, 0.0, 0.0, 1.0], &[0, 1]));
    assert_ne!(of(&[1.0, 0.0, 0.0, 1.0], &[0, 1]), of(&[1.0, 0.0, 1.0, 0.0], &[0, 1]));
    // Those of other images do not count.
    assert_eq!(of(&[1.0, 0.0, 0.0, 1.0], &[0]), of(&[1.0, 0.0, 1.0, 0.0], &[0]));
}

#[test]
fn pixels_of_images_that_are_not_there_are_refused_and_features_of_another_width() {
    let folder = tempfile::tempdir().unwrap();
    let path = matrix(folder.path(), &[1.0, 0.0, 0.0, 1.0]);
    let known = labelled(&["a.png", "b.png"]).with_features(&path, true).unwrap();
    let problem = known.image(0).unwrap_err().to_string();
    assert!(problem.contains("a visual prompt needs images, not features"), "{problem}");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../gram-clip/tests/fixtures/gelu-new-eos");
    let model = Model::open(Path::new(model), &Default::default()).unwrap();
    let problem = known.check(&model).unwrap_err().to_string();
    assert!(problem.contains("features of 2 numbers, but"), "{problem}");
}
