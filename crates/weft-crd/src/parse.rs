//! From files to accepted objects and findings.

use std::collections::{BTreeMap, HashSet};

use crate::finding::{Finding, ObjectName, Position, Severity, harmless};
use crate::kind::{Key, Kind};
use crate::node::{Node, Value};
use crate::object::{Object, Options};
use crate::path::Path;
use crate::reader::{At, Fields};
use crate::render::{Source, render};
use crate::report::Report;
use crate::resource;
use crate::yaml::{self, Document, FILE_BYTES_MAX, Problem};

/// How many findings are kept of all files together.
const FINDINGS_MAX: usize = 1000;

/// What came of reading files.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The objects in which nothing is wrong, in the order of the files.
    pub objects: Vec<Object>,
    /// All that was found, in the order of the files.
    pub findings: Vec<Finding>,
    /// The files, for [`render()`].
    pub sources: Vec<Source>,
}

impl Parsed {
    /// Whether anything was refused.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// Adds what was `found` once the objects were seen together, but for what each of them had
    /// said by itself already ([`Object::warnings`]).
    pub fn add(&mut self, found: impl IntoIterator<Item = Finding>) {
        let said: HashSet<Finding> = self.findings.iter().cloned().collect();
        self.findings.extend(found.into_iter().filter(|finding| !said.contains(finding)));
    }

    /// All findings as text for a terminal, a blank line between them.
    pub fn render(&self) -> String {
        let rendered: Vec<String> =
            self.findings.iter().map(|finding| render(finding, &self.sources)).collect();
        rendered.join("\n")
    }
}

/// Reads one file: any number of YAML documents, or JSON.
///
/// ```
/// let text = "
/// apiVersion: v1
/// kind: Service
/// metadata: { name: cart }
/// spec: { selector: { app: cart }, ports: [{ prot: 80 }] }
/// ";
/// let parsed = weft_crd::parse("cart.yaml", text.as_bytes(), &weft_crd::Options::default());
/// assert!(parsed.objects.is_empty());
/// assert_eq!(parsed.findings[0].to_string(), "spec.ports[0].port: is required");
/// assert_eq!(parsed.findings[1].to_string(), "spec.ports[0].prot: unknown field");
/// assert_eq!(parsed.findings[1].help.as_deref(), Some("did you mean `port`?"));
/// ```
pub fn parse(file: &str, bytes: &[u8], options: &Options) -> Parsed {
    parse_all([(file, bytes)], options)
}

/// Reads several files, each a name and its bytes. An object may be in one of them only.
pub fn parse_all<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    options: &Options,
) -> Parsed {
    let mut parsed = Parsed::default();
    let mut seen: BTreeMap<Key, Option<Position>> = BTreeMap::new();
    for (file, bytes) in files {
        let source = match to_text(file, bytes) {
            Ok(text) => Source::new(file, text),
            Err(finding) => {
                parsed.findings.push(*finding);
                continue;
            }
        };
        for document in yaml::documents(source.text()) {
            for (part, problems) in parts(document) {
                read(&source, part, problems, options, &mut seen, &mut parsed);
            }
        }
        parsed.sources.push(source);
    }
    if parsed.findings.len() > FINDINGS_MAX {
        let left_out = parsed.findings.len() - FINDINGS_MAX;
        parsed.findings.truncate(FINDINGS_MAX);
        parsed.findings.push(whole_file(None, format!("{left_out} more findings are left out")));
    }
    parsed
}

fn to_text(file: &str, bytes: &[u8]) -> Result<String, Box<Finding>> {
    if bytes.len() > FILE_BYTES_MAX {
        let length = bytes.len();
        let message =
            format!("{length} bytes are not allowed in a file, the most is {FILE_BYTES_MAX}");
        return Err(Box::new(whole_file(Some(file), message)));
    }
    str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let message = format!("not UTF-8 from byte {}", error.valid_up_to());
        Box::new(whole_file(Some(file), message))
    })
}

fn whole_file(file: Option<&str>, message: String) -> Finding {
    let message = match file {
        Some(file) => format!("{}: {message}", harmless(file)),
        None => message,
    };
    Finding {
        severity: Severity::Error,
        path: String::new(),
        message,
        help: None,
        position: None,
        object: None,
    }
}

