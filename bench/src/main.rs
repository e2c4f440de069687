//! Exo.
fn main() {}
