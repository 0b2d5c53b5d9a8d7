//! Findings as text for a terminal, in the manner of rustc.
//!
//! Deliberately absent: colour, which is the terminal's business, and any width but one column per
//! character.

use std::fmt::Write;
use std::sync::Arc;

use crate::finding::{Finding, Position, drives_terminal};

/// How much of a long line is shown around the marked stretch.
const EXCERPT_CHARS: usize = 80;
/// The longest line that is shown at all, in bytes: each finding counts through its line anew.
const LINE_BYTES_MAX: usize = 128 << 10;

/// A file that was parsed, kept to show lines of it.
#[derive(Debug)]
pub struct Source {
    name: Arc<str>,
    text: String,
    /// Where each line starts, in bytes.
    line_starts: Vec<usize>,
}

impl Source {
    /// A file called `name` that holds `text`.
    pub fn new(name: &str, text: String) -> Source {
        let bytes = text.as_bytes();
        let mut line_starts = vec![0];
        for (index, byte) in bytes.iter().enumerate() {
            let ends_line =
                *byte == b'\n' || (*byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'));
            if ends_line {
                line_starts.push(index + 1);
            }
        }
        Source { name: name.into(), text, line_starts }
    }

    /// What the file is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file holds.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Line `number`, counted from 1, without its break.
    fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = *self.line_starts.get(index)?;
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        Some(self.text.get(start..end)?.trim_end_matches(['\n', '\r']))
    }
}

/// One finding with the lines it is about, if `sources` has its file.
///
/// ```text
/// error: spec.rules[0].backendRefs[0].weight: -1 is not allowed, the least is 0
///   --> shop.yaml:9:44
///    |
///  9 |   - backendRefs: [{ name: cart, weight: -1 }]
///    |                                         ^^
///    = in HTTPRoute shop/cart
/// ```
pub fn render<'a>(finding: &Finding, sources: impl IntoIterator<Item = &'a Source>) -> String {
    let mut out = format!("{}: {finding}\n", finding.severity);
    let margin = finding.position.as_ref().map_or(1, |place| place.line.to_string().len());
    if let Some(place) = &finding.position {
        line(&mut out, format_args!("{:margin$}--> {place}", ""));
        let source = sources.into_iter().find(|source| source.name() == place.file);
        if let Some(text) = source
            .and_then(|source| source.line(place.line))
            .filter(|text| text.len() <= LINE_BYTES_MAX)
        {
            let (excerpt, carets) = excerpt(text, place);
            line(&mut out, format_args!("{:margin$} |", ""));
            line(&mut out, format_args!("{} | {excerpt}", place.line));
            line(&mut out, format_args!("{:margin$} | {carets}", ""));
        }
    }
    if let Some(object) = &finding.object {
        line(&mut out, format_args!("{:margin$} = in {object}", ""));
    }
    if let Some(help) = &finding.help {
        line(&mut out, format_args!("{:margin$} = help: {help}", ""));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes all that is written");
}

/// A line as it is shown, and the carets beneath it: tabs widened, controls replaced, and of a long
/// line only what stands around the marked stretch.
fn excerpt(text: &str, place: &Position) -> (String, String) {
    let as_count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let marked = as_count(place.column).saturating_sub(1);
    let count = text.chars().count();
    let (from, to) = if count <= EXCERPT_CHARS {
        (0, count)
    } else {
        let from = marked.saturating_sub(EXCERPT_CHARS / 2).min(count - EXCERPT_CHARS);
        (from, from + EXCERPT_CHARS)
    };
    let mut shown = if from > 0 { "… ".to_owned() } else { String::new() };
    let mut before = shown.chars().count();
    let mut under = 0;
    for (index, c) in text.chars().enumerate().skip(from).take(to - from) {
        let width = if c == '\t' { 4 } else { 1 };
        match c {
            '\t' => shown.push_str("    "),
            c if drives_terminal(c) => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
        if index < marked {
            before += width;
        } else if index < marked.saturating_add(as_count(place.length)) {
            under += width;
        }
    }
    if to < count {
        shown.push_str(" …");
    }
    (shown.trim_end().to_owned(), format!("{}{}", " ".repeat(before), "^".repeat(under.max(1))))
}
