//! One file for every command.

pub mod adapt;
pub mod bench;
pub mod cluster;
pub mod clusters;
pub mod completions;
pub mod data;
pub mod demo;
pub mod devices;
pub mod doctor;
pub mod embed;
pub mod episodes;
pub mod eval;
pub mod export;
pub mod inspect;
pub mod labelled;
pub mod man;
pub mod meta_settings;
pub mod meta_train;
pub mod predict;
pub mod pretrain;
pub mod prompting;
pub mod studies;
pub mod study;
pub mod study_design;
pub mod tuning;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked for is done.
    Complete,
    /// Something that was asked for could not be read; it is named, and the rest is done.
    Partial,
}

impl Outcome {
    /// Complete if nothing was unreadable.
    pub fn without(unreadable: usize) -> Self {
        if unreadable == 0 { Self::Complete } else { Self::Partial }
    }
}

/// The command as it was given, for the files that say what made them.
pub fn command_line() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("gram".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
