//! The command line of gram.
fn main() {}
