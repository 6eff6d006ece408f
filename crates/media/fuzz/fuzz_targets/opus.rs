//! Runs `cheling_media_fuzz::opus` on whatever the fuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| cheling_media_fuzz::opus(octets));
