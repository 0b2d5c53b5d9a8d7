//! Tidiness: what every source file must have, and what none may.

use crate::source::{self, Line};
use crate::tree::Source;

/// The longest file, in lines without tests.
const LINES_MAX: usize = 600;

/// The longest line, in characters. rustfmt leaves comments and strings as they are.
const WIDTH_MAX: usize = 100;

/// The most characters of a line with a string, which is often harder to read when it is broken.
const WIDTH_WITH_STRING_MAX: usize = 120;

/// Files for which a rule does not hold, each with the reason.
pub struct Exceptions {
    /// Longer than [`LINES_MAX`].
    pub long: &'static [(&'static str, &'static str)],
    /// With `unsafe`, though not in `weft-net`.
    pub with_unsafe: &'static [(&'static str, &'static str)],
}

pub const EXCEPTIONS: Exceptions = Exceptions { long: &[], with_unsafe: &[] };

/// Code that may not be committed, and what to do about it.
const BANNED_CODE: &[(&str, &str)] = &[
    ("todo!", "write it, or return an error that says what is missing"),
    ("unimplemented!", "write it, or return an error that says what is missing"),
    ("#[ignore", "let the test run, or put it into a group of its own in xtask/src/groups.rs"),
];

/// Code that may not be in the programs that users run, and what to do about it.
const BANNED_IN_PROGRAMS: &[(&str, &str)] =
    &[("eprintln", "say it by `weft_control::say!`: this panics where a log cannot be written")];

/// Where their code is.
const PROGRAMS: [&str; 2] = ["crates/weft/src/", "crates/weft-control/src/"];

/// Words in comments that may not be committed, and what to do about them.
const BANNED_IN_COMMENTS: &[(&str, &str)] = &[
    ("FIXME", "mend it, or open an issue and give its number"),
    ("XXX", "mend it, or open an issue and give its number"),
    ("```ignore", "let the example compile (`no_run`), or mark it as `text`"),
];

/// What is not tidy in `sources`, and which of `exceptions` are not needed.
pub fn findings(exceptions: &Exceptions, sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let Source { path, text } = source;
        let lines = source::lines(text);
        findings.extend(opening(path, text));
        findings.extend(length(exceptions, path, &lines));
        findings.extend(widths(path, text));
        for (number, line) in (1..).zip(&lines) {
            findings.extend(words(path, number, line));
            findings.extend(unsafe_code(exceptions, path, number, line));
        }
    }
    for (path, _) in exceptions.long {
        let still = |source: &Source| {
            source.path == *path && length_without_tests(&source::lines(&source.text)) > LINES_MAX
        };
        if !sources.iter().any(still) {
            findings.push(not_needed(path));
        }
    }
    for (path, _) in exceptions.with_unsafe {
        let still = |source: &Source| {
            source.path == *path && source::lines(&source.text).iter().any(has_unsafe)
        };
        if !sources.iter().any(still) {
            findings.push(not_needed(path));
        }
    }
    findings
}

fn not_needed(path: &str) -> String {
    format!("xtask/tests/workspace/tidy.rs: the exception for {path} is not needed: remove it")
}

/// Every file says what it is, and every library what it leaves to others.
fn opening(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let first = text.lines().next().and_then(|line| line.strip_prefix("//!")).unwrap_or_default();
    if !first.contains(char::is_alphabetic) {
        findings.push(format!("{path}:1: open with a line `//! …` that says what the module is"));
    }
    if path.starts_with("crates/") && path.ends_with("/src/lib.rs") {
        let says = |line: &str| line.starts_with("//!") && line.contains("Deliberately absent");
        if !text.lines().any(says) {
            findings.push(format!(
                "{path}:1: add `//! Deliberately absent: …`, what this crate must never know"
            ));
        }
    }
    findings
}

fn length(exceptions: &Exceptions, path: &str, lines: &[Line]) -> Option<String> {
    let of_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    let length = length_without_tests(lines);
    if of_tests || length <= LINES_MAX || exceptions.long.iter().any(|(long, _)| long == &path) {
        return None;
    }
    Some(format!(
        "{path}:{LINES_MAX}: {length} lines without tests, {LINES_MAX} are allowed: split it, or \
         have it listed in xtask/tests/workspace/tidy.rs"
    ))
}

/// The number of lines outside of a `#[cfg(test)] mod … { … }` at the left margin.
fn length_without_tests(lines: &[Line]) -> usize {
    let opens = |pair: &[Line]| {
        pair[0].code == "#[cfg(test)]"
            && pair[1].code.starts_with("mod ")
            && pair[1].code.ends_with('{')
    };
    let Some(start) = lines.windows(2).position(opens) else { return lines.len() };
    let closes = |line: &Line| line.code == "}";
    let of_tests = lines[start..].iter().position(closes).unwrap_or(lines.len() - start - 1) + 1;
    lines.len() - of_tests
}

fn widths(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let width = line.chars().count();
        let most = if line.contains('"') { WIDTH_WITH_STRING_MAX } else { WIDTH_MAX };
        // A link cannot be broken.
        if width > most && !line.contains("://") {
            findings.push(format!(
                "{path}:{number}: {width} characters, {most} are allowed: break the line"
            ));
        }
    }
    findings
}

