//! Paths: what ARCHITECTURE.md names in backticks must be there.

use std::collections::BTreeSet;

/// Folders at the root that are meant as such even when they are gone.
const FOLDERS: &[&str] =
    &["crates", "bench", "xtask", "docs", "lab", "fuzz", "deploy", "tests", ".ci", ".cargo"];

/// Endings that only files have.
const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".yaml", ".yml", ".json", ".proto", ".sh"];

/// The paths in `text`, a Markdown document, that are not among `files`.
///
/// A path is given from the root or from any folder, as in `src/request.rs`; `*` stands for any
/// one part.
pub fn findings(text: &str, files: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2);
        for path in spans.filter(|span| is_path(span)) {
            let wanted: Vec<&str> = path.trim_end_matches('/').split('/').collect();
            if !files.iter().any(|file| ends_with(file, &wanted)) {
                findings.push(format!(
                    "ARCHITECTURE.md:{number}: `{path}` does not exist: correct the path"
                ));
            }
        }
    }
    findings
}

fn is_path(span: &str) -> bool {
    let written_so =
        |character: char| character.is_ascii_alphanumeric() || "-_./*".contains(character);
    let (first, rest) = span.split_once('/').map_or((span, false), |(first, _)| (first, true));
    let meant_so = rest && (FOLDERS.contains(&first) || first.starts_with("weft"));
    let is_file = ENDINGS.iter().any(|ending| span.ends_with(ending) && span != *ending);
    span.chars().all(written_so) && !span.starts_with('/') && (meant_so || is_file)
}

fn ends_with(file: &str, wanted: &[&str]) -> bool {
    let mut parts = file.rsplit('/');
    wanted.iter().rev().all(|part| parts.next().is_some_and(|found| *part == "*" || *part == found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(text: &str) -> Vec<String> {
        let files = ["crates", "crates/weft-proxy", "crates/weft-proxy/src/request.rs", ".ci/run"];
        findings(text, &files.map(str::to_owned).into())
    }

    #[test]
    fn paths_that_exist_and_words_that_are_none_are_fine() {
        let text = "`crates/`, `.ci/run`, `crates/*/src/request.rs`, `request.rs` in \
            `src/request.rs` answers `GET /healthz` with `text/plain`; `weft.rs` or not.\n\
            ```\ncrates/gone.rs\n```\n";
        assert_eq!(
            missing(text),
            ["ARCHITECTURE.md:1: `weft.rs` does not exist: correct the path"]
        );
    }

    #[test]
    fn paths_that_do_not_exist_are_found_with_their_line() {
        let found = missing("`crates/gone/`\n\nsee `retry.rs` and `weft-proxy/request.rs`");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("ARCHITECTURE.md:1: `crates/gone/`"), "{found:?}");
        assert!(found[1].starts_with("ARCHITECTURE.md:3: `retry.rs`"), "{found:?}");
    }
}
