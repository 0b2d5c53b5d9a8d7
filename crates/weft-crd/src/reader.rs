//! From a positioned tree to checked values, gathering everything that is wrong on the way.
//!
//! A reading function takes a value with its place ([`At`]), opens it as an object with the fields
//! it may have ([`Fields`]), reads them all, and only then puts them together, so that one bad
//! field does not hide the next. It returns `None` only after it has reported an error. A field
//! that is null counts as absent, but where that would open what was meant to be closed
//! ([`Fields::no_nulls`]).
//!
//! Deliberately absent: any knowledge of a kind.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use crate::finding::{Severity, quoted, tamed};
use crate::node::{Entry, Node, Span, Value};
use crate::object::Platform;
use crate::path::{Path, mark};
use crate::report::Report;
use crate::units::{Percent, Port};
use crate::{duration, names, suggest};

/// The fields that an object may have.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fields {
    /// Those that are read.
    pub(crate) known: &'static [&'static str],
    /// Those of the standard, or of this API, whose capability is not built yet: refused by name.
    pub(crate) not_yet: &'static [&'static str],
    /// Those that others write and that mean nothing here: kept in the tree, never read.
    pub(crate) ignored: &'static [&'static str],
    /// Whether a field without a value is an error rather than absent.
    pub(crate) no_nulls: bool,
}

impl Fields {
    /// The same fields, none of which may be without a value.
    pub(crate) const fn without_nulls(self) -> Fields {
        Fields { no_nulls: true, ..self }
    }
}

/// Fields that are all read.
pub(crate) const fn fields(known: &'static [&'static str]) -> Fields {
    Fields { known, not_yet: &[], ignored: &[], no_nulls: false }
}

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    pub(crate) key: Option<Span>,
    pub(crate) path: Path,
    pub(crate) report: &'a Report<'a>,
}

impl<'a> At<'a> {
    pub(crate) fn root(node: &'a Node, report: &'a Report<'a>) -> At<'a> {
        At { node, key: None, path: Path::default(), report }
    }

    fn add(&self, severity: Severity, message: String, help: Option<String>) {
        self.report.add(severity, &self.path, mark(self.node, self.key), message, help);
    }

    /// Reports an error; always `None`, so that it can be returned.
    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Option<T> {
        self.add(Severity::Error, message.into(), None);
        None
    }

    /// Reports an error and what to do about it.
    pub(crate) fn error_help<T>(
        &self,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.add(Severity::Error, message.into(), Some(help.into()));
        None
    }

    pub(crate) fn warning(&self, message: impl Into<String>) {
        self.add(Severity::Warning, message.into(), None);
    }

    /// Reports that what stands here is known, but not built yet.
    pub(crate) fn not_yet<T>(&self, what: impl Display) -> Option<T> {
        self.error(format!("{what} is not supported yet by this version"))
    }

    fn wrong_type<T>(&self, needed: &str) -> Option<T> {
        self.error(format!("{needed} is needed, this is {}", self.node.in_words()))
    }

    /// Whether the object is for a mesh outside Kubernetes.
    pub(crate) fn is_standalone(&self) -> bool {
        self.report.options.platform == Platform::Standalone
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        let unquoted = match &self.node.value {
            Value::Text(text) => return Some(text),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Null | Value::List(_) | Value::Map(_) => return self.wrong_type("a string"),
        };
        self.error_help(
            format!("a string is needed, this is {}", self.node.in_words()),
            format!("put it in quotes: \"{unquoted}\""),
        )
    }

    /// Text that is not empty and has at most `most` characters, as Kubernetes counts them.
    pub(crate) fn text_within(&self, most: usize) -> Option<&'a str> {
        let text = self.text()?;
        match text.chars().count() {
            0 => self.error("must not be empty"),
            length if length > most => {
                self.error(format!("{length} characters are not allowed, the most is {most}"))
            }
            _ => Some(text),
        }
    }

