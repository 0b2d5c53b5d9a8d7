//! The page of defaults: what it says is what the code says, and a metric shows it.
//!
//! Each row of `docs/defaults.md` has an entry in [`rows::ROWS`], which names the constants behind
//! it. The numbers of the row's second column are theirs, in that order.

mod page;
mod quantity;
pub mod rows;
mod value;

use self::page::Line;
use self::rows::Row;
use self::value::Value;

const PAGE: &str = "docs/defaults.md";
const TABLE: &str = "xtask/tests/workspace/defaults/rows.rs";

/// Files whose constants are all defaults or limits, so that each must have its row.
const WHOLE: &[&str] = &[
    "weft-model/src/ejection.rs",
    "weft-model/src/limits.rs",
    "weft-model/src/locality.rs",
    "weft-model/src/retry.rs",
    "weft-model/src/timeouts.rs",
    "weft-proxy/src/overload.rs",
    "weft-proxy/src/replay.rs",
    "weft-proxy/src/time.rs",
];

/// What the rules look at, as text.
pub struct Files<'f> {
    /// `docs/defaults.md`.
    pub page: &'f str,
    /// `docs/metrics.md`.
    pub metrics: &'f str,
    /// `docs/reasons.md`.
    pub reasons: &'f str,
    /// Gives the source at a path.
    pub read: &'f dyn Fn(&str) -> Option<String>,
}

/// Where the page, the table of `rows` and the code differ.
pub fn findings(rows: &[Row], files: &Files<'_>) -> Vec<String> {
    let lines = page::lines(files.page);
    let mut findings = Vec::new();
    for Line { number, name, .. } in &lines {
        if lines.iter().filter(|line| line.name == *name).count() > 1 {
            findings.push(format!("{PAGE}:{number}: \"{name}\" is there twice: rename one"));
        } else if !rows.iter().any(|row| row.name == *name) {
            findings.push(format!(
                "{PAGE}:{number}: \"{name}\" has no entry: name its constants in ROWS of {TABLE}"
            ));
        }
    }
    for row in rows {
        match lines.iter().find(|line| line.name == row.name) {
            Some(line) => findings.extend(compare(row, line, files)),
            None => findings.push(format!(
                "{TABLE}: \"{}\" is no row of {PAGE}: write the row, or remove the entry",
                row.name
            )),
        }
    }
    findings.extend(lines.iter().filter_map(|line| unseen(line, files)));
    findings.extend(WHOLE.iter().flat_map(|file| unlisted(file, rows, files)));
    findings
}

/// The constants of `file` that no entry names.
fn unlisted(file: &str, rows: &[Row], files: &Files<'_>) -> Vec<String> {
    // Where a file is gone, the entries that name it are found.
    let source = (files.read)(&format!("crates/{file}")).unwrap_or_default();
    let is_named = |name: &str| {
        let mut values = rows.iter().flat_map(|row| row.values);
        values.any(|value| matches!(value, Value::Const(at, of) if (*at, *of) == (file, name)))
    };
    let all = value::constants(&source);
    let missing = all.iter().filter(|name| !is_named(name)).map(|name| {
        format!(
            "crates/{file}: `{name}` is in no row of {PAGE}: write one, with unit, reason and the \
             metric that shows it, and its entry in ROWS of {TABLE}"
        )
    });
    missing.collect()
}

