//! `docs/reasons.md`: the stable codes of refusals and failures, from the match that gives them.
//!
//! The source is read as text, since only two shapes occur in it: enums with doc comments, and one
//! match whose arms are tuples. Whatever else is met is an error, never a line that is missing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

const ERRORS: &str = "crates/weft-proxy/src/error.rs";

/// Where it is said which status of gRPC goes with which of HTTP.
const GRPC: &str = "crates/weft-proxy/src/h2/grpc.rs";

/// What stands for a status that a resource says.
const AS_ASKED: &str = "as asked";

/// Where the enums are by which an arm tells codes apart.
const DETAILS: &[&str] = &[
    "crates/weft-decide/src/authorize.rs",
    "crates/weft-decide/src/deadline.rs",
    "crates/weft-decide/src/limits.rs",
    "crates/weft-http/src/error.rs",
];

const OPENING: &str = "\
# Reasons

*Made by `cargo xtask generate` from `crates/weft-proxy/src/error.rs`; do not edit it here.*

Every answer that Weft itself gives has one of these codes in the field `Weft-Reason`, and every
request or connection that Weft refused or broke off has it as `reason` in the
[access log](access-log.md) and the [metrics](metrics.md). Codes are stable: they are neither
renamed nor given another meaning. An HTTP connection between two requests is ended in order, after
15 minutes without one or when its proxy drains, and that has no reason.

- **Status** is what HTTP callers are answered; a dash is a connection that is ended without an
  answer. 499 is for the log: nobody is there to read it.
- **gRPC** is what callers of gRPC, which is spoken over HTTP/2 only, are told instead: an answer
  with the HTTP status 200, this `grpc-status`, the detail in `grpc-message`, and `Weft-Reason` as
  well.
- **Fault** says whose doing it is: the caller's, the server's or the way to it, or the mesh's own
  configuration and state.
- **Processed** says whether an application can have seen the request. `no` is proved: such a
  request may be sent again without harm, and Weft does so by itself where another endpoint can take
  it. `may be` means that nobody knows. `idle` is the end of a kept connection before a byte of the
  answer: likely no, not proved.

A code with several lines has several causes; the detail in the answer and in the log tells them
apart.

| Code | Status | gRPC | Fault | Processed | Meaning |
|---|---|---|---|---|---|
";

const CLOSING: &str = "
Two more are no failures, but answers that [filters of a route](filters.md) are there to give. They
stand in the same places, but not in `weft_refusals_total`; calls of gRPC are answered alike.

| Code | Status | Meaning |
|---|---|---|
| `cors-preflight` | 200 | What a browser asks before a request, answered by the filter CORS. |
| `redirect` | 301, 302, 303, 307, 308 | The filter RequestRedirect sends the caller elsewhere. |

One more is set where the request itself ends: `aborted`, of a request or connection that was under
way when the proxy was ended. It has no answer.
";

/// The page.
pub fn page() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let details = DETAILS.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let details: Vec<&str> = details.iter().map(String::as_str).collect();
    let rows = rows(&read(ERRORS)?, &details).with_context(|| ERRORS.to_owned())?;
    let statuses = grpc_statuses(&read(GRPC)?).with_context(|| GRPC.to_owned())?;
    let mut page = OPENING.to_owned();
    for Row { code, status, fault, processed, meaning } in rows {
        let grpc = statuses.of(&status);
        page += &format!("| `{code}` | {status} | {grpc} | {fault} | {processed} | {meaning} |\n");
    }
    Ok(page + CLOSING)
}

/// What gRPC says for statuses of HTTP.
#[derive(Debug)]
struct GrpcStatuses {
    by_status: BTreeMap<String, String>,
    other: String,
}

impl GrpcStatuses {
    fn of(&self, status: &str) -> &str {
        // Without an answer, or with nobody there to read it, there is none of gRPC's either.
        if matches!(status, "–" | "499") {
            return "–";
        }
        if status == AS_ASKED {
            return AS_ASKED;
        }
        self.by_status.get(status).unwrap_or(&self.other)
    }
}

