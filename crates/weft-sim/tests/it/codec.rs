//! The parsers of foreign bytes: the promises that `fuzz/` looks for breaches of, and a comparison
//! with another reader of HTTP/1.1.

mod checks;
mod comparison;

use std::fs;
use std::path::Path;

use weft_sim::Random;

use checks::{CHECKS, Check};

/// What fuzzing kept, and what was found to be worth keeping.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(path).unwrap())
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// The check by its name, so that a target of `fuzz/` cannot be forgotten here.
fn check(name: &str) -> Check {
    CHECKS.iter().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn what_fuzzing_kept_is_replayed() {
    for (name, check) in CHECKS {
        for (path, input) in corpus(name) {
            println!("{path}"); // Shown if the check panics.
            check(&input);
        }
    }
}

#[test]
fn the_corpus_changed_at_random_breaks_nothing() {
    for (name, _) in CHECKS {
        let inputs: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, input)| input).collect();
        let mut random = Random::derive(1, name);
        for _ in 0..2_000 {
            let input = changed(random.pick::<Vec<u8>>(&inputs), &mut random);
            check(name)(&input);
        }
    }
}

/// Pieces that matter to a reader of HTTP/1.1.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"0",
    b"1",
    b"a",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Connection: x\r\n",
    b"X: 1\r\n",
    b"HTTP/1.0",
    b"chunked",
    b"\xff",
];

/// `input` with some bytes removed, replaced, moved or added.
fn changed(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..random.size(1, 3) {
        let at = random.size(0, input.len());
        let end = random.size(at, input.len().min(at + 8));
        match random.below(5) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, random.pick(TOKENS).iter().copied())),
            2 => drop(input.splice(at..end, random.pick(TOKENS).iter().copied())),
            3 if at < input.len() => input[at] = random.next().to_le_bytes()[0],
            _ => {
                let piece = input[at..end].to_vec();
                let to = random.size(0, input.len());
                drop(input.splice(to..to, piece));
            }
        }
    }
    input
}
