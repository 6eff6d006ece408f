//! The writer driven by inputs and a made-up clock, on disks that fail.

mod bench;
mod finish;
mod recovery;
mod rewrite;
mod space;
mod thread;

pub(super) use bench::offered;
