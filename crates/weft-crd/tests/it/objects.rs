//! What becomes of valid files.

use weft_crd::{Kind, Object, Options, Timestamp, parse};

use crate::samples;

fn objects(yaml: &str) -> Vec<Object> {
    let parsed = parse("shop.yaml", yaml.as_bytes(), &Options::default());
    assert!(parsed.findings.is_empty(), "{}", parsed.render());
    parsed.objects
}

#[test]
fn one_file_of_all_kinds() {
    let kinds: Vec<Kind> =
        objects(&samples::ALL.join("---\n")).iter().map(|object| object.key().kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Service,
            Kind::HttpRoute,
            Kind::GrpcRoute,
            Kind::TlsRoute,
            Kind::TcpRoute,
            Kind::Mesh,
            Kind::Workload,
            Kind::BackendPolicy,
            Kind::AuthorizationPolicy,
            Kind::FaultPolicy,
            Kind::ExternalService,
            Kind::BackendTlsPolicy,
            Kind::ConfigMap
        ]
    );
}

#[test]
fn yaml_is_written_as_people_write_it() {
    let object = objects(samples::ROUTE).remove(0);
    let expected = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: checkout-canary
  namespace: shop
spec:
  parentRefs:
  - group: \"\"
    kind: Service
    name: checkout
    port: 80
  rules:
  - name: canary
    matches:
    - path:
        type: PathPrefix
        value: /v2
      headers:
      - name: x-canary
        value: \"1\"
      queryParams:
      - name: q
        value: a+b
        type: Exact
      method: GET
    - path:
        type: RegularExpression
        value: \"/(a|b)+\"
    backendRefs:
    - name: checkout-v2
      port: 80
  - backendRefs:
    - name: checkout-v1
      port: 80
      weight: 95
    - name: checkout-v2
      port: 80
      weight: 5
    timeouts:
      request: 2s
      backendRequest: 500ms
    retry:
      attempts: 2
      backoff: 25ms
      codes:
      - 502
      - 503
      - 504
";
    assert_eq!(object.to_yaml(), expected);
}

#[test]
fn json_is_json() {
    for sample in samples::ALL {
        let object = objects(sample).remove(0);
        let json: serde_json::Value = serde_json::from_str(&object.to_json()).expect("valid JSON");
        assert_eq!(json["kind"], object.key().kind.name());
        assert_eq!(objects(&object.to_json())[0].resource, object.resource);
    }
}

#[test]
fn fields_can_be_found_again() {
    let object = objects(samples::ROUTE).remove(0);
    let at = |path: &str| object.locate(path).map(|place| (place.line, place.column, place.length));
    assert_eq!(at("spec.rules[0].name"), Some((7, 11, 6)));
    assert_eq!(at("spec.rules[1].backendRefs[1].weight"), Some((15, 103, 1)));
    assert_eq!(at("spec.rules[0].matches"), Some((8, 5, 7)));
    // What was not written is found as what it would be in.
    assert_eq!(at("spec.rules[0].timeouts.request"), at("spec.rules[0]"));
    assert_eq!(at("status"), None);
    let object = objects(samples::SERVICE).remove(0);
    let label = object.locate("metadata.labels[app.kubernetes.io/name]").expect("written");
    assert_eq!(label.to_string(), "shop.yaml:6:37");
}

#[test]
fn the_store_stamps_what_it_keeps() {
    let mut object = objects(samples::MESH).remove(0);
    object.stamp("17", Timestamp::from_unix(1_772_357_400));
    assert_eq!(object.metadata().resource_version.as_deref(), Some("17"));
    let again = objects(&object.to_yaml()).remove(0);
    assert_eq!(again.metadata(), object.metadata());
    assert!(object.to_yaml().contains("creationTimestamp: \"2026-03-01T09:30:00Z\"\n"));
}

#[test]
fn lists_are_taken_apart() {
    let indented = |text: &str| text.replace('\n', "\n  ");
    let items: String =
        samples::ALL.iter().map(|item| format!("- {}\n", indented(item).trim_end())).collect();
    let list =
        format!("apiVersion: v1\nkind: List\nmetadata: {{ resourceVersion: '' }}\nitems:\n{items}");
    assert_eq!(objects(&list).len(), samples::ALL.len());
    assert_eq!(objects("{apiVersion: v1, kind: List, items: []}").len(), 0);
}