/// How `line` of the page differs from what `row` says of the code.
fn compare(row: &Row, line: &Line<'_>, files: &Files<'_>) -> Vec<String> {
    let at = format!("{PAGE}:{}: \"{}\"", line.number, line.name);
    let (mut expected, mut findings) = (Vec::new(), Vec::new());
    for value in row.values {
        match value.of(files.read) {
            Ok(value::Found::Quantity(quantity)) => expected.push(quantity),
            Ok(value::Found::Words(words)) if line.value.contains(words) => {}
            Ok(value::Found::Words(words)) => findings.push(format!(
                "{at}: the code says `{words}`, the page does not: correct the page"
            )),
            Err(error) => findings.push(format!(
                "{TABLE}: \"{}\": {error}: correct the entry, and the page with it",
                row.name
            )),
        }
    }
    if !findings.is_empty() {
        return findings;
    }
    let found = quantity::all_of(line.value);
    let is_same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(found, expected)| found.is(expected));
    if !is_same {
        let [found, expected] = [&found, &expected].map(|all| {
            let all: Vec<_> = all.iter().map(ToString::to_string).collect();
            if all.is_empty() { "no number".to_owned() } else { all.join(", ") }
        });
        findings.push(format!(
            "{at}: the page says {found}, the code {expected}: correct the page if the code is \
             right, and see that the reason still holds; a number without a constant needs an \
             entry in ROWS of {TABLE}"
        ));
    }
    findings
}

