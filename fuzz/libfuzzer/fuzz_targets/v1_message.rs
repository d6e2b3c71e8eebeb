#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (gateway_fuzz::target("v1_message").run)(data));
