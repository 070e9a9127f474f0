//! Features that clip-retrieval wrote.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use gram_data::{DataError, EmbeddingsFolder};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/embeddings")
}

/// A copy of the fixture that may be spoiled.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["img_emb", "text_emb", "metadata"] {
        fs::create_dir(folder.path().join(kind)).unwrap();
        for entry in fs::read_dir(fixture().join(kind)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(kind).join(entry.file_name())).unwrap();
        }
    }
    folder
}

fn problem(folder: &Path) -> String {
    let error = EmbeddingsFolder::open(folder).unwrap_err();
    assert!(matches!(error, DataError::Embeddings { .. }), "{error:?}");
    error.to_string()
}

/// A `.npy` file with that description and content.
fn npy(description: &str, content: &[u8]) -> Vec<u8> {
    let header = format!("{description}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), content].concat()
}

#[test]
fn parts_give_features_captions_and_keys_in_one_order() {
    let folder = EmbeddingsFolder::open(fixture()).unwrap();
    assert_eq!((folder.rows(), folder.width(), folder.parts().len()), (7, 4, 2));
    let mut row = 0;
    for (part, rows) in folder.parts().iter().zip([4, 3]) {
        assert_eq!(part.rows(), rows);
        let expected: Vec<f32> =
            (row * 4..(row + rows) * 4).map(|index| f32::from(index as u8) / 32.0).collect();
        assert_eq!(part.image_features().unwrap(), expected);
        let negative: Vec<f32> = expected.iter().map(|value| -value).collect();
        assert_eq!(part.text_features().unwrap(), negative);
        let numbers = row..row + rows;
        let captions: Vec<String> = numbers.clone().map(|row| format!("caption {row}")).collect();
        assert_eq!(part.captions().unwrap(), captions);
        assert_eq!(part.keys().unwrap(), numbers.map(|row| format!("{row:09}")).collect::<Vec<_>>());
        row += rows;
    }
}

#[test]
fn numbers_may_be_of_32_bits_and_parts_are_in_the_order_of_their_numbers() {
    let folder = copy();
    // Part 1 becomes part 0 without zeros before it, and the other part 10.
    for (kind, ending) in [("img_emb", "npy"), ("text_emb", "npy"), ("metadata", "parquet")] {
        let file = |number: &str| folder.path().join(kind).join(format!("{kind}_{number}.{ending}"));
        fs::rename(file("00"), file("10")).unwrap();
        fs::rename(file("01"), file("2")).unwrap();
    }
    let values: Vec<f32> = (0..12).map(|index| index as f32 + 1e-6).collect();
    let content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let description = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }";
    fs::write(folder.path().join("img_emb/img_emb_2.npy"), npy(description, &content)).unwrap();
    fs::write(folder.path().join("img_emb/notes.txt"), "not looked at").unwrap();
    let folder = EmbeddingsFolder::open(folder.path()).unwrap();
    assert_eq!(folder.parts()[0].image_features().unwrap(), values);
    assert_eq!(folder.parts()[1].keys().unwrap()[0], "000000000");
}

#[test]
fn captions_may_have_been_seen_by_another_model() {
    let folder = copy();
    for (part, rows) in [("00", 4), ("01", 3)] {
        let description = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, 6), }}");
        let path = folder.path().join(format!("text_emb/text_emb_{part}.npy"));
        fs::write(path, npy(&description, &vec![0; rows * 6 * 2])).unwrap();
    }
    let folder = EmbeddingsFolder::open(folder.path()).unwrap();
    assert_eq!((folder.width(), folder.text_width().unwrap()), (4, 6));
    assert_eq!(folder.parts()[1].text_features().unwrap().len(), 18);
}

#[test]
fn what_does_not_fit_is_named_with_the_way_out() {
    let folder = copy();
    fs::remove_file(folder.path().join("text_emb/text_emb_01.npy")).unwrap();
    let message = problem(folder.path());
    assert!(message.contains("text_emb: part 1 is missing"), "{message}");

    let folder = copy();
    fs::remove_dir_all(folder.path().join("text_emb")).unwrap();
    let images_alone = EmbeddingsFolder::open(folder.path()).unwrap();
    assert_eq!(images_alone.parts()[1].image_features().unwrap().len(), 3 * 4);
    let message = images_alone.text_width().unwrap_err().to_string();
    assert!(message.contains("text_emb: no such folder"), "{message}");

    let folder = copy();
    for kind in ["img_emb", "text_emb", "metadata"] {
        fs::remove_dir_all(folder.path().join(kind)).unwrap();
        fs::create_dir(folder.path().join(kind)).unwrap();
    }
    assert!(problem(folder.path()).contains("holds no features"), "{}", problem(folder.path()));

    let folder = copy();
    let metadata = |number: &str| folder.path().join(format!("metadata/metadata_{number}.parquet"));
    fs::copy(metadata("00"), metadata("01")).unwrap();
    let message = problem(folder.path());
    assert!(message.contains("metadata_01.parquet: 4 rows, ") && message.contains(" has 3"), "{message}");

    let folder = copy();
    fs::copy(folder.path().join("img_emb/img_emb_00.npy"), folder.path().join("img_emb/img_emb_0.npy"))
        .unwrap();
    assert!(problem(folder.path()).contains("two files of part 0"), "{}", problem(folder.path()));
}

#[test]
fn a_matrix_of_another_kind_is_refused() {
    let folder = copy();
    let path = folder.path().join("img_emb/img_emb_01.npy");
    let whole = fs::read(&path).unwrap();
    for (content, expected) in [
        (whole[..whole.len() - 1].to_vec(), "it was cut short"),
        (whole[..20].to_vec(), "no .npy file"),
        (b"text".to_vec(), "no .npy file"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }", &[0; 96]), "numbers of type <f8"),
        (npy("{'descr': '<f2', 'fortran_order': True, 'shape': (3, 4), }", &[0; 24]), "columns come first"),
        (npy("{'descr': '<f2', 'fortran_order': False, 'shape': (12,), }", &[0; 24]), "a matrix is expected"),
        (npy("{'descr': '<f2', 'fortran_order': False, 'shape': (3, 2), }", &[0; 12]), "features of width 2"),
        (
            npy("{'descr': '<f2', 'fortran_order': False, 'shape': (9223372036854775807, 4), }", &[0; 24]),
            "it was cut short",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let message = problem(folder.path());
        assert!(message.contains("img_emb_01.npy: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn metadata_without_captions_or_that_are_damaged_are_an_error_and_no_panic() {
    let folder = copy();
    let path = folder.path().join("metadata/metadata_00.parquet");
    let whole = fs::read(&path).unwrap();
    for index in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[index] ^= 0xff;
        fs::write(&path, damaged).unwrap();
        if let Ok(folder) = EmbeddingsFolder::open(folder.path()) {
            let _ = folder.parts()[0].captions();
            let _ = folder.parts()[0].keys();
        }
    }
    fs::write(&path, b"text").unwrap();
    let message = EmbeddingsFolder::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("metadata_00.parquet: "), "{message}");
}

#[test]
fn brackets_without_end_take_no_time() {
    let folder = copy();
    let path = folder.path().join("img_emb/img_emb_00.npy");
    fs::write(path, npy(&"{".repeat(60), &[])).unwrap();
    let message = problem(folder.path());
    assert!(message.contains("img_emb_00.npy: no .npy file (its header has brackets 60 deep"), "{message}");
}
