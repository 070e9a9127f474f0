//! The command line of gram-pack.
fn main() {}