    /// Text that `parse` accepts; its error becomes the finding.
    pub(crate) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(message) => self.error(message),
        }
    }

    /// A kind of the Kubernetes API.
    pub(crate) fn kind(&self) -> Option<&'a str> {
        let text = self.text()?;
        match names::kind(text) {
            Ok(()) => Some(text),
            Err(message) => self.error(message),
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer(&self, least: i64, most: i64) -> Option<i64> {
        let number = match &self.node.value {
            Value::Int(number) => *number,
            Value::Text(text) if text.parse::<i64>().is_ok() => {
                return self.error_help(
                    format!("a number is needed, this is {}", self.node.in_words()),
                    format!("leave out the quotes: {}", tamed(text)),
                );
            }
            _ => return self.wrong_type("a whole number"),
        };
        if number < least {
            return self.error(format!("{number} is not allowed, the least is {least}"));
        }
        if number > most {
            return self.error(format!("{number} is not allowed, the most is {most}"));
        }
        Some(number)
    }

    /// A whole number from `least` to `most`, as the type that holds it.
    pub(crate) fn number<T: TryFrom<i64>>(&self, least: u32, most: u32) -> Option<T> {
        let number = self.integer(least.into(), most.into())?;
        T::try_from(number).ok().or_else(|| self.error(format!("{number} is too large")))
    }

    pub(crate) fn port(&self) -> Option<Port> {
        Port::new(self.number(1, u16::MAX.into())?)
    }

    pub(crate) fn percent(&self) -> Option<Percent> {
        Percent::new(self.number(0, 100)?)
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong_type("true or false"),
        }
    }

    /// A duration in Gateway API's notation.
    pub(crate) fn duration(&self) -> Option<Duration> {
        if matches!(self.node.value, Value::Int(_)) {
            return self.error_help(
                format!("a duration is needed, this is {}", self.node.in_words()),
                format!("say the unit: {}s", crate::emit::json(self.node)),
            );
        }
        self.parsed(duration::parse)
    }

    /// A duration that is not zero.
    pub(crate) fn positive_duration(&self) -> Option<Duration> {
        match self.duration()? {
            Duration::ZERO => self.error("0s is not allowed, the least is 1ms"),
            duration => Some(duration),
        }
    }

    /// A duration from `least` to `most`.
    pub(crate) fn within(&self, least: Duration, most: Duration) -> Option<Duration> {
        let duration = self.duration()?;
        let (which, bound) = match duration {
            _ if duration < least => ("least", least),
            _ if duration > most => ("most", most),
            _ => return Some(duration),
        };
        let (found, bound) = (duration::format(duration), duration::format(bound));
        self.error(format!("{found} is not allowed, the {which} is {bound}"))
    }

    /// One of a few words, those of `not_yet` being refused by name.
    pub(crate) fn choice<T: Copy>(
        &self,
        words: &[(&'static str, T)],
        not_yet: &[&str],
    ) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if not_yet.contains(&text) {
            return self.not_yet(quoted(text));
        }
        let known = words.iter().map(|(word, _)| *word);
        let help = match suggest::nearest(text, known.clone()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("one of: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.error_help(format!("{} is not known here", quoted(text)), help)
    }

    /// The items of a list that has at most `most`.
    pub(crate) fn items(&self, most: usize) -> Option<Vec<At<'a>>> {
        let Value::List(items) = &self.node.value else { return self.wrong_type("a list") };
        if items.len() > most {
            return self
                .error(format!("{} items are not allowed, the most is {most}", items.len()));
        }
        let at = |(index, node)| At {
            node,
            key: None,
            path: self.path.index(index),
            report: self.report,
        };
        Some(items.iter().enumerate().map(at).collect())
    }

    /// A list of at most `most` items, each read by `read`.
    pub(crate) fn list<T>(
        &self,
        most: usize,
        read: impl Fn(&At<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.items(most)?;
        let count = items.len();
        let read: Vec<T> = items.iter().filter_map(read).collect();
        (read.len() == count).then_some(read)
    }

    /// A list as [`At::list`], which must not be empty, as `why` says.
    pub(crate) fn filled_list<T>(
        &self,
        most: usize,
        why: &str,
        read: impl Fn(&At<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        if matches!(&self.node.value, Value::List(items) if items.is_empty()) {
            return self.error(format!("an empty list is not allowed: {why}"));
        }
        self.list(most, read)
    }

    /// A map of strings.
    pub(crate) fn text_map(
        &self,
        check_key: fn(&str) -> Result<(), String>,
        check_value: fn(&str) -> Result<(), String>,
    ) -> Option<BTreeMap<String, String>> {
        let Value::Map(entries) = &self.node.value else { return self.wrong_type("a map") };
        let read = |entry: &'a Entry| {
            let at = At {
                node: &entry.value,
                key: Some(entry.key.span),
                path: self.path.key(&entry.key.text),
                report: self.report,
            };
            let value = at.parsed(|text| check_value(text).map(|()| text.to_owned()));
            if let Err(message) = check_key(&entry.key.text) {
                self.report.add(Severity::Error, &at.path, entry.key.span, message, None);
                return None;
            }
            Some((entry.key.text.clone(), value?))
        };
        let map: BTreeMap<_, _> = entries.iter().filter_map(read).collect();
        (map.len() == entries.len()).then_some(map)
    }

    /// Opens a map that may have `fields`, reporting all others.
    pub(crate) fn object(&self, fields: Fields) -> Option<Object<'a>> {
        let Value::Map(entries) = &self.node.value else { return self.wrong_type("a map") };
        for entry in entries.iter().take_while(|_| !self.report.is_full()) {
            let key = entry.key.text.as_str();
            let is = |list: &[&str]| list.contains(&key);
            let null = matches!(entry.value.value, Value::Null);
            if null && fields.no_nulls && is(fields.known) {
                let message = "has no value: write one, or leave the field out".to_owned();
                self.report.add(
                    Severity::Error,
                    &self.path.key(key),
                    entry.key.span,
                    message,
                    None,
                );
                continue;
            }
            if is(fields.known) || is(fields.ignored) || (null && is(fields.not_yet)) {
                continue;
            }
            let (message, help) = if is(fields.not_yet) {
                ("not supported yet by this version".to_owned(), None)
            } else {
                let all = fields.known.iter().chain(fields.not_yet).copied();
                let help = match suggest::nearest(key, all) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("known here: {}", fields.known.join(", ")),
                };
                ("unknown field".to_owned(), Some(help))
            };
            let path = self.path.key(key);
            self.report.add(Severity::Error, &path, entry.key.span, message, help);
        }
        Some(Object { at: self.clone(), known: fields.known })
    }

    /// Reports the fields of this map that look like one of `meant`.
    pub(crate) fn report_misspelt(&self, meant: &[&'static str]) {
        let Value::Map(entries) = &self.node.value else { return };
        for Entry { key, .. } in entries.iter().filter(|it| !meant.contains(&it.key.text.as_str()))
        {
            if let Some(word) = suggest::nearest(&key.text, meant.iter().copied()) {
                let (path, message) = (self.path.key(&key.text), "unknown field".to_owned());
                let help = Some(format!("did you mean `{word}`?"));
                self.report.add(Severity::Error, &path, key.span, message, help);
            }
        }
    }

    /// The field `key` of this map, or its place if it is not there.
    pub(crate) fn below(&self, key: &str) -> At<'a> {
        let path = self.path.key(key);
        match self.node.entry(key) {
            Some(entry) => {
                At { node: &entry.value, key: Some(entry.key.span), path, report: self.report }
            }
            None => At { path, ..self.clone() },
        }
    }

    /// Opens a map to read `known` fields of it, leaving the others to someone else.
    pub(crate) fn unchecked_object(&self, known: &'static [&'static str]) -> Option<Object<'a>> {
        match self.node.value {
            Value::Map(_) => Some(Object { at: self.clone(), known }),
            _ => self.wrong_type("a map"),
        }
    }
}

