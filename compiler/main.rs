//! nnc - the command line.
fn main() {}
