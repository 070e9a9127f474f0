//! One file for every command.

pub mod adapt;
pub mod bench;
pub mod cluster;
pub mod data;
pub mod demo;
pub mod embed;
pub mod episodes;
pub mod eval;
pub mod export;
pub mod meta_train;
pub mod predict;
pub mod pretrain;
pub mod prompting;
pub mod rehearse;
pub mod study;
pub mod tuning;

/// The command as it was given, for the files that say what made them.
pub fn command_line() -> String {
    std::iter::once("gram".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}
