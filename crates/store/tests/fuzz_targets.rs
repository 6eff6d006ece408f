//! The fuzz targets, run a fixed number of times over mutations of their seeds: the same on every
//! machine and in every run, so what fails here fails again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use cheling_dice::{Mutations, seeds, try_mutations};

#[path = "../fuzz/src/lib.rs"]
mod checks;

fn run(name: &str, of_each: usize) {
    let (_, target) = checks::TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds"));
    try_mutations(&seeds, Mutations { of_each, longest: 16 << 10, pieces: &[] }, target);
}

#[test]
fn segment() {
    run("segment", 2000);
}

#[test]
fn recovery() {
    run("recovery", 40);
}
