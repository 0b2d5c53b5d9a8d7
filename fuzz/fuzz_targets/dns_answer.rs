//! Fuzzes what `checks::dns_answer` promises.

#![no_main]

#[allow(dead_code, reason = "each target checks one parser")]
#[path = "../../crates/weft-sim/tests/it/codec/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::dns_answer(input));
