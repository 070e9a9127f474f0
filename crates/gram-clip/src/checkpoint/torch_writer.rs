//! What `torch.load` reads: a dictionary with the tensors under `state_dict`, as training scripts keep them.
//!
//! The archive is that of PyTorch 1.6 and later: a pickle of protocol 2, and the bytes of every tensor beside
//! it.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Named, TorchError};

/// The bytes of a checkpoint `{"state_dict": tensors, "epoch": epoch}`; `name` is the folder inside the
/// archive.
///
/// # Errors
/// [`TorchError::Zip`] if the archive cannot be written.
pub fn to_torch_bytes(name: &str, tensors: &Named, epoch: u8) -> Result<Vec<u8>, TorchError> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |path: &str, bytes: &[u8]| -> Result<(), TorchError> {
        archive.start_file(format!("{name}/{path}"), stored)?;
        archive.write_all(bytes).map_err(|error| TorchError::Zip(error.into()))
    };
    entry("data.pkl", &pickle(tensors, epoch))?;
    entry("byteorder", b"little")?;
    for (index, (_, values)) in tensors.values().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        entry(&format!("data/{index}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    Ok(archive.finish()?.into_inner())
}

fn pickle(tensors: &Named, epoch: u8) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    text(&mut pickle, "state_dict");
    pickle.extend_from_slice(b"ccollections\nOrderedDict\n)R(");
    for (index, (name, (shape, values))) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        pickle.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend_from_slice(b"ctorch\nFloatStorage\n");
        text(&mut pickle, &index.to_string());
        text(&mut pickle, "cpu");
        integer(&mut pickle, values.len());
        pickle.extend_from_slice(b"tQK\x00");
        sizes(&mut pickle, shape);
        let strides: Vec<usize> =
            (1..=shape.len()).map(|dimension| shape[dimension..].iter().product()).collect();
        sizes(&mut pickle, &strides);
        pickle.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.push(b'u');
    text(&mut pickle, "epoch");
    pickle.extend_from_slice(&[b'K', epoch]);
    pickle.extend_from_slice(b"u.");
    pickle
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend_from_slice(&(text.len() as u32).to_le_bytes());
    pickle.extend_from_slice(text.as_bytes());
}

fn integer(pickle: &mut Vec<u8>, value: usize) {
    pickle.extend_from_slice(b"\x8a\x08");
    pickle.extend_from_slice(&(value as u64).to_le_bytes());
}

fn sizes(pickle: &mut Vec<u8>, sizes: &[usize]) {
    pickle.push(b'(');
    sizes.iter().for_each(|size| integer(pickle, *size));
    pickle.push(b't');
}
