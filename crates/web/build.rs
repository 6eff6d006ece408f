//! Has the crate built again whenever the console (`ui/dist`, made by Node) was.
//!
//! The crate compiles without Node: where the console was not built, `src/assets.rs` serves a page
//! that says so. The folder is made here if it is missing, because Cargo runs a build script that
//! watches a missing path every time.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("ui/dist");
    // A source tree that cannot be written to has its console built already, or never will.
    if dist.is_dir() || fs::create_dir_all(&dist).is_ok() {
        println!("cargo::rerun-if-changed={}", dist.display());
    }
}
