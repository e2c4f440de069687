#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exo_fuzz::control::run(bytes));