/// A map whose fields are being read.
pub(crate) struct Object<'a> {
    pub(crate) at: At<'a>,
    known: &'static [&'static str],
}

impl<'a> Object<'a> {
    /// Whether nothing is written in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.at.node.value, Value::Map(entries) if entries.is_empty())
    }

    /// The field `key`, unless it is absent or null.
    pub(crate) fn field(&self, key: &'static str) -> Option<At<'a>> {
        debug_assert!(self.known.contains(&key), "{key} is read, so it must be a known field");
        let entry = self.at.node.entry(key)?;
        if matches!(entry.value.value, Value::Null) {
            return None;
        }
        Some(At {
            node: &entry.value,
            key: Some(entry.key.span),
            path: self.at.path.key(key),
            report: self.at.report,
        })
    }

    /// The field `key`, which must be there.
    pub(crate) fn need<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.field(key) {
            Some(field) => read(&field),
            None => {
                let span = mark(self.at.node, self.at.key);
                let path = self.at.path.key(key);
                self.at.report.add(Severity::Error, &path, span, "is required".to_owned(), None);
                None
            }
        }
    }

    /// The field `key` if it is there: `Some(None)` if it is not, `None` if it is wrong.
    pub(crate) fn maybe<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.field(key) {
            Some(field) => read(&field).map(Some),
            None => Some(None),
        }
    }

    /// The field `key`, or `default`.
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.field(key) {
            Some(field) => read(&field),
            None => Some(default),
        }
    }
}

/// Reports each of `items` whose key another before it has.
pub(crate) fn check_unique<'a, K: Ord>(
    items: impl IntoIterator<Item = (At<'a>, K)>,
    message: impl Fn(&K, &Path) -> String,
) -> bool {
    let mut seen: BTreeMap<K, Path> = BTreeMap::new();
    let mut unique = true;
    for (at, key) in items {
        match seen.get(&key) {
            Some(first) => {
                unique = false;
                at.error::<()>(message(&key, first));
            }
            None => {
                seen.insert(key, at.path.clone());
            }
        }
    }
    unique
}

#[cfg(test)]
mod tests;