/// The lines of the match on HTTP's status, each with the name of gRPC's behind it.
fn grpc_statuses(source: &str) -> Result<GrpcStatuses> {
    let body = after(source, "match status ").context("there is no match on the status")?;
    let (mut by_status, mut other) = (BTreeMap::new(), None);
    for line in block(body)?.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let parts = line.split_once("=>").and_then(|(pattern, rest)| {
            let (number, name) = rest.split_once(',')?;
            let name = name.split_once("//")?.1.split(':').next()?;
            Some((pattern.trim(), format!("{} {}", number.trim(), name.trim())))
        });
        let (pattern, told) = parts.with_context(|| format!("`{line}` cannot be read"))?;
        match pattern {
            "_" => other = Some(told),
            _ => by_status.extend(pattern.split('|').map(|one| (one.trim().into(), told.clone()))),
        }
    }
    Ok(GrpcStatuses { by_status, other: other.context("no arm is for all other statuses")? })
}

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    code: String,
    status: String,
    fault: &'static str,
    processed: String,
    meaning: String,
}

/// The lines of the table by `source`; `details` have the enums by which arms tell codes apart.
fn rows(source: &str, details: &[&str]) -> Result<Vec<Row>> {
    let meanings = variants(source, "ProxyError").context("there is no enum ProxyError")?;
    let body = after(source, "let (status, reason, fault, outcome) = match self ")
        .context("there is no match that gives a verdict")?;
    let mut rows: Vec<Row> = Vec::new();
    let mut seen = Vec::new();
    for (pattern, value) in arms(&tidy(block(body)?))? {
        for name in names(&pattern, "E")? {
            let meaning = meanings.get(&name).with_context(|| format!("{name} is no variant"))?;
            for Case { tuple, detail } in cases(&value).with_context(|| name.clone())? {
                for row in of_tuple(&tuple, detail.as_deref(), meaning, details)? {
                    // Arms for one variant differ by what can have been processed only.
                    let same = rows
                        .iter_mut()
                        .find(|known| (&known.code, &known.meaning) == (&row.code, &row.meaning));
                    match same {
                        Some(known) if known.processed == row.processed => {}
                        Some(known) => known.processed += &format!(", {}", row.processed),
                        None => rows.push(row),
                    }
                }
            }
            seen.push(name);
        }
    }
    for name in meanings.keys() {
        ensure!(seen.contains(name), "{name} has no arm that could be read");
    }
    rows.sort_by(|one, other| (&one.code, &one.meaning).cmp(&(&other.code, &other.meaning)));
    Ok(rows)
}

/// A tuple, and the value of an inner match that leads to it, as `Limit::Request`.
struct Case {
    tuple: Vec<String>,
    detail: Option<String>,
}

/// The tuples that `value`, the right side of an arm, can be.
fn cases(value: &str) -> Result<Vec<Case>> {
    let value = value.trim();
    if let Some(inner) = value.strip_prefix("match ") {
        let at = inner.find('{').context("a match without arms")?;
        let mut all = Vec::new();
        for (pattern, value) in arms(block(&inner[at..])?)? {
            let detail = (pattern != "_").then_some(pattern);
            for case in cases(&value)? {
                ensure!(case.detail.is_none(), "a match within a match cannot be read");
                all.push(Case { detail: detail.clone(), ..case });
            }
        }
        return Ok(all);
    }
    if value.starts_with('{') {
        let inner = block(value)?.trim();
        let Some(rest) = inner.strip_prefix("let reason = match ") else { return cases(inner) };
        let at = rest.find('{').context("a match without arms")?;
        let codes = block(&rest[at..])?;
        let (_, tuple) = rest[at + codes.len()..].split_once("};").context("no tuple follows")?;
        let mut all = Vec::new();
        for (pattern, code) in arms(codes)? {
            let mut tuple = fields(tuple.trim())?;
            ensure!(tuple[1] == "reason", "{} is not the reason that was found", tuple[1]);
            tuple[1] = code;
            all.push(Case { tuple, detail: Some(pattern) });
        }
        return Ok(all);
    }
    Ok(vec![Case { tuple: fields(value)?, detail: None }])
}