/// What is read by itself.
enum Part {
    /// An object.
    Object(Node),
    /// A `List` whose items are read apart from it.
    List(Node),
    /// Something that has no tree.
    Broken,
}

/// A `List`'s own fields.
const LIST_FIELDS: Fields = Fields {
    known: &["apiVersion", "kind", "items"],
    not_yet: &[],
    ignored: &["metadata"],
    no_nulls: false,
};

/// What a document consists of, each part with the problems in it: an object, or a `List` and its
/// items.
fn parts(document: Document) -> Vec<(Part, Vec<Problem>)> {
    let Document { root, mut problems } = document;
    let Some(mut root) = root else { return vec![(Part::Broken, problems)] };
    // An empty document, such as after a last `---`.
    if matches!(root.value, Value::Null) && problems.is_empty() {
        return Vec::new();
    }
    let is_list = root.get("kind").and_then(Node::as_text) == Some("List")
        && root.get("apiVersion").and_then(Node::as_text) == Some("v1");
    if !is_list {
        return vec![(Part::Object(root), problems)];
    }
    let mut parts = Vec::new();
    for (index, item) in root.take_items("items").into_iter().enumerate() {
        let prefix = format!("items[{index}]");
        let inside = |problem: &mut Problem| problem.path.is_within(&prefix);
        let mut own: Vec<Problem> = problems.extract_if(.., inside).collect();
        own.iter_mut().for_each(|problem| problem.path = problem.path.without(&prefix));
        parts.push((Part::Object(item), own));
    }
    parts.push((Part::List(root), problems));
    parts
}

/// Reads one object, or only reports the problems of what is none.
fn read(
    source: &Source,
    part: Part,
    problems: Vec<Problem>,
    options: &Options,
    seen: &mut BTreeMap<Key, Option<Position>>,
    parsed: &mut Parsed,
) {
    let name = match &part {
        Part::Object(root) => name_of(root, options),
        Part::List(_) | Part::Broken => None,
    };
    let report = Report::new(source.shared_name(), name, options);
    for Problem { path, span, message, help } in problems {
        report.unreadable(&path, span, message, help);
    }
    let read = match part {
        Part::Object(root) => {
            resource::read(&At::root(&root, &report)).map(|resource| (resource, root))
        }
        Part::List(root) => {
            let object = At::root(&root, &report).object(LIST_FIELDS);
            object.and_then(|list| list.need("items", |at| at.items(0)));
            None
        }
        Part::Broken => None,
    };
    let accepted = read.filter(|_| !report.has_errors());
    if let Some((resource, mut tree)) = accepted {
        let metadata = resource.metadata();
        if !metadata.namespace.is_empty()
            && let Some(map) = tree.map_mut("metadata")
        {
            // What was meant stays what is meant, whoever reads it next.
            map.set("namespace", Value::Text(metadata.namespace.clone()));
        }
        let object =
            Object { resource, tree, warnings: report.findings(), file: source.shared_name() };
        match seen.get(&object.key()) {
            None => {
                seen.insert(object.key(), object.locate("metadata.name"));
                parsed.objects.push(object);
            }
            Some(first) => {
                let place = first.as_ref().map(|first| format!(": first at {first}"));
                let message = format!("written twice{}", place.unwrap_or_default());
                let path = Path::default().key("metadata").key("name");
                let span = crate::path::locate(&object.tree, "metadata.name").unwrap_or_default();
                report.add(Severity::Error, &path, span, message, None);
            }
        }
    }
    parsed.findings.extend(report.findings());
}

/// The name of the object at `root` as far as it has one, for findings.
fn name_of(root: &Node, options: &Options) -> Option<ObjectName> {
    let kind = root.get("kind")?.as_text()?;
    let metadata = |key| root.get("metadata").and_then(|metadata| metadata.get(key)?.as_text());
    let cluster_wide = Kind::ALL.iter().any(|known| known.name() == kind && !known.is_namespaced());
    let namespace = match metadata("namespace") {
        _ if cluster_wide => "",
        Some(namespace) => namespace,
        None => &options.namespace,
    };
    Some(ObjectName {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: metadata("name").unwrap_or_default().to_owned(),
    })
}