#[test]
fn a_list_that_is_none_is_not_passed_over() {
    let found = |rest: &str| {
        let list = format!("{{ apiVersion: v1, kind: List{rest} }}");
        let parsed = parse("list.yaml", list.as_bytes(), &Options::default());
        assert!(parsed.has_errors() && parsed.findings.iter().all(|it| it.position.is_some()));
        parsed.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found(""), ["items: is required"]);
    assert_eq!(found(", items: {}"), ["items: a list is needed, this is a map"]);
    assert_eq!(found(", items: []  , item: []"), ["item: unknown field"]);
}

#[test]
fn a_namespace_that_is_given_is_none_unless_it_could_be_written() {
    let read = |namespace: &str, text: &str| {
        let options = Options { namespace: namespace.to_owned(), ..Options::default() };
        parse("a.yaml", text.as_bytes(), &options)
    };
    let unnamed =
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}";
    let found = read("Bad NS", unnamed).findings;
    assert!(found[0].is_error() && found[0].position.is_some(), "{found:?}");
    assert_eq!(found[0].path, "metadata.namespace");
    assert!(found[0].message.starts_with("\"Bad NS\" is not a name: "), "{found:?}");
    assert_eq!(read("shop", unnamed).objects[0].metadata().namespace, "shop");
    // Who names one is not touched by it.
    let named = unnamed.replace("name: a", "name: a, namespace: b");
    assert_eq!(read("Bad NS", &named).objects[0].metadata().namespace, "b");
}

#[test]
fn a_kind_in_other_letters_is_told() {
    let parsed = parse("a.yaml", b"apiversion: v1\nKind: Service\n", &Options::default());
    let found = parsed.findings.iter().map(|it| (it.to_string(), it.help.as_deref()));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("apiVersion: is required".to_owned(), None),
            ("kind: is required".to_owned(), None),
            ("apiversion: unknown field".to_owned(), Some("did you mean `apiVersion`?")),
            ("Kind: unknown field".to_owned(), Some("did you mean `kind`?")),
        ]
    );
}

#[test]
fn one_bad_item_of_a_list_is_refused_alone() {
    let list = "\
apiVersion: v1
kind: List
items:
- { apiVersion: weft.dev/v1alpha1, kind: Mesh, metadata: { name: a }, spec: { trustDomain: a, \
trustDomain: b } }
- { apiVersion: weft.dev/v1alpha1, kind: Mesh, metadata: { name: b }, spec: { trustDomain: b } }
- { apiVersion: weft.dev/v1alpha1, kind: Mesh, metadata: { name: c }, spec: { trustDomain: C } }
- { apiVersion: v1, kind: List, items: [] }
";
    let parsed = parse("list.yaml", list.as_bytes(), &Options::default());
    let names: Vec<&str> =
        parsed.objects.iter().map(|object| object.metadata().name.as_str()).collect();
    assert_eq!(names, ["b"]);
    let found: Vec<String> = parsed.findings.iter().map(ToString::to_string).collect();
    assert_eq!(found[0], "spec.trustDomain: written twice, first in line 4");
    assert!(found[1].starts_with("spec.trustDomain: \"C\" is not a trust domain"), "{found:?}");
    assert_eq!(found[2], "kind: \"List\" of \"v1\" is not known here");
}

#[test]
fn aliases_and_comments_may_be_used() {
    let yaml = "\
# the canary
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r }
spec:
  parentRefs: [{ group: '', kind: Service, name: a }]
  rules:
  - matches: [{ path: { value: /a } }]
    backendRefs: &both [{ name: b, port: 80 }, { name: c, port: 80 }]
  - backendRefs: *both
";
    let object = objects(yaml).remove(0);
    let weft_crd::Resource::HttpRoute(route) = &object.resource else { panic!("a route") };
    assert_eq!(route.rules[0].backends, route.rules[1].backends);
    assert!(!object.to_yaml().contains('&'));
}

#[test]
fn empty_files_hold_nothing() {
    for text in ["", "\n", "---\n", "# nothing\n", "---\n---\n", "{}\n---\n"] {
        let parsed = parse("a.yaml", text.as_bytes(), &Options::default());
        assert!(parsed.objects.is_empty());
        assert_eq!(parsed.has_errors(), text.starts_with('{'), "{text:?}: {}", parsed.render());
    }
}
