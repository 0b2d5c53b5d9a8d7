//! A tree as YAML, for golden files.

/// A tree.
pub enum Tree {
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    pub fn text(text: impl ToString) -> Tree {
        Tree::Text(text.to_string())
    }

    pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Tree {
        Tree::List(items.into_iter().map(Tree::text).collect())
    }

    /// A map of those entries that are not empty.
    pub fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
        let is_there = |(_, tree): &(&str, Tree)| !tree.is_empty();
        let owned = |(key, tree): (&str, Tree)| (key.to_owned(), tree);
        Tree::Map(entries.into_iter().filter(is_there).map(owned).collect())
    }

    pub fn maybe<T: ToString>(value: Option<T>) -> Tree {
        value.map_or(Tree::List(vec![]), Tree::text)
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Tree::Text(_) => false,
            Tree::List(items) => items.is_empty(),
            Tree::Map(entries) => entries.is_empty(),
        }
    }

    /// On one line, as long as it is not too long.
    fn inline(&self) -> Option<String> {
        let parts = |parts: Vec<Option<String>>| parts.into_iter().collect::<Option<Vec<_>>>();
        let line = match self {
            Tree::Text(text) => quoted(text),
            Tree::List(items) => {
                format!("[{}]", parts(items.iter().map(Tree::inline).collect())?.join(", "))
            }
            Tree::Map(entries) => {
                let entry =
                    |(key, tree): &(String, Tree)| Some(format!("{key}: {}", tree.inline()?));
                match parts(entries.iter().map(entry).collect())?.join(", ") {
                    inner if inner.is_empty() => "{}".to_owned(),
                    inner => format!("{{ {inner} }}"),
                }
            }
        };
        (line.len() <= 80 || matches!(self, Tree::Text(_))).then_some(line)
    }

    /// As lines, each ended.
    pub fn lines(&self, indent: usize) -> String {
        let pad = " ".repeat(indent);
        match (self, self.inline()) {
            (Tree::Map(entries), _) if indent == 0 || self.inline().is_none() => entries
                .iter()
                .map(|(key, tree)| match tree.inline() {
                    Some(line) => format!("{pad}{}: {line}\n", quoted(key)),
                    None => format!("{pad}{}:\n{}", quoted(key), tree.lines(indent + 2)),
                })
                .collect(),
            (Tree::List(items), None) => items
                .iter()
                .map(|item| {
                    let lines = item.lines(indent + 2);
                    format!("{pad}- {}", lines.trim_start())
                })
                .collect(),
            (_, Some(line)) => format!("{pad}{line}\n"),
            (_, None) => unreachable!("text is always on one line"),
        }
    }
}

fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_word = !text.is_empty() && text.chars().all(is_plain);
    if is_word { text.to_owned() } else { format!("{text:?}") }
}
