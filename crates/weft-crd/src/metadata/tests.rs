//! Metadata, valid and invalid.

use crate::testing::{parsed, valid};
use crate::timestamp::Timestamp;

#[test]
fn all_fields() {
    let object = valid(
        "
apiVersion: v1
kind: Service
metadata:
  name: cart
  namespace: shop
  labels: { app.kubernetes.io/name: cart, tier: '' }
  annotations: { example.com/note: 'anything: at all' }
  resourceVersion: '42'
  generation: 3
  creationTimestamp: 2026-03-01T09:30:00Z
  uid: 0d4f
  managedFields: [{ manager: kubectl }]
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
status: { loadBalancer: {} }
",
    );
    let metadata = object.metadata();
    assert_eq!((metadata.namespace.as_str(), metadata.name.as_str()), ("shop", "cart"));
    assert_eq!(metadata.labels["app.kubernetes.io/name"], "cart");
    assert_eq!(metadata.annotations["example.com/note"], "anything: at all");
    assert_eq!(metadata.resource_version.as_deref(), Some("42"));
    assert_eq!(metadata.generation, Some(3));
    assert_eq!(metadata.creation_timestamp, Timestamp::parse("2026-03-01T09:30:00Z").ok());
    assert_eq!(object.key().to_string(), "Service shop/cart");
    // What is not read is kept all the same.
    assert!(object.to_yaml().contains("- manager: kubectl"));
    assert!(object.to_json().contains(r#""status":{"loadBalancer":{}}"#));
}

#[test]
fn the_namespace_is_default_and_then_written_down() {
    let object = valid(
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {a: b}, ports: \
         [{port: 1}]}}",
    );
    assert_eq!(object.metadata().namespace, "default");
    assert!(object.to_json().contains(r#""metadata":{"name":"a","namespace":"default"}"#));
}

#[test]
fn what_is_wrong() {
    let cases: [(&str, &[&str]); 9] = [
        ("{}", &["metadata.name: is required"]),
        ("{generateName: a-}", &["metadata.name: is required"]),
        (
            "{name: A, namespace: b.c}",
            &[
                "metadata.name: \"A\" is not a name: it is made of lower-case letters, digits \
                 and `-`, \
                 and begins and ends with a letter or digit",
                "metadata.namespace: \"b.c\" is not a name: it is made of lower-case letters, \
                 digits \
                 and `-`, and begins and ends with a letter or digit",
            ],
        ),
        (
            "{name: a, annotations: {weft.dev/registerd-by: x, weft.dev/x: b, a.weft.dev/x: z}}",
            &[
                "metadata.annotations[weft.dev/registerd-by]: Weft has no annotation of this \
                 name: it would have no effect; did you mean `weft.dev/registered-by`?",
                "metadata.annotations[weft.dev/x]: Weft has no annotation of this name: it would \
                 have no effect",
            ],
        ),
        ("{name: a, label: {}}", &["metadata.label: unknown field"]),
        (
            "{name: a, labels: {app: 1}}",
            &["metadata.labels.app: a string is needed, this is the number 1"],
        ),
        (
            "{name: a, labels: {a/b/c: x}}",
            &["metadata.labels[a/b/c]: \"b/c\" is not a label's name: it is made of letters, \
                 digits, \
               `-`, `_` and `.`, and begins and ends with a letter or digit"],
        ),
        (
            "{name: a, creationTimestamp: yesterday}",
            &["metadata.creationTimestamp: \"yesterday\" is not a time such as \
                 2026-03-01T09:30:00Z"],
        ),
        ("{name: a, generation: -1}", &["metadata.generation: -1 is not allowed, the least is 0"]),
    ];
    for (metadata, expected) in cases {
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {metadata}, spec: {{selector: {{a: b}}, \
             ports: [{{port: 1}}]}}}}"
        );
        let found: Vec<String> = parsed(&yaml).findings.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{metadata}");
    }
}
