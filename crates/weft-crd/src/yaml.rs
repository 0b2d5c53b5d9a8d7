//! YAML text to positioned trees, one per document, within bounds.
//!
//! The grammar is granit-parser's; what is built from its events is decided here: anchors are
//! expanded, core-schema tags resolved, and what JSON could not hold is refused. A document that
//! cannot be parsed does not hide those after it.
//!
//! Deliberately absent: merge keys (`<<`), which YAML 1.2 dropped, and tags of one's own.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput, Tag, options};

use crate::node::{Entry, Key, Node, Span, Value};
use crate::path::{Path, Step, of_steps};
use crate::scalar;

/// The largest file that is read, in bytes. Kubernetes refuses objects beyond 1.5 MiB.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// How deep maps and lists may nest. No kind here needs a dozen levels.
pub const DEPTH_MAX: usize = 64;
/// How many nodes a file may have once its aliases are expanded.
pub const NODES_MAX: usize = 200_000;
/// How many bytes of text a file may have once its aliases are expanded.
pub const TEXT_BYTES_MAX: usize = 2 * FILE_BYTES_MAX;
/// The longest key, in characters: an annotation's prefix (253), a slash, its name (63), and air.
const KEY_CHARS_MAX: usize = 400;
/// How much may be wrong with a document before it is given up.
const PROBLEMS_MAX: usize = 500;
/// How many documents of a file may be given up before the file is.
const BROKEN_DOCUMENTS_MAX: usize = 50;

/// One document of a file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// What it holds; `None` if it could not be parsed.
    pub(crate) root: Option<Node>,
    /// What is wrong with it as YAML.
    pub(crate) problems: Vec<Problem>,
}

