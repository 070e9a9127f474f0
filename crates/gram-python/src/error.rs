//! Errors as Python's exceptions: a base class and what people tell apart, each with the one line that the
//! command line says.

use gram::OpenError;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(gram, GramError, PyException, "What gram cannot do, in one line that names the way out.");
create_exception!(
    gram,
    DataError,
    GramError,
    "Images, pairs, a dataset or a file of features cannot be read."
);
create_exception!(
    gram,
    ModelError,
    GramError,
    "A model cannot be opened or used, or is another one than a file is for."
);
create_exception!(gram, PromptError, GramError, "A prompt file or a prompt template cannot be used.");
create_exception!(gram, DeviceError, GramError, "There is no such device to compute on.");

/// Puts the exceptions into the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let python = module.py();
    module.add("GramError", python.get_type::<GramError>())?;
    module.add("DataError", python.get_type::<DataError>())?;
    module.add("ModelError", python.get_type::<ModelError>())?;
    module.add("PromptError", python.get_type::<PromptError>())?;
    module.add("DeviceError", python.get_type::<DeviceError>())
}

/// An error of the library as an exception, with its causes on one line.
pub fn exception(error: gram::Error) -> PyErr {
    let line = without_flags(&line(&error));
    match kind(&error) {
        gram::Error::Data(_) | gram::Error::Feature(_) => DataError::new_err(line),
        gram::Error::Open(error) if is_of_data(error) => DataError::new_err(line),
        gram::Error::Open(_) | gram::Error::Clip(_) | gram::Error::OtherModel(_) => ModelError::new_err(line),
        gram::Error::Prompt(_) | gram::Error::Template(_) => PromptError::new_err(line),
        gram::Error::Compute(_) => DeviceError::new_err(line),
        _ => GramError::new_err(line),
    }
}

/// What went wrong in the end.
fn kind(error: &gram::Error) -> &gram::Error {
    match error {
        gram::Error::At { cause, .. } => kind(cause),
        error => error,
    }
}

/// Whether pairs or a dataset cannot be opened.
fn is_of_data(error: &OpenError) -> bool {
    match error {
        OpenError::Of { cause, .. } => is_of_data(cause),
        error => matches!(error, OpenError::Data(_)),
    }
}

/// The line with arguments of Python in the place of the command line's flags: `--some-flag` is `some_flag`.
fn without_flags(line: &str) -> String {
    let line =
        line.replace("begin anew with --restart", "delete it to begin anew").replace("--init", "--start");
    let mut parts = line.split("--");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end =
            part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(part.len());
        let (flag, rest) = part.split_at(end);
        told += &format!("`{}`{rest}", flag.replace('-', "_"));
    }
    told
}

/// The error and its causes; a cause that its effect has told already is not told twice.
fn line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !line.contains(&told) {
            line = format!("{line}: {told}");
        }
        cause = error.source();
    }
    line
}