/// The four fields of a tuple.
fn fields(tuple: &str) -> Result<Vec<String>> {
    let inner = tuple.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.with_context(|| format!("{tuple} is no tuple"))?;
    let fields: Vec<String> = inner.split(',').map(|field| field.trim().to_owned()).collect();
    ensure!(fields.len() == 4, "{tuple} has not four fields");
    Ok(fields)
}

fn of_tuple(
    tuple: &[String],
    detail: Option<&str>,
    meaning: &str,
    details: &[&str],
) -> Result<Vec<Row>> {
    let [status, reason, fault, outcome] = tuple else { bail!("a tuple has not four fields") };
    let fault = match fault.as_str() {
        "Client" => "caller",
        "Upstream" => "server",
        "Mesh" => "mesh",
        other => bail!("the fault {other} has no word"),
    };
    let processed = match outcome.as_str() {
        "Unprocessed" | "Refused" => "no",
        "BrokeWhenReused" => "idle",
        "Unknown" => "may be",
        other => bail!("the outcome {other} has no word"),
    };
    let status = match status.as_str() {
        "0" => "–",
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number,
        // It is worked out from what the variant holds.
        _ => AS_ASKED,
    };
    let row = |code: &str, more: &str| Row {
        code: code.to_owned(),
        status: status.to_owned(),
        fault,
        processed: processed.to_owned(),
        meaning: format!("{meaning} {more}").trim_end().to_owned(),
    };
    let enum_of = |name: &str| {
        let found = details.iter().find_map(|source| variants(source, name));
        found.with_context(|| format!("the enum {name} is in none of {DETAILS:?}"))
    };
    if let Some(code) = literal(reason) {
        let Some((name, variant)) = detail.and_then(|detail| detail.split_once("::")) else {
            return Ok(vec![row(code, "")]);
        };
        let meanings = enum_of(name)?;
        let more = meanings.get(variant).with_context(|| format!("{name} has no {variant}"))?;
        return Ok(vec![row(code, more)]);
    }
    ensure!(reason == "why.code()", "the reason {reason} cannot be read");
    let meanings = enum_of("Why")?;
    let source =
        details.iter().find_map(|source| after(source, "pub fn code(self) -> &'static str "));
    let codes = tidy(block(source.context("Why has no function `code`")?)?);
    let Some(codes) = codes.trim().strip_prefix("match self ") else {
        bail!("Why::code is not one match");
    };
    arms(block(codes)?)?
        .iter()
        .map(|(pattern, code)| {
            let variant = pattern.strip_prefix("Why::").unwrap_or(pattern);
            let more = meanings.get(variant).with_context(|| format!("Why has no {variant}"))?;
            let code = literal(code).with_context(|| format!("{code} is no code"))?;
            Ok(row(code, more))
        })
        .collect()
}

/// What is in quotes, if `text` is a string.
fn literal(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// The variants of the enum `name` in `source`, each with its doc comment on one line.
fn variants(source: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let body = after(source, &format!("pub enum {name} {{\n"))?;
    let (mut found, mut doc) = (BTreeMap::new(), Vec::new());
    for line in body.lines().take_while(|line| *line != "}") {
        // Fields, and what belongs to them, stand further in.
        let Some(line) = line.strip_prefix("    ").filter(|line| !line.starts_with(' ')) else {
            continue;
        };
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
        } else if line.starts_with(|first: char| first.is_ascii_uppercase()) {
            let end = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(line.len());
            // Links of rustdoc lead nowhere on a page.
            let doc =
                std::mem::take(&mut doc).join(" ").replace("[`crate::", "`").replace("`]", "`");
            found.insert(line[..end].to_owned(), doc);
        }
    }
    Some(found)
}

/// The variants of `name` in a pattern, as `E::One { .. } | E::Other(_) if condition`.
fn names(pattern: &str, name: &str) -> Result<Vec<String>> {
    let pattern = pattern.split(" if ").next().unwrap_or(pattern);
    let prefix = format!("{name}::");
    let all = pattern.split(" | ").map(|part| {
        let rest = part.trim().strip_prefix(prefix.as_str());
        let rest = rest.with_context(|| format!("the pattern {part} cannot be read"))?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        Ok(rest[..end].to_owned())
    });
    all.collect()
}

