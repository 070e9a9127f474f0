//! One file for every command.

pub mod cluster;
pub mod demo;
pub mod meta_train;
pub mod pretrain;
