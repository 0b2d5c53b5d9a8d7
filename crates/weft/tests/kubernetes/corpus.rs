//! Objects, wrong and right, each with what Weft and a Kubernetes API server say of it.
//!
//! A file of `corpus/` is for one kind. It begins with the kind, as `kind API-VERSION KIND PLURAL`,
//! and with what is common to many cases, as `NAME = TEXT` where `%` stands for what is of the
//! case. Cases have empty lines between them:
//!
//! ```text
//! wrong a weight below zero
//! at spec.rules[0].backendRefs[0].weight
//! kubernetes spec.rules[0]
//! backend: { name: b, port: 80, weight: -1 }
//! ```
//!
//! The first line is a [`Verdict`] and a name. Each `at` is the path of a finding of Weft, and
//! `kubernetes` the field that Kubernetes names, where that is another. The rest is YAML that
//! completes the object; its first line may begin with the name of what is common. `<3|a#,>` is
//! `a0,a1,a2,`.

use std::fmt::Write as _;

/// Who refuses an object. Weft takes what one of the channels of Gateway API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody.
    Right,
    /// Both.
    Wrong,
    /// Weft alone, which says why: what it asks for would have no effect, or has two readings.
    Stricter,
    /// The standard channel of Gateway API alone.
    Experimental,
    /// The experimental channel alone.
    Standard,
}

/// An object, and what is said of it.
pub struct Case {
    /// What it is, in words.
    pub name: String,
    pub verdict: Verdict,
    /// The paths of Weft's findings. Empty: it takes the object.
    pub at: Vec<String>,
    /// The field that Kubernetes names if it refuses the object.
    pub kubernetes: String,
    /// Where Kubernetes has objects of the kind.
    pub resource: String,
    /// The object.
    pub yaml: String,
}

/// The cases of all files.
pub fn cases() -> Vec<Case> {
    let files = [
        include_str!("corpus/backend_tls_policy"),
        include_str!("corpus/grpc_route"),
        include_str!("corpus/http_route"),
        include_str!("corpus/service"),
        include_str!("corpus/tcp_route"),
        include_str!("corpus/tls_route"),
    ];
    files.into_iter().flat_map(read).collect()
}

fn read(file: &str) -> Vec<Case> {
    let blocks = file.split("\n\n").map(|block| {
        let lines = block.trim().lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>()
    });
    let blocks: Vec<_> = blocks.filter(|lines| !lines.is_empty()).collect();
    let [kind, common, cases @ ..] = blocks.as_slice() else { panic!("{file}") };
    let [_, version, kind, plural] = kind[0].split(' ').collect::<Vec<_>>()[..] else {
        panic!("{}", kind[0])
    };
    let root = if version.contains('/') { "apis" } else { "api" };
    let resource = format!("/{root}/{version}/namespaces/default/{plural}");
    let head = format!("apiVersion: {version}\nkind: {kind}\n");
    // A line that begins with a blank goes on with the one before.
    let common = common.join("\n").replace("\n ", " ");
    let common: Vec<_> = common.lines().map(|line| line.split_once('=').unwrap()).collect();
    let read = |lines: &Vec<&str>| case(lines, &common, &head, &resource);
    cases.iter().map(read).collect()
}

fn case(lines: &[&str], common: &[(&str, &str)], head: &str, resource: &str) -> Case {
    let (verdict, name) = lines[0].split_once(' ').unwrap();
    let verdict = match verdict {
        "right" => Verdict::Right,
        "wrong" => Verdict::Wrong,
        "stricter" => Verdict::Stricter,
        "experimental" => Verdict::Experimental,
        "standard" => Verdict::Standard,
        other => panic!("{other} is no verdict: {lines:?}"),
    };
    let (mut at, mut kubernetes, mut own) = (Vec::new(), None, String::new());
    for line in &lines[1..] {
        if let Some(path) = line.strip_prefix("at ") {
            at.push(repeated(path));
        } else if let Some(path) = line.strip_prefix("kubernetes ") {
            kubernetes = Some(path.to_owned());
        } else {
            writeln!(own, "{line}").unwrap();
        }
    }
    let is_taken = !matches!(verdict, Verdict::Wrong | Verdict::Stricter);
    assert_eq!(at.is_empty(), is_taken, "{lines:?}");
    let own = repeated(&completed(own.trim_end(), common));
    let metadata = if own.starts_with("metadata:") { "" } else { "metadata: { name: c }\n" };
    Case {
        name: name.to_owned(),
        verdict,
        kubernetes: kubernetes.or_else(|| at.first().cloned()).unwrap_or_default(),
        at,
        resource: resource.to_owned(),
        yaml: format!("{head}{metadata}{own}\n"),
    }
}

/// What is of the case alone, within what it names.
fn completed(own: &str, common: &[(&str, &str)]) -> String {
    for (name, text) in common {
        let rest = own.strip_prefix(name.trim()).and_then(|rest| rest.strip_prefix(':'));
        if let Some(rest) = rest {
            return text.trim().replace('%', rest.trim());
        }
    }
    own.to_owned()
}

/// `text` with what is to be repeated written out, from the inside.
fn repeated(text: &str) -> String {
    let mut text = text.to_owned();
    let starts = |text: &str| {
        text.rmatch_indices('<').find_map(|(at, _)| {
            let (count, rest) = text[at + 1..].split_once('|')?;
            Some((at, count.parse::<usize>().ok()?, rest.split_once('>')?.0.to_owned()))
        })
    };
    while let Some((at, count, inner)) = starts(&text) {
        let end = text[at..].find('>').unwrap() + at + 1;
        let all: String = (0..count).map(|index| inner.replace('#', &index.to_string())).collect();
        text.replace_range(at..end, &all);
    }
    text
}
