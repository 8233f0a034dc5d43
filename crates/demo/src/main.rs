//! crates/demo

fn main() {}
