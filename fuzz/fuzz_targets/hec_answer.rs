#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::hec_answer(bytes));