fn words(path: &str, number: usize, line: &Line) -> Vec<String> {
    let found = |text: &str, banned: &[(&str, &str)]| {
        let here = banned.iter().filter(|(word, _)| has_word(text, word));
        here.map(|(word, remedy)| format!("{path}:{number}: `{word}`: {remedy}")).collect()
    };
    let mut findings: Vec<String> = found(&line.code, BANNED_CODE);
    if PROGRAMS.iter().any(|program| path.starts_with(program)) {
        findings.extend::<Vec<String>>(found(&line.code, BANNED_IN_PROGRAMS));
    }
    findings.extend::<Vec<String>>(found(&line.comment, BANNED_IN_COMMENTS));
    findings
}

fn unsafe_code(exceptions: &Exceptions, path: &str, number: usize, line: &Line) -> Option<String> {
    let allowed = path.starts_with("crates/weft-net/")
        || exceptions.with_unsafe.iter().any(|(listed, _)| listed == &path);
    (!allowed && has_unsafe(line)).then(|| {
        format!("{path}:{number}: `unsafe` is for weft-net alone: move what needs it there")
    })
}

fn has_unsafe(line: &Line) -> bool {
    has_word(&line.code, "unsafe")
}

/// True if `word` is in `text`, and is not a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        let apart = |here: Option<char>, neighbour: Option<char>| {
            !(here.is_some_and(is_name) && neighbour.is_some_and(is_name))
        };
        apart(word.chars().next(), before) && apart(word.chars().next_back(), after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Exceptions = Exceptions { long: &[], with_unsafe: &[] };

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        findings(&NONE, &[source(path, text)])
    }

    fn lines_of(count: usize) -> String {
        "//! Long.\n".to_owned() + &"fn f() {}\n".repeat(count - 1)
    }

    #[test]
    fn a_tidy_file_is_fine() {
        let text = "//! Retries.\n\n/// Says \"todo!\" is unsafe.\nfn f() { g(\"FIXME todo!\") }\n";
        assert_eq!(found("crates/weft-decide/src/retry.rs", text), [""; 0]);
    }

    #[test]
    fn a_file_without_an_opening_is_found() {
        for text in ["", "fn main() {}\n", "//! .\n", "/// Not inner.\n"] {
            let found = found("xtask/build.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("xtask/build.rs:1: open with"), "{found:?}");
        }
    }

    #[test]
    fn a_library_says_what_is_absent() {
        let path = "crates/weft-http/src/lib.rs";
        let found_in = found(path, "//! Codec.\n// Deliberately absent: sockets.\n");
        assert!(found_in[0].contains("add `//! Deliberately absent: …`"), "{found_in:?}");
        assert_eq!(found(path, "//! Codec.\n//! Deliberately absent: sockets.\n"), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found() {
        let path = "crates/weft-http/src/head.rs";
        assert_eq!(found(path, &lines_of(600)), [""; 0]);
        let with_tests = lines_of(600) + "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        assert_eq!(found(path, &with_tests), [""; 0]);
        let found_in = found(path, &lines_of(602));
        assert!(found_in[0].contains("lines without tests, 600 are allowed"), "{found_in:?}");
        assert_eq!(found("crates/weft-http/src/head/tests.rs", &lines_of(602)), [""; 0]);
        assert_eq!(found("crates/weft-http/tests/it/main.rs", &lines_of(602)), [""; 0]);
    }

    #[test]
    fn a_long_line_is_found() {
        let found_in = found("bench/src/main.rs", &format!("//! Long.\n// {}\n", "x".repeat(98)));
        assert_eq!(
            found_in,
            ["bench/src/main.rs:2: 101 characters, 100 are allowed: break the line"]
        );
        let link = format!("//! Long.\n// https://example.org/{}\n", "x".repeat(98));
        assert_eq!(found("bench/src/main.rs", &link), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_found() {
        for line in [
            "todo!()",
            "unimplemented!(\"later\")",
            "#[ignore = \"slow\"]",
            "// FIXME",
            "/* XXX */",
            "/// ```ignore",
        ] {
            let found = found("bench/src/main.rs", &format!("//! Bench.\n\n{line}\n"));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found[0].starts_with("bench/src/main.rs:3: `"), "{found:?}");
        }
    }

    #[test]
    fn unsafe_is_for_weft_net() {
        let text = "//! System calls.\nfn f() { unsafe { g() } }\n";
        assert_eq!(found("crates/weft-net/src/splice.rs", text), [""; 0]);
        let found_in = found("crates/weft-proxy/src/splice.rs", text);
        assert_eq!(
            found_in,
            ["crates/weft-proxy/src/splice.rs:2: `unsafe` is for weft-net alone: \
            move what needs it there"]
        );
        assert_eq!(
            found("crates/weft/src/main.rs", "//! Weft.\n#![forbid(unsafe_code)]\n"),
            [""; 0]
        );
    }

    #[test]
    fn an_exception_allows_and_must_be_needed() {
        let path = "bench/src/main.rs";
        let exceptions = Exceptions {
            long: &[("bench/src/main.rs", "one table")],
            with_unsafe: &[("bench/src/main.rs", "counts allocations")],
        };
        let needed = lines_of(700) + "unsafe impl A for B {}\n";
        assert_eq!(findings(&exceptions, &[source(path, &needed)]), [""; 0]);
        let stale = findings(&exceptions, &[source(path, "//! Short.\n")]);
        assert_eq!(stale.len(), 2, "{stale:?}");
        assert!(
            stale[0].contains("the exception for bench/src/main.rs is not needed"),
            "{stale:?}"
        );
    }
}