fn after<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    text.find(start).map(|at| &text[at + start.len()..])
}

/// `text` on one line, without comments.
fn tidy(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What is between the braces with which `text` begins.
fn block(text: &str) -> Result<&str> {
    ensure!(text.starts_with('{'), "a block was expected");
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(&text[1..at]);
        }
    }
    bail!("a block without an end")
}

/// The arms of a match, each its pattern and its value.
fn arms(body: &str) -> Result<Vec<(String, String)>> {
    let mut arms = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (pattern, value) = rest.split_once("=>").with_context(|| format!("no arm: {rest}"))?;
        let value = value.trim_start();
        let end = value_end(value)?;
        arms.push((pattern.trim().to_owned(), value[..end].trim().to_owned()));
        rest = value[end..].trim_start().trim_start_matches(',').trim_start();
    }
    Ok(arms)
}

/// Where the value of an arm ends.
fn value_end(value: &str) -> Result<usize> {
    if value.starts_with('{') {
        return Ok(block(value)?.len() + 2);
    }
    let mut depth = 0;
    for (at, character) in value.char_indices() {
        match character {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            ',' if depth == 0 => return Ok(at),
            _ => {}
        }
    }
    Ok(value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
pub enum ProxyError {
    /// Gone.
    #[error("gone")]
    Gone,
    /// Broke,
    /// somehow.
    Broke {
        /// Where.
        at: u8,
    },
    /// Slow.
    Slow(Limit),
}
        let (status, reason, fault, outcome) = match self {
            E::Gone => (0, "gone", Client, Unprocessed), // By itself.
            E::Broke { at: 1, .. } if true => {
                (502, "broke", Upstream, BrokeWhenReused)
            }
            E::Broke { .. } => (502, "broke", Upstream, Unknown),
            E::Slow(limit) => {
                let reason = match limit {
                    Limit::All => "slow",
                    Limit::One => "slow-once",
                };
                (504, reason, Mesh, Unknown)
            }
        };
"#;
    const DETAIL: &str =
        "pub enum Limit {\n    /// All of it.\n    All,\n    /// One.\n    One,\n}\n";

    #[test]
    fn each_code_has_a_line_for_each_cause() {
        let rows = rows(SOURCE, &[DETAIL]).unwrap();
        let shown = rows.iter().map(|row| {
            let Row { code, status, fault, processed, meaning } = row;
            format!("{code} {status} {fault} {processed}: {meaning}")
        });
        let wanted = [
            "broke 502 server idle, may be: Broke, somehow.",
            "gone – caller no: Gone.",
            "slow 504 mesh may be: Slow. All of it.",
            "slow-once 504 mesh may be: Slow. One.",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn each_status_has_one_of_grpc() {
        let source = "match status {\n    400 | 431 => 13, // INTERNAL\n    \
            408 => 4, // DEADLINE_EXCEEDED: known\n    _ => 2, // UNKNOWN\n}\n";
        let statuses = grpc_statuses(source).unwrap();
        let found = ["431", "408", "505", "499", "–"].map(|status| statuses.of(status));
        assert_eq!(found, ["13 INTERNAL", "4 DEADLINE_EXCEEDED", "2 UNKNOWN", "–", "–"]);
        let error = grpc_statuses("match status {\n 400 => 13,\n}").unwrap_err().to_string();
        assert_eq!(error, "`400 => 13,` cannot be read");
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let without = SOURCE.replace("E::Gone => (0, \"gone\", Client, Unprocessed),", "");
        let error = rows(&without, &[DETAIL]).unwrap_err();
        assert_eq!(error.to_string(), "Gone has no arm that could be read");
        let called = SOURCE.replace("(0, \"gone\", Client, Unprocessed)", "verdict_of_gone()");
        let error = format!("{:#}", rows(&called, &[DETAIL]).unwrap_err());
        assert_eq!(error, "Gone: verdict_of_gone() is no tuple");
        let error = rows(SOURCE, &[]).unwrap_err().to_string();
        assert!(error.starts_with("the enum Limit is in none of"), "{error}");
    }
}
