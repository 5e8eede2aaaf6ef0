//! Runs the model's configurations.

fn main() {}
