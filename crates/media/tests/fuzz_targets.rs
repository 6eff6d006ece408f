//! The fuzz targets, run a fixed number of times over mutations of their seeds: the same on every
//! machine and in every run, so what fails here fails again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use cheling_dice::{Mutations, seeds, try_mutations};

#[path = "../fuzz/src/lib.rs"]
mod checks;

fn run(name: &str) {
    let (_, target) = checks::TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name));
    try_mutations(&seeds, Mutations { of_each: 600, longest: 4096, pieces: &[] }, target);
}

macro_rules! targets {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name));
        }
    )*};
}

targets! { rtp rtcp srtp opus g729 payload }