/// Something wrong below the level of any field's meaning.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) path: Path,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// All documents of `text`, which is at most [`FILE_BYTES_MAX`] long.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let options = options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        steps: Vec::new(),
        problems: Vec::new(),
        nodes: 0,
        text_bytes: 0,
    };
    let mut documents = Vec::new();
    let mut broken = 0;
    loop {
        match composer.document() {
            Ok(Some(root)) => documents.push(composer.finish(Some(root))),
            Ok(None) => break,
            Err(stop) => {
                broken += 1;
                composer.report_stop(&stop);
                if broken == BROKEN_DOCUMENTS_MAX {
                    let place = composer.problems.last().map(|last| last.span).unwrap_or_default();
                    composer.problem(place, "too much is wrong, the rest is not read", None);
                }
                documents.push(composer.finish(None));
                let enough = broken == BROKEN_DOCUMENTS_MAX || matches!(stop, Stop::TooMuch(..));
                if enough || !matches!(composer.parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    documents
}

/// Why a document was given up.
enum Stop {
    /// It is not YAML.
    Scan(ScanError),
    /// It is too deep or too much.
    TooMuch(Span, String),
    /// The parser ended without closing it.
    Ended,
}

struct Composer<'text> {
    parser: Parser<'text, StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    steps: Vec<Step>,
    problems: Vec<Problem>,
    nodes: usize,
    text_bytes: usize,
}

type Next<'text> = (Event<'text>, granit_parser::Span);

impl<'text> Composer<'text> {
    /// The root of the next document, or nothing at the end of the file.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok(None) };
            let (event, span) = next.map_err(Stop::Scan)?;
            match event {
                Event::StreamEnd => return Ok(None),
                event if event.is_node() => return self.node((event, span)).map(Some),
                _ => {}
            }
        }
    }

    /// What was gathered on one document.
    fn finish(&mut self, root: Option<Node>) -> Document {
        self.anchors.clear();
        self.steps.clear();
        Document { root, problems: std::mem::take(&mut self.problems) }
    }

    fn report_stop(&mut self, stop: &Stop) {
        // Where the parser was when it stopped says nothing of a field.
        self.steps.clear();
        match stop {
            Stop::Scan(error) if *error.kind() == ErrorKind::RecursionLimitExceeded => {
                self.problem(at_marker(error), too_deep(), None);
            }
            Stop::Scan(error) => {
                let message = format!("not valid YAML: {}", error.info());
                self.problem(at_marker(error), message, None);
            }
            Stop::TooMuch(span, message) => self.problem(*span, message.clone(), None),
            Stop::Ended => {
                self.problem(Span::default(), "not valid YAML: the document has no end", None);
            }
        }
    }

    fn problem(&mut self, span: Span, message: impl Into<String>, help: Option<&str>) {
        self.problems.push(Problem {
            path: of_steps(&self.steps),
            span,
            message: message.into(),
            help: help.map(str::to_owned),
        });
    }

    fn next(&mut self) -> Result<Next<'text>, Stop> {
        self.parser.next_event().ok_or(Stop::Ended)?.map_err(Stop::Scan)
    }

    /// The node that begins with the event `next`.
    fn node(&mut self, next: Next<'text>) -> Result<Node, Stop> {
        let (event, raw) = next;
        let span = to_span(&raw);
        self.count(span, 1, 0)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(span, 0, text.len())?;
                let plain = style == ScalarStyle::Plain;
                // The parser gives `~` for a value that is not there.
                let text = if plain && raw.is_empty() { "" } else { text.as_ref() };
                let value = self.scalar(text, plain, tag.as_deref(), span);
                (Node { value, span }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span);
                (self.list(span)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span);
                (self.map(span)?, anchor)
            }
            Event::Alias(id) => (self.alias(id, span)?, 0),
            Event::UnresolvedAlias(name) => {
                let message =
                    format!("no anchor `&{}` stands before this", crate::finding::tamed(&name));
                self.problem(span, message, None);
                (Node { value: Value::Null, span }, 0)
            }
            _ => return Err(Stop::Ended),
        };
        if anchor != 0 {
            let size = Size::of(&node);
            self.count(span, size.nodes, size.text_bytes)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, start: Span) -> Result<Node, Stop> {
        self.check_depth(start, 1)?;
        let mut items = Vec::new();
        let end = loop {
            let next = self.next()?;
            if matches!(next.0, Event::SequenceEnd) {
                break next.1;
            }
            self.steps.push(Step::Index(items.len()));
            items.push(self.node(next)?);
            self.steps.pop();
        };
        let first = items.first().map(|item| item.span);
        Ok(Node { value: Value::List(items), span: collection_span(start, first, &end) })
    }

    fn map(&mut self, start: Span) -> Result<Node, Stop> {
        self.check_depth(start, 1)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, u32> = HashMap::new();
        let end = loop {
            let next = self.next()?;
            if matches!(next.0, Event::MappingEnd) {
                break next.1;
            }
            let key = self.key(next)?;
            self.steps.push(Step::Key(key.as_ref().map_or("?".to_owned(), |key| key.text.clone())));
            let value_event = self.next()?;
            let value = self.node(value_event)?;
            if let Some(key) = key {
                match seen.get(&key.text) {
                    Some(line) => {
                        let message = format!("written twice, first in line {line}");
                        self.problem(key.span, message, None);
                    }
                    None => {
                        seen.insert(key.text.clone(), key.span.line);
                        entries.push(Entry { key, value });
                    }
                }
            }
            self.steps.pop();
        };
        let first = entries.first().map(|entry| entry.key.span);
        Ok(Node { value: Value::Map(entries), span: collection_span(start, first, &end) })
    }

    /// The key that the event `next` is, or nothing if it cannot be one.
    fn key(&mut self, next: Next<'text>) -> Result<Option<Key>, Stop> {
        let span = to_span(&next.1);
        let Event::Scalar(text, style, ..) = &next.0 else {
            self.problem(span, "a key is a string, not a list, a map or an alias", None);
            self.node(next)?;
            return Ok(None);
        };
        self.count(span, 1, text.len())?;
        if *style == ScalarStyle::Plain && text == "<<" {
            let help = "write the fields out; an alias of a whole value is supported";
            self.problem(span, "the merge key `<<` is not supported", Some(help));
            return Ok(None);
        }
        if text.chars().count() > KEY_CHARS_MAX {
            self.problem(span, format!("a key has at most {KEY_CHARS_MAX} characters"), None);
            return Ok(None);
        }
        if text.chars().any(crate::emit::needs_escape) {
            self.problem(span, "a key holds no control characters", None);
            return Ok(None);
        }
        Ok(Some(Key { text: text.clone().into_owned(), span }))
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&Tag>, span: Span) -> Value {
        let resolved = match tag.map(|tag| (tag.core_suffix(), tag)) {
            None if plain => scalar::resolve(text),
            None | Some((Some("str"), _)) => Ok(Value::Text(text.to_owned())),
            // `!` alone says: not resolved, so a string.
            Some((None, tag)) if tag.original() == "!" => Ok(Value::Text(text.to_owned())),
            Some((Some(suffix), _)) => tagged(suffix, text),
            Some((None, tag)) => Err(unknown_tag(tag)),
        };
        resolved.unwrap_or_else(|message| {
            self.problem(span, message, None);
            Value::Null
        })
    }

    fn check_tag(&mut self, tag: Option<&Tag>, allowed: &str, span: Span) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(allowed)
        {
            self.problem(span, unknown_tag(tag), None);
        }
    }

    /// A copy of what the anchor `id` stands for, counted as if it were written out.
    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Stop> {
        let Some(anchored) = self.anchors.get(&id) else {
            self.problem(span, "an alias inside the value it stands for", None);
            return Ok(Node { value: Value::Null, span });
        };
        let size = Size::of(anchored);
        self.check_depth(span, size.depth)?;
        self.count(span, size.nodes, size.text_bytes)?;
        // Found to be in bounds, so copied. Findings in it point at what was written.
        Ok(self.anchors.get(&id).cloned().unwrap_or(Node { value: Value::Null, span }))
    }

    /// Refuses what would stand `more` levels below where we are, if that is too deep.
    fn check_depth(&self, span: Span, more: usize) -> Result<(), Stop> {
        if self.steps.len() + more > DEPTH_MAX {
            return Err(Stop::TooMuch(span, too_deep()));
        }
        Ok(())
    }

    fn count(&mut self, span: Span, nodes: usize, text_bytes: usize) -> Result<(), Stop> {
        if self.problems.len() > PROBLEMS_MAX {
            return Err(Stop::TooMuch(span, "too much is wrong, the rest is not read".to_owned()));
        }
        self.nodes = self.nodes.saturating_add(nodes);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        if self.nodes > NODES_MAX {
            let message =
                format!("too much: a file has at most {NODES_MAX} values, aliases included");
            return Err(Stop::TooMuch(span, message));
        }
        if self.text_bytes > TEXT_BYTES_MAX {
            let message = format!(
                "too much: a file has at most {TEXT_BYTES_MAX} bytes of text, aliases included"
            );
            return Err(Stop::TooMuch(span, message));
        }
        Ok(())
    }
}

