//! Runs `cheling_store_fuzz::recovery` on whatever the fuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| cheling_store_fuzz::recovery(octets));
