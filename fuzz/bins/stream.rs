#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| claude_proxy_fuzz::stream::run(data));
