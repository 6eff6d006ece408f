//! Runs `cheling_sip_fuzz::framing` on whatever the fuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| cheling_sip_fuzz::framing(octets));
