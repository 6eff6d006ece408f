//! The cheling binary.
fn main() {}