/// What copying a node costs.
#[derive(Default)]
struct Size {
    depth: usize,
    nodes: usize,
    text_bytes: usize,
}

impl Size {
    fn of(node: &Node) -> Size {
        let mut size = Size { depth: 0, nodes: 1, text_bytes: 0 };
        match &node.value {
            Value::Text(text) => size.text_bytes = text.len(),
            Value::List(items) => items.iter().for_each(|item| size.add(item, 0)),
            Value::Map(entries) => {
                entries.iter().for_each(|entry| size.add(&entry.value, entry.key.text.len()));
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => return size,
        }
        if !matches!(node.value, Value::Text(_)) {
            size.depth += 1;
        }
        size
    }

    fn add(&mut self, child: &Node, key_bytes: usize) {
        let Size { depth, nodes, text_bytes } = Size::of(child);
        self.depth = self.depth.max(depth);
        self.nodes += nodes + usize::from(key_bytes > 0);
        self.text_bytes += text_bytes + key_bytes;
    }
}

/// The value of a scalar that carries the core tag `suffix`.
fn tagged(suffix: &str, text: &str) -> Result<Value, String> {
    let value = scalar::resolve(text)?;
    let fits = match &value {
        Value::Null => suffix == "null",
        Value::Bool(_) => suffix == "bool",
        Value::Int(_) => suffix == "int" || suffix == "float",
        Value::Float(_) => suffix == "float",
        Value::Text(_) | Value::List(_) | Value::Map(_) => false,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{} is not a `!!{suffix}`", crate::finding::quoted(text)))
    }
}

fn unknown_tag(tag: &Tag) -> String {
    format!("the tag `{}` is not supported here", crate::finding::tamed(&tag.original()))
}

fn too_deep() -> String {
    format!("too deep: maps and lists nest at most {DEPTH_MAX} levels")
}

/// A scan error's place, one character wide.
fn at_marker(error: &ScanError) -> Span {
    let marker = error.marker();
    Span { line: narrow(marker.line()), column: narrow(marker.col() + 1), length: 1 }
}

/// The parser's span as ours; of what goes over several lines, only the start.
fn to_span(raw: &granit_parser::Span) -> Span {
    let length =
        if raw.start.line() == raw.end.line() { raw.end.col() - raw.start.col() } else { 1 };
    Span {
        line: narrow(raw.start.line()),
        column: narrow(raw.start.col() + 1),
        length: narrow(length),
    }
}

/// A collection from its first character to its end, if that is on the same line; else as much of
/// it as its first key or item.
fn collection_span(start: Span, first: Option<Span>, end: &granit_parser::Span) -> Span {
    let end_column = narrow(end.end.col() + 1);
    if narrow(end.end.line()) == start.line && start.length > 0 && end_column > start.column {
        return Span { length: end_column - start.column, ..start };
    }
    match first {
        Some(first) if first.line == start.line && first.column >= start.column => {
            Span { length: first.column - start.column + first.length, ..start }
        }
        _ => Span { length: start.length.max(1), ..start },
    }
}

/// Files are far below 4 GiB, so that nothing is lost.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
