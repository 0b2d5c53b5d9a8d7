//! A tree back to text: YAML for people, JSON for programs.
//!
//! What is written here parses to the same tree again. Strings that any YAML reader might take for
//! something else, old ones included, are quoted.

use std::fmt::Write;

use crate::node::{Entry, Node, Value};
use crate::scalar;

/// `node` as YAML in block style, ending with a line break.
pub(crate) fn yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => yaml_map(entries, 0, false, &mut out),
        Value::List(items) if !items.is_empty() => yaml_list(items, 0, false, &mut out),
        _ => {
            yaml_inline(node, &mut out);
            out.push('\n');
        }
    }
    out
}

/// The entries of a map, each on lines of its own; `started` if the first line has its indent.
fn yaml_map(entries: &[Entry], indent: usize, started: bool, out: &mut String) {
    for (index, Entry { key, value }) in entries.iter().enumerate() {
        if index > 0 || !started {
            pad(indent, out);
        }
        yaml_text(&key.text, out);
        out.push(':');
        match &value.value {
            Value::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                yaml_map(entries, indent + 2, false, out);
            }
            Value::List(items) if !items.is_empty() => {
                out.push('\n');
                yaml_list(items, indent, false, out);
            }
            _ => {
                out.push(' ');
                yaml_inline(value, out);
                out.push('\n');
            }
        }
    }
}

/// The items of a list, each after a dash; `started` if the first line has its indent.
fn yaml_list(items: &[Node], indent: usize, started: bool, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !started {
            pad(indent, out);
        }
        out.push_str("- ");
        match &item.value {
            Value::Map(entries) if !entries.is_empty() => yaml_map(entries, indent + 2, true, out),
            Value::List(items) if !items.is_empty() => yaml_list(items, indent + 2, true, out),
            _ => {
                yaml_inline(item, out);
                out.push('\n');
            }
        }
    }
}

/// What fits on one line: a scalar, or an empty collection.
fn yaml_inline(node: &Node, out: &mut String) {
    match &node.value {
        Value::Text(text) => yaml_text(text, out),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
        _ => json_into(node, out),
    }
}

fn yaml_text(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        json_text(text, out);
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether `text` may stand without quotes: it is a string to every reader, and nothing in it is
/// punctuation to YAML. Narrower than the grammar, which is no loss.
fn is_plain(text: &str) -> bool {
    // What begins with a digit is quoted, but for what is common here and mistaken for nothing.
    if crate::duration::parse(text).is_ok() || text.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/_.-+*=:@ ".contains(c);
    let old_boolean = matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    );
    starts_well
        && text.len() <= 256
        && text.chars().all(harmless)
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !text.contains("  ")
        && !old_boolean
        && matches!(scalar::resolve(text), Ok(Value::Text(_)))
}

/// `node` as JSON on one line.
pub(crate) fn json(node: &Node) -> String {
    let mut out = String::new();
    json_into(node, &mut out);
    out
}

fn json_into(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => write!(out, "{value}").expect("a string takes all that is written"),
        Value::Float(value) => {
            write!(out, "{value:?}").expect("a string takes all that is written")
        }
        Value::Text(text) => json_text(text, out),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                json_into(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, Entry { key, value }) in entries.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                json_text(&key.text, out);
                out.push(':');
                json_into(value, out);
            }
            out.push('}');
        }
    }
}

/// `text` in double quotes, with escapes that JSON and YAML share.
fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if needs_escape(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes all that is written");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether `c` cannot stand in a YAML string as it is, or should not. All such are below U+10000.
pub(crate) fn needs_escape(c: char) -> bool {
    let in_basic_plane = u32::from(c) < 0x1_0000;
    in_basic_plane && (crate::finding::drives_terminal(c) || matches!(c, '\u{fffe}' | '\u{ffff}'))
}
