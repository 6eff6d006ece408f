//! Runs `cheling_store_fuzz::segment` on whatever the fuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| cheling_store_fuzz::segment(octets));
