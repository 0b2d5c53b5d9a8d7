//! The positioned tree that a document is read into, before anything is known of its kind.
//!
//! A tree holds what JSON can hold and nothing more, so that every tree can be written as either
//! YAML or JSON. Anchors are expanded, tags resolved, comments gone.

/// Where a node stands in its file. All zero for what no file holds, such as a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted in characters from 1.
    pub column: u32,
    /// How many characters to mark, on that line only.
    pub length: u32,
}

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// What a node can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: `null`, `~`, or no value after the colon.
    Null,
    /// `true` or `false`; `yes` and `on` are strings.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// Text, whether it was quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Node,
}

/// The key of an entry, with its place in the file.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key's text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// Two trees are equal when they say the same, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.text == other.text
    }
}

impl Node {
    /// A node that stands in no file.
    pub(crate) fn made(value: Value) -> Node {
        Node { value, span: Span::default() }
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of `key`, if this is a map that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key.text == key),
            _ => None,
        }
    }

    /// The item at `index`, if this is a list that long.
    pub(crate) fn item(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Sets `key` to `value` in a map; does nothing to anything else.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        let Value::Map(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|entry| entry.key.text == key) {
            Some(entry) => entry.value.value = value,
            None => entries.push(Entry {
                key: Key { text: key.to_owned(), span: Span::default() },
                value: Node::made(value),
            }),
        }
    }

    /// Takes the items out of the list under `key`; none if there is no such list.
    pub(crate) fn take_items(&mut self, key: &str) -> Vec<Node> {
        let Value::Map(entries) = &mut self.value else { return Vec::new() };
        match entries.iter_mut().find(|entry| entry.key.text == key).map(|it| &mut it.value.value) {
            Some(Value::List(items)) => std::mem::take(items),
            _ => Vec::new(),
        }
    }

    /// Takes `key` out of the map.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|entry| entry.key.text != key);
        }
    }

    /// The map under `key`, to be changed, made if it is absent.
    pub(crate) fn map_mut(&mut self, key: &str) -> Option<&mut Node> {
        if !matches!(self.get(key), Some(Node { value: Value::Map(_), .. })) {
            self.set(key, Value::Map(Vec::new()));
        }
        match &mut self.value {
            Value::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key.text == key).map(|entry| &mut entry.value)
            }
            _ => None,
        }
    }

    /// This node in words, for a message: `the number 80`, `a list`.
    pub(crate) fn in_words(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the string {}", crate::finding::quoted(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}