/// What is wrong with where a row says that it is seen.
fn unseen(line: &Line<'_>, files: &Files<'_>) -> Option<String> {
    let at = format!("{PAGE}:{}: \"{}\"", line.number, line.name);
    let is_empty = |cell: &str| matches!(cell, "" | "–" | "-" | "—");
    if [line.value, line.reason, line.seen].into_iter().any(is_empty) {
        return Some(format!(
            "{at}: a cell is empty: give value, reason and the metric, or say how one notices"
        ));
    }
    let (mut has_metric, mut is_reason) = (false, false);
    for (index, part) in line.seen.split('`').enumerate() {
        if index % 2 == 0 {
            // Codes stand in a row behind the word, which is in backticks too.
            is_reason &= matches!(part.trim(), "" | ",");
            continue;
        }
        let name = part.split('{').next().unwrap_or_default();
        if part == "reason" {
            is_reason = true;
        } else if is_reason {
            has_metric = true;
            // This one is set where no error is.
            if part != "aborted" && !files.reasons.contains(&format!("\n| `{part}` |")) {
                return Some(format!("{at}: docs/reasons.md has no code `{part}`: correct it"));
            }
        } else if name.starts_with("weft_") || name.starts_with("process_") {
            has_metric = true;
            if !files.metrics.contains(&format!("\n| `{name}` |")) {
                return Some(format!("{at}: docs/metrics.md has no metric `{name}`: correct it"));
            }
        }
    }
    (line.can_be_set && !has_metric).then(|| {
        format!(
            "{at}: no metric shows it: name one of docs/metrics.md, or a `reason`; a limit that \
                 nobody can set may say in words how one notices"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::value::Value::{Const, Says};
    use super::*;

    const METRICS: &str = "\n| `weft_connections_open` | gauge |\n";
    const REASONS: &str = "\n| `overload` | 503 |\n";
    const VALUES: &[Value] = &[Const("weft-proxy/src/wait.rs", "HEAD_TIMEOUT")];
    const ROWS: &[Row] = &[Row { name: "head", values: VALUES }];

    /// What is found of a page with this `row` among the defaults.
    fn found(rows: &[Row], row: &str) -> Vec<String> {
        let page =
            format!("# Defaults\n\n## Defaults\n\n| A | B | C | D |\n|---|---|---|---|\n{row}\n");
        let read = |path: &str| {
            let code = "const HEAD_TIMEOUT: Duration = Duration::from_secs(60);\n";
            (path == "crates/weft-proxy/src/wait.rs").then(|| code.to_owned())
        };
        let (metrics, reasons) = (METRICS, REASONS);
        findings(rows, &Files { page: &page, metrics, reasons, read: &read })
    }

    fn assert_one(found: &[String], start: &str) {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(start), "{found:?}");
    }

    #[test]
    fn a_row_that_says_what_the_code_says_is_fine() {
        for row in [
            "| head | 60 s | common | `weft_connections_open` |",
            "| head | 1 min | common | `reason` `overload` |",
            "| head | 1 min | common | `reason` `overload`, `aborted` |",
        ] {
            assert_eq!(found(ROWS, row), [""; 0], "{row}");
        }
    }

    #[test]
    fn another_value_is_found() {
        let row = "| head | 61 s | common | `weft_connections_open` |";
        let start =
            "docs/defaults.md:7: \"head\": the page says 61 s, the code 60 s: correct the page";
        assert_one(&found(ROWS, row), start);
        let row = "| head | 60 s, 5 | common | `weft_connections_open` |";
        assert_one(
            &found(ROWS, row),
            "docs/defaults.md:7: \"head\": the page says 60 s, 5, the code",
        );
        let row = "| head | none | common | `weft_connections_open` |";
        assert_one(&found(ROWS, row), "docs/defaults.md:7: \"head\": the page says no number");
    }

    #[test]
    fn a_row_without_entry_and_an_entry_without_row_are_found() {
        let row = "| head | 60 s | common | `weft_connections_open` |";
        assert_one(
            &found(&[], row),
            "docs/defaults.md:7: \"head\" has no entry: name its constants",
        );
        let start =
            "xtask/tests/workspace/defaults/rows.rs: \"head\" is no row of docs/defaults.md";
        assert_one(&found(ROWS, "")[..], start);
        let twice = found(ROWS, &format!("{row}\n{row}"));
        assert_eq!(twice.len(), 2, "{twice:?}");
        assert!(twice[0].contains("is there twice"), "{twice:?}");
    }

    #[test]
    fn a_constant_that_is_gone_is_found() {
        let row = "| head | 60 s | common | `weft_connections_open` |";
        let cases: [(&[Value], &str); 3] = [
            (&[Const("weft-proxy/src/wait.rs", "TIMEOUT")], "has no `TIMEOUT`"),
            (&[Const("weft-proxy/src/gone.rs", "HEAD_TIMEOUT")], "is not there"),
            (
                &[Says("weft-proxy/src/wait.rs", "from_millis", "60 s")],
                "does not say `from_millis`",
            ),
        ];
        for (values, why) in cases {
            let found = found(&[Row { name: "head", values }], row);
            assert_one(
                &found,
                "xtask/tests/workspace/defaults/rows.rs: \"head\": crates/weft-proxy",
            );
            assert!(found[0].contains(why), "{found:?}");
        }
        let values = &[Says("weft-proxy/src/wait.rs", "Duration::from_secs(60)", "`slow`")];
        let found = found(&[Row { name: "head", values }], row);
        assert_one(&found, "docs/defaults.md:7: \"head\": the code says ``slow``");
    }

    #[test]
    fn a_constant_without_a_row_is_found() {
        let read = |path: &str| {
            let code = "const TOO: Duration = Duration::ZERO;\npub(crate) const MORE: u32 = 1;\n";
            (path == "crates/weft-proxy/src/time.rs").then(|| code.to_owned())
        };
        let files = Files { page: "", metrics: "", reasons: "", read: &read };
        let found = findings(&[], &files);
        assert_eq!(found.len(), 2, "{found:?}");
        let start = "crates/weft-proxy/src/time.rs: `TOO` is in no row of docs/defaults.md: write";
        assert!(found[0].starts_with(start) && found[1].contains("`MORE`"), "{found:?}");
    }

    #[test]
    fn what_shows_it_must_be_there() {
        for (seen, why) in [
            ("–", "a cell is empty"),
            ("", "a cell is empty"),
            ("the log", "no metric shows it"),
            ("`weft_connections`", "docs/metrics.md has no metric `weft_connections`"),
            ("`reason` `head`", "docs/reasons.md has no code `head`"),
            ("`reason` `overload`, `head`", "docs/reasons.md has no code `head`"),
        ] {
            let found = found(ROWS, &format!("| head | 60 s | common | {seen} |"));
            assert_eq!(found.len(), 1, "{seen}: {found:?}");
            assert!(found[0].contains(why), "{found:?}");
        }
    }
}
