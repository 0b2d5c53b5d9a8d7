//! What the tests of all kinds share.

use crate::object::{Object, Options, Platform};
use crate::parse::{Parsed, parse};

/// Reads `yaml` for a mesh outside Kubernetes.
pub(crate) fn parsed(yaml: &str) -> Parsed {
    parse("test.yaml", yaml.as_bytes(), &Options::default())
}

/// The one object that `yaml` holds, in which nothing is wrong.
pub(crate) fn valid(yaml: &str) -> Object {
    let mut parsed = parsed(yaml);
    assert!(parsed.findings.is_empty(), "{}", parsed.render());
    assert_eq!(parsed.objects.len(), 1, "{yaml}");
    parsed.objects.remove(0)
}

/// The same in a cluster.
pub(crate) fn valid_in_kubernetes(yaml: &str) -> Object {
    let options = Options { platform: Platform::Kubernetes, ..Options::default() };
    let mut parsed = parse("test.yaml", yaml.as_bytes(), &options);
    assert!(parsed.findings.is_empty(), "{}", parsed.render());
    parsed.objects.remove(0)
}

/// Checks that each `spec` in a document that starts with `head` gives exactly these findings,
/// written `error: path: message` or `warning: …`.
pub(crate) fn check(head: &str, cases: &[(&str, &[&str])]) {
    for (spec, expected) in cases {
        let yaml = format!("{head}\nspec: {spec}\n");
        let parsed = parsed(&yaml);
        let found: Vec<String> = parsed
            .findings
            .iter()
            .map(|finding| format!("{}: {finding}", finding.severity))
            .collect();
        assert_eq!(found, *expected, "for spec: {spec}");
        let refused = expected.iter().any(|finding| finding.starts_with("error"));
        assert_eq!(parsed.objects.is_empty(), refused, "for spec: {spec}");
    }
}
