//! One file for every command.

pub mod pretrain;
