//! The XDP program.
fn main() {}
